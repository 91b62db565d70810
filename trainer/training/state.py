"""All that resuming needs, in one folder: weights, optimizer, average, scale, and where the run stands.

`step-00000120/` holds weights.safetensors and average.safetensors (fp32), optimizer.pt (tensors and plain values only)
and state.json. It appears whole or not at all. Random numbers are not in it: they are functions of the seed.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from trainer.contract.problems import Problem
from trainer.model.writing import Outgoing, folder_in_place, in_place, write_safetensors

VERSION = 1
WEIGHTS, AVERAGE, OPTIMIZER, RECORD = "weights.safetensors", "average.safetensors", "optimizer.pt", "state.json"


@dataclass(frozen=True, slots=True)
class StateRecord:
    """state.json: where the run stands, and what it was asked, to be held against what is asked now."""

    step: int
    """Optimizer steps done; the state goes on with this one, counted from 0."""
    epoch: int
    """Epochs done."""
    position: int
    """Steps done in the epoch that is under way."""
    seed: int
    data: str
    """Digest of the images, their repeats and their buckets."""
    model: str
    """Digest of the weights that training started from."""
    batches_per_step: int
    """Processes x gathered batches."""
    average_updates: int | None
    epoch_loss: tuple[float, int]
    """Sum and count of the losses of the epoch that is under way."""
    options: dict[str, Any] = field(default_factory=dict)
    board: str | None = None
    masks: str | None = None
    """Digest of the masks, where they lie in a folder."""
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Tensors:
    """The tensors of a state: trained weights by "unet.*" and "text_encoder.*", their average, the optimizer's."""

    weights: Mapping[str, Tensor]
    average: Mapping[str, Tensor] | None
    optimizer: Mapping[str, Any]


def write_state(folder: Path, record: StateRecord, tensors: Tensors) -> int:
    """Write a state and return its bytes. What stood there before is replaced when the new one is whole.

    Raises OSError, with nothing changed.
    """
    with folder_in_place(folder) as partial:
        _write_safetensors(partial / WEIGHTS, tensors.weights)
        if tensors.average is not None:
            _write_safetensors(partial / AVERAGE, tensors.average)
        with (partial / OPTIMIZER).open("wb") as file:
            torch.save(dict(tensors.optimizer), file)
            file.flush()
            os.fsync(file.fileno())
        with (partial / RECORD).open("w", encoding="utf-8") as file:
            json.dump(asdict(record), file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        if not zipfile.is_zipfile(partial / OPTIMIZER) or isinstance(read_record(partial), Problem):
            raise OSError(f"{folder} does not hold what was written to it; the disk may be faulty")
        return sum(path.stat().st_size for path in partial.iterdir())


def clear_leftovers(states: Path) -> None:
    """Delete what a process left in RUN/state that was killed while it wrote or deleted one."""
    put_back(states)
    for leftover in states.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def put_back(states: Path) -> None:
    """A state that was set aside for a new one of the same step takes its place again where the new one never came."""
    for aside in states.glob(".step-*.old"):
        state = aside.with_name(aside.name.removeprefix(".").removesuffix(".old"))
        if not state.exists():
            os.replace(aside, state)


def find_state(given: Path) -> Path | None:
    """The state folder that is meant: itself, or the newest one in a run folder or in its `state`."""
    if (given / RECORD).is_file():
        return given
    places = (given, given / "state")
    for place in places:
        put_back(place)
    found = [folder for place in places for folder in place.glob("step-*") if (folder / RECORD).is_file()]
    return max(found, key=lambda folder: folder.name, default=None)


def read_record(folder: Path) -> StateRecord | Problem:
    """state.json, or the problem that keeps the state from being used."""
    try:
        values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if values.get("version", 0) > VERSION:
            message = f"The state {folder} was written by a newer version of this program. Update it, then go on."
            return Problem("disk.resume_newer", message, ("resume",))
        values["epoch_loss"] = tuple(values["epoch_loss"])
        record = StateRecord(**values)
        assert (folder / WEIGHTS).is_file() and (folder / OPTIMIZER).is_file()
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError):
        message = f"The state {folder} is not complete. Choose another one."
        return Problem("disk.resume_unreadable", message, ("resume",))


def read_tensors(folder: Path) -> Tensors:
    """The tensors of a state, on the CPU. Nothing in the files is executed."""
    average = _read_safetensors(folder / AVERAGE) if (folder / AVERAGE).is_file() else None
    optimizer = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
    return Tensors(_read_safetensors(folder / WEIGHTS), average, optimizer)


def _write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """In fp32; the table of contents is read back."""
    outgoing = {name: Outgoing(torch.float32, tuple(value.shape), lambda v=value: v) for name, value in tensors.items()}
    with in_place(path, outgoing) as temporary:
        write_safetensors(temporary, outgoing, {"format": "pt"})


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - this object is no mapping
