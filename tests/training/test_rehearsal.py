"""A run that is only measured: the largest of it, twice, and nothing written anywhere else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from tests.training.conftest import Train, draw_pictures, job_of, of
from trainer.contract.config import TrainingConfig
from trainer.contract.events import Event, EventReader, Finished, Sampled, Saved, Stepped, Validated
from trainer.dataset.check import check_dataset
from trainer.training.gates import Checked
from trainer.training.hardware import memory_gib, peak_memory_gib
from trainer.training.rehearsal import cut_down, kept_bytes
from trainer.training.resuming import Data, Start
from trainer.training.run import train_job

Rehearse = Callable[..., tuple[list[Event], dict[str, Any]]]


@pytest.fixture
def rehearse(values: dict[str, Any], tmp_path: Path) -> Rehearse:
    """Rehearses a job in this process; returns its events and measured.json."""

    def to_the_end(**changes: Any) -> tuple[list[Event], dict[str, Any]]:
        run = tmp_path / "measuring-1"
        run.mkdir()
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            train_job(job_of(values | changes), run, rehearsed=True)
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)
        return EventReader(run / "events.jsonl").read(), json.loads((run / "measured.json").read_bytes())

    return to_the_end


def test_it_learns_draws_validates_and_saves_in_its_own_folder(rehearse: Rehearse, tmp_path: Path) -> None:
    """All that a run does is done, with every shape twice, and no folder that the job names is written or made."""
    events, measured = rehearse(
        max_train_steps=400,
        use_ema=True,
        save_state=True,
        save_every_n_steps=1,
        sample_prompts="a dog --w 128 --h 64 --s 20\na cat",
        sample_every_n_steps=1,
        validation_split=0.2,
        enable_bucket=True,
        min_bucket_reso=64,
        logging_dir=str(tmp_path / "curves"),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["measuring-1"]
    assert of(Finished, events)[0].result == "completed"
    assert 4 <= len(of(Stepped, events)) <= 6
    (model,) = of(Saved, events)
    assert model.kind == "model" and Path(model.path).is_relative_to(tmp_path / "measuring-1")
    assert len(of(Sampled, events)) == 1 and of(Validated, events)
    assert measured["host_gib"] >= measured["host_before_gib"] > 0 and measured["most_while"]
    assert measured["seconds_in_all"] > 300 * measured["seconds_per_step"] > 0


def test_going_on_from_a_state_is_measured_without_touching_it(
    rehearse: Rehearse, train: Train, tmp_path: Path
) -> None:
    """The state is read and learnt from, its run's curves and states stay as they are."""
    train("before", save_state=True, logging_dir=str(tmp_path / "curves"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    (state,) = (tmp_path / "out").glob("*-state")
    events, _ = rehearse(resume=str(state), max_train_steps=9, logging_dir=str(tmp_path / "curves"))
    assert of(Stepped, events)[0].step == 4
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if "measuring-1" not in path.parts} == before


def test_it_is_measured_where_memory_runs_out(
    rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """measured.json is there also when a step falls."""

    def full(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("trainer.training.learner.Learner.learn", full)
    with pytest.raises(MemoryError):
        rehearse()
    measured = json.loads((tmp_path / "measuring-1" / "measured.json").read_bytes())
    assert measured["host_gib"] > 0 and "seconds_per_step" not in measured


@pytest.fixture
def cut(tmp_path: Path, lasting_values: dict[str, Any]) -> Callable[..., tuple[TrainingConfig, Checked, Any]]:
    """Cuts down a job over 2 wide and 5 square pictures, a long caption among them, and 3 for regularization."""
    draw_pictures(tmp_path / "data" / "1_sks dog", [(128, 64)] * 2 + [(64, 64)] * 5)
    draw_pictures(tmp_path / "reg" / "1_dog", [(64, 64)] * 3, first=9)
    places = {"train_data_dir": str(tmp_path / "data"), "reg_data_dir": str(tmp_path / "reg"), "output_dir": "/out"}

    class Around:
        seed = 0
        run = tmp_path / "run"

    def small(**changes: Any) -> tuple[TrainingConfig, Checked, Any]:
        options = {"resolution": "128,64", "enable_bucket": True, "min_bucket_reso": 64, "max_train_steps": 50}
        config = job_of(lasting_values | places | options | changes).config
        checked = Checked(check_dataset(config), Start(), Data(""), ())
        return config, checked, cut_down(config, checked, Around)  # type: ignore[arg-type]

    return small


def test_the_largest_batch_is_learnt(cut: Callable[..., Any]) -> None:
    """Most pixels in a batch count, not in a picture; another shape comes as well; every batch of it is as large."""
    _, _, small = cut(train_batch_size=5)
    assert (small.batch[0].bucket, len(small.batch)) == ((64, 64), 5)
    _, _, small = cut(train_batch_size=1)
    assert small.batch[0].bucket == (128, 64)
    shapes = {row.size: row.batches for row in small.plan.buckets}
    assert set(shapes) == {(128, 64), (64, 64)} and small.plan.total_steps == 2 * small.plan.steps_per_epoch
    _, _, small = cut(train_batch_size=2, gradient_accumulation_steps=3)
    assert small.config.length.gradient_accumulation_steps == 2
    assert all(row.missing_to_fill == 0 for row in small.plan.buckets)


def test_the_longest_caption_is_learnt_where_captions_are_not_padded(cut: Callable[..., Any], tmp_path: Path) -> None:
    """With padding all captions are as long."""
    (tmp_path / "reg" / "1_dog" / "9.caption").write_text("a dog " * 20)
    _, _, small = cut(train_batch_size=4, no_token_padding=True)
    assert max(len(entry.caption) for entry in small.checked.report.trained) == 119


@pytest.mark.parametrize("flip", [False, True])
def test_latents_that_are_not_encoded_are_stood_in_for(cut: Callable[..., Any], flip: bool) -> None:
    """With a cache the run keeps mean and deviation of each picture, and of its mirror image; without, nothing."""
    config, checked, small = cut(train_batch_size=1, flip_aug=flip, cache_latents=True)
    known = {entry.picture.path for entry in small.checked.report.trained}
    rest = [entry.picture for entry in checked.report.trained if entry.picture.path not in known]
    assert rest
    floats = sum(2 * 4 * (each.width // 8) * (each.height // 8) for each in rest) * (2 if flip else 1)
    assert kept_bytes(config, checked, small) == 4 * floats
    assert kept_bytes(*cut(cache_latents=False)) == 0


def test_the_peak_stays_when_memory_is_given_back() -> None:
    """What was held for a moment counts, which a look at what is held now would miss."""
    device = torch.device("cpu")
    held = np.ones(300_000_000, np.uint8)
    high = memory_gib(device)[1]
    del held
    assert peak_memory_gib(device)[1] >= high - 0.01 > memory_gib(device)[1] + 0.2
    assert peak_memory_gib(device)[0] is None
