"""AdamW: against torch's own formula, in groups, with 8-bit state."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from trainer.training.optimizer import drop_group, make_optimizer, weights_of


def two_networks() -> dict[str, nn.Module]:
    """Two small networks with the same weights each time."""
    torch.manual_seed(0)
    return {"unet": nn.Linear(64, 64), "text_encoder": nn.Linear(64, 8)}


def learn(networks: dict[str, nn.Module], optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Fit a fixed mapping for some steps."""
    torch.manual_seed(1)
    x, y = torch.randn(256, 64), torch.randn(256, 8)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (networks["text_encoder"](networks["unet"](x)) - y).square().mean()
        loss.backward()
        optimizer.step()


def test_weights_move_as_the_formula_says() -> None:
    """AdamW as published (Loshchilov and Hutter 2019): betas 0.9 and 0.999, eps 1e-8, decay 0.01 on every weight."""
    network = nn.Linear(3, 2)
    optimizer = make_optimizer({"unet": network}, eight_bit=False)
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
    optimizer = make_optimizer(networks, eight_bit=False)
    assert [group["name"] for group in optimizer.param_groups] == ["text_encoder"]
    assert len(weights_of(optimizer)) == 2


@pytest.mark.parametrize("eight_bit", [False, True])
def test_dropped_group_moves_no_more(eight_bit: bool) -> None:
    """A dropped network keeps its weights, without weight decay, and its moments are let go."""
    networks = two_networks()
    optimizer = make_optimizer(networks, eight_bit)
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
    optimizers = [make_optimizer({"unet": plain}, eight_bit=False), make_optimizer({"unet": small}, eight_bit=True)]
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
