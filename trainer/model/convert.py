"""From one kind of checkpoint to another: file or Diffusers folder in, file or folder out, nothing trained.

A `Conversion` goes in; the written paths come out. What the source says about itself stays in the result, since all of
it still holds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from trainer.contract.config import ModelSection
from trainer.contract.problems import Mend, Problem
from trainer.contract.saves import Precision
from trainer.model.conversion import FILE_FORMS, Conversion, target_problem
from trainer.model.facts import ModelFacts
from trainer.model.hub import Progress
from trainer.model.load import Networks, load_ema, load_networks
from trainer.model.probe import probe_prediction
from trainer.model.refusals import UnusableModel, refused
from trainer.model.save import save_model
from trainer.model.single_file import State

MADE_ANEW = ("format", "modelspec.architecture", "modelspec.prediction_type", "atelier.architecture")
"""Metadata that follows from the networks themselves; hashes besides, since they are those of the old file."""


def convert_model(asked: Conversion, progress: Progress | None = None) -> list[Path]:
    """Convert, and return what was written. Raises `UnusableModel`, and OSError where it cannot be written.

    Peak memory is that of the networks in fp32.
    """
    trouble = target_problem(asked.target, asked.overwrite)
    if trouble is not None:
        raise UnusableModel(trouble)
    section = ModelSection(
        pretrained_model_name_or_path=asked.source, vae=asked.vae, v_parameterization=bool(asked.predicts_v)
    )
    networks = load_networks(section, progress)
    _settle_prediction(networks, asked.predicts_v)
    weights: dict[str, State] = {"unet": _averages(networks)} if asked.use_ema_weights else {}
    ending = asked.target.suffix.lower()
    form = FILE_FORMS.get(ending, "diffusers_safetensors")
    return save_model(
        networks,
        asked.target.with_suffix("") if ending in FILE_FORMS else asked.target,
        form=form,
        precision=asked.precision or _own_precision(networks.facts),
        weights=weights,
        metadata=_lasting(networks.facts.metadata),
    )


def _settle_prediction(networks: Networks, predicts_v: bool | None) -> None:
    """Where neither source nor user say what a 2.x model predicts, its weights are asked; both kinds are common."""
    said = None if predicts_v is None else ("v" if predicts_v else "epsilon")
    if said is None and networks.facts.prediction is None and networks.family == "v2":
        said = probe_prediction(networks)
        if said is None:
            message = (
                f"Nothing says whether {networks.facts.name} predicts the noise or v, and its weights do not tell."
            )
            mends = tuple(
                Mend(label, {"v_parameterization": flag}) for label, flag in (("It predicts v", True), ("Noise", False))
            )
            raise UnusableModel(Problem("disk.model_prediction", message, ("v_parameterization",), mends=mends))
    if said is not None:
        networks.prediction = said
        networks.scheduler["prediction_type"] = "v_prediction" if said == "v" else "epsilon"


def _averages(networks: Networks) -> State:
    averages = load_ema(networks)
    if averages is None:
        message = f"{networks.facts.name} holds no averaged weights (EMA). Leave out --use-ema-weights."
        raise refused("disk.model_no_ema", message)
    return averages


def _own_precision(facts: ModelFacts) -> Precision:
    return facts.precision if facts.precision in get_args(Precision) else "float"  # type: ignore[return-value]


def _lasting(metadata: Mapping[str, object]) -> dict[str, str]:
    counted = {"epoch": "atelier.epoch", "global_step": "atelier.step"}
    counts = {word: str(metadata[name]) for name, word in counted.items() if type(metadata.get(name)) is int}
    said = {name: value for name, value in metadata.items() if isinstance(value, str) and "hash" not in name}
    return counts | {name: value for name, value in said.items() if name not in MADE_ANEW}
