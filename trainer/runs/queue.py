"""Which runs wait, which live, and which runner looks after them.

Comes in: the folder of all runs (HOME). Goes out: runs in the order in which they will be taken. Whoever creates
launch.json owns the run: that settles every race between two runners, or between a runner and a click on Cancel.
"""

import time
from dataclasses import asdict
from pathlib import Path

from trainer.contract.identity import identity_of, is_alive, read_identity
from trainer.contract.records import read_record, write_record
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.order import arrange, sort_waiting

_JUST_CLAIMED_S = 5.0
"""Between taking a run and starting its launcher, or writing its exit.json, lie some milliseconds."""


def queued_runs(home: Path) -> list[RunFolder]:
    """The runs that nobody took yet, in the order in which they will be: as people arranged them, else as asked."""
    return sort_waiting(home, [run for run in reversed(list_runs(home)) if is_queued(run)])


def move(run: RunFolder, by: int) -> None:
    """Let a waiting run be taken so many places earlier (negative) or later. Raises OSError."""
    home = run.path.parent
    waiting = queued_runs(home)
    if run not in waiting:
        return
    place = waiting.index(run)
    waiting.insert(max(0, place + by), waiting.pop(place))
    arrange(home, waiting)


def is_queued(run: RunFolder) -> bool:
    """Whether a run is asked for and nobody took it: job.json is there and none of the files that follow it."""
    followers = (run.launch_file, run.process_file, run.exit_file)
    return run.job_file.exists() and not any(file.exists() for file in followers)


def live_runs(home: Path) -> list[RunFolder]:
    """The runs that have a living process and no end yet, oldest first, no matter who started them."""
    return [run for run in reversed(list_runs(home)) if not run.exit_file.exists() and is_live(run)]


def is_live(run: RunFolder) -> bool:
    """Whether the trainer of a run or the process that launched it lives."""
    return any(
        identity is not None and is_alive(identity)
        for identity in (read_identity(run.process_file), read_identity(run.launch_file))
    )


def claim(run: RunFolder) -> bool:
    """Take a queued run; False where another one was faster, or the folder is gone. Raises OSError.

    Until a launcher lives, launch.json names no process: neither the runner nor a studio that cancels is the run.
    """
    try:
        with run.launch_file.open("x", encoding="utf-8") as file:
            file.write("{}\n")
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def is_just_claimed(run: RunFolder) -> bool:
    """Whether somebody took the run a moment ago and has yet to start or to cancel it."""
    try:
        age = time.time() - run.launch_file.stat().st_mtime
    except OSError:
        return False
    return age < _JUST_CLAIMED_S and read_identity(run.launch_file) is None


def announce_runner(home: Path, run: RunFolder | None) -> None:
    """Write HOME/runner.json: this process works through the queue of HOME and looks after `run` now."""
    write_record(_runner_file(home), asdict(identity_of()) | {"run": run.path.name if run else None})


def dismiss_runner(home: Path) -> None:
    """Say in HOME/runner.json that nobody works through the queue. (Removing it could fail on Windows.)"""
    write_record(_runner_file(home), {"run": None})


def runner_lives(home: Path) -> bool:
    """Whether a runner works through the queue of HOME."""
    identity = read_identity(_runner_file(home))
    return identity is not None and is_alive(identity)


def is_attended(run: RunFolder) -> bool:
    """Whether a living runner looks after this very run: then it will write its exit.json."""
    record = read_record(_runner_file(run.path.parent)) or {}
    return record.get("run") == run.path.name and runner_lives(run.path.parent)


def _runner_file(home: Path) -> Path:
    return home / "runner.json"
