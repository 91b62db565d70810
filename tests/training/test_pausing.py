"""A pause in the loop: a state and nothing else, and going on from it in the same run folder."""

from pathlib import Path

import pytest

from tests.training.conftest import Train, of, wishing
from trainer.contract.events import Finished, Saved, Started, Stepped, Warned
from trainer.training.keeper import Keeper


def losses(events: list) -> list[float]:
    return [event.loss for event in of(Stepped, events)]


def test_paused_run_goes_on_as_if_it_had_not_been(train: Train, tmp_path: Path) -> None:
    """A pause writes a state and no model; the same folder then holds every step once, with the straight losses."""
    straight = train("straight", max_train_steps=6, output_dir=str(tmp_path / "straight out"))
    with wishing(3, "pause"):
        first = train("run", max_train_steps=6)
    assert of(Finished, first)[-1].result == "paused"
    assert [event.kind for event in of(Saved, first)] == ["state"] and not (tmp_path / "out").exists()
    both = train("run", max_train_steps=6, resume=str(tmp_path / "run"))
    assert losses(both) == losses(straight)
    assert [event.resumed_step for event in of(Started, both)] == [0, 3]
    assert of(Finished, both)[-1].result == "completed"


def test_without_a_state_nobody_leaves(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the state cannot be written the run warns and goes on: leaving would lose what it has learnt."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Keeper, "keep", full)
    with wishing(2, "pause"):
        events = train("run", max_train_steps=4)
    assert [event.code for event in of(Warned, events)] == ["state_not_written"]
    assert len(of(Stepped, events)) == 4 and of(Finished, events)[-1].result == "completed"
