"""What the trainer tells, one JSON object a line in RUN/events.jsonl.

One writer (the trainer's main process), many readers (page, command line). A line is whole or absent: it is written
with one call and flushed, and a reader takes only lines that end. Readers skip types and keys that they do not know.
Numbers carry their unit in the name; a number that is not finite is written as null.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

GIB_IN_GB = 2**30 / 1e9
"""Events tell memory in GiB; pages, files and logs are in GB."""

PhaseName = Literal["loading", "scanning", "caching", "training", "sampling", "saving", "validating"]
Result = Literal["completed", "stopped", "paused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, at `time` (seconds since 1970)."""

    type: ClassVar[str]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The trainer is up: on which device, with which seed, and from which step it goes on."""

    type: ClassVar[str] = "started"
    pid: int
    version: str
    device: str
    seed: int
    processes: int = 1
    resumed_step: int = 0
    vram_total_gib: float | None = None
    ram_total_gib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase(Event):
    """What the run does now; `done` of `total` where a total is known."""

    type: ClassVar[str] = "phase"
    name: PhaseName
    done: int | None = None
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """The plan as the trainer counted it; steps and epochs are totals over resumes."""

    type: ClassVar[str] = "planned"
    images: int
    reg_images: int
    batch_size: int
    steps_per_epoch: int
    epochs: int
    total_steps: int
    save_steps: list[int]
    learning_rates: list[float] = field(default_factory=list)
    """The schedule of the first group at up to 200 evenly spaced steps from 0 to total_steps, for the dotted future."""
    validation_images: int = 0
    """Images held out: they are not among `images`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped(Event):
    """One optimizer step is done. Learning rates are those that the step used, by group (unet, text_encoder)."""

    type: ClassVar[str] = "stepped"
    step: int
    epoch: int
    loss: float | None
    learning_rate: dict[str, float]
    grad_norm: float | None = None
    images_per_second: float | None = None
    vram_gib: float | None = None
    ram_gib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated(Event):
    """The mean loss on the images held out, with the averaged weights where there is an average."""

    type: ClassVar[str] = "validated"
    step: int
    epoch: int
    loss: float | None
    images: int
    averaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled(Event):
    """A sample picture is written; `path` is relative to the run folder, step 0 is the baseline before training."""

    type: ClassVar[str] = "sampled"
    step: int
    index: int
    prompt: str
    seed: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Event):
    """A model or a state is written and read back; `path` is absolute, `beside` what was written along with it."""

    type: ClassVar[str] = "saved"
    kind: Literal["model", "state"]
    step: int
    epoch: int
    path: str
    size_bytes: int
    beside: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Event):
    """An older model or state of this run is deleted, as newer ones are to be kept alone; `path` is absolute."""

    type: ClassVar[str] = "removed"
    kind: Literal["model", "state"]
    step: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something to look at that does not end the run."""

    type: ClassVar[str] = "warned"
    code: str
    message: str
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """The trainer ends: all steps done, stopped as asked, or failed with the message.

    `code` says what failed: that of the first problem where the trainer refused to begin, else a word of
    trainer/runs/crash_kinds.py, or nothing where the trainer does not know. `mends` are clicks that mend a refusal.
    The peaks are the most that the trainer's main process held at any moment, of the card's and the computer's memory.
    """

    type: ClassVar[str] = "finished"
    result: Result
    step: int
    message: str = ""
    code: str = ""
    mends: list[dict[str, Any]] = field(default_factory=list)
    vram_peak_gib: float | None = None
    ram_peak_gib: float | None = None


AnyEvent = Started | Phase | Planned | Stepped | Validated | Sampled | Saved | Removed | Warned | Finished
EVENT_TYPES: dict[str, type[Event]] = {event.type: event for event in get_args(AnyEvent)}
_NAMES: dict[str, tuple[str, ...]] = {name: tuple(f.name for f in fields(kind)) for name, kind in EVENT_TYPES.items()}


def encode(event: Event) -> bytes:
    """One line of JSON, with its line end."""
    record: dict[str, Any] = {"type": event.type}
    record.update((name, _finite(getattr(event, name))) for name in _NAMES[event.type])
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(record: Mapping[str, Any]) -> Event | None:
    """The event of a parsed line, or None for a type that is not known here or lacks what it needs."""
    kind = EVENT_TYPES.get(record.get("type", ""))
    if kind is None:
        return None
    try:
        return kind(**{name: record[name] for name in _NAMES[kind.type] if name in record})
    except TypeError:
        return None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


class EventWriter:
    """Appends events to one file. Opening it again goes on at the end, after cutting off a torn last line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        _cut_torn_line(path)
        # Unbuffered: each event is one write call, so a reader never sees half of one from a buffer's edge.
        self._file = path.open("ab", buffering=0)

    def write(self, event: Event) -> None:
        self._file.write(encode(event))

    def close(self) -> None:
        self._file.close()


class NoEvents:
    """A writer for the processes of a run that tell nothing (all but the main one)."""

    def write(self, event: Event) -> None:
        del event

    def close(self) -> None:
        pass


class EventReader:
    """Reads what has been appended since the last call; keeps its byte offset, holds no file open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> list[Event]:
        """All new events, oldest first; an empty list where the file is missing or has not grown."""
        return list(self._new())

    def _new(self) -> Iterator[Event]:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size < self._offset:
            self._offset = 0
        if size == self._offset:
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            block = file.read()
        end = block.rfind(b"\n") + 1
        self._offset += end
        for line in block[:end].splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            event = decode(record) if isinstance(record, dict) else None
            if event is not None:
                yield event


def _cut_torn_line(path: Path) -> None:
    """A process that was killed while writing leaves half a line: without this it would swallow the next event."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
