"""The ruler that the demo's models are measured with reads true pictures rightly, whole or a little worn."""

import cv2
import numpy as np
import pytest

from tests.demo.scorer import hits, read, scores
from trainer.demo.scenes import ATTRIBUTES, COLOURS, Look, Scene, draw_scene, render

SIDE = 128


def scenes(count: int, *, held_out: bool = False) -> list[Scene]:
    """Random scenes, the same each time."""
    rng = np.random.default_rng(11)
    return [draw_scene(rng, held_out=held_out) for _ in range(count)]


@pytest.mark.parametrize("held_out", [False, True])
def test_true_pictures_are_read_rightly(held_out: bool) -> None:
    """At least 99 of 100 in each attribute."""
    asked = scenes(400, held_out=held_out)
    told = scores([render(scene, SIDE) for scene in asked], asked)
    assert set(told) == {*ATTRIBUTES, "colour + shape + position"}
    assert min(told.values()) >= 0.99


def test_worn_pictures_are_read_rightly() -> None:
    """Blurred and with noise, as a small VAE leaves them, still 95 of 100."""
    asked = scenes(200)
    rng = np.random.default_rng(12)
    worn = [
        np.clip(cv2.GaussianBlur(render(s, SIDE), (0, 0), 1.0) + rng.normal(0, 6, (SIDE, SIDE, 3)), 0, 255).astype(
            "uint8"
        )
        for s in asked
    ]
    assert min(scores(worn, asked).values()) >= 0.95


@pytest.mark.parametrize("attribute", list(ATTRIBUTES))
def test_another_picture_is_a_miss(attribute: str) -> None:
    """A picture that differs in one attribute is right in the five others and wrong in that one."""
    for asked in scenes(12):
        values = ATTRIBUTES[attribute]
        other = values[(values.index(getattr(asked, attribute)) + 1) % len(values)]
        words = {name: getattr(asked, name) for name in ATTRIBUTES} | {attribute: other}
        found = hits(render(Scene(**words), SIDE), asked)
        assert not found.pop(attribute)
        assert all(found.values())


def test_nothing_is_found_where_nothing_is() -> None:
    """An empty ground has a ground and no thing; noise has no attribute by right."""
    empty = np.full((SIDE, SIDE, 3), 246, dtype=np.uint8)
    assert read(empty) == {"ground": "white", **dict.fromkeys(("shape", "colour", "size", "position", "texture"), "")}
    asked = scenes(100)
    rng = np.random.default_rng(13)
    noise = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in asked]
    assert scores(noise, asked)["colour + shape + position"] < 0.1


def test_a_look_of_its_own_is_drawn() -> None:
    """A scene may be painted in other colours than its words say: what a model is yet to be taught."""
    (asked,) = scenes(1)
    words = {name: getattr(asked, name) for name in ATTRIBUTES}
    painted = render(Scene(**words, look=Look(COLOURS["red"], COLOURS["blue"], "two-tone")), SIDE)
    assert not np.array_equal(painted, render(Scene(**words), SIDE))
