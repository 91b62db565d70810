"""`python -m trainer sweep OPTION=VALUE,VALUE [OPTION=VALUE,VALUE] FLAGS`: a run for each combination, into the queue.

Without words it lists the sweeps there are, with the loss of each run. No torch here.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.answers import print_json, refuse
from trainer.contract.cli import Line, parse_line
from trainer.contract.events import EventReader, Stepped, Validated
from trainer.contract.problems import Problem, errors_of
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.runner import start_run
from trainer.runs.status import status_of
from trainer.runs.sweep import Axis, Sweep, ask_for, jobs_of, read_axis, sweep_name, sweeps_of, values_at
from trainer.verbs import JOB_FLAGS, home_folder, job_of, look_at


def sweep(argv: Sequence[str]) -> int:
    """Put a sweep into the queue, or list those that are there."""
    line = parse_line(argv, JOB_FLAGS)
    home = home_folder(line.own.get("home")) / "runs"
    if line.problems:
        return refuse(line.problems, line)
    if not line.words and not line.values and not {"preset", "job"} & line.own.keys():
        _list(home, line)
        return 0
    axes = [_axis(word) for word in line.words]
    wrong = [axis for axis in axes if isinstance(axis, Problem)]
    job = job_of(replace(line, words=[]))
    if wrong or isinstance(job, list):
        return refuse([*wrong, *(job if isinstance(job, list) else [])], line)
    jobs = jobs_of(job.config.flat(), [axis for axis in axes if isinstance(axis, Axis)])
    if isinstance(jobs, list):
        return refuse(jobs, line)
    # Data and model are the same for all; what one of them cannot be trained with is said before any waits.
    problems = errors_of(look_at(next(iter(jobs.values())).config)[1])
    if problems:
        return refuse(problems, line)
    runs = ask_for(home, axes, jobs, sweep_name(job.name, axes))
    start_run(runs[0])
    if line.own.get("json"):
        print_json([run.path.name for run in runs])
    else:
        print("\n".join([f"{len(runs)} runs wait for their turn:", *(f"  {run.path.name}" for run in runs)]))
    return 0


def _axis(word: str) -> Axis | Problem:
    """The axis that a word such as learning_rate=1e-6,2e-6 means; hyphens in the option are underscores."""
    option, _, values = word.partition("=")
    return read_axis(option.lstrip("-").replace("-", "_"), values)


def _list(home: Path, line: Line) -> None:
    sweeps = [_as_dict(found) for found in sweeps_of(list_runs(home))]
    if line.own.get("json"):
        print_json(sweeps)
        return
    for found in sweeps:
        print(found["name"])
        for row in found["runs"]:
            values = ", ".join(f"{option} {value}" for option, value in row["values"].items())
            told = f"{row['of']} {row['loss']:.4f}" if row["loss"] is not None else ""
            print(f"  {values:<40} {row['state']:<9} {told}".rstrip())
    if not sweeps:
        print("There is no sweep here. Start one: python -m trainer sweep learning_rate=1e-6,2e-6 --preset NAME")


def _as_dict(found: Sweep) -> dict[str, Any]:
    rows = []
    for cell, run in sorted(found.runs.items()):
        loss, kind = last_loss(run)
        values = values_at(found.axes, cell)
        rows.append({"values": values, "run": run.path.name, "state": status_of(run).state, "loss": loss, "of": kind})
    return {"name": found.name, "runs": rows}


def last_loss(run: RunFolder) -> tuple[float | None, str]:
    """The last validation loss of a run where images are held out, else the mean of its last 20 losses, and which."""
    events = EventReader(run.events_file).read()
    measured = [event.loss for event in events if isinstance(event, Validated) and event.loss is not None]
    if measured:
        return measured[-1], "validation loss"
    losses = [event.loss for event in events if isinstance(event, Stepped) and event.loss is not None][-20:]
    return (sum(losses) / len(losses), "loss") if losses else (None, "")
