"""State folders: whole or not at all, and found from where people look for them."""

from pathlib import Path

import pytest
import torch

from trainer.contract.problems import Problem
from trainer.model.folders import set_aside
from trainer.training.naming import state_name
from trainer.training.state import (
    StateRecord,
    Tensors,
    clear_leftovers,
    find_state,
    read_record,
    read_tensors,
    write_state,
)


def record(step: int = 3) -> StateRecord:
    """A record of a run that is at some step."""
    return StateRecord(
        step, 0, step, 7, "data", "model", 1, average_updates=2, epoch_loss=(0.1 + 0.2, 3), options={"seed": 7}
    )


def tensors(value: float = 1.0) -> Tensors:
    """Small tensors of all kinds."""
    weight = torch.nn.Parameter(torch.full((2, 3), value))
    moments = {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"name": "unet"}]},
        "scaler": None,
    }
    return Tensors({"unet.w": weight}, {"unet.w": torch.full((2, 3), value / 3)}, moments)


def test_state_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    """What is written is what is read, floats of the record included."""
    size = write_state(tmp_path / "state" / state_name(3), record(), tensors(0.1))
    folder = find_state(tmp_path)
    assert folder is not None and folder.name == "step-00000003"
    assert read_record(folder) == record()
    back = read_tensors(folder)
    assert torch.equal(back.weights["unet.w"], torch.full((2, 3), 0.1))
    assert back.average is not None and torch.equal(back.average["unet.w"], torch.full((2, 3), 0.1 / 3))
    assert back.optimizer["optimizer"]["param_groups"] == [{"name": "unet"}]
    assert size == sum(path.stat().st_size for path in folder.iterdir())


def test_failed_write_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that runs full in mid-write changes nothing, and leaves nothing lying about."""
    folder = tmp_path / state_name(3)
    write_state(folder, record(), tensors(1.0))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space"):
            write_state(folder, record(4), tensors(2.0))
    assert read_record(folder) == record()
    assert float(read_tensors(folder).weights["unet.w"][0, 0]) == 1.0
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_newest_state_is_found(tmp_path: Path) -> None:
    """Of several states the newest is meant; a run folder, its `state` and the state itself all lead to it."""
    for step in (9, 10, 2):
        write_state(tmp_path / "state" / state_name(step), record(step), tensors())
    newest = tmp_path / "state" / "step-00000010"
    assert find_state(tmp_path) == find_state(tmp_path / "state") == find_state(newest) == newest
    assert find_state(tmp_path / "nowhere") is None


def test_state_set_aside_is_found_again(tmp_path: Path) -> None:
    """Killed between the two renames that put a new state in the place of an old one, the old one still counts."""
    states = tmp_path / "state"
    write_state(states / state_name(3), record(), tensors())
    (states / state_name(3)).rename(set_aside(states / state_name(3)))
    (states / ".step-00000003.partial").mkdir()
    assert find_state(tmp_path) == states / state_name(3)
    (states / state_name(3)).rename(set_aside(states / state_name(3)))
    clear_leftovers(states)
    assert [path.name for path in states.iterdir()] == [state_name(3)]


def test_newer_state_is_a_problem(tmp_path: Path) -> None:
    """A state of a version that this program does not know is not guessed at."""
    folder = tmp_path / state_name(3)
    write_state(folder, record(), tensors())
    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(text.replace('"version": 1', '"version": 99'))
    found = read_record(folder)
    assert isinstance(found, Problem) and found.code == "disk.resume_newer"
