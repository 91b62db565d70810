"""Tiny models for the tests of this folder, made once a session, and networks loaded from them."""

from pathlib import Path

import pytest

from tests.tiny_models import load, make_tiny
from trainer.model.load import Networks


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> Diffusers folder: 1.x predicts epsilon, 2.x predicts v."""
    root = tmp_path_factory.mktemp("models with spaces and ümlauts")
    return {"v1": make_tiny(root / "tiny v1", "v1"), "v2": make_tiny(root / "tiny v2", "v2", "v")}


@pytest.fixture(scope="session")
def loaded(tiny: dict[str, Path]) -> dict[str, Networks]:
    """Family -> networks; shared, so no test changes them."""
    return {family: load(folder) for family, folder in tiny.items()}
