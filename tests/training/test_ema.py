"""The moving average of the weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer.contract.config import NetworkSection
from trainer.training.assemble import make_average
from trainer.training.ema import Average, decay_at
from trainer.training.resuming import Start
from trainer.training.state import Tensors


@pytest.mark.parametrize(("updates", "decay"), [(1, 2 / 11), (2, 3 / 12), (1000, 1001 / 1010), (200_000, 0.9999)])
def test_decay_grows_to_its_limit(updates: int, decay: float) -> None:
    """min(0.9999, (1 + n) / (10 + n)): the first update counts for nine elevenths."""
    assert decay_at(updates) == pytest.approx(decay, rel=1e-12)


@pytest.mark.parametrize("most", [0.0, 0.5, 0.999])
def test_decay_is_no_larger_than_asked_for(most: float) -> None:
    """With another `ema_decay` the average is its closed form over 2,000 updates; 0 keeps the weights themselves."""
    weight = torch.zeros(3)
    average = Average({"a": weight}, decay=most)
    missing = 1.0
    weight += 1.0
    for n in range(1, 2001):
        average.follow()
        missing *= min(most, (1 + n) / (10 + n))
        if n in (1, 8, 100, 2000):
            assert torch.allclose(average.values["a"], torch.full((3,), 1.0 - missing), rtol=1e-5), n


@pytest.mark.parametrize(("asked", "expected"), [("cpu", "cpu"), ("same", "meta")])
def test_average_lies_where_it_is_asked_for(asked: str, expected: str) -> None:
    """In the computer's memory, or on the device of the training: here one that holds no numbers."""
    networks = NetworkSection(use_ema=True, ema_device=asked)  # type: ignore[arg-type]
    engine: Any = SimpleNamespace(main=True, device=torch.device("meta"))
    for start, tensors in (
        (Start(), None),
        (
            Start(Path(), SimpleNamespace(average_updates=7)),  # type: ignore[arg-type]
            Tensors({}, {"unet.a": torch.full((2,), 9.0)}, {}),
        ),
    ):
        average = make_average(networks, engine, {"unet.a": torch.ones(2)}, None, tensors, start)
        assert average is not None and average.values["unet.a"].device.type == expected
        assert average.updates == (0 if tensors is None else 7)
    assert make_average(NetworkSection(), engine, {}, None, None, Start()) is None


def test_average_is_the_closed_form_over_2000_updates() -> None:
    """Toward weights that jump by 1 and stay, what is missing is the product of all decays."""
    weights = {"a": torch.zeros(3), "b": torch.full((2, 2), 5.0)}
    average = Average(weights)
    for weight in weights.values():
        weight += 1.0
    missing = 1.0
    for n in range(1, 2001):
        average.follow()
        missing *= min(0.9999, (1 + n) / (10 + n))
    assert average.updates == 2000
    # n! 9! / (n+9)! falls to nothing, so compare early too.
    assert torch.allclose(average.values["a"], torch.full((3,), 1.0 - missing), rtol=1e-6)
    assert torch.allclose(average.values["b"], torch.full((2, 2), 6.0 - missing), rtol=1e-6)


def test_average_is_the_closed_form_of_a_walk() -> None:
    """For weights that change at each step, the average is the recursion's sum in fp64, to fp32's rounding."""
    torch.manual_seed(0)
    weight = torch.zeros(50)
    average, exact = Average({"w": weight}), torch.zeros(50, dtype=torch.float64)
    for n in range(1, 2001):
        weight += torch.randn(50) * 1e-3
        average.follow()
        decay = min(0.9999, (1 + n) / (10 + n))
        exact = decay * exact + (1 - decay) * weight.double()
    assert torch.allclose(average.values["w"].double(), exact, atol=2e-7)
    assert float((average.values["w"] - weight).abs().max()) > 1e-3, "the average is not the weights"


def test_average_starts_from_what_the_file_holds() -> None:
    """Names that the source's average has start there, the others at the weights."""
    average = Average({"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.full((2,), 9.0)})
    assert average.values["a"].tolist() == [9, 9]
    assert average.values["b"].tolist() == [1, 1]


def test_average_is_fp32_on_the_host_whatever_the_weights_are() -> None:
    """bf16 weights are averaged in fp32: in bf16 the average would never move."""
    weight = torch.ones(4, dtype=torch.bfloat16)
    average = Average({"w": weight}, updates=100_000)
    weight += 1
    average.follow()
    assert average.values["w"].dtype == torch.float32
    assert average.values["w"].tolist() == pytest.approx([1.0001] * 4, abs=1e-6)


def test_in_place_gives_back_the_weights_to_the_last_bit() -> None:
    """While saving and sampling the weights are the averaged ones; afterwards they are what they were."""
    weight = torch.randn(100)
    before = weight.clone()
    average = Average({"w": weight})
    weight += 0.1
    moved = weight.clone()
    with average.in_place():
        assert torch.equal(weight, before)
    assert torch.equal(weight, moved)
    with pytest.raises(OSError, match="full"), average.in_place():
        raise OSError("disk full")
    assert torch.equal(weight, moved)
