"""Going on from a state: whether it can be, what has changed since, and putting everything back in place."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.contract.config import OPTIONS, ImageSection, TrainingConfig
from trainer.contract.fixed import FIXED
from trainer.contract.optimizers import meant_by, read_arguments
from trainer.contract.problems import Mend, Problem
from trainer.contract.rate import RateSection
from trainer.dataset.batches import Batches
from trainer.dataset.captions import Entry
from trainer.dataset.placement import face_of
from trainer.training.state import StateRecord, find_state, read_record

UNSAID = (
    "resume",
    "seed",
    "pretrained_model_name_or_path",
    "train_data_dir",
    "reg_data_dir",
    "optimizer_type",
    "use_8bit_adam",
    "optimizer_args",
)
"""Options whose change is judged by what they lead to, or is the very point of resuming."""

SAMPLED_NUMBERS = 16


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins: at its first step, or where a state left off."""

    folder: Path | None = None
    record: StateRecord | None = None

    @property
    def step(self) -> int:
        """Optimizer steps done before."""
        return 0 if self.record is None else self.record.step


@dataclass(frozen=True, slots=True)
class Data:
    """Digests of what a run learns from."""

    images: str
    masks: str | None = None
    """None without masks in a folder. They can be turned on and off within a run, but not be exchanged unseen."""


def find_start(resume: Path | None) -> Start | Problem:
    """The state to go on from, read as far as its record."""
    if resume is None:
        return Start()
    folder = find_state(resume)
    if folder is None:
        message = f"There is no state in {resume}. Choose the folder of a state, or of a run that has one."
        return Problem("disk.resume_missing", message, ("resume",))
    record = read_record(folder)
    return record if isinstance(record, Problem) else Start(folder, record)


def check_resume(
    record: StateRecord, config: TrainingConfig, data: Data, batches_per_step: int, total_steps: int
) -> list[Problem]:
    """What keeps a run from going on from a state, and a warning that says which options have changed."""
    now = config.flat()
    problems = [
        _fixed(name, record.options[name], now[name])
        for name in FIXED
        if name in record.options and record.options[name] != now[name]
    ]
    if not problems and record.data != data.images:
        message = (
            "The images are not those that the state was trained on (other files, repeats or sizes). "
            "Put them back, or start anew from the saved model."
        )
        problems.append(Problem("disk.resume_data", message, ("resume", "train_data_dir", "reg_data_dir")))
    elif None not in (record.masks, data.masks) and record.masks != data.masks:
        message = (
            "The masks are not those that the state was trained with. "
            "Put them back, or start anew from the saved model."
        )
        problems.append(Problem("disk.resume_masks", message, ("resume", "conditioning_data_dir")))
    if config.length.seed is not None and config.length.seed != record.seed:
        message = f"The state has the seed {record.seed}; with another one images would come twice or not at all."
        mend = Mend(f"Use {record.seed}", {"seed": record.seed})
        problems.append(Problem("disk.resume_seed", message, ("seed", "resume"), mends=(mend,)))
    if batches_per_step != record.batches_per_step:
        message = (
            f"A step of the state is made of {record.batches_per_step} batches, one of this run of {batches_per_step} "
            "(processes times gathered batches). Make them the same."
        )
        problems.append(Problem("disk.resume_batches", message, ("gradient_accumulation_steps", "resume")))
    problems += _other_optimizer(record.options, config.rate)
    if record.step >= total_steps:
        message = (
            f"The state is at step {record.step} and the run would end at step {total_steps}. "
            "Steps and epochs are totals: give more."
        )
        problems.append(Problem("disk.resume_done", message, ("max_train_steps", "max_train_epochs", "resume")))
    return problems + _changed(record.options, now)


def data_digest(entries: Sequence[Entry], batches: Batches, images: ImageSection) -> str:
    """A digest of what is learnt from: each file's name, length and size, its repeats, its bucket, and the face in it.

    Not of its place: a folder may be moved between a run and its resuming.
    """
    digest = hashlib.sha256()
    for place, entry in enumerate(entries):
        picture = entry.picture
        line = (
            entry.folder.name,
            picture.path.name,
            picture.size_bytes,
            picture.width,
            picture.height,
            entry.repeats,
            entry.regularization,
            batches.bucket_of(place),
        )
        if images.face_range is not None:
            line = (*line, face_of(picture))
        digest.update(repr(line).encode())
    return digest.hexdigest()[:32]


def model_digest(networks: Mapping[str, nn.Module]) -> str:
    """A digest of the weights as loaded: every tensor's name, shape and first numbers. 50 ms for a real model."""
    digest = hashlib.sha256()
    for network_name, network in networks.items():
        for name, weight in network.state_dict().items():
            numbers = weight.detach().flatten()[:SAMPLED_NUMBERS].to("cpu", torch.float32)
            digest.update(f"{network_name}.{name}{tuple(weight.shape)}".encode() + numbers.numpy().tobytes())
    return digest.hexdigest()[:32]


def other_model() -> Problem:
    """The problem of a state that belongs to another model."""
    message = (
        "The model is not the one that the state started from. Choose that model, or start anew without the state."
    )
    return Problem("disk.resume_model", message, ("pretrained_model_name_or_path", "resume"))


def _other_optimizer(options: Mapping[str, Any], rate: RateSection) -> list[Problem]:
    """A state goes with its optimizer and that one's arguments, which decide what it is made of."""
    before = meant_by(options.get("optimizer_type", "AdamW"), bool(options.get("use_8bit_adam")))
    line = options.get("optimizer_args")
    if before != rate.optimizer:
        message = f"The state belongs to {before}, and {rate.optimizer} is chosen. Choose the same optimizer."
    elif _arguments(before, line) != rate.arguments:
        message = (
            f"The optimizer's arguments were {_shown(line)} in the state and are {_shown(rate.optimizer_args)} here. "
            "They cannot change within a run."
        )
    else:
        return []
    mend = Mend("As in the state", {"optimizer_type": before, "use_8bit_adam": False, "optimizer_args": line})
    return [Problem("disk.resume_optimizer", message, ("optimizer_type", "optimizer_args", "resume"), mends=(mend,))]


def _arguments(optimizer: str, line: str | None) -> dict[str, Any] | None:
    try:
        return read_arguments(optimizer, line)
    except (ValueError, KeyError):  # of another version of this program
        return None


def _fixed(name: str, before: Any, now: Any) -> Problem:
    label = OPTIONS[name].shown.label
    message = f"{label} was {_shown(before)} in the state and is {_shown(now)} here. It cannot change within a run."
    return Problem(
        "disk.resume_option", message, (name, "resume"), mends=(Mend(f"Use {_shown(before)}", {name: before}),)
    )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Problem]:
    """One warning that names all options that changed and are taken as they are now."""
    changed = [
        f"{OPTIONS[name].shown.label} from {_shown(before[name])} to {_shown(value)}"
        for name, value in now.items()
        if name in before and before[name] != value and name not in FIXED and name not in UNSAID
    ]
    if not changed:
        return []
    message = f"Changed since the state was written, and taken as it is now: {'; '.join(changed)}."
    return [Problem("disk.resume_changed", message, ("resume",), "warning")]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not given" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
