"""How long the steps of a run take, and how long the rest will.

Comes in: the times at which steps were done, and that something else (saving, drawing) came between two of them. Goes
out: a `TimeLeft` with the range in which the speed of the last minutes puts it.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

FIRST = 30
"""Steps before a time left is told."""

_RECENT = 200
"""Step times that count for the time left: a few minutes, so that a change of speed shows soon."""

_WARM_UP = 3
"""Steps after a start that are left out of the step times: caches and kernels are made in them."""

_BLOCK = 10
"""Step times are compared in means of ten: one bucket's shape takes longer than another's, ten mix them."""

_GAP = 10.0
"""A step that takes this many times the usual, and this many seconds, with nothing to explain it: a laptop slept."""


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds until the last step is done, and the range in which the speed of the last minutes puts it."""

    seconds: float
    low: float
    high: float
    seconds_per_step: float
    """With what saving and drawing cost on the way."""

    def until(self, steps: int) -> float:
        """Seconds until so many more steps are done."""
        return steps * self.seconds_per_step


class Pace:
    """How long steps take, from the times at which they were done."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._paused = False
        self._steps = 0
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._pauses = 0.0

    def pause(self) -> None:
        """Something other than training happens before the next step: saving, drawing."""
        self._paused = True

    def leap(self) -> None:
        """The steps that follow do not join on to those before."""
        self._last = None

    def step(self, time: float) -> None:
        """A step is done at `time` (seconds)."""
        self._steps += 1
        if self._last is not None and self._steps > _WARM_UP:
            self._count(max(0.0, time - self._last))
        self._last, self._paused = time, False

    def _count(self, seconds: float) -> None:
        if self._paused:
            usual = sum(self._recent) / len(self._recent) if self._recent else seconds
            self._pauses += max(0.0, seconds - usual)
            return
        if seconds > _GAP and len(self._recent) >= _BLOCK and seconds > _GAP * float(np.median(self._recent)):
            return
        self._recent.append(seconds)

    def left(self, steps: int) -> TimeLeft | None:
        """Time for so many more steps; None before there is enough to tell.

        The range is that of the slowest and the fastest tenth of the recent steps, in blocks of ten.
        """
        if self._steps < FIRST or steps < 0 or not self._recent:
            return None
        times = np.array(self._recent)
        blocks = times[len(times) % _BLOCK :].reshape(-1, _BLOCK).mean(axis=1)
        pause = self._pauses / self._steps
        mean = float(times.mean())
        low, high = np.quantile(blocks, (0.1, 0.9)) if len(blocks) else (mean, mean)
        return TimeLeft(
            steps * (mean + pause),
            steps * (min(mean, float(low)) + pause),
            steps * (max(mean, float(high)) + pause),
            mean + pause,
        )
