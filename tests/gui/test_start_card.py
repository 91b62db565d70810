"""The right column of the training page: the sum, the curve, the command line, and the start."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gui import start_card
from gui.review import Review, review
from gui.start_card import begin, command_card, command_of, curve_value, sum_rows, title_line, written_name
from gui.studio import ROOT, Studio
from trainer.contract.cli import parse_line
from trainer.contract.job import Job, make_job, read_job
from trainer.runs.folder import RunFolder, list_runs

Values = Callable[..., dict[str, object]]


def test_the_sum_follows_row_by_row(home: Path, demo_values: Values) -> None:
    """Images times repeats, batches, epochs, steps, saves with their size, samples."""
    values = demo_values(max_train_steps=None, max_train_epochs=4, sample_prompts="a star\na moon")
    found = review(values, home)
    assert found.plan is not None
    rows = dict(sum_rows(found.plan, found.looked_at, found.sizes))
    assert rows["8 images × 10 repeats"] == "80 an epoch"
    assert rows["and of 64 regularization images"] == "80 an epoch"
    assert rows["in batches of 8"] == "20 steps an epoch"
    assert rows["times 4 epochs"] == "80 steps"
    assert rows["Saves"].startswith("1 of ") and rows["Saves"].endswith("MB")
    assert rows["States to resume from"].startswith("up to 2 at once, each ")
    assert rows["Samples"] == "2 prompts, 5 times"


def test_a_cut_last_epoch_is_said(home: Path, demo_values: Values) -> None:
    """Steps that end inside an epoch are not called full epochs."""
    found = review(demo_values(max_train_steps=70), home)
    assert found.plan is not None
    assert ("ending in epoch 4", "70 steps") in sum_rows(found.plan, found.looked_at, None)


def test_the_curve_is_that_of_the_real_number_of_steps(home: Path, demo_values: Values) -> None:
    """The axis ends at the planned steps, the highest label is the learning rate, and a bad value draws nothing."""
    values = demo_values(max_train_steps=None, max_train_epochs=4, lr_warmup_steps=10)
    value = curve_value(review(values, home))
    assert value["x"][-1] == ["80", 100.0] and value["y"][0] == ["0.0003", 0]
    assert value["path"].startswith("M0.0 1000.0L")
    assert curve_value(review(demo_values(learning_rate="fast"), home))["path"] == ""


def test_the_command_line_says_the_same_run(home: Path, demo_values: Values) -> None:
    """The copied command, read by the command line's own parser, makes the very config of the form."""
    values = demo_values(sample_prompts='it\'s a star --s 2\na "moon" & <sea> --s 2', max_grad_norm=0, sdpa=False)
    found = review(values, home)
    words = shlex.split(command_of(found, home))
    assert words[:3] == ["python", "-m", "trainer"]
    line = parse_line(words[3:], {"home": True})
    job = make_job(line.values)
    assert line.problems == [] and isinstance(job, Job) and job.config == found.config
    assert line.own == {"home": str(home)}


def test_no_command_stands_there_for_a_value_that_cannot_be_read(home: Path, demo_values: Values) -> None:
    """Leaving out a value that cannot be read would make the command another run."""
    card = command_card(review(demo_values(learning_rate="fast"), home), Studio(home=home))
    assert "python" not in card and "every value can be read" in card


def test_the_command_line_is_quoted_for_windows(home: Path, demo_values: Values) -> None:
    """Windows has its own quoting: a path with a space stands in double quotes; the default home is not named."""
    command = command_of(review(demo_values(), home), ROOT, windows=True)
    assert subprocess.list2cmdline([str(home / "demo" / "model")]) in command and "--home" not in command


def test_the_name_of_what_is_written(home: Path, demo_values: Values) -> None:
    """The title says what will lie in the folder: a file with its ending, a folder without."""
    assert written_name(review(demo_values(), home)) == "demo.safetensors"
    assert written_name(review(demo_values(save_model_as="ckpt", output_name=None), home)) == "last.ckpt"
    assert written_name(review(demo_values(save_model_as=None), home)) == "demo"
    assert title_line(review(demo_values(), home)) == "8 images, model, written as demo.safetensors"


def test_a_start_makes_one_run_with_the_job_of_the_form(
    home: Path, demo_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin writes the job as it stands in the form and hands the run to the runner."""
    handed: list[RunFolder] = []
    monkeypatch.setattr(start_card, "start_run", handed.append)
    run = begin(Studio(home=home), demo_values())
    assert isinstance(run, RunFolder) and handed == [run] and list_runs(home / "runs") == [run]
    job = read_job(run.job_file)
    assert isinstance(job, Job) and job.config == review(demo_values(), home).config


def test_nothing_starts_with_something_to_mend(home: Path, demo_values: Values) -> None:
    """The server looks once more at the start: what broke since the last look stops it, and no folder is made."""
    found = begin(Studio(home=home), demo_values(train_data_dir=str(home / "gone")))
    assert isinstance(found, Review) and found.errors
    assert list_runs(home / "runs") == []


def test_a_runner_that_does_not_come_up_is_told(
    home: Path, demo_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no runner comes up the page says so and keeps the run in the list."""

    def refuse(run: RunFolder) -> None:
        raise RuntimeError("The runner did not come up.")

    monkeypatch.setattr(start_card, "start_run", refuse)
    said = begin(Studio(home=home), demo_values())
    assert isinstance(said, str) and said.startswith("The runner did not come up.")
    assert len(list_runs(home / "runs")) == 1
