"""Cuts around faces against the recorded ones."""

import json
import random
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from trainer.contract.config import ImageSection
from trainer.dataset.batches import Purpose, rng
from trainer.dataset.placement import Face, face_in_name, placement
from trainer.dataset.scan import Picture

CASES = json.loads((Path(__file__).parents[1] / "fixtures/dataset/facecrop.json").read_text())["cases"]


class RecordedDice:
    """The standard library's generator behind the two calls of NumPy's: the recorded programs drew from it."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self._dice.uniform(low, high)

    def integers(self, low: int, high: int, size: int | None = None, endpoint: bool = False) -> int | np.ndarray:
        assert endpoint
        if size is None:
            return self._dice.randint(low, high)
        return np.array([self._dice.randint(low, high) for _ in range(size)])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['image']}-{case['face_crop_aug_range']}")
def test_face_cuts_equal_the_recorded_ones(case: dict) -> None:
    """With the dice of the recorded programs every cut is theirs: resized size and corner, for 5 and over 200 seeds."""
    low, high = case["face_crop_aug_range"]
    x, y, w, h = case["face_cx_cy_w_h"]
    section = ImageSection(face_crop_aug_range=f"{low},{high}", random_crop=case["random_crop"])
    picture = Picture(Path(f"a_{x}_{y}_{w}_{h}.png"), *case["image"])
    got = []
    for seed in range(200):
        place = placement(picture, tuple(case["resolution"]), section, cast(np.random.Generator, RecordedDice(seed)))
        got.append([place.resized_w, place.resized_h, place.left, place.top])
    assert got[:5] == case["resized_w_h_left_top_for_random.seed_0..4"]
    assert np.min(got, axis=0).tolist() == case["min_over_200_seeds"]
    assert np.max(got, axis=0).tolist() == case["max_over_200_seeds"]


@pytest.mark.parametrize(
    ("stem", "face"),
    [
        ("a_120_80_60_50", Face(120, 80, 60, 50)),
        ("a_b_01_0120_0080_0060_0050", Face(120, 80, 60, 50)),
        ("a_120_80_60", None),
        ("120_80_60_50", None),
        ("a_120_80_x_50", None),
        ("a_0_80_60_50", None),
        ("a_10_10_0_0", None),
    ],
)
def test_faces_in_names(stem: str, face: Face | None) -> None:
    """Five parts or more, the last four whole numbers, the centre right of the edge; anything else is no face."""
    assert face_in_name(stem) == face


def test_without_a_face_the_middle_is_cut() -> None:
    """A name without numbers falls back to the ordinary cut; numbers without the option are only a name."""
    plain = placement(Picture(Path("a.png"), 800, 600), (512, 512), ImageSection(), rng(0, 0, 0, Purpose.PIXELS))
    section = ImageSection(face_crop_aug_range="2,4")
    assert placement(Picture(Path("a.png"), 800, 600), (512, 512), section, rng(0, 0, 0, Purpose.PIXELS)) == plain
    named = Picture(Path("a_10_10_90_90.png"), 800, 600)
    assert placement(named, (512, 512), ImageSection(), rng(0, 0, 0, Purpose.PIXELS)) == plain


def test_random_cuts_reach_both_ends() -> None:
    """Every offset that the excess allows comes up."""
    picture, section = Picture(Path("a.png"), 74, 64), ImageSection(random_crop=True)
    lefts = {placement(picture, (64, 64), section, rng(0, 0, n, Purpose.PIXELS)).left for n in range(300)}
    assert lefts == set(range(11))
