"""The optimizers: AdamW against the published formula, each against its package called directly; groups, states."""

import inspect
import io
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainer.contract.optimizers import OPTIMIZERS, OptimizerFacts, state_bytes
from trainer.training.optimizer import drop_group, make_optimizer, optimizer_class, set_rates, weights_of

# At 1.0 D-Adaptation overshoots on so small a problem.
RATES = {"Prodigy": 1.0, "DAdaptAdam": 0.3, "Lion": 1e-4, "Lion8bit": 1e-4}


def two_networks() -> dict[str, nn.Module]:
    """Two small networks with the same weights each time."""
    torch.manual_seed(0)
    return {"unet": nn.Linear(64, 64), "text_encoder": nn.Linear(64, 8)}


def learn(networks: dict[str, nn.Module], optimizer: torch.optim.Optimizer, steps: int, rate: float = 1e-3) -> float:
    """Fit a fixed mapping for some steps; the loss of the last one."""
    batch = torch.Generator().manual_seed(1)
    x, y = torch.randn(256, 64, generator=batch), torch.randn(256, 8, generator=batch)
    set_rates(optimizer, {"unet": rate, "text_encoder": rate})
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (networks["text_encoder"](networks["unet"](x)) - y).square().mean()
        loss.backward()
        optimizer.step()
    return float(loss)


def weights(networks: dict[str, nn.Module]) -> list[torch.Tensor]:
    """All weights as they are now."""
    return [weight.detach().clone() for network in networks.values() for weight in network.parameters()]


def made(name: str, **arguments: Any) -> tuple[dict[str, nn.Module], torch.optim.Optimizer]:
    """Two networks and their optimizer."""
    networks = two_networks()
    return networks, make_optimizer(networks, name, arguments)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_descends_and_resumes_bit_for_bit(name: str) -> None:
    """60 steps in one go, and 30 + 30 through a file that holds nothing but tensors and plain values, end alike."""
    rate = RATES.get(name, 1e-3)
    networks, optimizer = made(name)
    first = learn(networks, optimizer, 1, rate)
    learn(networks, optimizer, 29, rate)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed, again = made(name)
    for mine, theirs in zip(weights_of(again), weights(networks), strict=True):
        mine.data.copy_(theirs)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert learn(resumed, again, 30, rate) == learn(networks, optimizer, 30, rate) < first
    assert all(map(torch.equal, weights(resumed), weights(networks)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_moves_as_its_package_says(name: str) -> None:
    """The weights after ten steps are those of the package's class, made directly with the arguments of our table."""
    rate = RATES.get(name, 1e-3)
    networks, optimizer = made(name, weight_decay=0.02)
    learn(networks, optimizer, 10, rate)
    theirs = two_networks()
    own = {"scale_parameter": False, "relative_step": False} if name == "Adafactor" else {}
    parameters = [{"params": list(network.parameters()), "name": part} for part, network in theirs.items()]
    direct = optimizer_class(name)(parameters, lr=rate, weight_decay=0.02, **own)
    if OPTIMIZERS[name].averages:
        direct.train()
    learn(theirs, direct, 10, rate)
    for mine, other in zip(weights(networks), weights(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "facts"), OPTIMIZERS.items())
def test_table_holds_what_the_constructor_takes(name: str, facts: OptimizerFacts) -> None:
    """Every argument in the table, and every default of ours, is one of the class in its package."""
    assert set(facts.arguments) | set(facts.defaults) <= set(inspect.signature(optimizer_class(name)).parameters)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [*((name, {}) for name in OPTIMIZERS), ("AdamW", {"amsgrad": True}), ("Adafactor", {"beta1": 0.9})],
)
def test_state_is_as_large_as_the_table_says(name: str, arguments: dict[str, Any]) -> None:
    """Bytes of state for a weight, on a convolution and a matrix in the share that they have in a 1.x model."""
    network = nn.ModuleList([nn.Conv2d(320, 320, 3, bias=False), nn.Linear(640, 640, bias=False)])
    optimizer = make_optimizer({"unet": network}, name, arguments)
    for weight in weights_of(optimizer):
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    held = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    size = sum(tensor.untyped_storage().nbytes() for tensor in held if tensor.numel() > 1)
    told = state_bytes(name, arguments)
    assert size / sum(weight.numel() for weight in weights_of(optimizer)) == pytest.approx(told, rel=0.03)


def test_each_network_has_its_own_rate() -> None:
    """With a rate of 0 the text encoder stays as it is while the U-Net moves."""
    networks, optimizer = made("AdamW")
    before = weights(networks)
    for weight in weights_of(optimizer):
        weight.grad = torch.ones_like(weight)
    assert set_rates(optimizer, {"unet": 1e-3, "text_encoder": 0}) == {"unet": 1e-3, "text_encoder": 0}
    optimizer.step()
    assert [torch.equal(*pair) for pair in zip(before, weights(networks), strict=True)] == [False, False, True, True]


@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdam"])
def test_rate_that_is_told_is_the_one_that_is_used(name: str) -> None:
    """d times the rate: 1e-6 (d0) at first, and larger once d has been found."""
    networks, optimizer = made(name)
    assert set_rates(optimizer, {"unet": 0.5, "text_encoder": 0.5}) == pytest.approx(
        {"unet": 5e-7, "text_encoder": 5e-7}
    )
    learn(networks, optimizer, 20, 1.0)
    d = optimizer.param_groups[0]["d"]
    assert d > 1e-6 and set_rates(optimizer, {"unet": 1.0, "text_encoder": 1.0})["unet"] == d


def test_relative_steps_tell_their_own_rate() -> None:
    """Adafactor with relative steps passes over the rate: weights move alike, and min(0.01, 1/sqrt(n)) is told."""
    (one, first), (two, second) = (made("Adafactor", relative_step=True) for _ in range(2))
    learn(one, first, 3, 1e-3)
    learn(two, second, 3, 0.5)
    assert all(map(torch.equal, weights(one), weights(two)))
    for state in first.state.values():
        state["step"] = 40_000 - 1
    assert set_rates(first, {"unet": 1, "text_encoder": 1})["unet"] == pytest.approx(1 / math.sqrt(40_000))


def test_weights_move_as_the_formula_says() -> None:
    """AdamW as published (Loshchilov and Hutter 2019): betas 0.9 and 0.999, eps 1e-8, decay 0.01 on every weight."""
    network = nn.Linear(3, 2)
    optimizer = make_optimizer({"unet": network})
    optimizer.param_groups[0]["lr"] = 0.01
    expected = [weight.detach().double().clone() for weight in network.parameters()]
    first, second = ([torch.zeros_like(w) for w in expected] for _ in range(2))
    for step in range(1, 6):
        for weight in network.parameters():
            weight.grad = torch.randn_like(weight)
        for place, weight in enumerate(network.parameters()):
            gradient = weight.grad.double()
            first[place] = 0.9 * first[place] + 0.1 * gradient
            second[place] = 0.999 * second[place] + 0.001 * gradient**2
            mean, square = first[place] / (1 - 0.9**step), second[place] / (1 - 0.999**step)
            expected[place] -= 0.01 * 0.01 * expected[place] + 0.01 * mean / (square.sqrt() + 1e-8)
        optimizer.step()
    for weight, value in zip(network.parameters(), expected, strict=True):
        assert torch.allclose(weight.double(), value, atol=1e-6)


def test_groups_are_named_and_hold_what_is_trained() -> None:
    """A network without gradients has no group, and its weights no state."""
    networks = two_networks()
    networks["unet"].requires_grad_(False)
    optimizer = make_optimizer(networks)
    assert [group["name"] for group in optimizer.param_groups] == ["text_encoder"]
    assert len(weights_of(optimizer)) == 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dropped_group_moves_no_more(name: str) -> None:
    """A dropped network keeps its weights, without weight decay, and its moments are let go."""
    networks = two_networks()
    optimizer = make_optimizer(networks, name)
    learn(networks, optimizer, 2)
    drop_group(optimizer, "text_encoder")
    before = networks["text_encoder"].weight.detach().clone()
    moved = networks["unet"].weight.detach().clone()
    assert networks["text_encoder"].weight not in optimizer.state
    learn(networks, optimizer, 2)
    assert torch.equal(networks["text_encoder"].weight, before)
    assert not torch.equal(networks["unet"].weight, moved)


def test_eight_bit_stays_near_the_plain_one() -> None:
    """Over 200 steps with the same gradients the 8-bit AdamW stays within 5 % of the way that the plain one goes."""
    plain, small = two_networks()["unet"], two_networks()["unet"]
    start = plain.weight.detach().clone()
    optimizers = [make_optimizer({"unet": plain}), make_optimizer({"unet": small}, "AdamW8bit")]
    scale = torch.rand(64, 64) + 0.5
    for _ in range(200):
        gradient = torch.randn(64, 64) * scale + 0.3
        for network, optimizer in zip((plain, small), optimizers, strict=True):
            network.weight.grad, network.bias.grad = gradient.clone(), torch.zeros(64)
            optimizer.param_groups[0]["lr"] = 1e-3
            optimizer.step()
    off = float((small.weight - plain.weight).detach().norm() / (plain.weight - start).detach().norm())
    assert 0 < off < 0.05
    assert optimizers[1].state[small.weight]["state1"].dtype == torch.uint8


def test_eight_bit_is_within_the_published_tolerance() -> None:
    """Each of 200 steps is as near to the plain optimizer's as bitsandbytes' own tests ask of AdamW8bit.

    Theirs (tests/test_optim.py, test_optimizer8bit, blockwise, fp32): weights of 0.1 and gradients of 0.01 times a
    normal draw, rate 1e-3; after every step the mean difference of the weights is below 6e-5 and the mean relative one
    below 6e-4, and both then go on from the same weights and moments, which would otherwise part quickly.
    """
    functional = pytest.importorskip("bitsandbytes.functional")
    draws = torch.Generator().manual_seed(8)
    plain, small = (torch.nn.Linear(32, 1024, bias=False) for _ in range(2))
    plain.weight.data = torch.randn(1024, 32, generator=draws) * 0.1
    small.weight.data = plain.weight.data.clone()
    optimizers = [make_optimizer({"unet": plain}), make_optimizer({"unet": small}, "AdamW8bit")]
    for _ in range(200):
        gradient = torch.randn(1024, 32, generator=draws) * 0.01
        for network, optimizer in zip((plain, small), optimizers, strict=True):
            network.weight.grad = gradient.clone()
            optimizer.param_groups[0]["lr"] = 1e-3
            optimizer.step()
        difference = (plain.weight - small.weight).detach().abs()
        assert difference.mean() < 6e-5
        assert (difference / (plain.weight.detach().abs() + 1e-9)).mean() < 6e-4
        small.weight.data.copy_(plain.weight.data)
        kept, packed = optimizers[0].state[plain.weight], optimizers[1].state[small.weight]
        for name, number in (("exp_avg", 1), ("exp_avg_sq", 2)):
            moment = functional.dequantize_blockwise(
                packed[f"state{number}"],
                absmax=packed[f"absmax{number}"],
                code=packed[f"qmap{number}"],
                blocksize=256,
            )
            # Of 256 levels a block: what is kept of a moment is off by a percent or so.
            assert 1e-4 < float((moment - kept[name]).norm() / kept[name].norm()) < 0.03
            kept[name].copy_(moment)


def test_hidden_bitsandbytes_comes_back() -> None:
    """Hidden from the imports of others, the package can still be had by a later run in the same process."""
    words = """
import importlib.util
from trainer.training.optimizer import bitsandbytes, hide_bitsandbytes
hide_bitsandbytes()
assert importlib.util.find_spec("bitsandbytes") is None
assert hasattr(bitsandbytes().optim, "AdamW8bit")
"""
    subprocess.run([sys.executable, "-c", words], cwd=Path(__file__).parents[2], check=True, timeout=120)
