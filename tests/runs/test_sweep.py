"""Sweeps: a run for each combination, each with its own settings and name, found together again afterwards."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.contract.config import OPTIONS
from trainer.contract.job import Job, read_job
from trainer.contract.problems import Problem
from trainer.runs.folder import list_runs, new_run
from trainer.runs.queue import queued_runs
from trainer.runs.sweep import (
    FILE,
    MOST_RUNS,
    Axis,
    ask_for,
    can_be_swept,
    jobs_of,
    place_of,
    read_axis,
    sweep_name,
    sweeps_of,
)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """A job that passes the first two gates."""
    return {
        "pretrained_model_name_or_path": str(tmp_path / "model"),
        "train_data_dir": str(tmp_path / "harbour"),
        "output_dir": str(tmp_path / "out"),
    }


RATES = Axis("learning_rate", ("1e-6", "2e-6", "4e-6"))
BATCHES = Axis("train_batch_size", ("4", "8"))


def test_every_combination_is_a_job(values: dict[str, Any]) -> None:
    """Three rates and two batch sizes are six jobs, alike but for those two and the name of what they write."""
    jobs = jobs_of(values, [RATES, BATCHES])
    assert isinstance(jobs, dict) and list(jobs) == list(product(range(3), range(2)))
    flats = {cell: job.config.flat() for cell, job in jobs.items()}
    for (rate, batch), flat in flats.items():
        assert flat["learning_rate"] == float(RATES.values[rate])
        assert flat["train_batch_size"] == int(BATCHES.values[batch])
    unlike = {name for name in OPTIONS if len({str(flat[name]) for flat in flats.values()}) > 1}
    assert unlike == {"learning_rate", "train_batch_size", "output_name"}
    assert [job.name for job in jobs.values()][:2] == ["harbour-1e-6-4", "harbour-1e-6-8"]


@pytest.mark.parametrize(
    ("option", "given_values", "said"),
    [
        ("lerning_rate", "1,2", "Did you mean learning_rate?"),
        ("train_data_dir", "a,b", "cannot have several values."),
        ("output_name", "a,b", "cannot have several values"),
        ("learning_rate", "1e-6", "needs two values or more"),
        ("learning_rate", " 1e-6, ,1e-6 ", "needs two values or more"),
    ],
)
def test_what_is_no_axis_is_said(option: str, given_values: str, said: str) -> None:
    """An unknown option, one that names a place, and too few values are one problem each."""
    found = read_axis(option, given_values)
    assert isinstance(found, Problem)
    assert said in found.message


def test_values_with_commas_are_parted_by_semicolons() -> None:
    """Arguments of an optimizer have commas in them."""
    found = read_axis("optimizer_args", "betas=0.9,0.99; betas=0.9,0.999")
    assert found == Axis("optimizer_args", ("betas=0.9,0.99", "betas=0.9,0.999"))


def test_a_wrong_value_is_said_with_its_combination(values: dict[str, Any]) -> None:
    """What cannot be read or breaks a rule names the values that it is about, and nothing else comes out."""
    found = jobs_of(values, [Axis("learning_rate", ("1e-6", "many"))])
    assert isinstance(found, list)
    assert found[0].message.startswith("With Learning rate many: ")
    broken = jobs_of(values, [Axis("unetonly", ("true", "false")), Axis("encoderonly", ("true", "false"))])
    assert isinstance(broken, list) and "true" in broken[0].message


@pytest.mark.parametrize(
    "axes",
    [
        [],
        [RATES, RATES],
        [RATES, BATCHES, Axis("seed", ("1", "2"))],
        [Axis("seed", tuple(map(str, range(MOST_RUNS + 1))))],
    ],
)
def test_sweeps_that_are_none(axes: list[Axis], values: dict[str, Any]) -> None:
    """No option, one twice, three, and too many runs are refused before any job is made."""
    found = jobs_of(values, axes)
    assert isinstance(found, list) and len(found) == 1


def test_a_length_takes_the_place_of_the_other(values: dict[str, Any]) -> None:
    """Epochs as an axis replace steps that were given."""
    jobs = jobs_of(values | {"max_train_steps": 100}, [Axis("max_train_epochs", ("1", "3"))])
    assert isinstance(jobs, dict)
    assert {(job.config.length.max_train_epochs, job.config.length.max_train_steps) for job in jobs.values()} == {
        (1, None),
        (3, None),
    }


def test_names_that_would_clash_are_numbered(values: dict[str, Any]) -> None:
    """Values that are no part of a file's name, or too long, give numbers."""
    arguments = tuple(f"weight_decay={'0.' + '1' * length}" for length in (40, 50))
    jobs = jobs_of(values, [Axis("optimizer_args", arguments)])
    assert isinstance(jobs, dict) and [job.name for job in jobs.values()] == ["harbour-1", "harbour-2"]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([option for option in OPTIONS.values() if can_be_swept(option)]), st.data())
def test_any_option_that_can_be_swept_keeps_names_apart(option: Any, data: st.DataObject) -> None:
    """Whatever the values, runs write under names of their own, or there is a problem to read."""
    texts = data.draw(st.lists(st.text(max_size=12), min_size=2, max_size=4))
    axis = read_axis(option.name, ";".join(texts) + ";")
    if isinstance(axis, Problem):
        assert axis.message
        return
    base = {"pretrained_model_name_or_path": "m", "train_data_dir": "/d", "output_dir": "/o"}
    jobs = jobs_of(base, [axis])
    if isinstance(jobs, list):
        assert jobs and all(problem.message.startswith("With ") for problem in jobs)
    else:
        assert len({job.name for job in jobs.values()}) == len(axis.values)


def test_a_sweep_is_found_again(values: dict[str, Any], tmp_path: Path) -> None:
    """Its runs wait in the order of their cells, and are one sweep with every run in its cell; others are in none."""
    home = tmp_path / "runs"
    axes = [RATES, BATCHES]
    jobs = jobs_of(values, axes)
    assert isinstance(jobs, dict)
    name = sweep_name("harbour", axes)
    assert name == "harbour, learning rate × batch size"
    asked = ask_for(home, axes, jobs, name)
    lone = new_run(home, next(iter(jobs.values())))
    assert queued_runs(home) == [*asked, lone]
    (found,) = sweeps_of(list_runs(home))
    assert (found.name, list(found.axes)) == (name, axes)
    assert {cell: run.path for cell, run in found.runs.items()} == dict(zip(jobs, [r.path for r in asked], strict=True))
    assert place_of(lone) is None
    for run, job in zip(asked, jobs.values(), strict=True):
        written = read_job(run.job_file)
        assert isinstance(written, Job) and written.config == job.config


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{}",
        '{"sweep": "x", "axes": [], "cell": []}',
        '{"sweep": "x", "axes": [{"option": "seed", "values": ["1"]}], "cell": [5]}',
        '{"sweep": "x", "axes": [{"option": "seed", "values": 1}], "cell": [0]}',
        '{"sweep": "x", "axes": [{"option": "seed", "values": ["1"]}], "cell": [0, 0]}',
    ],
)
def test_a_damaged_record_is_no_place(record: str, values: dict[str, Any], tmp_path: Path) -> None:
    """A run whose record cannot be used is a run like any other."""
    jobs = jobs_of(values, [RATES])
    assert isinstance(jobs, dict)
    run = new_run(tmp_path / "runs", jobs[(0,)])
    (run.path / FILE).write_text(record, encoding="utf-8")
    assert place_of(run) is None and sweeps_of([run]) == []
