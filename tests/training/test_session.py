"""Whole runs of the tiny model in this process: what is told, what is written, how they end."""

import json
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.training.conftest import Train, draw_pictures, of, same, wishing
from tests.training.fitting import fixed_loss, one_picture
from trainer.contract.config import ModelSection
from trainer.contract.control import send
from trainer.contract.events import EventReader, Finished, Phase, Planned, Saved, Started, Stepped, Warned
from trainer.contract.identity import identity_of, read_identity
from trainer.dataset.pixels import PictureUnreadable
from trainer.model.load import load_networks
from trainer.training import trained
from trainer.training.learner import Learner
from trainer.training.outcome import Diverged, Refused
from trainer.training.state import read_tensors


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """U-Net and text encoder of a saved Diffusers folder."""
    parts = {part: load_file(next((folder / part).glob("*.safetensors"))) for part in ("unet", "text_encoder")}
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def test_events_come_in_order(train: Train, tmp_path: Path) -> None:
    """Started, the phases, the plan, each step once, what was saved, and the end; steps follow the plan."""
    events = train(sample_prompts="a dog --s 1", sample_at_first=True, save_every_n_epochs=1, max_train_steps=5)
    story = [event.name if isinstance(event, Phase) else event.type for event in events]
    short = [word for place, word in enumerate(story) if place == 0 or story[place - 1] != word]
    assert short == [
        *("started", "scanning", "planned", "loading", "caching", "sampling", "sampled", "sampling"),
        *("training", "stepped", "saving", "saved", "training", "stepped", "sampling", "sampled", "sampling"),
        *("saving", "saved", "finished"),
    ]
    started, plan, steps = of(Started, events)[0], of(Planned, events)[0], of(Stepped, events)
    assert started.seed == 7 and started.device == "CPU" and started.processes == 1
    assert (plan.images, plan.steps_per_epoch, plan.epochs, plan.total_steps) == (5, 4, 2, 5)
    assert plan.save_steps == [4, 5] and plan.learning_rates == [1e-3] * 6
    assert [(step.step, step.epoch) for step in steps] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)]
    assert all(step.loss and step.grad_norm and step.images_per_second and step.ram_gib for step in steps)
    assert steps[0].learning_rate == {"unet": 1e-3, "text_encoder": 1e-3}
    assert [(Path(saved.path).name, saved.epoch, saved.step) for saved in of(Saved, events)] == [
        ("epoch-000001", 1, 4),
        ("last", 2, 5),
    ]
    assert of(Finished, events) == [events[-1]] and events[-1].result == "completed" and events[-1].step == 5
    assert read_identity(tmp_path / "run" / "process.json") == identity_of()


def test_same_seed_same_run(train: Train, tmp_path: Path) -> None:
    """Two runs with one seed agree to the last bit, two seeds do not, and a seed that was not given is noted."""
    losses = [
        [step.loss for step in of(Stepped, train(name, seed=seed))] for name, seed in (("a", 7), ("b", 7), ("c", 8))
    ]
    assert losses[0] == losses[1] != losses[2]
    drawn = [of(Started, train(name, seed=None))[0].seed for name in ("d", "e")]
    assert drawn[0] != drawn[1]


def test_training_learns_one_image(train: Train, values: dict[str, Any], tmp_path: Path) -> None:
    """On one image with one caption 200 steps bring the mean loss over fixed noise and timesteps below half."""
    folder = one_picture(tmp_path / "one")
    before = fixed_loss(Path(values["pretrained_model_name_or_path"]), folder)
    train(train_data_dir=str(folder), max_train_steps=200, train_batch_size=1, learning_rate=2e-3)
    after = fixed_loss(tmp_path / "out" / "last", folder)
    assert after < before / 2


def test_stop_saves_a_state_and_a_model(train: Train, tmp_path: Path) -> None:
    """A wish to stop ends the run after the step: a state that can be resumed, a model, and "stopped"."""
    with wishing(2, "stop"):
        events = train(max_train_steps=50)
    assert [step.step for step in of(Stepped, events)] == [1, 2]
    assert [(saved.kind, Path(saved.path).name) for saved in of(Saved, events)] == [
        ("state", "step-00000002"),
        ("model", "at-step00000002"),
    ]
    assert of(Finished, events)[0].result == "stopped" and of(Finished, events)[0].step == 2
    state = read_tensors(Path(of(Saved, events)[0].path))
    assert all(value.dtype == torch.float32 for value in state.weights.values())


def test_stop_without_saving_writes_nothing(train: Train, tmp_path: Path) -> None:
    """Who does not want the result gets none."""
    with wishing(2, "stop_without_saving"):
        events = train(max_train_steps=50)
    assert of(Finished, events)[0].result == "stopped"
    assert not of(Saved, events) and not (tmp_path / "run" / "state").exists() and not (tmp_path / "out").exists()


def test_stop_is_heard_while_latents_are_cached(train: Train, tmp_path: Path) -> None:
    """A click on Stop before the first step ends the run without a step."""
    run = tmp_path / "run"
    run.mkdir()

    def stop_soon() -> None:
        reader = EventReader(run / "events.jsonl")
        while not any(isinstance(event, Phase) and event.name == "scanning" for event in reader.read()):
            time.sleep(0.002)
        send(run / "control.jsonl", "stop")

    watcher = threading.Thread(target=stop_soon)
    watcher.start()
    events = train(max_train_steps=5000)
    watcher.join()
    assert of(Finished, events)[0].result == "stopped" and of(Finished, events)[0].step < 5


def test_save_wish_writes_a_model_and_goes_on(train: Train) -> None:
    """Save now: a model under the step's name, its state beside it, and training to the end."""
    with wishing(2, "save"):
        events = train(output_name="dog", save_model_as="safetensors", save_state=True)
    names = [(saved.kind, Path(saved.path).name) for saved in of(Saved, events)]
    assert names == [
        ("model", "dog-step00000002.safetensors"),
        ("state", "dog-step00000002-state"),
        ("model", "dog.safetensors"),
        ("state", "dog-state"),
    ]
    assert len(of(Stepped, events)) == 3


def test_all_problems_are_told_before_anything_is_loaded(train: Train, tmp_path: Path) -> None:
    """A missing model, an empty folder and a precision that this machine lacks come together, and nothing is loaded."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused) as caught:
        train(
            pretrained_model_name_or_path=str(tmp_path / "none.safetensors"),
            train_data_dir=str(tmp_path / "empty"),
            mixed_precision="fp16",
        )
    codes = {problem.code for problem in caught.value.problems}
    assert {"disk.model_missing", "disk.no_images", "machine.fp16_needs_gpu"} <= codes
    events = EventReader(tmp_path / "run" / "events.jsonl").read()
    assert next(event.name for event in of(Phase, events)) == "scanning" and "loading" not in str(events)
    assert events[-1].result == "failed" and all(p.message in events[-1].message for p in caught.value.problems)


def test_text_encoder_that_stops_alone_is_refused(train: Train) -> None:
    """A run that would train nothing from some step on does not start."""
    with pytest.raises(Refused) as caught:
        train(encoderonly=True, stop_text_encoder_training=2)
    assert [problem.code for problem in caught.value.problems] == ["rule.encoder_stops_early"]


def test_failure_is_the_last_event(train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A save that fails ends the run with words that name the place, with the trace in the log."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last.safetensors").mkdir()
    (tmp_path / "out" / "last.safetensors" / "in the way").touch()
    with pytest.raises(OSError):
        train(save_model_as="safetensors")
    events = EventReader(tmp_path / "run" / "events.jsonl").read()
    assert events[-1].type == "finished" and events[-1].result == "failed" and events[-1].step == 3
    assert "last.safetensors" in events[-1].message
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_picture_that_breaks_under_way_is_named(workers: int, train: Train, tmp_path: Path) -> None:
    """A file that cannot be decoded in mid-run ends the run with its name and what to do, and no trace in the words."""
    folder = draw_pictures(tmp_path / "data" / "1_dog", [(64, 64), (64, 64)])
    broken = (folder / "0.png").read_bytes()
    middle = len(broken) // 2
    # The head and the tail are whole, so that a look at them finds nothing.
    (folder / "0.png").write_bytes(broken[: middle - 40] + bytes(80) + broken[middle + 40 :])
    with pytest.raises(PictureUnreadable):
        train(train_data_dir=str(folder.parent), cache_latents=False, max_data_loader_n_workers=workers)
    last = EventReader(tmp_path / "run" / "events.jsonl").read()[-1]
    assert "0.png cannot be decoded" in last.message and "take it out" in last.message
    assert "Traceback" not in last.message and len(last.message.splitlines()) == 1


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the predictions of some steps (from 1) no numbers."""
    learn, count = Learner.learn, [0]

    def learn_spoilt(self: Learner, group: Any, wishes: Any) -> Any:
        count[0] += 1
        first = next(iter(self._denoiser.unet.parameters()))
        kept = first.detach().clone()
        if count[0] in steps:
            first.data.fill_(torch.nan)
        taken = learn(self, group, wishes)
        first.data.copy_(kept) if count[0] in steps else None
        return taken

    monkeypatch.setattr(Learner, "learn", learn_spoilt)


def test_bad_step_is_left_out_and_named(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is not finite is told as null, with the images and timesteps, and the run goes on."""
    spoil(monkeypatch, {2})
    events = train(use_ema=True, max_train_steps=4)
    assert [step.loss is None for step in of(Stepped, events)] == [False, True, False, False]
    (warning,) = [event for event in of(Warned, events) if event.code == "not_finite"]
    assert warning.step == 2 and ".png at timestep" in warning.message
    assert of(Finished, events)[0].result == "completed"
    assert all(torch.isfinite(value).all() for value in weights(Path(of(Saved, events)[0].path)).values())


def test_three_bad_steps_end_the_run_with_the_last_good_state(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Three in a row: the state of the last good step is kept, and the message says which images and what to try."""
    with wishing(3, "stop"):
        train("good", max_train_steps=9)
    spoil(monkeypatch, {4, 5, 6})
    with pytest.raises(Diverged):
        train("bad", max_train_steps=9)
    events = EventReader(tmp_path / "bad" / "events.jsonl").read()
    assert len(of(Stepped, events)) == 6 and events[-1].result == "failed"
    message = events[-1].message
    assert "3 steps in a row, up to step 6 (" in message and ".png at timestep" in message
    assert "Learning rate 0.001 (try a tenth of it)" in message and "Clip gradients" not in message
    kept = tmp_path / "bad" / "state" / "step-00000003"
    assert same(dict(read_tensors(kept).weights), dict(read_tensors(tmp_path / "good" / "state" / kept.name).weights))


def test_debug_dataset_shows_batches_and_trains_nothing(train: Train, tmp_path: Path) -> None:
    """A contact sheet and a list in the run folder, and no model asked for, loaded or written."""
    events = train(debug_dataset=True, pretrained_model_name_or_path=str(tmp_path / "no model"), output_dir=None)
    assert of(Finished, events)[0].result == "completed" and not of(Stepped, events)
    assert (tmp_path / "run" / "batches.png").is_file()
    listed = json.loads((tmp_path / "run" / "batches.json").read_text())
    assert len(listed["batches"]) == 4


def test_full_disk_is_told_before_anything_is_loaded(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and states are counted at the start; without states in between, the same disk suffices."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 30_000_000))
    with pytest.raises(Refused) as caught:
        train("full")
    (problem,) = caught.value.problems
    assert problem.code == "disk.no_room" and "1 save and 2 states" in problem.message
    assert "No states in between" in [mend.label for mend in problem.mends]
    events = train("fits", save_state_every_minutes=0)
    assert of(Finished, events)[0].result == "completed"


def test_saved_models_hold_the_average(train: Train, tmp_path: Path) -> None:
    """With `use_ema` every saved model is the averaged one, which is what the state keeps beside the raw weights."""
    train(use_ema=True, save_state=True)
    state = read_tensors(tmp_path / "out" / "last-state")
    assert state.average is not None
    saved = weights(tmp_path / "out" / "last")
    for name, average in state.average.items():
        stored = name.replace("text_encoder.", "text_encoder.text_model.", 1)
        assert torch.equal(saved[stored], average), name
    assert not torch.equal(state.average["unet.conv_in.weight"], state.weights["unet.conv_in.weight"])


def test_metadata_tells_how_a_model_was_made(train: Train, tmp_path: Path) -> None:
    """A safetensors model carries modelspec's words and how it was trained, and no place on this machine."""
    train(save_model_as="safetensors", save_precision="fp16", clip_skip=2)
    with safe_open(tmp_path / "out" / "last.safetensors", "pt") as file:
        words = file.metadata()
        assert file.get_tensor("model.diffusion_model.out.2.weight").dtype == torch.float16
    assert words["modelspec.architecture"] == "stable-diffusion-v1" and words["modelspec.resolution"] == "64x64"
    assert words["modelspec.encoder_layer"] == "2" and words["modelspec.prediction_type"] == "epsilon"
    assert words["atelier.step"] == "3" and words["atelier.seed"] == "7" and words["atelier.images"] == "5"
    options = json.loads(words["atelier.options"])
    assert options["clip_skip"] == 2 and options["learning_rate"] > 0 and "train_data_dir" not in options
    rows = json.loads(words["atelier.dataset"])
    assert sum(row["images"] for row in rows) == 5 and {row["regularization"] for row in rows} == {False}
    assert len(words["atelier.dataset_digest"]) == len(words["atelier.base_digest"]) == 32
    assert str(tmp_path) not in json.dumps(words)
    again = {"pretrained_model_name_or_path": str(tmp_path / "out" / "last.safetensors"), "output_name": "again"}
    train("again", save_model_as="safetensors", max_train_steps=1, **again)
    with safe_open(tmp_path / "out" / "again.safetensors", "pt") as file:
        later = file.metadata()
    assert later["atelier.base_sha256"] == words["modelspec.hash_sha256"] != later["modelspec.hash_sha256"]
    assert later["atelier.base_model"] == "last"


def test_small_networks_take_one_thread(tiny_v1: Path) -> None:
    """On a processor the smallest networks are trained by one thread; larger ones and cards keep what they had."""
    networks = load_networks(ModelSection(pretrained_model_name_or_path=str(tiny_v1)))
    before = torch.get_num_threads()
    try:
        for device, small, expected in (("cuda", True, 2), ("cpu", False, 2), ("cpu", True, 1)):
            torch.set_num_threads(2)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trained, "SMALL", 10**9 if small else 1)
                trained.spare_threads(networks, torch.device(device))
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
