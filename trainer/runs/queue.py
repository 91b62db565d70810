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
from trainer.runs.lane import lane_file, lane_for, lane_of
from trainer.runs.order import arrange, sort_waiting

_JUST_CLAIMED_S = 5.0
"""Between taking a run and starting its launcher, or writing its exit.json, lie some milliseconds."""


def queued_runs(home: Path, lane: str | None = None) -> list[RunFolder]:
    """The runs that nobody took yet, in the order in which they will be: as people arranged them, else as asked.

    Of one lane, or of all.
    """
    waiting = [run for run in reversed(list_runs(home)) if is_queued(run)]
    return sort_waiting(home, [run for run in waiting if lane in (None, lane_of(run))])


def move(run: RunFolder, by: int) -> None:
    """Let a waiting run be taken so many places of its lane earlier (negative) or later. Raises OSError."""
    home, lane = run.path.parent, lane_of(run)
    waiting = queued_runs(home, lane)
    if run not in waiting:
        return
    place = waiting.index(run)
    waiting.insert(max(0, place + by), waiting.pop(place))
    arrange(home, [*waiting, *(other for other in queued_runs(home) if lane_of(other) != lane)])


def lanes(home: Path) -> list[str]:
    """The lanes in which a run waits or lives, and that of the first card."""
    concerned = [run for run in list_runs(home) if is_queued(run) or (not run.exit_file.exists() and is_live(run))]
    return sorted({lane_for(None), *map(lane_of, concerned)})


def is_queued(run: RunFolder) -> bool:
    """Whether a run is asked for and nobody took it: job.json is there and none of the files that follow it."""
    followers = (run.launch_file, run.process_file, run.exit_file)
    return run.job_file.exists() and not any(file.exists() for file in followers)


def live_runs(home: Path, lane: str | None = None) -> list[RunFolder]:
    """The runs that have a living process and no end yet, oldest first, no matter who started them.

    Of one lane, or of all.
    """
    alive = [run for run in reversed(list_runs(home)) if not run.exit_file.exists() and is_live(run)]
    return [run for run in alive if lane in (None, lane_of(run))]


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


def announce_runner(home: Path, lane: str, run: RunFolder | None) -> None:
    """Write HOME/runner.json: this process works through a lane of HOME and looks after `run` now."""
    write_record(_runner_file(home, lane), asdict(identity_of()) | {"run": run.path.name if run else None})


def dismiss_runner(home: Path, lane: str) -> None:
    """Say in HOME/runner.json that nobody works through the lane. (Removing it could fail on Windows.)"""
    write_record(_runner_file(home, lane), {"run": None})


def runner_lives(home: Path, lane: str) -> bool:
    """Whether a runner works through a lane of HOME."""
    identity = read_identity(_runner_file(home, lane))
    return identity is not None and is_alive(identity)


def is_attended(run: RunFolder) -> bool:
    """Whether a living runner looks after this very run: then it will write its exit.json."""
    home, lane = run.path.parent, lane_of(run)
    record = read_record(_runner_file(home, lane)) or {}
    return record.get("run") == run.path.name and runner_lives(home, lane)


def _runner_file(home: Path, lane: str) -> Path:
    return lane_file(home, "runner.json", lane)
