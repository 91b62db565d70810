"""The detached process that takes the queued runs of one lane in turn: `python -m trainer.runs.runner HOME LANE`.

Comes in: HOME, the folder of all runs. Goes out: launch.json, log.txt and exit.json of each. It starts when a run is
asked for, waits first for runs whose own runner died, and ends when nothing of its lane is queued. Here too is what a
page or a terminal does to a run: start, stop, end.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Thread

import psutil

from trainer.contract.control import send
from trainer.contract.identity import Identity, is_alive, read_identity, write_identity
from trainer.contract.job import Job, read_job
from trainer.runs.ending import Ending, judge, record_ending, record_exit
from trainer.runs.folder import RunFolder
from trainer.runs.lane import lane_file, lane_of
from trainer.runs.launch import TRAINER, launch_command
from trainer.runs.lock import take_lock
from trainer.runs.memory_killer import killed_so_far
from trainer.runs.order import arrange, held_by, hold, read_order, release
from trainer.runs.processes import end_tree, find_process, start_detached, wait_until_gone
from trainer.runs.queue import (
    announce_runner,
    claim,
    dismiss_runner,
    is_attended,
    is_live,
    is_queued,
    lanes,
    live_runs,
    queued_runs,
    runner_lives,
)
from trainer.runs.status import last_stop, status_of

_PAUSE_S = 0.5
_START_S = 30.0
"""How long a runner may take to come up: about 1 s, more on a busy machine."""

_CANCELLED = "taken out of the queue before it began"


def start_run(run: RunFolder, trainer: Sequence[str] = TRAINER) -> None:
    """Make sure that a runner lives for the lane in which this run waits. `trainer`: what accelerate is to start.

    Returns when one is up, or at once where a crash holds the lane. Raises RuntimeError where none comes up.
    """
    home, lane = run.path.parent, lane_of(run)
    if held_by(home, lane) is not None:
        return
    _start_runner(home, lane, trainer, until=lambda: not is_queued(run))


def tend(home: Path, trainer: Sequence[str] = TRAINER) -> bool:
    """Start a runner for each lane that needs one and has none: after a reboot, or when a runner was killed.

    Says whether one was started. Cheap: a page may call it each time it lists the runs.
    """
    needy = [lane for lane in lanes(home) if not runner_lives(home, lane) and _needs_runner(home, lane)]
    for lane in needy:
        _start_runner(home, lane, trainer, until=partial(_needs_no_runner, home, lane))
    return bool(needy)


def go_on_with_queue(home: Path, trainer: Sequence[str] = TRAINER) -> None:
    """Let every lane that a crash holds go on. Raises OSError, and RuntimeError where no runner comes up."""
    for lane in lanes(home):
        release(home, lane)
    tend(home, trainer)


def stop_run(run: RunFolder, *, save: bool = True) -> None:
    """The first click: wish that the trainer ends its step, saves a state, and stops. A waiting run is cancelled."""
    if is_queued(run) and claim(run):
        record_exit(run, None, "stopped", _CANCELLED)
        return
    send(run.control_file, "stop" if save else "stop_without_saving")


def continue_run(run: RunFolder, trainer: Sequence[str] = TRAINER) -> None:
    """Let a paused run go on from its own state, before all that waits. Raises OSError, RuntimeError."""
    if status_of(run).state != "paused":
        return
    # Without its processes it waits again; what it has written so far stays.
    for file in (run.process_file, run.launch_file):
        file.unlink(missing_ok=True)
    waiting = queued_runs(run.path.parent)
    arrange(run.path.parent, [run, *(other for other in waiting if other != run)])
    start_run(run, trainer)


def end_run(run: RunFolder) -> None:
    """The second click: end the run's processes at once. Its runner, or without one this process, writes exit.json."""
    if is_queued(run):
        stop_run(run)
        return
    attended = is_attended(run)
    if run.exit_file.exists() or not (attended or is_live(run)):
        return
    # The wish is what tells the runner that this death was asked for.
    send(run.control_file, "stop_without_saving")
    identities = [read_identity(file) for file in (run.process_file, run.launch_file)]
    end_tree(*[identity for identity in identities if identity is not None])
    if not attended:
        record_ending(run, judge(run, None, demanded=True))


def work_through(home: Path, lane: str, trainer: Sequence[str] = TRAINER) -> None:
    """Be the runner of a lane of HOME until nothing waits in it; return at once where another process is it."""
    tried: set[Path] = set()
    while True:
        lock = take_lock(lane_file(home, "runner.lock", lane))
        if lock is None:
            _say("another runner is at work here")
            return
        with lock:
            announce_runner(home, lane, None)
            _empty_queue(home, lane, trainer, tried)
            dismiss_runner(home, lane)
        # Who asked for a run just before the dismissal saw a living runner and started none: look once more.
        if not _next_run(home, lane, tried):
            return


def _empty_queue(home: Path, lane: str, trainer: Sequence[str], tried: set[Path]) -> None:
    while True:
        alive = live_runs(home, lane)
        waiting = _next_run(home, lane, tried)
        if alive:
            _adopt(alive[0])
        elif waiting is not None:
            # Once only: where launch.json cannot be written the run keeps waiting, and the others have their turn.
            tried.add(waiting.path)
            try:
                _train(waiting, trainer)
            except OSError as failure:
                _say(f"{waiting.path.name}: {failure}")
        else:
            return


def _next_run(home: Path, lane: str, tried: set[Path]) -> RunFolder | None:
    if held_by(home, lane) is not None:
        return None
    return next((run for run in queued_runs(home, lane) if run.path not in tried), None)


def _train(run: RunFolder, trainer: Sequence[str]) -> None:
    announce_runner(run.path.parent, lane_of(run), run)
    claimed = time.time()
    if not claim(run):
        return
    job = read_job(run.job_file)
    if not isinstance(job, Job):
        _end(run, Ending(2, None, "failed", " ".join(problem.message for problem in job), time.time()))
        return
    _say(f"{run.path.name}: starts")
    starved_before = killed_so_far()
    try:
        process = start_detached(launch_command(run, job, trainer), run.log_file)
    except OSError as failure:
        _end(run, Ending(None, None, "failed", f"the trainer could not be started: {failure}", time.time()))
        return
    try:
        write_identity(run.launch_file, process.pid)
    except (OSError, psutil.NoSuchProcess) as failure:
        _say(f"{run.path.name}: {run.launch_file.name} could not be written: {failure}")
    # Wishes count from the launcher's start on. A click between the claim and that start must not be lost.
    stop = last_stop(run, claimed)
    if stop is not None:
        send(run.control_file, stop[0])
    code: int | None = process.wait()
    orphan = _trainer_of(run) if code else None
    if orphan is not None:
        # The launcher was killed, the trainer was not: it goes on, and how it ends nobody will tell us.
        _say(f"{run.path.name}: its launcher is gone (code {code}), the trainer goes on")
        wait_until_gone(orphan)
        code = None
    _conclude(run, code, starved=killed_so_far() > starved_before)


def _trainer_of(run: RunFolder) -> Identity | None:
    """The living trainer of a run whose launcher ended, also before it wrote process.json."""
    written = read_identity(run.process_file)
    if written is not None:
        return written if is_alive(written) else None
    return find_process("--run_dir", str(run.path))


def _adopt(run: RunFolder) -> None:
    """Wait for a run that another runner, or a terminal, started, and write its exit.json where nobody else does."""
    announce_runner(run.path.parent, lane_of(run), run)
    _say(f"{run.path.name}: is under way, waits for it")
    while is_live(run) and not run.exit_file.exists():
        time.sleep(_PAUSE_S)
    _conclude(run, None)


def _conclude(run: RunFolder, code: int | None, *, starved: bool = False) -> None:
    launched = read_identity(run.launch_file)
    stop = last_stop(run, launched.create_time if launched else 0.0)
    demanded = stop is not None and stop[0] == "stop_without_saving"
    _end(run, judge(run, code, demanded=demanded, starved=starved))


def _end(run: RunFolder, ending: Ending) -> None:
    """Write exit.json, but for a run that is only paused.

    After a crash the queue may have to wait for a person: that is written first, exit.json is the last.
    """
    if ending.result == "paused":
        _say(f"{run.path.name}: paused")
        return
    crashed = ending.result not in ("completed", "stopped")
    if crashed and not read_order(run.path.parent).goes_on:
        hold(run)
    record_ending(run, ending)
    _say(f"{run.path.name}: {'crashed' if crashed else ending.result} {ending.cause}".rstrip())


def _start_runner(home: Path, lane: str, trainer: Sequence[str], until: Callable[[], bool]) -> None:
    if runner_lives(home, lane):
        return
    log = home / "runner.log"
    process = start_detached([sys.executable, "-m", "trainer.runs.runner", str(home.resolve()), lane, *trainer], log)
    # Collects the runner when it ends: in a studio that runs for days they would stay behind as zombies.
    Thread(target=process.wait, daemon=True).start()
    deadline = time.monotonic() + _START_S
    while not (runner_lives(home, lane) or until()):
        if process.poll() or time.monotonic() > deadline:
            raise RuntimeError(f"The runner that starts the training did not come up. {log} says why.")
        time.sleep(_PAUSE_S / 10)


def _needs_runner(home: Path, lane: str) -> bool:
    waiting = held_by(home, lane) is None and bool(queued_runs(home, lane))
    return waiting or any(_is_unattended(run) for run in live_runs(home, lane))


def _needs_no_runner(home: Path, lane: str) -> bool:
    return not _needs_runner(home, lane)


def _is_unattended(run: RunFolder) -> bool:
    """Whether nobody but a runner will write this living run's exit.json. One that launched itself writes its own."""
    launched, process = read_identity(run.launch_file), read_identity(run.process_file)
    return launched is None or process is None or launched != process


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


if __name__ == "__main__":
    work_through(Path(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:]) or TRAINER)
