"""Going on from a state: the continued run is the uninterrupted one, bit for bit."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny_models import make_tiny
from tests.training.alike import assert_same_state, told
from tests.training.conftest import Train, draw_pictures, of, run_to_the_end, wishing
from tests.training.killed import die
from trainer.contract.config import DataSection, ImageSection
from trainer.contract.events import Finished, Planned, Saved, Stepped, Warned
from trainer.dataset.batches import Batches
from trainer.dataset.captions import entries_of
from trainer.dataset.faces import Face, Looked, write_faces
from trainer.dataset.scan import scan
from trainer.training.outcome import Refused
from trainer.training.resuming import data_digest


def test_resumed_run_is_the_straight_one_with_everything_fresh(train: Train, tiny_v2: Path, tmp_path: Path) -> None:
    """Stopped and resumed without a cache, with crops and colours made by workers, for 2.x and 8-bit moments."""
    options: dict[str, Any] = {
        "pretrained_model_name_or_path": str(tiny_v2),
        "v2": True,
        "v_parameterization": True,
        "cache_latents": False,
        "random_crop": True,
        "color_aug": True,
        "max_data_loader_n_workers": 1,
        "use_8bit_adam": True,
        "gradient_checkpointing": True,
        "max_train_steps": 6,
        "save_state": True,
    }
    straight = train("straight", **options, output_dir=str(tmp_path / "straight out"))
    with wishing(2, "stop"):
        stopped = train("part", **options)
    resumed = train("rest", **options, resume=str(tmp_path / "part"), output_dir=str(tmp_path / "rest out"))
    assert told(stopped) + told(resumed) == told(straight)
    assert_same_state(tmp_path / "rest out" / "last-state", tmp_path / "straight out" / "last-state")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that kills a group of processes")
def test_names_and_curves_go_on_over_three_resumes(train: Train, values: dict[str, Any], tmp_path: Path) -> None:
    """Epoch files count on, and one TensorBoard folder holds every step once, however often a run was cut."""
    options: dict[str, Any] = {
        "max_train_epochs": 4,
        "max_train_steps": None,
        "save_every_n_epochs": 1,
        "save_model_as": "safetensors",
        "logging_dir": str(tmp_path / "logs"),
        "log_prefix": "dog-",
    }
    with wishing(4, "stop"):
        train("run 0", **options)
    # Killed at step 11 with a state of step 9: the next run makes two steps once more.
    die(values | options | {"resume": str(tmp_path / "run 0")}, tmp_path / "run 1", state_after=9, dies_after=11)
    with wishing(13, "stop"):
        train("run 2", **options, resume=str(tmp_path / "run 1"))
    events = train("run 3", **options, resume=str(tmp_path / "run 2" / "state"))
    total = of(Planned, events)[0].total_steps
    assert of(Finished, events)[0].step == total == 16
    # The first stop fell on an epoch's end: its model was due, and no other is written beside it.
    written = {path.name for path in (tmp_path / "out").glob("*.safetensors")}
    assert written == {f"epoch-{n:06d}.safetensors" for n in (1, 2, 3)} | {"last.safetensors"} | {
        f"at-step{n:08d}.safetensors" for n in (13,)
    }
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("dog-20")
    curves = EventAccumulator(str(folder)).Reload()
    assert [point.step for point in curves.Scalars("loss")] == list(range(1, total + 1))
    assert [point.step for point in curves.Scalars("epoch_loss")] == [4, 8, 12, 16]
    assert set(curves.Tags()["scalars"]) == {"loss", "grad_norm", "lr/unet", "lr/text_encoder", "epoch_loss"}


@pytest.fixture(scope="module")
def lasting_state(lasting_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a run of three steps, stopped after the second."""
    home = tmp_path_factory.mktemp("stopped")
    with wishing(2, "stop"):
        run_to_the_end(lasting_values | {"output_dir": str(home / "out")}, home / "run")
    (folder,) = (home / "run" / "state").iterdir()
    return folder


@pytest.fixture
def state(lasting_state: Path, tmp_path: Path) -> Path:
    """A copy of it of one's own."""
    return Path(shutil.copytree(lasting_state, tmp_path / lasting_state.name))


def test_changed_rate_and_length_are_taken_and_said(train: Train, state: Path) -> None:
    """Learning rate and more steps can change within a run: they act, and a warning names both."""
    events = train("second", resume=str(state), learning_rate=5e-4, max_train_steps=5)
    assert [step.learning_rate["unet"] for step in of(Stepped, events)] == [5e-4] * 3
    (warning,) = [event for event in of(Warned, events) if event.code == "disk.resume_changed"]
    assert "Learning rate from 0.001 to 0.0005" in warning.message
    assert "Steps from 3 to 5" in warning.message


def refusal(train: Train, **changes: Any) -> set[str]:
    """The codes of all problems that keep such a run from starting."""
    with pytest.raises(Refused) as caught:
        train("second", **changes)
    return {problem.code for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"train_batch_size": 1}, "disk.resume_option"),
        ({"resolution": "128"}, "disk.resume_option"),
        ({"unetonly": True}, "disk.resume_option"),
        ({"seed": 8}, "disk.resume_seed"),
        ({"gradient_accumulation_steps": 2}, "disk.resume_batches"),
        ({"use_8bit_adam": True}, "disk.resume_optimizer"),
        ({"optimizer_args": "weight_decay=0.05"}, "disk.resume_optimizer"),
        ({"max_train_steps": 2}, "disk.resume_done"),
    ],
)
def test_option_that_cannot_change_is_refused(changes: dict[str, Any], code: str, train: Train, state: Path) -> None:
    """What would make other data, another model or other steps of a run is named before anything is loaded."""
    assert code in refusal(train, resume=str(state), **changes)


def test_other_data_is_refused(train: Train, state: Path, tmp_path: Path) -> None:
    """Other images than those of the state are an error."""
    draw_pictures(tmp_path / "other" / "2_sks dog", [(64, 64)] * 4)
    assert refusal(train, resume=str(state), train_data_dir=str(tmp_path / "other")) == {"disk.resume_data"}


def test_other_faces_are_other_data(tmp_path: Path) -> None:
    """Where cuts follow faces, an index that names another place is other data; where they do not, it is the same."""
    draw_pictures(tmp_path / "2_dog", [(96, 96)] * 2)
    data = DataSection(train_data_dir=tmp_path)
    plain = ImageSection(resolution="64")
    digests: list[tuple[str, str]] = []
    for x in (40, 50):
        faces = {name: Looked(Face(x, 48, 20, 20), (tmp_path / "2_dog" / name).stat().st_size) for name in ("0.png",)}
        write_faces(tmp_path / "2_dog", faces)
        entries, _ = entries_of(scan(data), data)
        batches = Batches(entries, plain, 1, 0)
        around = plain.model_copy(update={"face_crop_aug_range": "1,2"})
        digests.append((data_digest(entries, batches, plain), data_digest(entries, batches, around)))
    assert digests[0][0] == digests[1][0] and digests[0][1] != digests[1][1]


def test_other_masks_are_refused(train: Train, pictures: Path, tmp_path: Path) -> None:
    """Masks with other content than those of the state are an error; moved ones are the same, and none is a change."""
    for name, value in (("masks", 200), ("moved", 200), ("others", 100)):
        (tmp_path / name).mkdir()
        for path in (pictures / "train").rglob("*.png"):
            with Image.open(path) as image:
                Image.new("L", image.size, value).save(tmp_path / name / f"{path.stem}.bmp")

    def masked(name: str) -> dict[str, Any]:
        return {"masked_loss": True, "conditioning_data_dir": str(tmp_path / name)}

    with wishing(2, "stop"):
        train("run", **masked("masks"))
    state = str(tmp_path / "run")
    assert refusal(train, resume=state, **masked("others")) == {"disk.resume_masks"}
    assert of(Finished, train("third", resume=state, **masked("moved")))[0].result == "completed"
    events = train("fourth", resume=state)
    assert any("Learn by masks from on to off" in event.message for event in of(Warned, events))


def test_moved_data_is_the_same_data(train: Train, state: Path, pictures: Path, tmp_path: Path) -> None:
    """A folder of images that was moved as a whole is no other data."""
    (tmp_path / "moved").symlink_to(pictures / "train", target_is_directory=True)
    events = train("second", resume=str(state), train_data_dir=str(tmp_path / "moved"))
    assert of(Finished, events)[0].result == "completed"


def test_other_model_is_refused(train: Train, state: Path, tmp_path: Path) -> None:
    """Another model of the same shape than the state started from is an error."""
    other = make_tiny(tmp_path / "other model", seed=1)
    assert refusal(train, resume=str(state), pretrained_model_name_or_path=str(other)) == {"disk.resume_model"}


@pytest.mark.parametrize("missing", ["state.json", "weights.safetensors", "optimizer.pt"])
def test_incomplete_state_is_refused(missing: str, train: Train, state: Path) -> None:
    """A state that lacks a file is named, whatever file it is."""
    (state / missing).unlink()
    codes = refusal(train, resume=str(state))
    assert codes == ({"disk.resume_missing"} if missing == "state.json" else {"disk.resume_unreadable"})


def test_state_of_the_average_is_optional(train: Train, state: Path) -> None:
    """An average that is turned on in mid-run begins with the weights as they are then."""
    events = train("second", resume=str(state), use_ema=True)
    assert of(Finished, events)[0].result == "completed"
    assert any("Average the weights (EMA) from off to on" in event.message for event in of(Warned, events))


def test_frozen_network_is_not_in_the_state(train: Train, tmp_path: Path) -> None:
    """With `unetonly` a state holds the U-Net's weights and moments alone."""
    events = train(unetonly=True, save_state=True)
    saved = [event for event in of(Saved, events) if event.kind == "state"]
    names = load_file(Path(saved[0].path) / "weights.safetensors")
    assert names and all(name.startswith("unet.") for name in names)
