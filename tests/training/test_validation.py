"""The loss on images held out: fixed, apart from training, and that of the weights that are saved."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny_models import load
from tests.training.conftest import Train, draw_pictures, of, wishing
from trainer.contract.config import DataSection, ImageSection
from trainer.contract.events import Planned, Stepped, Validated
from trainer.dataset.captions import Entry, entries_of
from trainer.dataset.held_out import hold_out, number_of
from trainer.dataset.pixels import pixels
from trainer.dataset.scan import scan
from trainer.training.latents import SCALE
from trainer.training.objective import NoiseSchedule
from trainer.training.outcome import Refused
from trainer.training.text import Reader
from trainer.training.validation import levels

SPLIT = 0.3


def losses(events: list[Any]) -> list[float]:
    """The loss of each step."""
    return [step.loss for step in of(Stepped, events)]


def measured(events: list[Any]) -> list[tuple[int, float]]:
    """What was measured after which step."""
    return [(event.step, event.loss) for event in of(Validated, events)]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of one size in one numbered folder."""
    home = tmp_path_factory.mktemp("flat")
    draw_pictures(home / "1_sks dog", [(64, 64)] * 6)
    return home


@pytest.fixture
def options(flat: Path) -> dict[str, Any]:
    """A job that holds two of six pictures out, two steps an epoch, with all that is thrown by chance."""
    return {
        "train_data_dir": str(flat),
        "validation_split": SPLIT,
        "max_train_steps": 5,
        "flip_aug": True,
        "ucg": 0.5,
        "noise_offset": 0.1,
    }


def kept_apart(flat: Path, tmp_path: Path) -> Path:
    """A folder with only those pictures that are trained on."""
    data = DataSection(train_data_dir=flat)
    entries, _ = entries_of(scan(data), data)
    out = {entry.picture.name for entry in hold_out(entries, SPLIT)}
    folder = tmp_path / "apart" / "1_sks dog"
    folder.mkdir(parents=True)
    for entry in entries:
        if entry.picture.name not in out:
            (folder / entry.picture.name).write_bytes(entry.picture.path.read_bytes())
    return folder.parent


def test_measuring_changes_no_step(train: Train, options: dict[str, Any], flat: Path, tmp_path: Path) -> None:
    """A run that measures often, one that measures by epochs and one without these images have the same losses."""
    more = {"use_ema": True, "cache_latents": False}
    often = train("often", **options, **more, validate_every_n_steps=1)
    epochs = train("epochs", **options, **more)
    apart = options | {"train_data_dir": str(kept_apart(flat, tmp_path)), "validation_split": 0}
    assert losses(often) == losses(epochs) == losses(train("apart", **apart, **more))
    assert [step for step, _ in measured(often)] == [0, 1, 2, 3, 4, 5]
    assert [step for step, _ in measured(epochs)] == [0, 2, 4, 5]
    assert dict(measured(epochs)).items() <= dict(measured(often)).items()
    assert (of(Planned, often)[0].images, of(Planned, often)[0].validation_images) == (4, 2)
    assert all(event.images == 2 and event.averaged for event in of(Validated, often))


@pytest.mark.parametrize("averaged", [{"use_ema": True}, {"optimizer_type": "AdamWScheduleFree"}])
def test_measured_is_the_plain_error_of_the_saved_weights(
    averaged: dict[str, Any], train: Train, options: dict[str, Any], flat: Path, tmp_path: Path
) -> None:
    """What is told at the end is the mean squared error of the saved, averaged model, computed once more here."""
    told = train(**options, **averaged, min_snr_gamma=5.0, loss_type="l1", save_model_as="diffusers_safetensors")
    networks = load(tmp_path / "out" / "last")
    data = DataSection(train_data_dir=flat)
    entries, _ = entries_of(scan(data), data)
    t, schedule, errors = levels(0, 1000), NoiseSchedule(), []
    assert t.tolist() == [62, 187, 312, 437, 562, 687, 812, 937]
    for entry in hold_out(entries, SPLIT):
        seen = torch.tensor(pixels_of(entry)).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            x0 = networks.vae.encode(seen).latent_dist.mean * SCALE
            noise = np.random.default_rng(number_of(entry)).standard_normal((8, *x0.shape[1:]), dtype=np.float32)
            eps = torch.from_numpy(noise)
            noisy = schedule.add_noise(x0.expand_as(eps), eps, t)
            ids = Reader(networks.tokenizer).read([entry.caption] * 8).ids
            states = networks.text_encoder(ids).last_hidden_state
            predicted = networks.unet(noisy, t, encoder_hidden_states=states).sample
        errors.append(float((predicted - eps).square().mean()))
    assert measured(told)[-1] == (5, pytest.approx(sum(errors) / 2, rel=1e-5))


def test_only_what_is_learnt_is_measured(train: Train, options: dict[str, Any], flat: Path, tmp_path: Path) -> None:
    """By masks: the two halves of each picture add up to the whole, and grey counts in part."""

    def first(name: str, left: int, right: int, **more: Any) -> float:
        (tmp_path / name).mkdir()
        for path in (flat / "1_sks dog").glob("*.png"):
            mask = np.repeat([left, right], 32).astype(np.uint8)[None].repeat(64, axis=0)
            Image.fromarray(mask).save(tmp_path / name / path.name)
        masks = {"masked_loss": True, "conditioning_data_dir": str(tmp_path / name)}
        return measured(train(f"run {name}", **options | masks | more | {"max_train_steps": 1}))[0][1]

    whole = measured(train("plain", **options | {"max_train_steps": 1}))[0][1]
    left, right = first("left", 255, 0), first("right", 0, 255)
    assert 0 < left != right and left + right == pytest.approx(whole, rel=1e-5)
    assert first("grey", 51, 51) == pytest.approx(whole / 5, rel=1e-5)


def test_resumed_run_measures_the_same(train: Train, options: dict[str, Any], tmp_path: Path) -> None:
    """What is measured goes on as in a run that never stopped: the step of the stop is made up for on resuming."""
    options = options | {"validate_every_n_steps": 1, "logging_dir": str(tmp_path / "logs")}
    straight = train("straight", **options | {"logging_dir": None})
    with wishing(3, "stop"):
        part = train("part", **options)
    rest = train("rest", **options, resume=str(tmp_path / "part"))
    assert [step for step, _ in measured(part)] == [0, 1, 2]
    assert measured(part) + measured(rest) == measured(straight)
    (folder,) = (tmp_path / "logs").iterdir()
    curve = EventAccumulator(str(folder)).Reload().Scalars("loss/validation")
    assert [point.step for point in curve] == [0, 1, 2, 3, 4, 5]
    assert all(math.isclose(point.value, dict(measured(straight))[point.step], rel_tol=1e-6) for point in curve)


def test_other_share_is_refused_on_resume(train: Train, options: dict[str, Any], tmp_path: Path) -> None:
    """Images that were held out would be trained on: that is no change that a run can take."""
    with wishing(2, "stop"):
        train("part", **options)
    with pytest.raises(Refused) as caught:
        train("rest", **options | {"validation_split": 0.5}, resume=str(tmp_path / "part"))
    assert [problem.code for problem in caught.value.problems] == ["disk.resume_option"]


def test_levels_follow_the_range_that_is_trained() -> None:
    """Timesteps are measured where they are learnt, the ends of the schedule included."""
    assert levels(400, 600).tolist() == [412, 437, 462, 487, 512, 537, 562, 587]
    assert levels(999, 1000).tolist() == [999] * 8


def pixels_of(entry: Entry) -> np.ndarray:
    """The pixels of a picture that has the size of its bucket."""
    return pixels(entry, (64, 64), ImageSection(resolution="64"), np.random.default_rng(0))
