"""Look at a checkpoint without torch: facts for the page, problems for the disk gate.

`inspect_model` reads one model, `check_model` holds the model section of a config against the disk, `list_models`
fills the page's list. Only tables of contents are read, and nothing in a file is executed.
"""

import os
import re
from pathlib import Path

from trainer.contract.config import ModelSection
from trainer.contract.problems import Mend, Problem
from trainer.model.facts import WORDS, ModelFacts, read_facts
from trainer.model.folders import read_weights, recovered
from trainer.model.hub import cached_snapshot, is_hub_name
from trainer.model.refusals import FIELD, GET_ANOTHER, UnusableModel, read_or_refuse, refused, stands
from trainer.model.stored import UnreadableFile

__all__ = ["ModelFacts", "check_model", "inspect_model", "list_models"]


def inspect_model(path_or_id: str) -> ModelFacts | Problem:
    """The facts of a model on this disk, or the problem that keeps it from being trained.

    A hub name is looked up among the models that were downloaded before; the hub itself is not asked.
    """
    path = Path(path_or_id).expanduser()
    try:
        if not stands(path) and is_hub_name(path_or_id):
            snapshot = cached_snapshot(path_or_id)
            if snapshot is None:
                raise refused(
                    "disk.model_not_downloaded", f"{path_or_id} is not on this disk and was not downloaded yet."
                )
            path = snapshot
        return read_facts(path)
    except UnusableModel as refusal:
        return refusal.problem


def check_model(model: ModelSection) -> tuple[ModelFacts | None, list[Problem]]:
    """The disk gate for the model: all problems at once. The facts are None where there is no model to read.

    A hub name that was not downloaded yet gives neither facts nor a problem, unless the hub is switched off.
    """
    name = model.pretrained_model_name_or_path
    problems = _vae_problems(model.vae)
    if name is None:
        return None, problems
    if not stands(Path(name).expanduser()) and is_hub_name(name) and cached_snapshot(name) is None:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
            message = (
                f"{name} is not on this disk, and downloads are switched off (HF_HUB_OFFLINE). Choose a local model."
            )
            problems.insert(0, Problem("disk.model_offline", message, (FIELD,)))
        return None, problems
    facts = inspect_model(name)
    if isinstance(facts, Problem):
        return None, [facts, *problems]
    if not facts.has_vae and model.vae is None:
        message = f"{facts.path.name} has no VAE in it. Choose a VAE file or folder as well."
        problems.append(Problem("disk.model_no_vae", message, ("vae", FIELD)))
    contradictions = _family_problems(facts, model) or _prediction_problems(facts, model)
    return facts, [*contradictions, *problems]


def list_models(folder: Path) -> list[ModelFacts]:
    """The trainable models directly in `folder`, by name; everything else in it is left out."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name.lower()):
        if path.name.startswith(".") or not (path.is_dir() or path.suffix.lower() in (".safetensors", ".ckpt")):
            continue
        facts = inspect_model(str(path))
        if isinstance(facts, ModelFacts):
            found.append(facts)
    return found


def _family_problems(facts: ModelFacts, model: ModelSection) -> list[Problem]:
    """The wrong family; its mend sets the prediction too, so that one click is enough."""
    is_v2 = facts.family == "v2"
    if model.v2 == is_v2:
        return []
    values: dict[str, bool] = {"v2": is_v2}
    label = "Set v2" if is_v2 else "Clear v2"
    if is_v2 and facts.prediction == "v" and not model.v_parameterization:
        values["v_parameterization"], label = True, "Set v2 and v_parameterization"
    elif not is_v2 and model.v_parameterization and facts.prediction != "v":
        values["v_parameterization"], label = False, "Clear v2 and v_parameterization"
    message = f"{facts.path.name} is a {WORDS[facts.family]} model, but v2 is {'on' if model.v2 else 'off'}. {label}."
    return [Problem("disk.model_family", message, ("v2", FIELD), mends=(Mend(label, values),))]


def _prediction_problems(facts: ModelFacts, model: ModelSection) -> list[Problem]:
    """v without the flag would be trained into noise; the flag on an epsilon model is a conversion some want."""
    if facts.prediction is None or (facts.prediction == "v") == model.v_parameterization:
        return []
    fields = ("v_parameterization", FIELD)
    known = facts.prediction_known_from
    if facts.prediction == "v":
        message = (
            f"{facts.path.name} predicts v, as {known} says, but v_parameterization is off: "
            "training would turn its pictures brown. Set v_parameterization."
        )
        mend = Mend("Set v_parameterization", {"v_parameterization": True})
        return [Problem("disk.model_prediction", message, fields, mends=(mend,))]
    message = (
        f"{facts.path.name} predicts the noise, as {known} says, but v_parameterization is on: "
        "the first thousands of steps would only teach it the other way. Clear v_parameterization unless you mean that."
    )
    mend = Mend("Clear v_parameterization", {"v_parameterization": False})
    return [Problem("disk.model_prediction", message, fields, "warning", (mend,))]


def _vae_problems(vae: str | None) -> list[Problem]:
    if vae is None:
        return []
    path = recovered(Path(vae).expanduser())
    try:
        if not stands(path):
            if is_hub_name(vae):
                return []
            raise refused(
                "disk.vae_missing", f"There is no VAE at {path}. Check the path, or leave the box empty.", "vae"
            )
        names = _vae_names(path)
    except UnusableModel as refusal:
        return [refusal.problem]
    if any(re.match(r"(first_stage_model\.)?decoder\.conv_in\.weight$", name) for name in names):
        return []
    message = f"{path.name} holds no VAE. Choose a VAE, or a full Stable Diffusion model whose VAE to use."
    return [Problem("disk.vae_kind", message, ("vae",))]


def _vae_names(path: Path) -> list[str]:
    if path.is_file():
        return list(read_or_refuse(path, "vae").tensors)
    folder = path / "vae" if (path / "vae").is_dir() else path
    try:
        content = read_weights(folder, "vae")
    except UnreadableFile as trouble:
        message = f"The VAE in {path} cannot be read: {trouble}. {GET_ANOTHER}"
        raise refused("disk.vae_unreadable", message, "vae") from None
    return list(content.tensors)
