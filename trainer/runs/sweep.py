"""Sweeps: one job with several values of one or two options, each combination a run of its own in the queue.

Comes in: flat values and axes such as `learning_rate=1e-6, 2e-6`. Goes out: a job for each combination, and in each
run's folder sweep.json, which says to which sweep the run belongs and where it stands in it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from trainer.contract.config import OPTIONS
from trainer.contract.job import Job, make_job, unknown_option
from trainer.contract.options import Option
from trainer.contract.problems import Problem, errors_of
from trainer.contract.records import read_record, write_record
from trainer.runs.folder import RunFolder, new_run

MOST_AXES = 2
MOST_RUNS = 24
LONGEST_ENDING = 40
FILE = "sweep.json"

UNSWEPT = frozenset({"output_name", "log_prefix", "resume", "debug_dataset"})
"""Options that name the results, or by which no run is better than another; paths are left out by their kind."""

INSTEAD = {"max_train_steps": "max_train_epochs", "max_train_epochs": "max_train_steps"}
"""Option -> the one that takes its place: a length given in epochs replaces one in steps, and the other way round."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An option and its values, in the order in which they were given."""

    option: str
    values: tuple[str, ...]


def values_at(axes: Sequence[Axis], cell: Sequence[int]) -> dict[str, str]:
    """Option -> the value that it has in a cell."""
    return {axis.option: axis.values[place] for axis, place in zip(axes, cell, strict=True)}


def run_count(axes: Sequence[Axis]) -> int:
    """How many runs a sweep over these axes is."""
    return math.prod(len(axis.values) for axis in axes)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands in a sweep: the sweep's name, its axes, and which value of each axis the run has."""

    sweep: str
    axes: tuple[Axis, ...]
    cell: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """All runs of a sweep that are still there, by their cell."""

    name: str
    axes: tuple[Axis, ...]
    runs: Mapping[tuple[int, ...], RunFolder]


def can_be_swept(option: Option) -> bool:
    """Whether several values of it make runs that are worth comparing."""
    return option.shown.look == "auto" and option.kind != "path" and option.name not in UNSWEPT


def read_axis(option: str, values: str) -> Axis | Problem:
    """The axis of an option and its values, parted by commas, or by semicolons where a value has commas in it."""
    if option not in OPTIONS:
        return replace(unknown_option(option), code="value.sweep")
    if not can_be_swept(OPTIONS[option]):
        return Problem("value.sweep", f"{OPTIONS[option].shown.label} cannot have several values.", (option,))
    parts = [part.strip() for part in values.split(";" if ";" in values else ",")]
    given = tuple(dict.fromkeys(part for part in parts if part))
    if len(given) < 2:
        return Problem(
            "value.sweep", f"{OPTIONS[option].shown.label} needs two values or more, such as 1, 2.", (option,)
        )
    return Axis(option, given)


def jobs_of(
    values: Mapping[str, Any], axes: Sequence[Axis], base: Path | None = None
) -> dict[tuple[int, ...], Job] | list[Problem]:
    """Cell -> job, or what is to mend, which names the values that it is about. Nothing is written.

    Each run writes under a name of its own: the job's with the values behind it.
    """
    problems = shape_problems(axes)
    if problems:
        return problems
    cells = list(product(*(range(len(axis.values)) for axis in axes)))
    names = _endings(axes, cells)
    jobs: dict[tuple[int, ...], Job] = {}
    for cell in cells:
        chosen = values_at(axes, cell)
        rest = {name: value for name, value in values.items() if INSTEAD.get(name) not in chosen}
        job = make_job({**rest, **chosen}, base)
        if not isinstance(job, list):
            job = make_job({**rest, **chosen, "output_name": f"{job.name}-{names[cell]}"}, base)
        if isinstance(job, list):
            said = ", ".join(f"{OPTIONS[name].shown.label} {value}" for name, value in chosen.items())
            return [replace(problem, message=f"With {said}: {problem.message}", mends=()) for problem in errors_of(job)]
        jobs[cell] = job
    return jobs


def shape_problems(axes: Sequence[Axis]) -> list[Problem]:
    """What keeps axes from being a sweep, whatever the job: none or too many of them, one twice, too many runs."""
    names = [axis.option for axis in axes]
    if not 1 <= len(axes) <= MOST_AXES:
        return [Problem("value.sweep", "Choose one option or two, each with several values.")]
    if len(set(names)) < len(names):
        return [Problem("value.sweep", "Choose two different options, or one alone.", (names[0],))]
    count = run_count(axes)
    if count > MOST_RUNS:
        return [Problem("value.sweep", f"That would be {count} runs; {MOST_RUNS} are the most. Take out some values.")]
    return []


def _endings(axes: Sequence[Axis], cells: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], str]:
    """What tells the runs' names apart: the values, or numbers where those are too long or no part of a file's name."""
    told = {}
    for cell in cells:
        words = values_at(axes, cell).values()
        told[cell] = "-".join(re.sub(r"[^A-Za-z0-9.+-]+", "_", word).strip("_.") for word in words)
    if len(set(told.values())) == len(cells) and all(0 < len(word) <= LONGEST_ENDING for word in told.values()):
        return told
    return {cell: str(number) for number, cell in enumerate(cells, start=1)}


def sweep_name(name: str, axes: Sequence[Axis]) -> str:
    """What a sweep is called: "harbour, learning rate × batch size"."""
    labels = [OPTIONS[axis.option].shown.label if axis.option in OPTIONS else axis.option for axis in axes]
    return f"{name}, {' × '.join(label[:1].lower() + label[1:] for label in labels)}"


def ask_for(home: Path, axes: Sequence[Axis], jobs: Mapping[tuple[int, ...], Job], name: str) -> list[RunFolder]:
    """Put all runs of a sweep into the queue of HOME, first cell first. Raises OSError."""
    runs = []
    for cell, job in jobs.items():
        run = new_run(home, job)
        write_record(run.path / FILE, asdict(Place(name, tuple(axes), cell)))
        runs.append(run)
    return runs


def place_of(run: RunFolder) -> Place | None:
    """Where a run stands in a sweep; None where it is in none, or the record cannot be read."""
    record = read_record(run.path / FILE)
    if record is None:
        return None
    try:
        axes = tuple(Axis(str(axis["option"]), tuple(map(str, axis["values"]))) for axis in record["axes"])
        cell = tuple(int(place) for place in record["cell"])
        fits = 1 <= len(axes) <= MOST_AXES and all(0 <= c < len(a.values) for a, c in zip(axes, cell, strict=True))
        return Place(str(record["sweep"]), axes, cell) if fits else None
    except (KeyError, TypeError, ValueError):
        return None


def sweeps_of(runs: Sequence[RunFolder]) -> list[Sweep]:
    """The sweeps among runs that are sorted newest first, newest first; of two runs of a cell the newer one."""
    found: dict[tuple[str, tuple[Axis, ...]], dict[tuple[int, ...], RunFolder]] = {}
    for run in runs:
        place = place_of(run)
        if place is not None:
            found.setdefault((place.sweep, place.axes), {}).setdefault(place.cell, run)
    return [Sweep(name, axes, cells) for (name, axes), cells in found.items()]
