"""What a run is now, from its files and the operating system alone."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.runs.conftest import wait_for
from tests.runs.test_ending import step, tell
from trainer.contract.control import send
from trainer.contract.events import Finished
from trainer.contract.identity import Identity, identity_of, write_identity
from trainer.contract.records import write_record
from trainer.runs.ending import record_exit
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.queue import announce_runner, claim, dismiss_runner
from trainer.runs.status import status_of

Ask = Callable[..., RunFolder]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that is none of ours."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    yield process
    process.kill()
    process.wait()


def write_as(path: Path, identity: Identity) -> None:
    write_record(path, asdict(identity))


def test_living_process_is_running_and_a_dead_one_is_lost(ask: Ask, sleeper: subprocess.Popen[bytes]) -> None:
    """The same files say running while the process lives, and lost with the step when it is gone without a word."""
    run = ask("cat")
    write_identity(run.process_file, sleeper.pid)
    tell(run, step(1), step(2))
    assert status_of(run).state == "running"
    sleeper.kill()
    sleeper.wait()
    status = status_of(run)
    assert (status.state, status.cause, status.exit_code, status.signal) == ("lost", "gone at step 2", None, None)


def test_recycled_pid_is_not_running(ask: Ask, sleeper: subprocess.Popen[bytes]) -> None:
    """Another process with the same pid, or the same pid after a reboot, is not this run."""
    me = identity_of(sleeper.pid)
    earlier = replace(me, create_time=me.create_time - 10, ticks=None if me.ticks is None else me.ticks - 1000)
    run = ask("recycled")
    for identity, state in [(me, "running"), (earlier, "lost"), (replace(me, boot_id="another start"), "lost")]:
        write_as(run.process_file, identity)
        assert status_of(run).state == state, identity
    assert status_of(run).cause == "the computer went off before the first step"


def test_set_clock_does_not_lose_a_run(ask: Ask, sleeper: subprocess.Popen[bytes]) -> None:
    """Where the system counts ticks since its start, a clock that was set meanwhile changes nothing."""
    me = identity_of(sleeper.pid)
    if me.ticks is None:
        pytest.skip("this system keeps the creation time itself")
    run = ask("clock")
    write_as(run.process_file, replace(me, create_time=me.create_time + 3600))
    assert status_of(run).state == "running"


def test_waiting_run_is_queued_only_while_a_runner_lives(home: Path, ask: Ask) -> None:
    """A waiting run is queued while somebody works through the queue, or right after the click; then it is lost."""
    run = ask("cat")
    assert status_of(run).state == "queued"
    old = RunFolder(home / "20240101-000000-old")
    run.path.rename(old.path)
    assert status_of(old).state == "lost"
    announce_runner(home, "0", None)
    assert status_of(old).state == "queued"
    dismiss_runner(home, "0")
    assert status_of(old).state == "lost"


def test_stopping_from_the_wish_on(ask: Ask, sleeper: subprocess.Popen[bytes]) -> None:
    """A wish to stop makes a run stopping; one for an earlier process, and a wish to save, do not."""
    run = ask("cat")
    run.control_file.write_text('{"wish": "stop", "time": 1000.0}\nno json\n')
    write_identity(run.launch_file, sleeper.pid)
    send(run.control_file, "save")
    assert status_of(run).state == "running"
    send(run.control_file, "stop")
    assert status_of(run).state == "stopping"
    assert abs(status_of(run).since - time.time()) < 5


def test_last_word_counts_without_exit_file(ask: Ask) -> None:
    """A run whose runner was killed and that then finished by itself is finished, not lost."""
    run = ask("cat")
    claim(run)
    os.utime(run.launch_file, (1e9, 1e9))
    assert status_of(run).state == "lost"
    tell(run, step(5), Finished(result="completed", step=5))
    status = status_of(run)
    assert (status.state, status.exit_code) == ("finished", None)


def test_no_flicker_between_end_and_exit_file(home: Path, ask: Ask) -> None:
    """While a living runner looks after a run it is never lost, also in the moment before exit.json is there."""
    run, other = ask("cat"), ask("dog")
    for one in (run, other):
        write_as(one.launch_file, Identity(1, 0.0, "another start"))
    announce_runner(home, "0", run)
    assert [status_of(run).state, status_of(other).state] == ["running", "lost"]


@pytest.mark.parametrize(
    ("code", "result", "cause", "state", "detail"),
    [
        (0, "completed", "", "finished", "All 5 steps are done."),
        (0, "stopped", "", "stopped", "Stopped as asked at step 5."),
        (None, None, "killed by signal 9 at step 5", "crashed", "Killed by signal 9 at step 5."),
        (1, "failed", "the disk is full.", "crashed", "The disk is full."),
    ],
)
def test_exit_file_comes_first(
    ask: Ask, code: int | None, result: str | None, cause: str, state: str, detail: str
) -> None:
    """exit.json is believed before anything else, and says code and cause."""
    run = ask("cat")
    write_identity(run.process_file)
    tell(run, step(5))
    record_exit(run, code, result, cause)
    status = status_of(run)
    assert (status.state, status.detail, status.cause, status.exit_code) == (state, detail, cause, code)
    assert status.is_over


def test_hundred_runs_cost_a_blink(home: Path, ask: Ask, sleeper: subprocess.Popen[bytes]) -> None:
    """100 runs, of which 10 live, 10 are lost with long events and 10 wait, take under 50 ms a look."""
    announce_runner(home, "0", None)
    for number in range(100):
        run = ask(f"run {number}")
        if number < 10:
            write_identity(run.process_file, sleeper.pid)
        elif number < 20:
            write_as(run.process_file, Identity(1, 0.0, "another start"))
            tell(run, *map(step, range(2000)))
        elif number >= 30:
            tell(run, step(1))
            record_exit(run, 0, "completed", "")
    states = [status_of(run).state for run in list_runs(home)]
    assert [states.count(state) for state in ("running", "lost", "queued", "finished")] == [10, 10, 10, 70]
    best = 1.0
    for _ in range(5):
        begun = time.perf_counter()
        for run in list_runs(home):
            status_of(run)
        best = min(best, time.perf_counter() - begun)
    assert best < 0.05


def test_status_follows_a_run_that_ends(ask: Ask, sleeper: subprocess.Popen[bytes]) -> None:
    """Nothing that can still change is remembered."""
    run = ask("cat")
    write_identity(run.process_file, sleeper.pid)
    assert status_of(run).state == "running"
    sleeper.kill()
    wait_for(lambda: status_of(run).state == "lost")
    record_exit(run, None, None, "killed by signal 9 before the first step", signal=9)
    assert (status_of(run).state, status_of(run).signal) == ("crashed", 9)
