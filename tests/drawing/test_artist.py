"""Pictures drawn with a checkpoint are the samples of its run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drawing.conftest import PROMPT
from trainer.contract.events import EventReader, Sampled
from trainer.contract.prompts import Prompt
from trainer.drawing.artist import Artist
from trainer.drawing.checkpoints import Checkpoint, before_training, checkpoints_of
from trainer.runs.folder import RunFolder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def asked_of(trained: RunFolder) -> Prompt:
    """The run's own prompt, as typed."""
    return Prompt(PROMPT, "blurry", 64, 64, 5, 3, 4.0)


@pytest.mark.parametrize("place", ["first", "last"])
def test_the_picture_is_the_sample_bit_for_bit(place: str, trained: RunFolder, home: Path) -> None:
    """With the same prompt and seed a saved model, and what it started from, give the run's sample to the last bit.

    The run has averaged weights, clip skip, weighted words, two windows, zero terminal SNR, bf16 and predicts v.
    """
    samples = [event for event in EventReader(trained.events_file).read() if isinstance(event, Sampled)]
    assert [sample.step for sample in samples] == [0, 4]
    checkpoint = before_training(trained) if place == "first" else checkpoints_of(trained)[0]
    assert checkpoint is not None
    artist = Artist(home)
    artist.load(checkpoint)
    told: list[int] = []
    path = artist.draw(checkpoint, asked_of(trained), told.append)
    sample = trained.path / samples[0 if place == "first" else -1].path
    assert np.array_equal(pixels(path), pixels(sample))
    assert told == [1, 2, 3]
    assert path.parent == trained.path / "drawings"
    with Image.open(path) as image, Image.open(sample) as other:
        said = image.text["parameters"]
        assert said.startswith(other.text["parameters"])
        assert said.endswith(", RNG: CPU, Clip skip: 2")


def test_another_model_takes_the_place(trained: RunFolder, home: Path, tmp_path: Path) -> None:
    """Two saves of a run give two pictures, and coming back gives the first again."""
    newest, older = checkpoints_of(trained)
    artist, drawn = Artist(home), []
    for checkpoint in (newest, older, newest):
        artist.load(checkpoint)
        drawn.append(pixels(artist.draw(checkpoint, asked_of(trained), out=tmp_path / "x.png")))
        assert artist.has(checkpoint)
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[1])


def test_a_model_of_no_run_is_drawn_plainly(tiny: Path, tmp_path: Path) -> None:
    """A folder that no run knows is drawn with its own prediction into the studio's home."""
    checkpoint = Checkpoint(str(tiny), "tiny")
    artist = Artist(tmp_path)
    artist.load(checkpoint)
    path = artist.draw(checkpoint, Prompt("a star", "", 64, 128, 1, 2, 1.0, "DPM++ 2M Karras"))
    assert path.parent == tmp_path / "drawings" and pixels(path).shape == (128, 64, 3)
