"""What has happened in a run so far, folded from its events into what the page needs.

Comes in: RUN/events.jsonl, read on from where the last look ended. Goes out: a `RunView`, which never changes and is
the very same object until something new has happened, so whatever is drawn from it can be kept.
"""

import json
import threading
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gui.pace import FIRST, Pace, TimeLeft
from trainer.contract.events import (
    Event,
    EventReader,
    Finished,
    Phase,
    Planned,
    Removed,
    Sampled,
    Saved,
    Started,
    Stepped,
    Validated,
    Warned,
    decode,
)

SMOOTHING = 0.97
"""Share of the old in the smoothed loss: it looks back about 33 steps."""

_HEAD_BYTES = 32 * 1024
_TAIL_BYTES = 96 * 1024
"""The first and the last bytes of the events that `glance` reads: start and plan, and about 400 steps."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Values over steps, both (n,), steps rising. What was not finite is left out."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def last(self) -> float | None:
        return float(self.values[-1]) if len(self.values) else None


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """One run as its events tell it. Steps count from 1, step 0 is before training."""

    started: Started | None = None
    planned: Planned | None = None
    phase: Phase | None = None
    finished: Finished | None = None
    step: int = 0
    epoch: int = 0
    steps_here: int = 0
    """Steps made since the process started; the others were made before it went on from a state."""
    last_time: float = 0.0
    left: TimeLeft | None = None
    images_per_second: float | None = None
    vram_gib: float | None = None
    ram_gib: float | None = None
    loss: Curve | None = None
    smooth: Curve | None = None
    grad_norm: Curve | None = None
    rates: tuple[tuple[str, Curve], ...] = ()
    validation: Curve | None = None
    """The loss on the images held out, by the step it was measured at; step 0 is before training."""
    samples: tuple[Sampled, ...] = ()
    saves: tuple[Saved, ...] = ()
    warnings: tuple[Warned, ...] = ()

    @property
    def total(self) -> int | None:
        return self.planned.total_steps if self.planned else None

    @property
    def fraction(self) -> float:
        """Share of the steps that are done, 0 to 1."""
        return min(1.0, self.step / self.total) if self.total else 0.0

    @property
    def smoothed(self) -> float | None:
        return self.smooth.last if self.smooth else None

    @property
    def first_loss(self) -> float | None:
        """The mean of the first 30 losses, once there are as many behind them to compare with."""
        return float(self.loss.values[:FIRST].mean()) if self.loss and len(self.loss) >= 2 * FIRST else None

    @property
    def next_save(self) -> int | None:
        """The next step after which a model is written, where the plan knows one."""
        return next((step for step in self.planned.save_steps if step > self.step), None) if self.planned else None

    @property
    def epoch_steps(self) -> tuple[int, ...]:
        """The steps at which an epoch ends, without the last."""
        plan = self.planned
        if plan is None or plan.steps_per_epoch < 1:
            return ()
        return tuple(range(plan.steps_per_epoch, plan.total_steps, plan.steps_per_epoch))


class _Series:
    """A curve that grows."""

    __slots__ = ("steps", "values")

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")

    def add(self, step: int, value: float) -> None:
        self.steps.append(step)
        self.values.append(value)

    def cut(self, step: int) -> None:
        """Forget what came after `step`: the run went on from there once more."""
        keep = int(np.searchsorted(np.array(self.steps), step, side="right"))
        del self.steps[keep:], self.values[keep:]

    def curve(self) -> Curve:
        # Copies: a view of an array would keep it from growing.
        return Curve(np.array(self.steps, dtype=np.int64), np.array(self.values, dtype=np.float64))


class Story:
    """The fold: takes events in order, gives a view at any time."""

    def __init__(self) -> None:
        self._view = RunView()
        self._loss, self._smooth, self._grad_norm = _Series(), _Series(), _Series()
        self._validation = _Series()
        self._rates: dict[str, _Series] = {}
        self._samples: dict[str, Sampled] = {}
        self._saves: dict[str, Saved] = {}
        self._warnings: list[Warned] = []
        self._average, self._weight = 0.0, 0.0
        self._step, self._epoch, self._steps_here = 0, 0, 0
        self._memory: tuple[float | None, float | None] = (None, None)
        self._speeds: deque[float] = deque(maxlen=FIRST)
        self._pace = Pace()
        self._last_time = 0.0

    def tell(self, event: Event) -> None:
        """Take in what happened next."""
        self._last_time = event.time
        match event:
            case Stepped():  # first: it is nearly all of a long run
                self._stepped(event)
            case Started():
                self._begin(event)
            case Planned():
                self._view = replace(self._view, planned=event)
            case Phase():
                self._pause_for(event)
            case Validated():
                self._pace.pause()
                self._validation.cut(event.step - 1)
                if event.loss is not None:
                    self._validation.add(event.step, event.loss)
            case Sampled():
                self._pace.pause()
                self._samples.pop(event.path, None)  # Drawn once more after a resume, it comes once.
                self._samples[event.path] = event
            case Saved():
                self._pace.pause()
                self._saves.pop(event.path, None)
                self._saves[event.path] = event
            case Removed():
                self._saves.pop(event.path, None)
            case Warned():
                self._warnings.append(event)
            case Finished():
                self._view = replace(self._view, finished=event, phase=None)

    def leap(self) -> None:
        """What is told next does not join on to what was told before: a part was not read."""
        self._pace.leap()

    def view(self) -> RunView:
        """All that was told so far, as a value."""
        total = self._view.total
        return replace(
            self._view,
            step=self._step,
            epoch=self._epoch,
            steps_here=self._steps_here,
            last_time=self._last_time,
            left=self._pace.left(max(0, total - self._step)) if total and self._view.finished is None else None,
            images_per_second=_mean_speed(self._speeds),
            vram_gib=self._memory[0],
            ram_gib=self._memory[1],
            loss=self._loss.curve(),
            smooth=self._smooth.curve(),
            grad_norm=self._grad_norm.curve(),
            validation=self._validation.curve(),
            rates=tuple((name, series.curve()) for name, series in self._rates.items()),
            samples=tuple(self._samples.values()),
            saves=tuple(self._saves.values()),
            warnings=tuple(self._warnings),
        )

    def _begin(self, event: Started) -> None:
        """A process starts. Where it goes on from an older state, the steps behind that are made again."""
        if event.resumed_step < self._step:
            for series in (self._loss, self._smooth, self._grad_norm, self._validation, *self._rates.values()):
                series.cut(event.resumed_step)
            self._average, self._weight = 0.0, 0.0
            for loss in self._loss.values:
                self._smooth_in(loss)
        self._step, self._steps_here = event.resumed_step, 0
        self._pace, self._speeds = Pace(), deque(maxlen=FIRST)
        self._view = replace(self._view, started=event, finished=None, phase=None)

    def _pause_for(self, event: Phase) -> None:
        if event.name != "training":
            self._pace.pause()
        self._view = replace(self._view, phase=event)

    def _stepped(self, event: Stepped) -> None:
        step = event.step
        self._step, self._epoch, self._steps_here = step, event.epoch, self._steps_here + 1
        if event.loss is not None:
            self._loss.add(step, event.loss)
            self._smooth_in(event.loss)
            # Divided by the weights given so far: without that the curve would rise from zero (Adam's bias correction).
            self._smooth.add(step, self._average / self._weight)
        for name, rate in event.learning_rate.items():
            if rate is not None:
                self._rates.setdefault(name, _Series()).add(step, rate)
        if event.grad_norm is not None:
            self._grad_norm.add(step, event.grad_norm)
        if event.images_per_second:
            self._speeds.append(event.images_per_second)
        if event.vram_gib is not None or event.ram_gib is not None:
            self._memory = (event.vram_gib, event.ram_gib)
        self._pace.step(event.time)
        if self._view.phase is not None and self._view.phase.name != "training":
            self._view = replace(self._view, phase=None)

    def _smooth_in(self, loss: float) -> None:
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        self._weight = SMOOTHING * self._weight + (1 - SMOOTHING)


def _mean_speed(speeds: deque[float]) -> float | None:
    """The harmonic mean: steps have the same number of images, so it is their times that are averaged."""
    return len(speeds) / sum(1 / speed for speed in speeds) if speeds else None


class Monitor:
    """Follows one events file. Any number of pages may look at the same time."""

    def __init__(self, events_file: Path) -> None:
        self._reader = EventReader(events_file)
        self._story = Story()
        self._view = RunView()
        self._lock = threading.Lock()

    def look(self) -> RunView:
        """The run as it is now; the same object as before where nothing is new."""
        with self._lock:
            events = self._reader.read()
            for event in events:
                self._story.tell(event)
            if events:
                self._view = self._story.view()
            return self._view


class Monitors:
    """The monitors of the runs that pages look at, the `kept` newest of them: a long run's curves are some MB."""

    def __init__(self, kept: int = 8) -> None:
        self._kept = kept
        self._monitors: OrderedDict[Path, Monitor] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, events_file: Path) -> RunView:
        """What happened in the run of this events file."""
        with self._lock:
            monitor = self._monitors.setdefault(events_file, Monitor(events_file))
            self._monitors.move_to_end(events_file)
            while len(self._monitors) > self._kept:
                self._monitors.popitem(last=False)
        return monitor.look()


def glance(events_file: Path) -> RunView:
    """A run for a line in a list: its start, its plan and its last steps, whatever the length of the file.

    The smoothed loss is that of the whole run up to the fifth digit; curves, saves and samples hold only what was read.
    """
    try:
        stat = events_file.stat()
    except OSError:
        return RunView()
    return _glance(events_file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=512)
def _glance(events_file: Path, size: int, modified: int) -> RunView:
    """`modified` only tells the cache when the file is another one."""
    del modified
    story = Story()
    with events_file.open("rb") as file:
        if size <= _HEAD_BYTES + _TAIL_BYTES:
            _tell_lines(story, file.read())
        else:
            _tell_lines(story, file.read(_HEAD_BYTES))
            file.seek(size - _TAIL_BYTES)
            story.leap()
            _tell_lines(story, file.read())
    return story.view()


def _tell_lines(story: Story, block: bytes) -> None:
    for line in block.splitlines():
        # The first and the last line of a piece may be torn: they do not parse.
        try:
            record = json.loads(line)
        except ValueError:
            continue
        event = decode(record) if isinstance(record, dict) else None
        if event is not None:
            story.tell(event)
