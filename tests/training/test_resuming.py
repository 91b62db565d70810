"""Going on from a state: the continued run is the uninterrupted one, bit for bit."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny_models import make_tiny
from tests.training.conftest import Train, draw_pictures, of, run_to_the_end, same, wishing
from trainer.contract.events import Finished, Planned, Saved, Started, Stepped, Warned
from trainer.training.outcome import Refused
from trainer.training.state import read_record, read_tensors

STEPS = 9
STOPS = (1, 4, 5, 8)
"""In the first step, in mid-epoch, where the text encoder stops, at an epoch's end."""
EVERYTHING: dict[str, Any] = {
    "max_train_steps": STEPS,
    "use_ema": True,
    "gradient_accumulation_steps": 2,
    "resolution": "128,64",
    "enable_bucket": True,
    "min_bucket_reso": 64,
    "max_bucket_reso": 128,
    "ucg": 0.3,
    "shuffle_caption": True,
    "flip_aug": True,
    "stop_text_encoder_training": 5,
    "lr_scheduler": "linear",
    "lr_warmup_steps": 2,
    "save_state": True,
    "prior_loss_weight": 0.5,
}


def told(events: list[Any]) -> list[tuple[Any, ...]]:
    """What steps tell about the mathematics."""
    return [(s.step, s.epoch, s.loss, s.grad_norm, tuple(s.learning_rate.items())) for s in of(Stepped, events)]


def assert_same_state(one: Path, other: Path) -> None:
    """Two states are equal to the last bit: weights, average, moments, and where they stand."""
    ours, theirs = read_tensors(one), read_tensors(other)
    assert same(dict(ours.weights), dict(theirs.weights))
    assert (ours.average is None) == (theirs.average is None)
    assert ours.average is None or same(dict(ours.average), dict(theirs.average or {}))
    assert_equal(ours.optimizer["optimizer"]["state"], theirs.optimizer["optimizer"]["state"])
    first, second = read_record(one), read_record(other)
    for field in ("step", "epoch", "position", "seed", "data", "model", "average_updates", "epoch_loss"):
        assert getattr(first, field) == getattr(second, field), field


def assert_equal(one: Any, other: Any) -> None:
    """Nested moments are equal to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert_equal(value, other[name])
    else:
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_resumed_run_is_the_straight_one(train: Train, pictures: Path, tmp_path: Path) -> None:
    """Stopped at any step and resumed, a run has the losses, weights, average and moments of one that never stopped."""
    options = EVERYTHING | {"reg_data_dir": str(pictures / "reg")}
    straight = train("straight", **options, output_dir=str(tmp_path / "straight out"))
    assert of(Finished, straight)[0].result == "completed"
    for stop_after in STOPS:
        with wishing(stop_after, "stop"):
            stopped = train(f"part {stop_after}", **options)
        assert of(Finished, stopped)[0].result == "stopped"
        (state,) = (tmp_path / f"part {stop_after}" / "state").iterdir()
        assert state.name == f"step-{stop_after:08d}"
        out = tmp_path / f"out {stop_after}"
        resumed = train(f"rest {stop_after}", **options, resume=str(state), output_dir=str(out))
        assert of(Started, resumed)[0].resumed_step == stop_after
        assert told(stopped) + told(resumed) == told(straight)
        assert_same_state(out / "last-state", tmp_path / "straight out" / "last-state")


@pytest.mark.parametrize("stop_after", [2, 5])
def test_resumed_run_is_the_straight_one_with_everything_fresh(
    stop_after: int, train: Train, tiny_v2: Path, tmp_path: Path
) -> None:
    """The same holds without a cache, with crops and colours made in worker processes, for 2.x and 8-bit moments."""
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
    with wishing(stop_after, "stop"):
        stopped = train("part", **options)
    resumed = train("rest", **options, resume=str(tmp_path / "part"), output_dir=str(tmp_path / "rest out"))
    assert told(stopped) + told(resumed) == told(straight)
    assert_same_state(tmp_path / "rest out" / "last-state", tmp_path / "straight out" / "last-state")


def test_names_and_curves_go_on_over_three_resumes(train: Train, tmp_path: Path) -> None:
    """Epoch files count on, and one TensorBoard folder holds every step once, however often a run was resumed."""
    options: dict[str, Any] = {
        "max_train_epochs": 4,
        "max_train_steps": None,
        "save_every_n_epochs": 1,
        "save_model_as": "safetensors",
        "logging_dir": str(tmp_path / "logs"),
        "log_prefix": "dog-",
    }
    resume: dict[str, Any] = {}
    for number, stop_after in enumerate((4, 9, 13, None)):
        if stop_after is None:
            events = train(f"run {number}", **options, **resume)
        else:
            with wishing(stop_after, "stop"):
                events = train(f"run {number}", **options, **resume)
        resume = {"resume": str(tmp_path / f"run {number}" / "state")}
    total = of(Planned, events)[0].total_steps
    assert of(Finished, events)[0].step == total == 16
    # The first stop fell on an epoch's end: its model was due, and no other is written beside it.
    written = {path.name for path in (tmp_path / "out").glob("*.safetensors")}
    assert written == {f"epoch-{n:06d}.safetensors" for n in (1, 2, 3)} | {"last.safetensors"} | {
        f"at-step{n:08d}.safetensors" for n in (9, 13)
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
