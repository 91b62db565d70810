"""The fold of events: what a page shows is what the trainer told, however often it looks."""

import math
import time
from pathlib import Path

import numpy as np
import pytest

from gui.monitor import SMOOTHING, Monitor, Monitors, Story, glance
from gui.pace import FIRST, Pace
from tests.gui.written_runs import Course, events_of
from trainer.contract.events import (
    Event,
    EventWriter,
    Finished,
    Phase,
    Planned,
    Removed,
    Sampled,
    Saved,
    Started,
    Stepped,
    Warned,
    encode,
)


def stepped(step: int, at: float, loss: float | None = 0.1, **more: object) -> Stepped:
    return Stepped(time=at, step=step, epoch=1, loss=loss, learning_rate={"unet": 1e-6}, **more)


def planned(total: int, **more: object) -> Planned:
    plan = {"images": 8, "reg_images": 0, "batch_size": 1, "steps_per_epoch": 20, "epochs": math.ceil(total / 20)}
    return Planned(time=0.0, total_steps=total, **(plan | {"save_steps": [50, total]} | more))


def told(*events: Event) -> Story:
    story = Story()
    for event in events:
        story.tell(event)
    return story


def even_steps(count: int, seconds: float = 2.0, start: float = 0.0) -> list[Event]:
    return [stepped(step, start + step * seconds) for step in range(1, count + 1)]


def test_a_missing_file_is_a_run_that_has_told_nothing(tmp_path: Path) -> None:
    """A run without events has step 0, no plan, no curve and no time left."""
    view = Monitor(tmp_path / "events.jsonl").look()
    assert (view.step, view.total, view.left, view.smoothed, view.fraction) == (0, None, None, None, 0.0)
    assert glance(tmp_path / "events.jsonl").step == 0


def test_pieces_tell_the_same_as_the_whole(tmp_path: Path) -> None:
    """Reading a file in pieces, also torn ones, gives the same view as reading it once."""
    file = tmp_path / "events.jsonl"
    data = b"".join(encode(event) for event in events_of(Course(steps=700), tmp_path))
    monitor = Monitor(file)
    for end in range(0, len(data), 9973):
        file.write_bytes(data[: end + 9973])
        piecewise = monitor.look()
    whole = Monitor(file).look()
    assert (piecewise.step, piecewise.smoothed, piecewise.left) == (whole.step, whole.smoothed, whole.left)
    assert np.array_equal(piecewise.loss.values, whole.loss.values) and len(whole.loss) == 700
    assert (piecewise.saves, piecewise.samples, piecewise.warnings) == (whole.saves, whole.samples, whole.warnings)


def test_a_look_without_news_gives_the_same_object(tmp_path: Path) -> None:
    """Where nothing is new the very same view comes back, so drawings of it can be kept; with news another one."""
    file = tmp_path / "events.jsonl"
    writer = EventWriter(file)
    writer.write(planned(100))
    monitors = Monitors()
    first = monitors.look(file)
    assert monitors.look(file) is first
    writer.write(stepped(1, 1.0))
    assert monitors.look(file).step == 1 and first.step == 0
    writer.close()


def test_smoothed_loss_is_the_weighted_mean_that_it_says() -> None:
    """The smoothed loss is the mean of all losses so far, each weighing 0.97 times as much as the one after it."""
    losses = [0.2, 0.1, 0.4, 0.3, 0.05]
    view = told(*(stepped(i, float(i), loss) for i, loss in enumerate(losses, start=1))).view()
    for count in range(1, len(losses) + 1):
        weights = SMOOTHING ** np.arange(count - 1, -1, -1)
        assert view.smooth.values[count - 1] == pytest.approx(np.average(losses[:count], weights=weights), rel=1e-12)
    assert view.smoothed == view.smooth.values[-1]


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    """A step without a loss counts as a step and leaves the curves as they were."""
    view = told(stepped(1, 1.0, 0.2), stepped(2, 2.0, None), stepped(3, 3.0, 0.2)).view()
    assert view.step == 3 and view.loss.steps.tolist() == [1, 3] and view.smoothed == pytest.approx(0.2)


def test_time_left_of_an_even_run_is_exact() -> None:
    """200 steps to go at 2 s each are 400 s, and nothing makes that uncertain."""
    view = told(planned(300), *even_steps(100)).view()
    assert view.left.seconds == pytest.approx(400) and view.left.seconds_per_step == pytest.approx(2)
    assert view.left.low == pytest.approx(400) and view.left.high == pytest.approx(400)
    assert view.left.until(10) == pytest.approx(20)


def test_time_left_waits_for_thirty_steps() -> None:
    """Before 30 steps of this process no time left is told, also where it went on from step 500."""
    assert told(planned(300), *even_steps(FIRST - 1)).view().left is None
    assert told(planned(300), *even_steps(FIRST)).view().left is not None
    begun = Started(time=0.0, pid=1, version="1", device="cpu", seed=1, resumed_step=500)
    on = [stepped(500 + i, 2.0 * i) for i in range(1, FIRST)]
    assert told(planned(900), begun, *on).view().left is None
    assert told(planned(900), begun, *on, stepped(530, 60.0)).view().left.seconds == pytest.approx(740)


def test_no_time_left_after_the_end() -> None:
    """A run that has finished has no time left, whatever its steps took."""
    assert told(planned(300), *even_steps(100), Finished(time=1.0, result="stopped", step=100)).view().left is None


def test_saving_counts_as_time_and_not_as_speed() -> None:
    """A save of 60 s in 100 steps costs 0.6 s a step on the way, and leaves the time of a step itself at 2 s."""
    pace = Pace()
    at = 0.0
    for step in range(1, 101):
        at += 2.0
        if step == 50:
            pace.pause()
            at += 60.0
        pace.step(at)
    left = pace.left(200)
    assert left.seconds == pytest.approx(200 * (2.0 + 60.0 / 100))


def test_a_laptop_that_slept_does_not_change_the_time_left() -> None:
    """One step of eight hours that nothing explains is left out."""
    steps = [*even_steps(50), *[stepped(50 + i, 28_800 + 100 + 2.0 * i) for i in range(1, 51)]]
    assert told(planned(300), *steps).view().left.seconds == pytest.approx(400)


def test_the_spread_holds_what_the_blocks_took() -> None:
    """Where the speed swings between 1 and 3 s a step for minutes, the range reaches from one to the other."""
    pace, at = Pace(), 0.0
    for step in range(200):
        at += 1.0 if (step // 50) % 2 else 3.0
        pace.step(at)
    left = pace.left(100)
    assert left.low == pytest.approx(100, rel=0.02) and left.high == pytest.approx(300, rel=0.02)
    assert left.low < left.seconds < left.high


def test_buckets_that_take_turns_make_no_spread() -> None:
    """Steps of 1 s and 3 s in turns are 2 s a step, and the range is narrow."""
    pace, at = Pace(), 0.0
    for step in range(150):
        at += 1.0 if step % 2 else 3.0
        pace.step(at)
    left = pace.left(100)
    assert left.seconds == pytest.approx(200, rel=0.02) and left.high - left.low < 8


def test_speed_is_the_mean_of_the_times() -> None:
    """Half of the steps at 1 image a second and half at 3 are 1.5 images a second, not 2."""
    events = [stepped(i, float(i), images_per_second=1.0 if i % 2 else 3.0) for i in range(1, 11)]
    assert told(*events).view().images_per_second == pytest.approx(1.5)


def test_the_share_is_that_of_all_steps() -> None:
    """155 of 400 steps are 0.3875; the epochs end every 20 steps, the next save is the plan's next."""
    view = told(planned(400, save_steps=[100, 200, 300, 400]), *even_steps(155)).view()
    assert view.fraction == pytest.approx(0.3875) and view.next_save == 200
    assert view.epoch_steps[:2] == (20, 40) and view.epoch_steps[-1] == 380


def test_the_loss_at_first_waits_for_something_to_compare() -> None:
    """The loss at first is the mean of the first 30, told once 60 are there."""
    falling = [stepped(i, float(i), 1.0 / i) for i in range(1, 61)]
    assert told(*falling[:59]).view().first_loss is None
    assert told(*falling).view().first_loss == pytest.approx(sum(1.0 / i for i in range(1, 31)) / 30)


def test_going_on_from_an_older_state_forgets_the_steps_behind_it() -> None:
    """A process that resumes step 40 of 60 makes the steps 41 to 60 again: the curve has each step once."""
    again = Started(time=200.0, pid=2, version="1", device="cpu", seed=1, resumed_step=40)
    view = told(planned(100), *even_steps(60), again, stepped(41, 201.0, 0.5)).view()
    assert view.step == 41 and view.steps_here == 1
    assert view.loss.steps.tolist() == list(range(1, 42)) and view.loss.values[-1] == 0.5


def test_steps_made_again_leave_no_trace() -> None:
    """A run that was killed and made 20 steps once more shows what it would show had nothing happened."""
    losses = [1.0 / i for i in range(1, 81)]
    steps = [stepped(i, float(i), loss, grad_norm=loss) for i, loss in enumerate(losses, start=1)]
    again = Started(time=200.0, pid=2, version="1", device="cpu", seed=1, resumed_step=40)
    drawn = Sampled(time=50.0, step=50, index=1, prompt="p", seed=1, path="samples/step-00000050-1.png")
    saved = Saved(time=50.0, kind="model", step=50, epoch=1, path="/m", size_bytes=9)
    straight = told(planned(100), *steps[:50], drawn, saved, *steps[50:]).view()
    cut = told(planned(100), *steps[:50], drawn, saved, *steps[50:60], again, *steps[40:50], drawn, saved, *steps[50:])
    for ours, theirs in ((cut.view().loss, straight.loss), (cut.view().smooth, straight.smooth)):
        assert ours.steps.tolist() == theirs.steps.tolist() and ours.values.tolist() == theirs.values.tolist()
    assert (cut.view().samples, cut.view().saves) == (straight.samples, straight.saves)


def test_a_save_that_made_room_is_no_longer_shown() -> None:
    """What the run has deleted itself is not among its checkpoints."""
    saves = [Saved(time=1.0, kind="state", step=n, epoch=1, path=f"/s{n}", size_bytes=9) for n in (1, 2)]
    removed = Removed(time=2.0, kind="state", step=1, path="/s1")
    assert told(*saves, removed).view().saves == (saves[1],)


def test_a_process_that_only_started_again_stands_at_its_state() -> None:
    """Before its first step a resumed run stands at the step of its state, and its old ending is gone."""
    end = Finished(time=121.0, result="stopped", step=60)
    again = Started(time=200.0, pid=2, version="1", device="cpu", seed=1, resumed_step=60)
    view = told(planned(100), *even_steps(60), end, again).view()
    assert view.step == 60 and view.finished is None and view.steps_here == 0


def test_what_happens_beside_the_steps_is_kept() -> None:
    """Saves, samples and warnings are kept in order; a phase lasts until the next step."""
    saved = Saved(time=1.0, kind="model", step=5, epoch=1, path="/m", size_bytes=9)
    sampled = Sampled(time=1.0, step=0, index=0, prompt="p", seed=1, path="samples/a.png")
    warned = Warned(time=1.0, code="c", message="look")
    story = told(Phase(time=1.0, name="caching", done=3, total=8, unit="images"), saved, sampled, warned)
    view = story.view()
    assert (view.saves, view.samples, view.warnings) == ((saved,), (sampled,), (warned,))
    assert view.phase.name == "caching"
    story.tell(stepped(1, 2.0))
    assert story.view().phase is None


def test_a_glance_says_nearly_the_same_as_the_whole(tmp_path: Path) -> None:
    """Of 5,000 steps the first and last bytes give the step, the plan, the speed, and the loss to the fourth digit."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(encode(event) for event in events_of(Course(steps=5000, total=6000), tmp_path)))
    assert file.stat().st_size > 500_000
    near, whole = glance(file), Monitor(file).look()
    assert (near.step, near.total, near.started) == (whole.step, whole.total, whole.started)
    assert near.smoothed == pytest.approx(whole.smoothed, abs=2e-5)
    assert near.left.seconds == pytest.approx(whole.left.seconds, rel=0.05)
    assert glance(file) is near


def test_a_hundred_thousand_steps_open_soon_and_polls_cost_nothing(tmp_path: Path) -> None:
    """100,000 steps are folded in seconds of one core, and a look without news takes far less than a millisecond."""
    file = tmp_path / "events.jsonl"
    lines = [encode(planned(100_000))]
    lines += [encode(stepped(i, i * 0.5, 0.1, grad_norm=0.5, images_per_second=2.0)) for i in range(1, 100_001)]
    file.write_bytes(b"".join(lines))
    monitor = Monitor(file)
    begun = time.process_time()
    assert monitor.look().step == 100_000
    # About 1.1 s here; the bound leaves room for slower machines and still fails for anything done twice a step.
    assert time.process_time() - begun < 5
    begun = time.process_time()
    for _ in range(1000):
        monitor.look()
    assert time.process_time() - begun < 0.5


def test_monitors_keep_only_a_few(tmp_path: Path) -> None:
    """More runs than are kept push out the one that nobody has looked at for longest, and it is read anew."""
    files = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for file in files:
        file.write_bytes(encode(stepped(7, 1.0)))
    monitors = Monitors(kept=2)
    first = monitors.look(files[0])
    monitors.look(files[1])
    assert monitors.look(files[0]) is first
    monitors.look(files[2])
    assert monitors.look(files[0]) is first
    monitors.look(files[1])
    monitors.look(files[2])
    again = monitors.look(files[0])
    assert again is not first and again.step == 7
