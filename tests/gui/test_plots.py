"""Curves: thinned without losing an extreme, and marked where something was saved or drawn."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from gui.monitor import Curve, RunView, Story
from gui.plots import draw, gradient_plot, loss_plot, rate_plot, thin
from tests.gui.written_runs import Course, events_of
from trainer.contract.events import Event, Planned, Started, Stepped, Validated

LINE = re.compile(r"M-?[\d.]+,-?[\d.]+(L-?[\d.]+,-?[\d.]+)*")


def view_of(*events: Event) -> RunView:
    story = Story()
    for event in events:
        story.tell(event)
    return story.view()


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """A run at step 1,240 of 3,200."""
    return view_of(*events_of(Course(), tmp_path_factory.mktemp("run")))


def points(path: str) -> np.ndarray:
    return np.array([[float(n) for n in pair.split(",")] for pair in path[1:].split("L")])


@pytest.mark.parametrize("count", [1, 2, 999, 1000, 1001, 54_321])
def test_a_line_has_at_most_a_thousand_points_and_loses_no_peak(count: int) -> None:
    """However long the curve: at most 1,000 points, in order, with both ends, the highest and the lowest value."""
    values = np.random.default_rng(3).normal(size=count)
    steps, kept = thin(Curve(np.arange(1, count + 1), values))
    assert len(steps) == len(kept) <= 1000 and np.all(np.diff(steps) > 0)
    assert kept.max() == values.max() and kept.min() == values.min()
    assert (steps[0], steps[-1]) == (1, count) and np.array_equal(kept, values[steps - 1])


def test_thinning_keeps_the_extremes_of_every_column() -> None:
    """A spike and a dip beside it both stay, wherever they are."""
    values = np.zeros(100_000)
    values[43_210], values[43_250] = 5.0, -5.0
    _, kept = thin(Curve(np.arange(100_000), values))
    assert {5.0, -5.0} <= set(kept.tolist())


def test_the_loss_is_drawn_where_it_is(view: RunView) -> None:
    """The lines go from the left edge to the right, and the smoothed loss stands at its height between the ticks."""
    plot = loss_plot(view)
    kinds = dict(plot.lines)
    assert list(kinds) == ["faint", "strong"] and all(LINE.fullmatch(path) for path in kinds.values())
    line = points(kinds["strong"])
    assert line[0, 0] == pytest.approx(1000 / 1240, abs=0.1) and line[-1, 0] == 1000
    assert line[:, 1].min() >= -40 and line[:, 1].max() <= 1040
    # Between any two ticks the place is linear in the value: the last smoothed loss must lie where they say.
    low, high = plot.y_ticks[0], plot.y_ticks[-1]
    share = (view.smoothed - float(low.text)) / (float(high.text) - float(low.text))
    assert line[-1, 1] / 10 == pytest.approx(low.at + share * (high.at - low.at), abs=0.1)


def test_ticks_are_round_and_inside(view: RunView) -> None:
    """Ticks lie in the picture, rise, and those of the steps name the ends and whole epochs."""
    plot = loss_plot(view)
    assert [tick.text for tick in plot.x_ticks] == ["0", "320", "640", "960", "1,240"]
    assert [tick.at for tick in plot.x_ticks] == [
        pytest.approx(100 * s / 1240, abs=0.01) for s in (0, 320, 640, 960, 1240)
    ]
    assert all(0 <= tick.at <= 100 for tick in (*plot.x_ticks, *plot.y_ticks))
    values = [float(tick.text) for tick in plot.y_ticks]
    assert values == sorted(values) and len(values) >= 3


def test_the_last_500_steps_fill_the_width(view: RunView) -> None:
    """The closer look begins 500 steps ago, at the left edge."""
    plot = loss_plot(view, last_only=True)
    assert plot.x_ticks[0].text == "740" and plot.x_ticks[-1].text == "1,240"
    line = points(dict(plot.lines)["faint"])
    assert line[0, 0] == pytest.approx(0, abs=0.1) and len(line) == 501


def test_the_log_axis_gives_equal_factors_equal_room() -> None:
    """On the logarithmic axis 1 to 0.1 takes as much room as 0.1 to 0.01."""
    losses = [1.0, 0.1, 0.01] * 10
    steps = [Stepped(time=float(i), step=i, epoch=1, loss=v, learning_rate={}) for i, v in enumerate(losses, 1)]
    plot = loss_plot(view_of(*steps), log=True)
    one, tenth, hundredth = (points(dict(plot.lines)["faint"])[i, 1] for i in range(3))
    assert tenth - one == pytest.approx(hundredth - tenth, abs=0.3) and one < tenth
    assert {"1.00", "0.10", "0.01"} <= {tick.text for tick in plot.y_ticks}


def test_one_wild_step_does_not_flatten_the_curve() -> None:
    """A single loss of 50 among losses near 0.1 leaves the picture; the axis stays that of the others."""
    losses = [0.1 + 0.001 * (i % 7) for i in range(1000)]
    losses[500] = 50.0
    steps = [Stepped(time=float(i), step=i, epoch=1, loss=v, learning_rate={}) for i, v in enumerate(losses, 1)]
    plot = loss_plot(view_of(*steps))
    assert float(plot.y_ticks[-1].text) < 3


def test_marks_stand_at_their_steps(view: RunView) -> None:
    """Step 960 has a save with samples, the other epochs have samples; each mark says what it is."""
    marks = {mark.text: mark for mark in loss_plot(view).marks}
    assert set(marks) == {
        "Step 0: samples drawn",
        "Step 320: samples drawn",
        "Step 640: samples drawn",
        "Step 960: saved and samples drawn",
    }
    saved = marks["Step 960: saved and samples drawn"]
    assert saved.kind == "save" and saved.at == pytest.approx(100 * 960 / 1240, abs=0.01)


def test_many_marks_do_not_cover_each_other(tmp_path: Path) -> None:
    """With samples every ten steps the marks keep their distance, and the saves are still there."""
    plot = loss_plot(view_of(*events_of(Course(sample_every=10), tmp_path)))
    places = [mark.at for mark in plot.marks]
    assert min(np.diff(places)) >= 2.99 and "save" in {mark.kind for mark in plot.marks}


def test_the_learning_rate_goes_on_into_the_planned_future(view: RunView) -> None:
    """The solid line ends at the present step, where the dotted one begins, which ends at the last step at 0."""
    lines = dict(rate_plot(view).lines)
    now, future = points(lines["strong"]), points(lines["future"])
    assert now[-1, 0] == pytest.approx(1000 * 1240 / 3200, abs=0.1)
    assert future[0] == pytest.approx(now[-1], abs=0.2) and future[-1] == pytest.approx([1000, 1000], abs=0.1)
    assert [tick.text for tick in rate_plot(view).y_ticks] == ["0", "5e-7", "1e-6", "1.5e-6", "2e-6"]


def test_a_finished_run_has_no_future(tmp_path: Path) -> None:
    """Where all steps are done nothing is dotted."""
    view = view_of(*events_of(Course(steps=200, total=200, epoch_steps=20, save_every=100), tmp_path))
    assert [kind for kind, _ in rate_plot(view).lines] == ["strong"]


def test_two_groups_are_two_lines_where_they_differ() -> None:
    """A text encoder with its own rate is a second line; with the same rate there is one."""

    def run(other: float) -> list[str]:
        plan = Planned(
            time=0.0, images=1, reg_images=0, batch_size=1, steps_per_epoch=9, epochs=1, total_steps=3, save_steps=[3]
        )
        rates = {"unet": 1e-6, "text_encoder": other}
        steps = [Stepped(time=1.0 * i, step=i, epoch=1, loss=0.1, learning_rate=rates) for i in (1, 2, 3)]
        return [kind for kind, _ in rate_plot(view_of(plan, *steps)).lines]

    assert run(1e-6) == ["strong"] and run(5e-7) == ["strong", "second"]


def test_gradients_begin_at_zero(view: RunView) -> None:
    """The gradient norm is drawn from 0, each step faint and its mean over it."""
    plot = gradient_plot(view)
    assert [kind for kind, _ in plot.lines] == ["faint", "strong"] and plot.y_ticks[0].text in ("0", "0.0")


def test_the_sentence_says_the_same_as_the_picture(view: RunView) -> None:
    """Who cannot see the plot hears how the loss moved, in the figures that stand in the head."""
    assert loss_plot(view).sentence == (
        f"Loss by step. Smoothed loss falls from {view.first_loss:.3f} to {view.smoothed:.3f} at step 1,240."
    )


def test_nothing_is_drawn_of_nothing() -> None:
    """Without two losses, a plan or gradients there is no plot, and equal losses still make one."""
    assert loss_plot(RunView()) is None and rate_plot(RunView()) is None and gradient_plot(RunView()) is None
    flat = [Stepped(time=float(i), step=i, epoch=1, loss=0.0, learning_rate={}) for i in range(1, 9)]
    plot = loss_plot(view_of(*flat))
    assert plot is not None and all(math.isfinite(tick.at) for tick in plot.y_ticks)
    assert loss_plot(view_of(*flat), log=True) is not None


def test_the_drawing_is_an_image_with_its_sentence(view: RunView) -> None:
    """The HTML has role img, the sentence as its name, and marks that readers pass over."""
    html = draw(loss_plot(view), "loss")
    assert 'role="img" aria-label="Loss by step.' in html and html.count("<path class") == 2
    assert 'viewBox="0 0 1000 1000" preserveAspectRatio="none"' in html


def test_the_images_held_out_have_a_line_of_their_own() -> None:
    """Their loss is drawn from step 0 on, inside the picture, and said; what a resumed run makes again counts once."""
    steps = [Stepped(time=float(n), step=n, epoch=1, loss=0.1, learning_rate={"unet": 1e-5}) for n in range(1, 61)]
    measured = [Validated(time=0.0, step=n, epoch=1, loss=0.5 - n / 200, images=4) for n in (0, 20, 40, 60)]
    again = Started(time=99.0, pid=2, version="1", device="cpu", seed=1, resumed_step=40)
    seen = view_of(*measured[:1], *steps, *measured[1:], again, *steps[40:], measured[3])
    assert seen.validation is not None and seen.validation.steps.tolist() == [0, 20, 40, 60]
    plot = loss_plot(seen)
    assert plot is not None
    line = points(dict(plot.lines)["second"])
    assert line[:, 0].tolist() == pytest.approx([0, 1000 / 3, 2000 / 3, 1000], abs=0.1)
    assert (line[:, 1] >= 0).all() and (np.diff(line[:, 1]) > 0).all()
    assert "On the images held out it was 0.500 and is 0.200 at step 60." in plot.sentence
