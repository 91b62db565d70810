"""A run's life with real processes: runner, accelerate's launcher and a trainer that keeps the contract."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from tests.runs.conftest import FAKE_TRAINER, wait_for
from trainer.contract.events import Event, EventReader, Started, Stepped
from trainer.contract.identity import is_alive, read_identity
from trainer.runs import runner
from trainer.runs.ending import last_words, read_ending
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.processes import ROOT
from trainer.runs.queue import queued_runs, runner_lives
from trainer.runs.runner import end_run, start_run, stop_run, tend
from trainer.runs.status import status_of

Ask = Callable[..., RunFolder]
FOREVER = 5000
"""Steps of a run that is ended by the test: more than four minutes."""

KILLED = "ended with code 15" if os.name == "nt" else "killed by signal 9"


def start(*runs: RunFolder) -> None:
    for run in runs:
        start_run(run, FAKE_TRAINER)


def steps_of(run: RunFolder) -> int:
    return last_words(run.events_file).step


def is_over(run: RunFolder) -> bool:
    return status_of(run).is_over


def kill(file: Path) -> None:
    """SIGKILL for the process in this file; it is gone afterwards."""
    identity = read_identity(file)
    assert identity is not None and is_alive(identity)
    psutil.Process(identity.pid).kill()
    wait_for(lambda: not is_alive(identity))


def events_of(run: RunFolder, kind: type[Event]) -> list[Event]:
    return [event for event in EventReader(run.events_file).read() if isinstance(event, kind)]


@pytest.mark.slow
def test_queue_goes_on_after_a_crash_and_an_unreadable_job(home: Path, ask: Ask) -> None:
    """Of four runs with awkward names one crashes and one is no job: the others finish, in order, one at a time."""
    first, crash, broken = ask('für "Jörg"\'s Katze/2'), ask("crash 1"), ask("broken")
    broken.job_file.write_text('{"schema": 99, "name": "broken", "options": {}}')
    last = ask("zuletzt")  # after that: of runs asked for in one second the file's time tells the order
    start(first, crash, broken, last)
    assert [status_of(run).state for run in (crash, broken, last)] == ["queued"] * 3
    seen: set[str] = set()
    wait_for(lambda: seen.add(status_of(first).state) or is_over(last), 60)
    assert seen == {"running", "finished"}
    assert [status_of(run).state for run in (first, crash, broken, last)] == [
        "finished",
        "crashed",
        "crashed",
        "finished",
    ]
    status = status_of(crash)
    assert (status.exit_code, status.signal, status.cause) == (7, None, "ended with code 7 at step 3")
    assert status_of(broken).exit_code == 2 and "newer version" in status_of(broken).detail
    spans = [(run.job_file.stat().st_mtime, events_of(run, Started)[0].time) for run in (first, crash, last)]
    assert spans == sorted(spans)
    assert events_of(last, Started)[0].time >= read_ending(crash.exit_file).ended
    assert 'für "Jörg"\'s Katze/2' in first.log_file.read_text(encoding="utf-8")
    wait_for(lambda: not runner_lives(home, "0"))
    assert "starts" in (home / "runner.log").read_text(encoding="utf-8")


def test_exit_file_is_written_last(ask: Ask) -> None:
    """When exit.json is there, the trainer and its launcher are gone and no file of the run changes any more."""
    run = ask("cat")
    start(run)
    wait_for(run.exit_file.exists)
    processes = [read_identity(run.process_file), read_identity(run.launch_file)]
    assert all(identity is not None and not is_alive(identity) for identity in processes)
    others = [file for file in run.path.iterdir() if file != run.exit_file]
    assert max(file.stat().st_mtime_ns for file in others) <= run.exit_file.stat().st_mtime_ns
    before = {file: file.read_bytes() for file in run.path.iterdir()}
    time.sleep(0.5)
    assert {file: file.read_bytes() for file in run.path.iterdir()} == before
    assert json.loads(before[run.exit_file]).keys() == {"code", "signal", "result", "cause", "ended"}


def test_stop_and_second_click(ask: Ask) -> None:
    """Stop ends a run within a step, also when it came while the trainer loads; a waiting run is cancelled at once;
    a trainer that does not listen is ended by the second click. None of them counts as a crash."""
    early, deaf, waiting = ask("cat", FOREVER), ask("deaf", FOREVER), ask("dog")
    start(early)
    wait_for(lambda: status_of(early).state == "running")
    stop_run(early)
    assert not early.process_file.exists() and status_of(early).state == "stopping"
    stop_run(waiting)
    assert (status_of(waiting).state, status_of(waiting).cause) == ("stopped", "taken out of the queue before it began")
    wait_for(lambda: is_over(early))
    assert (status_of(early).state, status_of(early).exit_code, steps_of(early)) == ("stopped", 0, 1)

    wait_for(lambda: steps_of(deaf) > 3)
    stop_run(deaf)
    at = steps_of(deaf)
    wait_for(lambda: steps_of(deaf) > at + 3)
    assert status_of(deaf).state == "stopping"
    end_run(deaf)
    wait_for(lambda: is_over(deaf), 10)
    assert (
        status_of(deaf).state == "stopped"
        and status_of(deaf).cause == f"ended at once at step {steps_of(deaf)}, as asked"
    )
    assert not waiting.process_file.exists()
    end_run(deaf)
    stop_run(waiting)
    assert status_of(waiting).state == "stopped"


def test_stop_between_claim_and_launch_is_heard(home: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A click on Stop when the run is no longer in the queue and its launcher has yet to be born ends it, too."""
    run = ask("cat", FOREVER)
    start_launcher = runner.start_detached

    def start_late(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        stop_run(run)
        time.sleep(1.5)  # Linux tells the birth of a process up to 1 s early.
        return start_launcher(command, log)

    monkeypatch.setattr(runner, "start_detached", start_late)
    runner.work_through(home, "0", FAKE_TRAINER)
    assert (status_of(run).state, steps_of(run)) == ("stopped", 1)


def test_killed_trainer_is_told_with_signal_and_step(ask: Ask) -> None:
    """SIGKILL of the trainer comes through accelerate's launcher as what it is, at the step where it happened."""
    run = ask("cat", FOREVER)
    start(run)
    wait_for(lambda: steps_of(run) >= 5)
    kill(run.process_file)
    wait_for(lambda: is_over(run))
    status = status_of(run)
    assert (status.state, status.cause) == ("crashed", f"{KILLED} at step {steps_of(run)}")
    assert status.signal == (None if os.name == "nt" else 9)


def test_lost_run_and_the_queue_goes_on(home: Path, ask: Ask) -> None:
    """Runner and trainer killed: the run is lost, nothing says it runs, and the queue goes on with the next look."""
    run, following = ask("cat", FOREVER), ask("dog")
    start(run)
    wait_for(lambda: steps_of(run) >= 3)
    kill(home / "runner.json")
    kill(run.process_file)
    wait_for(lambda: is_over(run), 10)
    assert (status_of(run).state, status_of(run).cause) == ("lost", f"gone at step {steps_of(run)}")
    assert not run.exit_file.exists() and queued_runs(home) == [following]
    assert tend(home, FAKE_TRAINER)
    assert not tend(home, FAKE_TRAINER)
    wait_for(lambda: is_over(following))
    assert (status_of(run).state, status_of(following).state) == ("lost", "finished")
    wait_for(lambda: not runner_lives(home, "0"))
    assert not tend(home, FAKE_TRAINER)


@pytest.mark.slow
def test_trainer_outlives_its_runner_and_is_adopted(home: Path, ask: Ask) -> None:
    """A killed runner costs no step: the run goes on, a new runner waits for it, then goes on with the queue."""
    run, following = ask("cat", 60), ask("dog")
    start(run)
    wait_for(lambda: steps_of(run) >= 2)
    trainer = read_identity(run.process_file)
    kill(home / "runner.json")
    assert status_of(run).state == "running"
    start(following)
    assert status_of(following).state == "queued"
    wait_for(lambda: is_over(following))
    assert read_identity(run.process_file) == trainer
    assert [event.step for event in events_of(run, Stepped)] == list(range(1, 61))
    ending = read_ending(run.exit_file)
    assert ending is not None and (ending.result, ending.code) == ("completed", None)
    assert (status_of(run).state, status_of(following).state) == ("finished", "finished")
    assert events_of(following, Started)[0].time > ending.ended


def test_killed_launcher_leaves_the_trainer_at_work(ask: Ask) -> None:
    """Where only accelerate's launcher is killed, the run goes on to its end and is not started twice."""
    run = ask("cat", 40)
    start(run)
    wait_for(lambda: steps_of(run) >= 2)
    kill(run.launch_file)
    time.sleep(0.2)
    assert status_of(run).state == "running"
    wait_for(lambda: is_over(run))
    assert (status_of(run).state, steps_of(run), len(events_of(run, Started))) == ("finished", 40, 1)


def test_second_click_without_a_runner(home: Path, ask: Ask) -> None:
    """Where the runner was killed, whoever clicks ends the run and writes its exit.json; a lost run stays lost."""
    run = ask("deaf", FOREVER)
    start(run)
    wait_for(lambda: steps_of(run) >= 2)
    kill(home / "runner.json")
    end_run(run)
    assert status_of(run).state == "stopped" and run.exit_file.exists()
    run.exit_file.unlink()
    end_run(run)
    assert status_of(run).state == "lost" and not run.exit_file.exists()


TERMINAL = """
import sys, time
from pathlib import Path
from tests.runs.conftest import a_job
from trainer.contract.control import WishReader
from trainer.contract.identity import write_identity
from trainer.runs.ending import record_exit
from trainer.runs.folder import new_run
run = new_run(Path(sys.argv[1]), a_job("terminal"), queued=False)
write_identity(run.process_file)
wishes = WishReader(run.control_file)
print(run.path, flush=True)
while not wishes.read(): time.sleep(0.05)
record_exit(run, 0, "stopped", "")
"""


def test_queue_waits_for_a_run_of_a_terminal(home: Path) -> None:
    """A run that a terminal started is never taken by a runner; what is queued waits for it and then has its turn."""
    terminal = subprocess.Popen([sys.executable, "-c", TERMINAL, str(home)], stdout=subprocess.PIPE, cwd=ROOT)
    assert terminal.stdout is not None
    run = RunFolder(Path(os.fsdecode(terminal.stdout.readline().strip())))
    terminal.stdout.close()
    assert not tend(home, FAKE_TRAINER)
    queued = broken_run(home, 1)
    start(queued)
    time.sleep(1)
    assert (status_of(run).state, status_of(queued).state) == ("running", "queued")
    stop_run(run)
    terminal.wait()
    wait_for(lambda: is_over(queued))
    assert (status_of(run).state, status_of(run).exit_code) == ("stopped", 0)
    assert not run.log_file.exists()


def test_no_run_is_forgotten_when_the_runner_is_about_to_end(home: Path) -> None:
    """Whenever a run is asked for while a runner comes up, works or ends, and by many at once, it has its turn."""
    asked: list[RunFolder] = []

    def ask_often(asker: int) -> None:
        for number in range(12):
            asked.append(broken_run(home, asker * 100 + number))
            start(asked[-1])
            time.sleep(0.02 * asker)

    askers = [threading.Thread(target=ask_often, args=(asker,)) for asker in range(1, 5)]
    for thread in askers:
        thread.start()
    for thread in askers:
        thread.join()
    wait_for(lambda: len(asked) == len(list_runs(home)) == 48 and all(run.exit_file.exists() for run in asked))
    wait_for(lambda: not runner_lives(home, "0"))
    assert "Traceback" not in (home / "runner.log").read_text(encoding="utf-8")


def broken_run(home: Path, number: int) -> RunFolder:
    """A run that is over as soon as a runner reads it."""
    run = RunFolder(home / f"20260101-000000-broken {number}")
    run.path.mkdir()
    run.job_file.write_text('{"schema": 99, "name": "broken", "options": {}}')
    return run


def test_runner_that_cannot_work_is_told(tmp_path: Path) -> None:
    """Where no runner comes up the caller learns of it, with the file that says why."""
    home = tmp_path / "runs"
    home.mkdir()
    run = broken_run(home, 1)
    (home / "runner.lock").mkdir()
    with pytest.raises(RuntimeError, match=r"runner\.log"):
        start_run(run, FAKE_TRAINER)
    assert "runner.lock" in (home / "runner.log").read_text(encoding="utf-8")
