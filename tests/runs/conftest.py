"""A folder of runs with real processes in it, all of which are gone after the test."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import waiting
from trainer.contract.identity import read_identity
from trainer.contract.job import Job, make_job
from trainer.runs.folder import RunFolder, list_runs, new_run
from trainer.runs.processes import end_tree

FAKE_TRAINER = (str(Path(__file__).with_name("fake_trainer.py")),)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """HOME for runs, with the letters that users have in their folders."""
    home = tmp_path / "Jörg's runs (1)"
    home.mkdir()
    yield home
    # The runner first: it would start the next one. Some tests write this very process into those files.
    files = [*home.glob("runner*.json")]
    for run in list_runs(home):
        files += [run.process_file, run.launch_file]
    identities = [read_identity(file) for file in files]
    end_tree(*[one for one in identities if one is not None and one.pid != os.getpid()], grace_s=1)


@pytest.fixture
def ask(home: Path) -> Callable[..., RunFolder]:
    """Ask for a run of this name and length."""

    def new(name: str, steps: int = 5) -> RunFolder:
        return new_run(home, a_job(name, steps))

    return new


def a_job(name: str, steps: int = 5) -> Job:
    """A job of any name: without an output_name it is the name of the folder of images, so all letters may occur."""
    job = make_job({"max_train_steps": steps, **PATHS})
    assert isinstance(job, Job), job
    return replace(job, name=name)


PATHS = {"pretrained_model_name_or_path": "/models/some", "train_data_dir": "/images", "output_dir": "/out"}


def wait_for(condition: Callable[[], object], seconds: float = 40) -> None:
    """As `waiting.wait_for`, with less patience: the trainers of this folder only pretend."""
    waiting.wait_for(condition, seconds)
