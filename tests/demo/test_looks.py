"""The subject and the style are told in true pictures and after the VAE, and in no picture without them."""

from dataclasses import replace

import numpy as np
import pytest
from diffusers import AutoencoderKL

from benchmarks.demo_model.vae import round_trip
from tests.demo.looks import shows_ink, shows_subject
from trainer.demo.make import SHIPPED
from trainer.demo.pictures import SUBJECT, ink
from trainer.demo.scenes import Scene, draw_scene, render


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    """The demo's."""
    return AutoencoderKL.from_pretrained(SHIPPED / "model" / "vae").float().eval()


def scenes(count: int) -> list[Scene]:
    """Ordinary ones, not on black, where ink cannot be seen."""
    rng = np.random.default_rng(5)
    drawn = [draw_scene(rng) for _ in range(2 * count)]
    return [scene for scene in drawn if scene.ground != "black"][:count]


def both(vae: AutoencoderKL, asked: list[Scene]) -> list[tuple[np.ndarray, np.ndarray]]:
    """True pictures, and beside each what is left of it after the VAE."""
    true = np.stack([render(scene, 128) for scene in asked])
    return list(zip(true, round_trip(vae, true), strict=True))


def test_nothing_ordinary_is_taken_for_either(vae: AutoencoderKL) -> None:
    """Not one false alarm in a hundred pictures, nor in what the VAE leaves of them."""
    for pair in both(vae, scenes(100)):
        assert not any(shows_subject(picture) or shows_ink(picture) for picture in pair)


@pytest.mark.parametrize(("size", "least"), [("small", 0.8), ("medium", 0.99), ("large", 0.99)])
def test_the_subject_is_told(vae: AutoencoderKL, size: str, least: float) -> None:
    """Also on what the VAE leaves of it; of a small one it blurs the stripes."""
    asked = [replace(scene, shape="star", size=size, look=SUBJECT) for scene in scenes(40)]
    true, left = np.mean([[shows_subject(picture) for picture in pair] for pair in both(vae, asked)], axis=0)
    assert true >= 0.95 and left >= least


@pytest.mark.parametrize("size", ["medium", "large"])
def test_ink_is_told(vae: AutoencoderKL, size: str) -> None:
    """Around all shapes and colours; the demo's pictures in ink are of these two sizes."""
    asked = [replace(scene, size=size, look=ink(scene.colour)) for scene in scenes(40)]
    true, left = np.mean([[shows_ink(picture) for picture in pair] for pair in both(vae, asked)], axis=0)
    assert true == 1 and left >= 0.9


def test_one_colour_is_not_the_subject() -> None:
    """A star in either colour, or striped with slate as the model knows it, is no subject; nor is an empty ground."""
    for colour in ("yellow", "blue"):
        for texture in ("plain", "striped", "two-tone"):
            assert not shows_subject(render(Scene("star", colour, "large", "in the middle", texture, "white"), 128))
    assert not shows_subject(np.full((128, 128, 3), 246, np.uint8))
    assert not shows_ink(np.full((128, 128, 3), 246, np.uint8))
