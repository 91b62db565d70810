"""A tiny model, a few pictures, and whole runs in this process."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from tests.tiny_models import make_tiny
from trainer.contract.control import Wish, send
from trainer.contract.events import Event, EventReader, EventWriter, Phase, Stepped
from trainer.contract.job import Job, make_job
from trainer.training.run import train_job
from trainer.training.session import Teller

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "training"

Train = Callable[..., list[Event]]


@pytest.fixture(scope="session")
def tiny_v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1.x model that predicts the noise."""
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny v1")


@pytest.fixture(scope="session")
def tiny_v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2.x model that predicts v."""
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny v2", "v2", "v")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two numbered folders with five pictures of three shapes: `train`, and `reg` with three more."""
    home = tmp_path_factory.mktemp("Bilder ä")
    draw_pictures(home / "train" / "2_sks dog", [(64, 64), (80, 64), (64, 128)])
    draw_pictures(home / "train" / "1_sks cat, sitting, red", [(64, 64), (128, 64)], first=3)
    draw_pictures(home / "reg" / "1_dog", [(64, 64), (64, 128), (70, 70)], first=5)
    return home


def draw_pictures(folder: Path, sizes: list[tuple[int, int]], first: int = 0) -> Path:
    """Pictures of soft colour fields, each different, in `folder`."""
    folder.mkdir(parents=True)
    for number, (width, height) in enumerate(sizes, start=first):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def lasting_values(tiny_v1: Path, pictures: Path) -> dict[str, Any]:
    """Option values of a job of a few steps, without a place for the result."""
    return {
        "pretrained_model_name_or_path": str(tiny_v1),
        "train_data_dir": str(pictures / "train"),
        "resolution": "64",
        "max_train_steps": 3,
        "train_batch_size": 2,
        "cache_latents": True,
        "learning_rate": 1e-3,
        "seed": 7,
    }


@pytest.fixture
def values(lasting_values: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Option values of a job of a few steps; tests lay their own over them."""
    return lasting_values | {"output_dir": str(tmp_path / "out")}


@pytest.fixture
def train(values: dict[str, Any], tmp_path: Path) -> Train:
    """Runs a job to its end in this process and returns its events: `train("name of the run", option=value, ...)`."""

    def to_the_end(name: str = "run", **changes: Any) -> list[Event]:
        return run_to_the_end(values | changes, tmp_path / name)

    return to_the_end


def run_to_the_end(values: dict[str, Any], run: Path) -> list[Event]:
    """Train in this process as in one of its own: with a fresh accelerate, and bitsandbytes in sight afterwards."""
    run.mkdir(exist_ok=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    hidden = "bitsandbytes" not in sys.modules
    try:
        train_job(job_of(values), run)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        if hidden and sys.modules.get("bitsandbytes", ...) is None:
            del sys.modules["bitsandbytes"]
    return EventReader(run / "events.jsonl").read()


def job_of(values: dict[str, Any]) -> Job:
    """The job of these values, which must pass the first two gates."""
    job = make_job(values)
    assert isinstance(job, Job), job
    return job


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    """The events of one type."""
    return [event for event in events if isinstance(event, kind)]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@contextmanager
def wishing(step: int, wish: Wish) -> Iterator[None]:
    """Inside, `wish` is sent through the run's control file before step number `step` is taken, and heard in it."""
    write = Teller.write

    def and_wish(teller: Teller, event: Event) -> None:
        write(teller, event)
        before = (isinstance(event, Stepped) and event.step == step - 1) or (
            isinstance(event, Phase) and event.name == "training" and event.done == step - 1
        )
        if before and isinstance(teller._writer, EventWriter):
            send(teller._writer._path.with_name("control.jsonl"), wish)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Teller, "write", and_wish)
        yield
