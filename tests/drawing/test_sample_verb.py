"""`python -m trainer sample`: pictures from a terminal."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import trainer
from tests.drawing.conftest import PROMPT
from tests.gui.written_runs import Course, end, write_run
from trainer.__main__ import main
from trainer.drawing.checkpoints import checkpoints_of
from trainer.runs.folder import RunFolder

FLAGS = ["--negative", "blurry", "--width", "64", "--height", "64", "--seed", "5", "--steps", "3", "--guidance", "4"]


@pytest.mark.slow
def test_a_run_is_drawn_with_as_it_drew_itself(trained: RunFolder, home: Path, tmp_path: Path) -> None:
    """By the run's name, `sample` draws the run's last sample, bit for bit; --json says all that it was drawn with."""
    out = tmp_path / "ein Hund"
    words = ["sample", trained.path.name, "--prompt", PROMPT, *FLAGS, "--home", str(home), "--out", str(out), "--json"]
    done = trainer(*words, check=True)
    (row,) = json.loads(done.stdout)
    assert row["picture"] == f"{out}.png" and (row["seed"], row["steps"], row["sampler"]) == (5, 3, "DDIM")
    last = sorted(trained.samples.iterdir())[-1]
    with Image.open(f"{out}.png") as ours, Image.open(last) as theirs:
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_several_with_other_options(trained: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model by its path, three seeds, another sampler, and an option of the run overruled."""
    model = checkpoints_of(trained)[1].path
    words = ["sample", model, "--prompt", "a dog", *FLAGS[2:], "--number", "3", "--sampler", "euler_a"]
    assert main([*words, "--clip_skip", "1", "--home", str(tmp_path), "--out", str(tmp_path / "x.png")]) == 0
    assert [line.partition("  ")[2][:9] for line in capsys.readouterr().out.splitlines()] == [
        "(seed 5, ",
        "(seed 6, ",
        "(seed 7, ",
    ]
    with Image.open(tmp_path / "x-3.png") as picture:
        assert "Sampler: Euler a" in picture.text["parameters"] and "Clip skip: 1" in picture.text["parameters"]


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad values, an unknown flag, a useless one and a missing model, with exit code 2."""
    words = ["sample", str(tmp_path / "none.safetensors"), "--steps", "many", "--sampler", "best", "--number", "0"]
    assert main([*words, "--clip_skip", "99", "--train_batch_size", "2", "--stepz", "3", "--home", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for words in (
        "none.safetensors",
        "Steps needs a whole number",
        "no sampler “best”",
        "no prompt",
        "--number",
        "--stepz",
    ):
        assert words in said
    assert "Clip skip must be" in said and "--train_batch_size changes nothing here" in said
    assert main(["sample"]) == 2
    assert "Name one checkpoint" in capsys.readouterr().err


def test_a_run_that_trains_is_left_alone(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While a run trains, `sample` says so and offers to wait or to take the processor."""
    run = write_run(tmp_path / "runs", Course(steps=3), name="harbour", pid=os.getpid())
    words = ["sample", str(tiny), "--prompt", "a dog", *FLAGS, "--home", str(tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "harbour trains" in said and "--wait" in said and "--cpu" in said
    end(run, "stopped", 3)
    assert main([*words, "--wait"]) == 0
    assert len(list((tmp_path / "drawings").glob("*.png"))) == 1
