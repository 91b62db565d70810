"""Whether what a run writes fits on the disk: models in its output folder, states beside them and in its own folder.

A plan and the bytes of one model and of one state come in, the problem goes out, with the mends that would make it fit.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer.contract.config import TrainingConfig
from trainer.contract.problems import Mend, Problem
from trainer.dataset.plan import Plan
from trainer.dataset.wording import counted, shown, size

FIELDS = ("output_dir", "save_every_n_epochs", "save_state_every_minutes")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of one model and of one state."""

    model: int
    state: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run writes, and what it finds there."""

    output: Path
    run: Path
    done: int = 0
    """Steps that were done before: what was written by then takes its room already."""
    states_there: int = 0
    """States in the run's folder, which make room for newer ones."""


def room_problems(config: TrainingConfig, plan: Plan, sizes: Sizes, places: Places) -> list[Problem]:
    """The first place whose disk is too small for all that will lie there at once."""
    found = next(_lacks(plan, sizes, places), None)
    if found is None:
        return []
    folder, what, needed, free = found
    message = (
        f"{what} need {size(needed)}, but {shown(folder)} has only {size(free)} free. "
        "Make room, save less often, or choose another folder."
    )
    mends = [
        Mend(label, values)
        for label, values, other_plan, other_sizes in _ways(config, plan, sizes)
        if next(_lacks(other_plan, other_sizes, places), None) is None
    ]
    return [Problem("disk.no_room", message, FIELDS, mends=tuple(mends))]


def free_bytes(folder: Path) -> int | None:
    """Free bytes where `folder` lies or would be made; None where the disk does not say."""
    try:
        return shutil.disk_usage(_nearest(folder)).free
    except OSError:
        return None


def _lacks(plan: Plan, sizes: Sizes, places: Places) -> Iterator[tuple[Path, str, int, int]]:
    """(folder, what, bytes needed, bytes free) of each disk that is too small."""
    left = plan.saves_after(places.done)
    models = min(plan.models_on_disk, left * (2 if plan.save_raw else 1))
    beside = min(plan.states_beside, left)
    in_run = max(0, min(plan.states_in_run, plan.total_steps - places.done) - places.states_there)
    loads = [(places.output, models, beside), (places.run, 0, in_run)]
    if _device(places.output) == _device(places.run):
        loads = [(places.output, models, beside + in_run)]
    for folder, models, states in loads:
        needed, free = models * sizes.model + states * sizes.state, free_bytes(folder)
        if free is not None and needed > free:
            what = [counted(number, noun) for number, noun in ((models, "save"), (states, "state")) if number]
            yield _nearest(folder), " and ".join(what), needed, free


def _ways(config: TrainingConfig, plan: Plan, sizes: Sizes) -> Iterator[tuple[str, dict[str, Any], Plan, Sizes]]:
    """What would take less room: label, option values, the plan and the sizes with them."""
    if config.saves.save_precision in (None, "float"):
        yield "Save in fp16", {"save_precision": "fp16"}, plan, replace(sizes, model=sizes.model // 2)
    if plan.states_in_run:
        yield (
            "No states in between",
            {"save_state_every_minutes": 0},
            replace(plan, states_between=False),
            sizes,
        )
    if plan.save_state:
        yield "No states beside models", {"save_state": False}, replace(plan, save_state=False), sizes
        if plan.states_beside > 2:
            yield "Keep one state", {"save_last_n_states": 1}, replace(plan, save_last_n_states=1), sizes
    if plan.save_count > 1:
        values = {"save_every_n_epochs": None, "save_every_n_steps": None}
        yield "Only the last save", values, replace(plan, **values), sizes


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _device(folder: Path) -> int | None:
    try:
        return _nearest(folder).stat().st_dev
    except OSError:
        return None
