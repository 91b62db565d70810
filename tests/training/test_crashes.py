"""Real faults in a real training, and the card that each of them gets."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import run_to_the_end
from trainer.contract.job import make_job, write_job
from trainer.runs.crash import Crash, diagnose
from trainer.runs.ending import judge, record_ending
from trainer.runs.folder import RunFolder
from trainer.runs.status import status_of
from trainer.training import session

Fail = Callable[..., Crash]


@pytest.fixture
def fail(values: dict[str, Any], tmp_path: Path) -> Fail:
    """Train with changes, which must end by itself, and say why it did, as its runner and the page would."""

    def until_it_ends(**changes: Any) -> Crash:
        run = RunFolder(tmp_path / "run")
        run.path.mkdir()
        job = make_job({**values, **changes})
        assert not isinstance(job, list), job
        write_job(run.job_file, job)
        with pytest.raises(Exception) as raised:
            run_to_the_end({**values, **changes}, run.path)
        run.log_file.write_text(f"Traceback (most recent call last):\n{raised.typename}: {raised.value}\n", "utf-8")
        record_ending(run, judge(run, 1))
        crash = diagnose(run, status_of(run))
        assert crash is not None
        return crash

    return until_it_ends


@pytest.fixture
def images(values: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of the images that may be harmed."""
    return Path(shutil.copytree(values["train_data_dir"], tmp_path / "images to harm"))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk with room for all that a run writes, as long as nobody else takes it. Only root may mount one."""
    place = tmp_path / "small disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no disk of 64 MB can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=False)


def after_the_gates(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Something happens when the trainer has looked at everything and begins to load."""
    real = session.assemble

    def and_happen(*given: Any) -> Any:
        happens()
        return real(*given)

    monkeypatch.setattr(session, "assemble", and_happen)


def test_a_full_disk(fail: Fail, full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that finds the room taken by others: "the disk is full", with what writes less."""

    def take_the_room() -> None:
        with suppress(OSError):
            (full_disk / "of somebody else").write_bytes(bytes(2**26))

    after_the_gates(monkeypatch, take_the_room)
    crash = fail(output_dir=str(full_disk), save_precision="float", save_state=True)
    assert crash.code == "disk_full" and "No space left" in crash.evidence
    assert [way.title for way in crash.ways][:1] == ["Save in fp16"]


def test_a_truncated_image(fail: Fail, images: Path) -> None:
    """An image whose end is missing passes the headers' look and fails when it is decoded: the card names it."""
    victim = next(path for path in sorted(images.rglob("*.png")))
    victim.write_bytes(victim.read_bytes()[:-100])
    crash = fail(train_data_dir=str(images), cache_latents=False)
    assert crash.code == "bad_image" and victim.name in crash.evidence
    assert any(way.values == {"skip_bad_images": True} for way in crash.ways)


def test_an_image_that_is_taken_away(fail: Fail, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that goes between the look at the folder and its reading."""
    after_the_gates(monkeypatch, lambda: [path.unlink() for path in images.rglob("*.png")])
    assert fail(train_data_dir=str(images), cache_latents=False).code == "bad_image"


def test_memory_that_is_not_there(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor that no computer has room for: PyTorch's own refusal, and what needs less."""
    from trainer.training import loop  # noqa: PLC0415 - patched where it is used

    monkeypatch.setattr(loop, "follow", lambda *_: torch.empty(1 << 50))
    crash = fail(use_ema=True)
    assert crash.code == "host_memory" and "DefaultCPUAllocator" in crash.evidence and crash.ways


def test_a_poisoned_weight(fail: Fail, values: dict[str, Any], tmp_path: Path) -> None:
    """A model with a number in it that is none: the run ends with the numbers, and the card offers calmer settings."""
    model = Path(shutil.copytree(values["pretrained_model_name_or_path"], tmp_path / "poisoned"))
    file = next((model / "unet").glob("*.safetensors"))
    weights = load_file(file)
    name = sorted(weights)[0]
    weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, file, {"format": "pt"})
    crash = fail(pretrained_model_name_or_path=str(model), max_train_steps=9)
    assert crash.code == "diverged" and "not finite 3 steps in a row" in crash.evidence
    assert any("learning_rate" in way.values for way in crash.ways)


def test_what_the_gates_refuse(fail: Fail, tmp_path: Path) -> None:
    """A card that cannot be had: refused for the machine, with the mends that the trainer offered."""
    crash = fail(mixed_precision="fp16")
    assert crash.code == "refused.machine" and {"mixed_precision": "bf16"} in [way.values for way in crash.ways]


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("pretrained_model_name_or_path", "refused.model"),
        ("train_data_dir", "refused.data"),
        ("resume", "refused.resume"),
    ],
)
def test_what_is_not_there(fail: Fail, tmp_path: Path, option: str, code: str) -> None:
    """A model, images or a state that were moved since the click: the card says which of them."""
    assert fail(**{option: str(tmp_path / "moved")}).code == code


def test_a_folder_that_cannot_be_one(fail: Fail, tmp_path: Path) -> None:
    """A file stands where the saves are to go."""
    (tmp_path / "out").write_text("a file")
    assert fail(output_dir=str(tmp_path / "out")).code == "refused.output"
