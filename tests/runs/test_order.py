"""The order of waiting runs, and a queue that stands still after a crash."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.conftest import FAKE_TRAINER, wait_for
from trainer.contract.events import EventReader, Started
from trainer.runs.folder import RunFolder
from trainer.runs.order import held_by, read_order, set_goes_on
from trainer.runs.queue import move, queued_runs, runner_lives
from trainer.runs.runner import go_on_with_queue, start_run, tend
from trainer.runs.status import status_of

Ask = Callable[..., RunFolder]


def test_waiting_runs_can_change_places(home: Path, ask: Ask) -> None:
    """Earlier and later move a run by one place, never past an end; a run that is asked for later waits behind all."""
    one, two, three = ask("one"), ask("two"), ask("three")
    assert queued_runs(home) == [one, two, three]
    move(three, -1)
    assert queued_runs(home) == [one, three, two]
    move(one, -1)
    move(two, 1)
    assert queued_runs(home) == [one, three, two]
    move(one, 1)
    four = ask("four")
    assert queued_runs(home) == [three, one, two, four]


def test_order_keeps_what_a_crash_does(home: Path, ask: Ask) -> None:
    """Moving a run and switching what a crash does do not undo one another, and a damaged file is as none."""
    one, two = ask("one"), ask("two")
    set_goes_on(home, False)
    move(two, -1)
    assert not read_order(home).goes_on and queued_runs(home) == [two, one]
    set_goes_on(home, True)
    assert read_order(home).goes_on and queued_runs(home) == [two, one]
    (home / "queue.json").write_text('{"first": 3, "goes_on"')
    assert read_order(home).goes_on and queued_runs(home) == [one, two]


def test_run_that_is_taken_no_longer_moves(home: Path, ask: Ask) -> None:
    """Whoever clicks on an arrow of a run that a runner has just taken changes nothing."""
    one, two = ask("one"), ask("two")
    one.launch_file.write_text("{}")
    move(one, 1)
    assert queued_runs(home) == [two] and read_order(home).first == ()


@pytest.mark.slow
def test_runs_are_taken_in_the_order_that_people_gave(home: Path, ask: Ask) -> None:
    """The runner follows the order of the page, also one that was given while it was at work."""
    first, second, third = ask("first", 40), ask("second", 2), ask("third", 2)
    start_run(first, FAKE_TRAINER)
    wait_for(lambda: status_of(first).state == "running")
    move(third, -1)
    wait_for(lambda: status_of(second).is_over)
    began = [EventReader(run.events_file).read()[0] for run in (first, third, second)]
    assert all(isinstance(event, Started) for event in began)
    assert [event.time for event in began] == sorted(event.time for event in began)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crash", "broken"])
def test_queue_stands_still_after_a_crash_where_it_is_told_to(name: str, home: Path, ask: Ask) -> None:
    """With "go on after a crash" off, what waits says whose crash it waits for, across runners, until it may go on."""
    crash = ask(name)
    if name == "broken":
        crash.job_file.write_text('{"schema": 99, "name": "broken", "options": {}}')
    following = ask("dog", 2)
    set_goes_on(home, False)
    start_run(crash, FAKE_TRAINER)
    wait_for(lambda: status_of(crash).is_over)
    wait_for(lambda: not runner_lives(home, "0"))
    assert held_by(home, "0") == crash
    status = status_of(following)
    assert (status.state, status.detail) == ("queued", f"Waits: the queue stands still since {crash.name} crashed.")
    assert not tend(home, FAKE_TRAINER)
    start_run(ask("later"), FAKE_TRAINER)
    assert not runner_lives(home, "0") and status_of(following).state == "queued"
    go_on_with_queue(home, FAKE_TRAINER)
    wait_for(lambda: status_of(following).state == "finished")
    assert held_by(home, "0") is None
