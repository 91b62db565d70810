"""Folders of small real images, made where a test asks for them."""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.contract.config import TrainingConfig

MakeImage = Callable[..., Path]
MakeConfig = Callable[..., TrainingConfig]


@pytest.fixture(autouse=True)
def own_index(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home of its own: no test sees what another one, or the person at this machine, has scanned."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ATELIER_HOME", str(home))
    return home / "cache" / "images.sqlite"


@pytest.fixture
def facts() -> Path:
    """The folder of recorded facts."""
    return Path(__file__).parents[1] / "fixtures" / "dataset"


@pytest.fixture
def make_image() -> MakeImage:
    """Write an image of noise; the same seed gives the same pixels."""

    def make(path: Path, size: tuple[int, int] = (512, 512), seed: int | None = None, **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Coarse noise, enlarged: quick to encode, small on disk, and different for every path.
        generator = np.random.default_rng(zlib.crc32(path.name.encode()) if seed is None else seed)
        Image.fromarray(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(size, 0).save(path, **options)
        return path

    return make


@pytest.fixture
def make_tree(make_image: MakeImage) -> Callable[[Path, Mapping[str, Any]], Path]:
    """Write files by relative path: None or (width, height) is an image, text and bytes are themselves."""

    def make(root: Path, files: Mapping[str, Any]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None or isinstance(content, tuple):
                make_image(path, content or (512, 512))
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return make


@pytest.fixture
def make_config() -> MakeConfig:
    """A config from option values, with captions in .txt."""

    def make(**values: Any) -> TrainingConfig:
        flat = {"caption_extension": ".txt"} | values
        return TrainingConfig.from_flat({k: str(v) if isinstance(v, Path) else v for k, v in flat.items()})

    return make
