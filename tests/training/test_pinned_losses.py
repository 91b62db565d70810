"""The losses of the demo's models are those that are pinned; tests/training/pin.py says how and why to pin anew."""

import json
from typing import Any

import pytest

from tests.training.pin import PINNED, PRESETS, measured

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    """What is measured now: all presets in one process."""
    return measured()


@pytest.fixture(scope="module")
def pinned() -> dict[str, Any]:
    """What was pinned."""
    return json.loads(PINNED.read_text("utf-8"))


@pytest.mark.parametrize("preset", PRESETS)
def test_losses_are_the_pinned_ones(preset: str, now: dict[str, Any], pinned: dict[str, Any]) -> None:
    """Equal to the last digit where the kernels have the bits of the machine that pinned, else to 1e-3."""
    ours, theirs = now["losses"][preset], pinned["losses"][preset]
    if now["probe"] == pinned["probe"]:
        assert ours == theirs
    else:
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_presets_differ(pinned: dict[str, Any]) -> None:
    """Twelve presets of ten steps, and none has the losses of another: what an option does would show."""
    rows = {tuple(pinned["losses"][preset][:10]) for preset in PRESETS}
    assert len(rows) == len(PRESETS) == 12 and all(len(row) == 10 for row in rows)
