"""The curves of a run as plain data, and as HTML: loss, learning rate, gradient norm.

Comes in: a `RunView`. Goes out: a `Plot` whose lines are SVG paths in a square of 1000 by 1000 that is stretched to any
width, and whose ticks and marks are places in percent. A line has at most 1,000 points, whatever the length of the run.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gui.figures import count, loss_text, rate_text
from gui.marks import mark
from gui.monitor import Curve, RunView

COLUMNS = 500
"""Columns of a plot; a line has the smallest and the largest value of each, so no peak is lost."""

SMALL_COLUMNS = 150
"""Columns of the two small plots, which are some 300 pixels wide."""

LAST = 500
"""Steps of the closer look."""

_CLOSEST = 3.0
"""Percent between two marks below which the second is left out: they would cover each other."""

LineKind = Literal["faint", "strong", "future", "second", "third", "fourth"]
COMPARED: tuple[LineKind, ...] = ("strong", "second", "third", "fourth")
"""The lines of runs side by side, told apart by colour and by dash."""

MarkKind = Literal["save", "sample"]


@dataclass(frozen=True, slots=True)
class Tick:
    """A number beside the plot, `at` percent from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a step, `at` percent from the left."""

    at: float
    kind: MarkKind
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines (kind, SVG path), ticks, marks, and the sentence that says the same to who cannot see it."""

    lines: tuple[tuple[LineKind, str], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to 0 to 1; `low` is drawn at 0. With `log`, in orders of magnitude."""

    low: float
    high: float
    log: bool = False

    def place(self, values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        if self.log:
            array = np.log10(np.maximum(array, self.low / 10))
            low, high = math.log10(self.low), math.log10(self.high)
        else:
            low, high = self.low, self.high
        return (array - low) / (high - low)


@lru_cache(maxsize=64)
def loss_plot(view: RunView, *, last_only: bool = False, log: bool = False) -> Plot | None:
    """Each step's loss, faint, under the smoothed loss, with marks for saves and samples; None before two losses.

    Where images are held out, the loss on them is a line of its own.
    """
    if view.loss is None or view.smooth is None or len(view.loss) < 2:
        return None
    first = max(0, view.step - LAST) if last_only else 0
    raw, smooth = _since(view.loss, first), _since(view.smooth, first)
    if len(raw) < 2:
        return None
    x = _Scale(first, max(view.step, first + 1))
    measured = _since(view.validation, first) if view.validation is not None else None
    calm = smooth.values if measured is None else np.concatenate((smooth.values, measured.values))
    y = _value_scale(raw.values, calm, log)
    lines: list[tuple[LineKind, str]] = [("faint", _path(*thin(raw), x, y)), ("strong", _path(*thin(smooth), x, y))]
    if measured is not None and len(measured) > 1:
        lines.append(("second", _path(*thin(measured), x, y)))
    return Plot(
        tuple(lines),
        _step_ticks(x, view),
        _value_ticks(y, "{:g}".format),
        _marks(view, x),
        _loss_sentence(view, smooth),
    )


@lru_cache(maxsize=16)
def compare_plot(views: tuple[RunView, ...], *, log: bool = False) -> Plot | None:
    """The smoothed losses of several runs over their steps; None before each has two."""
    curves = [view.smooth for view in views if view.smooth is not None and len(view.smooth) > 1]
    if len(curves) < len(views):
        return None
    longest = max(views, key=lambda view: view.step)
    x = _Scale(0, longest.step)
    values = np.concatenate([curve.values for curve in curves])
    y = _value_scale(values, values, log)
    lines = tuple((kind, _path(*thin(curve), x, y)) for kind, curve in zip(COMPARED, curves, strict=False))
    now = ", ".join(f"{loss_text(curve.values[-1])} at step {count(curve.steps[-1])}" for curve in curves)
    return Plot(lines, _step_ticks(x, longest), _value_ticks(y, "{:g}".format), (), f"Smoothed losses by step: {now}.")


@lru_cache(maxsize=64)
def rate_plot(view: RunView) -> Plot | None:
    """The learning rates as they were, and dotted what the plan says about the steps to come."""
    curves = [curve for _, curve in view.rates if len(curve)]
    plan = view.planned
    if not curves or plan is None:
        return None
    x = _Scale(0, max(plan.total_steps, view.step, 1))
    future = _future(plan.learning_rates, plan.total_steps, view.step, curves[0].last)
    highest = max([float(curve.values.max()) for curve in curves] + [max(future[1], default=0.0)])
    y = _round_scale(0.0, highest or 1e-9)
    kinds: Sequence[LineKind] = ("strong", "second")
    # A second group is drawn only where it goes another way: two equal lines would look like one that is wrong.
    lines = [(kinds[i], _path(*thin(c, SMALL_COLUMNS), x, y)) for i, c in enumerate(_unlike(curves)[:2])]
    if len(future[0]) > 1:
        lines.append(("future", _path(np.array(future[0]), np.array(future[1]), x, y)))
    now = curves[0].last or 0.0
    sentence = f"Learning rate by step. It is {rate_text(now)} at step {count(view.step)} of {count(plan.total_steps)}."
    return Plot(tuple(lines), _step_ticks(x, view, 3), _value_ticks(y, rate_text), (), sentence)


@lru_cache(maxsize=64)
def gradient_plot(view: RunView) -> Plot | None:
    """The length of the gradient before it is clipped: each step faint, a running mean over it."""
    curve = view.grad_norm
    if curve is None or len(curve) < 2:
        return None
    x = _Scale(0, max(view.step, 1))
    calm = _calm(curve)
    y = _value_scale(curve.values, calm.values, False, from_zero=True)
    sentence = f"Gradient norm by step. It is about {calm.last:.2g} at step {count(view.step)}."
    return Plot(
        (
            ("faint", _path(*thin(curve, SMALL_COLUMNS), x, y)),
            ("strong", _path(*thin(calm, SMALL_COLUMNS), x, y)),
        ),
        _step_ticks(x, view, 3),
        _value_ticks(y, "{:g}".format),
        (),
        sentence,
    )


def thin(curve: Curve, columns: int = COLUMNS) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """At most two points a column, its smallest and its largest value, in the order of their steps.

    The first and the last point always stay; one column less makes room for them.
    """
    points, values = len(curve), curve.values
    if points <= 2 * columns:
        return curve.steps, values
    edges = np.linspace(0, points, columns).astype(np.int64)
    column = np.repeat(np.arange(columns - 1), np.diff(edges))
    # Sorted by column and then by value: each column's first is its smallest, its last is its largest.
    order = np.lexsort((values, column))
    keep = np.unique(np.concatenate((order[edges[:-1]], order[edges[1:] - 1], [0, points - 1])))
    return curve.steps[keep], values[keep]


def _since(curve: Curve, first: int) -> Curve:
    if first <= 0:
        return curve
    start = int(np.searchsorted(curve.steps, first))
    return Curve(curve.steps[start:], curve.values[start:])


def _calm(curve: Curve, span: int = 33) -> Curve:
    """The mean of the last `span` values at each step."""
    sums = np.cumsum(np.concatenate(([0.0], curve.values)))
    ends = np.arange(1, len(curve) + 1)
    starts = np.maximum(0, ends - span)
    return Curve(curve.steps, (sums[ends] - sums[starts]) / (ends - starts))


def _unlike(curves: Sequence[Curve]) -> list[Curve]:
    found: list[Curve] = []
    for curve in curves:
        if not any(len(o) == len(curve) and np.array_equal(o.values, curve.values) for o in found):
            found.append(curve)
    return found


def _future(rates: Sequence[float], total: int, step: int, now: float | None) -> tuple[list[float], list[float]]:
    """The planned rates behind `step`, joined on to the rate that was used last."""
    if len(rates) < 2 or step >= total:
        return [], []
    rows = [(total * index / (len(rates) - 1), rate) for index, rate in enumerate(rates)]
    rows = [(at, rate) for at, rate in rows if at > step]
    if now is not None:
        rows.insert(0, (float(step), now))
    return [at for at, _ in rows], [rate for _, rate in rows]


def _value_scale(
    raw: NDArray[np.float64], smooth: NDArray[np.float64], log: bool, *, from_zero: bool = False
) -> _Scale:
    """Where the values lie. Half a percent above and below may leave the picture, so no wild step flattens the rest."""
    low, high = np.quantile(raw, (0.005, 0.995))
    low, high = min(float(low), float(smooth.min())), max(float(high), float(smooth.max()))
    if not log:
        return _round_scale(0.0 if from_zero else low, high)
    positive = raw[raw > 0]
    low = max(low, float(positive.min()) if len(positive) else 1e-6)
    high = max(high, low * 1.01)
    return _Scale(low * 0.95, high * 1.05, True)


def _round_scale(low: float, high: float) -> _Scale:
    """A range that begins and ends at round numbers."""
    step = _round_step(max(high - low, abs(high) * 1e-3, 1e-12), 3)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return _Scale(bottom, top if top > bottom else bottom + step)


def _round_step(span: float, parts: int) -> float:
    """1, 2 or 5 times a power of ten, at most `parts` + 2 of which cover the span."""
    rough = span / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _value_ticks(scale: _Scale, text: Callable[[float], str]) -> tuple[Tick, ...]:
    if scale.log:
        values = [v for v in _log_values(scale.low, scale.high) if scale.low <= v <= scale.high]
    else:
        step = _round_step(scale.high - scale.low, 4)
        values = [scale.low + i * step for i in range(int((scale.high - scale.low) / step + 1.001))]
    texts = [text(_tidy(value)) if abs(value) > 1e-15 else "0" for value in values]
    # 0.10 beside 0.15: as many decimals for all, where there are decimals.
    decimals = max(len(word.partition(".")[2]) for word in texts) if not any("e" in word for word in texts) else 0
    texts = [f"{value:.{decimals}f}" if decimals else word for value, word in zip(values, texts, strict=True)]
    return tuple(
        Tick(round(100 * (1 - float(scale.place(value))), 2), word) for value, word in zip(values, texts, strict=True)
    )


def _log_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten, or finer where there are fewer than three in the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        values = [factor * 10.0**power for power in powers for factor in factors]
        if sum(low <= value <= high for value in values) >= 3:
            break
    return values


def _step_ticks(scale: _Scale, view: RunView, parts: int = 4) -> tuple[Tick, ...]:
    """Whole epochs where they divide the range well, else round numbers; the ends are always named."""
    span = scale.high - scale.low
    step = max(1, int(_round_step(span, parts)))
    epoch = view.planned.steps_per_epoch if view.planned else 0
    epochs = epoch * max(1, round(span / epoch / parts)) if epoch else 0
    if span / parts / 2 <= epochs <= span:
        step = epochs
    first = math.ceil(scale.low / step) * step
    inner = [at for at in range(first, int(scale.high) + 1, step) if at - scale.low > span * 0.06 or at == scale.low]
    # A tick too close to the last one would be written over it.
    values = [at for at in inner if scale.high - at > span * 0.12]
    if not values or values[0] != scale.low:
        values.insert(0, int(scale.low))
    return tuple(Tick(round(100 * float(scale.place(at)), 2), count(at)) for at in [*values, int(scale.high)])


def _marks(view: RunView, scale: _Scale) -> tuple[Mark, ...]:
    """Saves and samples by step; where both fall on one step the save is drawn and the text names both."""
    kinds: dict[int, set[MarkKind]] = {}
    for saved in view.saves:
        if saved.kind == "model":
            kinds.setdefault(saved.step, set()).add("save")
    for sampled in view.samples:
        kinds.setdefault(sampled.step, set()).add("sample")
    words = {"save": "saved", "sample": "samples drawn"}
    found: list[Mark] = []
    for kind in ("save", "sample"):
        for step in sorted(kinds):
            at = 100 * float(scale.place(step))
            drawn = "save" if "save" in kinds[step] else "sample"
            if drawn == kind and 0 <= at <= 100 and all(abs(at - other.at) >= _CLOSEST for other in found):
                said = " and ".join(words[k] for k in ("save", "sample") if k in kinds[step])
                found.append(Mark(round(at, 2), kind, f"Step {count(step)}: {said}"))
    return tuple(sorted(found, key=lambda m: m.at))


def _loss_sentence(view: RunView, smooth: Curve) -> str:
    return _smoothed_sentence(view, smooth) + _held_out_sentence(view)


def _held_out_sentence(view: RunView) -> str:
    curve = view.validation
    if curve is None or curve.last is None:
        return ""
    at = f"step {count(int(curve.steps[-1]))}"
    if len(curve) == 1:
        return f" On the images held out it is {loss_text(curve.last)} at {at}."
    return f" On the images held out it was {loss_text(float(curve.values[0]))} and is {loss_text(curve.last)} at {at}."


def _smoothed_sentence(view: RunView, smooth: Curve) -> str:
    now, before = smooth.last, view.first_loss
    assert now is not None
    if before is None:
        return f"Loss by step. Smoothed loss is {loss_text(now)} at step {count(view.step)}."
    moves = "stays near" if abs(now - before) < 0.02 * before else "falls from" if now < before else "rises from"
    if moves == "stays near":
        return f"Loss by step. Smoothed loss stays near {loss_text(now)}, as at step {count(view.step)}."
    return f"Loss by step. Smoothed loss {moves} {loss_text(before)} to {loss_text(now)} at step {count(view.step)}."


def _path(steps: Iterable[float], values: NDArray[np.float64], x: _Scale, y: _Scale) -> str:
    """An SVG path; places in tenths, of which a screen shows no finer."""
    across = np.clip(x.place(np.asarray(steps, dtype=np.float64)) * 1000, -10, 1010)
    # What lies outside leaves the picture just so far that the line is seen to leave it.
    down = np.clip((1 - y.place(values)) * 1000, -40, 1040)
    return "M" + "L".join(f"{a:.1f},{d:.1f}" for a, d in zip(across.tolist(), down.tolist(), strict=True))


def _tidy(value: float) -> float:
    """Without the dust that adding leaves: 0.15, not 0.15000000000000002."""
    return float(f"{value:.6g}")


def draw(plot: Plot, name: str) -> str:
    """The plot as HTML: an image for screen readers, with its sentence."""
    lines = "".join(f'<path class="at-line-{kind}" d="{path}"/>' for kind, path in plot.lines)
    grid = "".join(f'<i style="top:{tick.at}%"></i>' for tick in plot.y_ticks)
    up = "".join(f'<span style="top:{tick.at}%">{escape(tick.text)}</span>' for tick in plot.y_ticks)
    along = "".join(f'<span style="left:{tick.at}%">{escape(tick.text)}</span>' for tick in plot.x_ticks)
    marks = "".join(
        f'<b style="left:{m.at}%" class="at-plot-{m.kind}" title="{escape(m.text)}">{mark(m.kind, 12)}</b>'
        for m in plot.marks
    )
    return (
        f'<div class="at-plot at-plot-{escape(name)}" role="img" aria-label="{escape(plot.sentence)}">'
        f'<div class="at-plot-up">{up}</div><div class="at-plot-area">{grid}'
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>{marks}</div>'
        f'<div class="at-plot-along">{along}</div></div>'
    )
