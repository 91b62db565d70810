"""What the verbs of `python -m trainer` do that look after runs: queue, runs, show, stop, pause, resume.

Comes in: the words behind the verb. Goes out: an exit code, text on the terminal or JSON with --json. No torch here.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.answers import as_flags, print_json, refuse
from trainer.contract.cli import Line, parse_line
from trainer.contract.control import send
from trainer.contract.job import Job
from trainer.contract.problems import Problem, errors_of
from trainer.runs.crash import diagnose
from trainer.runs.folder import RunFolder, list_runs, new_run
from trainer.runs.following import begins_anew, job_after, state_of
from trainer.runs.lane import lane_for, lane_of
from trainer.runs.order import held_by
from trainer.runs.queue import move, queued_runs
from trainer.runs.runner import continue_run, go_on_with_queue, start_run, stop_run
from trainer.runs.status import status_of
from trainer.verbs import JOB_FLAGS, follow, home_folder, job_of, look_at

_HERE = {"home": True, "json": False}
_MOVES = {"earlier": -1, "later": 1}


def queue(argv: Sequence[str]) -> int:
    """With flags of a job: let it wait for its turn. With earlier, later or out and a run: arrange. Else: list."""
    line = parse_line(argv, JOB_FLAGS)
    home = home_folder(line.own.get("home")) / "runs"
    if line.problems:
        return refuse(line.problems, line)
    if line.words == ["go_on"]:
        go_on_with_queue(home)
    elif line.words:
        return _arrange(line)
    elif line.values or {"preset", "job"} & line.own.keys():
        job = job_of(line)
        problems = job if isinstance(job, list) else errors_of(look_at(job.config)[1])
        if isinstance(job, list) or problems:
            return refuse(problems, line)
        start_run(new_run(home, job))
    _print_queue(home, line)
    return 0


def _arrange(line: Line) -> int:
    word, *names = line.words
    if word not in (*_MOVES, "out"):
        message = f"The queue knows earlier, later, out and go_on, not “{word}”. Flags of a job let that job wait."
        return refuse([Problem("value.words", message)], line)
    run = _named_run(line, names)
    if isinstance(run, list):
        return refuse(run, line)
    if run not in queued_runs(run.path.parent):
        message = f"{run.path.name} waits for no turn: it is {status_of(run).state}."
        return refuse([Problem("value.run", message)], line)
    if word == "out":
        stop_run(run)
    else:
        move(run, _MOVES[word])
    _print_queue(run.path.parent, line)
    return 0


def _print_queue(home: Path, line: Line) -> None:
    waiting = queued_runs(home)
    if line.own.get("json"):
        print_json([_standing(run) for run in waiting])
        return
    lanes = sorted({*map(lane_of, waiting), lane_for(None)})
    for lane in lanes:
        if any(lane_of(run) != lane for run in waiting):
            print(f"Card {lane}:")
        crashed = held_by(home, lane)
        if crashed is not None:
            print(
                f"The queue stands still since {crashed.name} crashed. `python -m trainer queue go_on` lets it go on."
            )
        for place, run in enumerate((run for run in waiting if lane_of(run) == lane), 1):
            print(f"{place:>3}  {run.path.name}")
    if not waiting:
        print("Nothing waits.")


def runs(argv: Sequence[str]) -> int:
    """All runs, newest first."""
    line = parse_line(argv, _HERE)
    if line.problems:
        return refuse(line.problems, line)
    rows = [_standing(run) for run in list_runs(home_folder(line.own.get("home")) / "runs")]
    if line.own.get("json"):
        print_json(rows)
    else:
        for row in rows:
            print(f"{row['state']:<9} {row['folder']}  {row['cause']}".rstrip())
        if not rows:
            print("Nothing has been trained here.")
    return 0


def show(argv: Sequence[str]) -> int:
    """How one run stands, and of one that ended by itself why, and what may mend it."""
    line = parse_line(argv, _HERE)
    run = _named_run(line, line.words)
    if isinstance(run, list):
        return refuse(run, line)
    crash = diagnose(run, status_of(run))
    if line.own.get("json"):
        print_json(_standing(run) | ({"crash": asdict(crash)} if crash else {}))
        return 0
    for name, value in _standing(run).items():
        print(f"{name:<8} {value}")
    if crash is not None:
        print(f"\n{crash.title}. {crash.about}")
        if crash.evidence:
            print(f"  {crash.evidence}")
        for way in crash.ways:
            verb = f"train --job {run.job_file}" if begins_anew(way.values) else f"resume {run.path.name}"
            print(f"{way.title}: {way.about}\n  {verb} {as_flags(way.values)}".rstrip())
    return 0


def stop(argv: Sequence[str]) -> int:
    """Ask a run to end: after its step and with a save, or without."""
    line = parse_line(argv, {**_HERE, "without_saving": False})
    run = _named_run(line, line.words)
    if isinstance(run, list):
        return refuse(run, line)
    state = status_of(run).state
    if state not in ("queued", "running", "stopping"):
        return refuse([Problem("value.run", f"{run.path.name} is not running: it is {state}.")], line)
    stop_run(run, save=not line.own.get("without_saving"))
    print(f"{run.path.name} finishes its step and ends.")
    return 0


def pause(argv: Sequence[str]) -> int:
    """Ask a run to leave the card after its step; `resume` lets it go on."""
    line = parse_line(argv, _HERE)
    run = _named_run(line, line.words)
    if isinstance(run, list):
        return refuse(run, line)
    state = status_of(run).state
    if state != "running":
        return refuse([Problem("value.run", f"{run.path.name} is not running: it is {state}.")], line)
    send(run.control_file, "pause")
    print(f"{run.path.name} finishes its step and leaves the card.")
    return 0


def resume(argv: Sequence[str]) -> int:
    """Go on from the newest state of a run and show it to its end: a paused one itself, any other in a new run.

    Flags are laid over its settings; with any, a paused run is left as it is, too.
    """
    line = parse_line(argv, _HERE)
    run = _named_run(line, line.words)
    if isinstance(run, list):
        return refuse(run, line)
    status = status_of(run)
    if status.state == "paused" and not line.values:
        continue_run(run)
        return follow(run)
    state = state_of(run)
    if not (status.is_over or status.state == "paused") or state is None:
        why = (
            f"is {status.state}" if status.state in ("queued", "running", "stopping") else "left no state to go on from"
        )
        return refuse([Problem("value.run", f"{run.path.name} {why}.")], line)
    if begins_anew(line.values):
        names = ", ".join(name for name in line.values if begins_anew({name: None}))
        message = f"A state cannot be gone on from with another {names}. Train anew with --job {run.job_file} and this."
        return refuse([Problem("value.run", message, tuple(line.values))], line)
    job = job_after(run, line.values, state)
    if not isinstance(job, Job):
        return refuse(job, line)
    following = new_run(home_folder(line.own.get("home")) / "runs", job)
    start_run(following)
    return follow(following)


def _named_run(line: Line, names: Sequence[str]) -> RunFolder | list[Problem]:
    if line.problems or len(names) != 1:
        return line.problems or [Problem("value.words", "Name one run, as `python -m trainer runs` lists them.")]
    for path in (Path(names[0]), home_folder(line.own.get("home")) / "runs" / names[0]):
        if RunFolder(path).job_file.is_file():
            return RunFolder(Path(os.path.abspath(path)))
    return [Problem("value.run", f"There is no run {names[0]}. `python -m trainer runs` lists them.")]


def _standing(run: RunFolder) -> dict[str, Any]:
    status = status_of(run)
    return {"name": run.name, "state": status.state, "folder": str(run.path), "cause": status.cause}
