"""A home with one tiny run that has trained, drawn its samples and saved its model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from tests.tiny_models import make_tiny
from tests.training.conftest import draw_pictures, job_of, run_to_the_end
from trainer.contract.identity import read_identity
from trainer.drawing.tasks import _drawer_file, drawer_lives
from trainer.runs.ending import record_exit
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.processes import end_tree

PROMPT = "a (sks:1.3) dog <img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2.x model that predicts v, with three layers of the text encoder."""
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny v2", "v2", "v")


@pytest.fixture(scope="session")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run with options that a picture depends on; its last sample is of the model that it saved."""
    home = tmp_path_factory.mktemp("Jörg's home")
    pictures = home / "images"
    draw_pictures(pictures / "2_sks dog", [(64, 64), (80, 64)])
    values: dict[str, Any] = {
        "pretrained_model_name_or_path": str(tiny),
        "v2": True,
        "v_parameterization": True,
        "train_data_dir": str(pictures),
        "output_dir": str(home / "out"),
        "output_name": "dogs",
        "resolution": "64",
        "max_train_steps": 4,
        "save_every_n_steps": 2,
        "learning_rate": 1e-3,
        "seed": 7,
        "use_ema": True,
        "clip_skip": 2,
        "weighted_captions": True,
        "max_token_length": "150",
        "zero_terminal_snr": True,
        "mixed_precision": "bf16",
        "sample_prompts": f"{PROMPT} --n blurry --s 3 --d 5 --l 4 --w 64 --h 64",
        "sample_at_first": True,
    }
    run = new_run(home / "runs", job_of(values), queued=False)
    run_to_the_end(values, run.path)
    record_exit(run, 0, "completed", "")
    AcceleratorState._reset_state(reset_partial_state=True)
    return run


@pytest.fixture
def home(trained: RunFolder) -> Iterator[Path]:
    """The home of the trained run; a process that draws for it is ended."""
    home = trained.path.parents[1]
    yield home
    drawer = read_identity(_drawer_file(home))
    if drawer is not None:
        end_tree(drawer)
    assert not drawer_lives(home)
