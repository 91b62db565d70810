"""Whether two runs, or two states, are alike to the last bit."""

from pathlib import Path
from typing import Any

import torch

from tests.training.conftest import of, same
from trainer.contract.events import Stepped
from trainer.training.state import read_record, read_tensors


def told(events: list[Any]) -> list[tuple[Any, ...]]:
    """What steps tell about the mathematics."""
    return [(s.step, s.epoch, s.loss, s.grad_norm, tuple(s.learning_rate.items())) for s in of(Stepped, events)]


def assert_same_state(one: Path, other: Path) -> None:
    """Two states are equal to the last bit: weights, average, moments, and where they stand."""
    ours, theirs = read_tensors(one), read_tensors(other)
    assert same(dict(ours.weights), dict(theirs.weights))
    assert (ours.average is None) == (theirs.average is None)
    assert ours.average is None or same(dict(ours.average), dict(theirs.average or {}))
    assert_equal(ours.optimizer["optimizer"], theirs.optimizer["optimizer"])
    first, second = read_record(one), read_record(other)
    for field in ("step", "epoch", "position", "seed", "data", "model", "average_updates", "epoch_loss"):
        assert getattr(first, field) == getattr(second, field), field


def assert_equal(one: Any, other: Any) -> None:
    """What an optimizer keeps, moments and numbers of its groups, is equal to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert_equal(value, other[name])
    elif isinstance(one, list):
        for mine, theirs in zip(one, other, strict=True):
            assert_equal(mine, theirs)
    elif one is None or isinstance(one, (str, tuple)):
        assert one == other
    else:
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
