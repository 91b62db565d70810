"""Whole runs of the tiny model: which models and states lie on disk in the end, and in between."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import Train, job_of, of, same, wishing
from trainer.contract.events import Event, Finished, Planned, Removed, Saved, Stepped, Warned
from trainer.model.facts import read_facts
from trainer.model.saved_size import state_bytes
from trainer.training import keeper
from trainer.training.session import Teller
from trainer.training.state import read_record, read_tensors


def names(events: list[Any], kind: str = "model") -> list[str]:
    """What was saved, in order."""
    return [Path(saved.path).name for saved in of(Saved, events) if saved.kind == kind]


def test_models_of_steps_and_epochs(train: Train, tmp_path: Path) -> None:
    """Every so many steps a model, one where an epoch's falls on the same step, and the plan says all of them."""
    options = {"max_train_steps": 9, "save_every_n_steps": 2, "save_every_n_epochs": 1}
    events = train(**options, save_model_as="safetensors", save_precision="fp16")
    expected = ["at-step00000002", "epoch-000001", "at-step00000006", "epoch-000002", "last"]
    assert names(events) == [f"{name}.safetensors" for name in expected]
    assert [saved.step for saved in of(Saved, events)] == of(Planned, events)[0].save_steps == [2, 4, 6, 8, 9]


def test_older_models_make_room(train: Train, tmp_path: Path) -> None:
    """Of epochs the newest, of steps those of the last steps; each that goes is told, and goes with its state."""
    events = train(
        max_train_steps=9,
        save_every_n_steps=1,
        save_last_n_steps=2,
        save_every_n_epochs=1,
        save_last_n_epochs=1,
        save_state=True,
        output_name="dog",
        save_model_as="safetensors",
    )
    models = {"dog-000002", "dog-step00000005", "dog-step00000006", "dog-step00000007", "dog"}
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {f"{name}.safetensors" for name in models} | {f"{name}-state" for name in models}
    gone = {Path(event.path).name for event in of(Removed, events)}
    assert gone == set(names(events) + names(events, "state")) - there


@pytest.mark.parametrize(
    "options",
    [
        {"use_ema": True},
        {"unetonly": True, "optimizer_type": "Lion"},
        {"encoderonly": True},
        {"stop_text_encoder_training": 0},
    ],
)
def test_size_of_a_state_is_foretold(options: dict[str, Any], train: Train, values: dict[str, Any]) -> None:
    """What the check for room counts for a state is what one takes, but for half a MB of names and places."""
    (state,) = [saved for saved in of(Saved, train(save_state=True, **options)) if saved.kind == "state"]
    facts = read_facts(Path(values["pretrained_model_name_or_path"]))
    assert state.size_bytes == pytest.approx(state_bytes(facts, job_of(values | options).config), rel=0.02, abs=500_000)


def test_raw_weights_beside_the_average(train: Train, tmp_path: Path) -> None:
    """With `save_raw` the raw weights stand beside the averaged ones, under a name that says so."""
    train(use_ema=True, save_raw=True, save_state=True, save_model_as="diffusers_safetensors")
    state = read_tensors(tmp_path / "out" / "last-state")
    for name, expected in (("last", state.average), ("last-raw", state.weights)):
        unet = load_file(next((tmp_path / "out" / name / "unet").glob("*.safetensors")))
        assert expected is not None
        assert all(torch.equal(unet[key.removeprefix("unet.")], expected[key]) for key in expected if "unet." in key)
    assert not same(dict(state.weights), dict(state.average or {}))


ALWAYS = 1e-9
"""Minutes between two states that leave one after every step but the first, with which the clock starts."""


def test_states_in_between_rotate_and_go_at_the_end(train: Train, tmp_path: Path) -> None:
    """One after each interval, of which the newest are kept; a run that is done needs none."""
    events = train(save_state_every_minutes=ALWAYS, save_last_n_states=2, max_train_steps=5)
    kept = [f"step-{step:08d}" for step in (2, 3, 4)]
    assert names(events, "state") == kept
    assert [Path(event.path).name for event in of(Removed, events)] == kept
    assert not any((tmp_path / "run" / "state").iterdir())
    with wishing(3, "stop"):
        train("stopped", save_state_every_minutes=ALWAYS, save_last_n_states=2, max_train_steps=5)
    assert {path.name for path in (tmp_path / "stopped" / "state").iterdir()} == {"step-00000002", "step-00000003"}


def test_state_is_written_when_wished_and_never_by_a_clock_of_zero(train: Train) -> None:
    """With 0 minutes only a wish makes one."""
    with wishing(2, "state"):
        events = train(save_state_every_minutes=0)
    assert names(events, "state") == ["step-00000002"]


def test_states_change_no_step(train: Train) -> None:
    """What is learnt is the same to the last bit, with states in between and without."""
    one, other = (train(f"every {minutes}", save_state_every_minutes=minutes, use_ema=True) for minutes in (0, ALWAYS))
    assert [step.loss for step in of(Stepped, one)] == [step.loss for step in of(Stepped, other)]


def test_state_that_cannot_be_written_ends_no_run(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the states in between, said in a warning, and not the run."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeper, "write_state", full)
    with wishing(3, "stop"):
        events = train(save_state_every_minutes=ALWAYS, max_train_steps=5)
    assert [(event.code, event.step) for event in of(Warned, events)] == [("state_not_written", s) for s in (2, 3)]
    assert "No space left" in of(Warned, events)[0].message
    assert names(events) == ["at-step00000003"] and of(Finished, events)[0].result == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process at once")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_a_state_and_a_model(
    number: signal.Signals, train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl+C, or a system that shuts down: the next step is finished, state and model are written, then it ends."""
    write = Teller.write

    def and_signal(teller: Teller, event: Event) -> None:
        write(teller, event)
        if isinstance(event, Stepped) and event.step == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(Teller, "write", and_signal)
    events = train(max_train_steps=50)
    assert of(Finished, events)[0].result == "stopped" and of(Finished, events)[0].step == 3
    assert names(events, "state") == ["step-00000003"] and names(events) == ["at-step00000003"]
    assert read_record(tmp_path / "run" / "state" / "step-00000003").step == 3
