"""A run that leaves the card and goes on later, in its own folder, with real processes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.conftest import FAKE_TRAINER, wait_for
from trainer.contract.control import send
from trainer.contract.events import EventReader, Started, Stepped
from trainer.runs.ending import last_words
from trainer.runs.folder import RunFolder
from trainer.runs.queue import runner_lives
from trainer.runs.runner import continue_run, start_run, tend
from trainer.runs.status import status_of

Ask = Callable[..., RunFolder]


@pytest.mark.slow
def test_paused_run_lets_others_have_the_card_and_goes_on(home: Path, ask: Ask) -> None:
    """A paused run has no end; what waits has its turn, and the run goes on at its step in the same folder."""
    run, following = ask("cat", 60), ask("dog", 3)
    start_run(run, FAKE_TRAINER)
    wait_for(lambda: last_words(run.events_file).step >= 3)
    send(run.control_file, "pause")
    assert status_of(run).state == "stopping"
    wait_for(lambda: status_of(following).state == "finished")
    status = status_of(run)
    paused_at = last_words(run.events_file).step
    assert (status.state, status.detail) == ("paused", f"Paused at step {paused_at}.")
    assert not status.is_over and not run.exit_file.exists()
    wait_for(lambda: not runner_lives(home, "0"))
    assert not tend(home, FAKE_TRAINER)  # it waits for a person, not for a runner

    waiting = ask("later", 60)
    start_run(waiting, FAKE_TRAINER)
    wait_for(lambda: status_of(waiting).state == "running")
    continue_run(run, FAKE_TRAINER)
    last = ask("last", 3)
    start_run(last, FAKE_TRAINER)
    assert status_of(run).state == "queued"
    wait_for(lambda: status_of(last).is_over)
    told = EventReader(run.events_file).read()
    assert [event.step for event in told if isinstance(event, Stepped)] == list(range(1, 61))
    first, second = [event for event in told if isinstance(event, Started)]
    assert (first.resumed_step, second.resumed_step) == (0, paused_at)
    assert status_of(run).state == "finished"
    others = [EventReader(other.events_file).read()[0].time for other in (waiting, last)]
    assert others[0] < second.time < others[1]


def test_only_a_paused_run_continues(ask: Ask) -> None:
    """Going on with a run that waits, or that has ended, changes nothing in it."""
    run = ask("cat")
    before = sorted(run.path.iterdir())
    continue_run(run, FAKE_TRAINER)
    assert sorted(run.path.iterdir()) == before and status_of(run).state == "queued"


def test_pause_that_could_not_be_is_not_shown_for_ever(ask: Ask) -> None:
    """Where the state could not be written and steps go on, the run is running and not stopping."""
    run = ask("deaf", 5000)
    start_run(run, FAKE_TRAINER)
    wait_for(lambda: last_words(run.events_file).step >= 2)
    send(run.control_file, "pause")
    assert status_of(run).state == "stopping"
    wait_for(lambda: status_of(run).state == "running", 20)
