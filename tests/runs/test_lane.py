"""Lanes: runs on different cards do not wait for one another, and each waits for its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from gui.activity import activity_of, ahead_of
from gui.queue_card import queue_card
from tests.runs.conftest import FAKE_TRAINER, PATHS, a_job, wait_for
from trainer.contract.config import TrainingConfig
from trainer.contract.job import Job, make_job
from trainer.runs import card
from trainer.runs.card import check_card
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.lane import card_of, lane_file, lane_of
from trainer.runs.launch import launch_command
from trainer.runs.order import held_by, hold, release, set_goes_on
from trainer.runs.queue import lanes, live_runs, move, queued_runs, runner_lives
from trainer.runs.runner import go_on_with_queue, start_run, stop_run, tend
from trainer.runs.status import status_of

Ask = Callable[..., RunFolder]

LONG_S = 90.0
"""Two trainers that come up at once on a busy machine may take this."""


@pytest.fixture
def on_card(home: Path) -> Ask:
    """Ask for a run on a card."""

    def new(name: str, number: int | None, steps: int = 2) -> RunFolder:
        job = make_job({"max_train_steps": steps, "gpu_ids": number, **PATHS})
        assert isinstance(job, Job), job
        return new_run(home, replace(job, name=name))

    return new


def test_a_lane_is_a_card(home: Path, on_card: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job without a card counts as on the first one that the environment leaves."""
    none, zero, two = on_card("none", None), on_card("zero", 0), on_card("two", 2)
    assert [lane_of(run) for run in (none, zero, two)] == ["0", "0", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert [lane_of(run) for run in (none, zero, two)] == ["2", "0", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1a2b")
    assert lane_of(none) == "0"
    two.job_file.write_text("not a job")
    assert card_of(two) is None and card_of(RunFolder(home / "gone")) is None
    assert lane_file(home, "runner.json", "0").name == "runner.json"
    assert lane_file(home, "runner.json", "2").name == "runner-2.json"


def test_the_trainer_is_given_its_card(home: Path, on_card: Ask) -> None:
    """accelerate is told which card to leave visible, and nothing where the job says nothing."""
    command = launch_command(on_card("two", 2), a_config(2))
    assert command[command.index("--gpu_ids") + 1] == "2"
    assert "--gpu_ids" not in launch_command(on_card("any", None), a_config(None))


def a_config(number: int | None) -> Job:
    job = a_job("some")
    return replace(job, config=TrainingConfig.from_flat({**job.config.flat(), "gpu_ids": number}))


def test_order_and_hold_are_those_of_the_lane(home: Path, on_card: Ask) -> None:
    """Moving a run passes over those of other cards; a crash stops its own card's lane only."""
    a, one, b, two = on_card("a", None), on_card("one", 1), on_card("b", 0), on_card("two", 1)
    assert queued_runs(home, "0") == [a, b] and queued_runs(home, "1") == [one, two]
    move(b, -1)
    assert queued_runs(home, "0") == [b, a] and queued_runs(home, "1") == [one, two]
    move(two, -1)
    assert queued_runs(home, "0") == [b, a] and queued_runs(home, "1") == [two, one]
    hold(one)
    assert held_by(home, "1") == one and held_by(home, "0") is None
    assert "stands still" in status_of(two).detail and "stands still" not in status_of(a).detail
    html = queue_card(home)
    assert html.count("The queue stands still") == 1
    assert html.index("Card 0") < html.index("Card 1") < html.index("The queue stands still")
    release(home, "1")
    assert held_by(home, "1") is None
    assert "Card 1" in queue_card(home)
    for run in (one, two):
        stop_run(run)
    assert "Card" not in queue_card(home)


@pytest.mark.slow
def test_two_cards_train_side_by_side(home: Path, on_card: Ask) -> None:
    """Each card has a runner of its own: the second starts while the first trains, the third waits for the first."""
    first, second, third = on_card("first", None, 100_000), on_card("second", 1, 100_000), on_card("third", 0)
    for run in (first, second, third):
        start_run(run, FAKE_TRAINER)
    # A run counts as running from the moment that its runner takes it, as living once its launcher is up.
    wait_for(lambda: live_runs(home, "0") == [first] and live_runs(home, "1") == [second], LONG_S)
    assert status_of(first).state == status_of(second).state == "running"
    assert runner_lives(home, "0") and runner_lives(home, "1")
    assert status_of(third).state == "queued" and lanes(home) == ["0", "1"]
    now = activity_of(home)
    assert dict(now.ahead) == {"0": "first", "1": "second"}
    assert [ahead_of(a_config(n).config, now.ahead) for n in (None, 0, 1, 2)] == ["first", "first", "second", ""]
    assert "Card 0" in queue_card(home)
    stop_run(second)
    wait_for(lambda: not runner_lives(home, "1"), LONG_S)
    assert status_of(second).state == "stopped" and status_of(first).state == "running"
    stop_run(first)
    wait_for(lambda: status_of(third).state == "finished", LONG_S)
    assert activity_of(home).ahead == ()


@pytest.mark.slow
def test_a_crash_on_one_card_leaves_the_other_alone(home: Path, on_card: Ask) -> None:
    """With "go on after a crash" off the crashed lane waits, and the other works on; both go on when told to."""
    set_goes_on(home, False)
    crash, behind = on_card("crash", 1, 5), on_card("behind", 1)
    other = on_card("other", None)
    for run in (crash, other):
        start_run(run, FAKE_TRAINER)
    wait_for(lambda: status_of(other).state == "finished" and status_of(crash).state == "crashed", LONG_S)
    wait_for(lambda: not runner_lives(home, "1"))
    assert held_by(home, "1") == crash and not tend(home, FAKE_TRAINER)
    go_on_with_queue(home, FAKE_TRAINER)
    wait_for(lambda: status_of(behind).state == "finished", LONG_S)


def test_a_card_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence at the box, with what there is; a job without a card asks nobody."""
    card._wake.cache_clear()
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    said = {}
    for there in (0, 1, 3):
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda there=there: there)
        said[there] = [problem.message for problem in check_card(a_config(3).config)]
    assert said[0] == ["There is no card 3: no NVIDIA card was found. Leave it empty."]
    assert said[1] == ["There is no card 3: the only card here is 0. Leave it empty."]
    assert said[3] == ["There is no card 3: the cards here are 0 to 2. Leave it empty."]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 4)
    assert check_card(a_config(3).config) == []
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: pytest.fail("nobody asked for a card"))
    assert check_card(a_config(None).config) == []
    card._wake.cache_clear()
