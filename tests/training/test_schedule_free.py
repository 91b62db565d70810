"""AdamWScheduleFree: what is trained and what is used are two sets of weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from tests.tiny_models import load
from tests.training.alike import assert_same_state, told
from tests.training.conftest import Train, of, wishing
from trainer.contract.events import Sampled, Validated
from trainer.contract.prompts import Prompt
from trainer.training.engine import Engine
from trainer.training.optimizer import drop_group, evaluated, make_optimizer, set_rates
from trainer.training.painter import Drawing, Painter
from trainer.training.state import read_tensors

BETA1, BETA2, EPS, DECAY = 0.9, 0.999, 1e-8, 0.02


def moved(steps: int, **arguments: Any) -> tuple[nn.Linear, torch.optim.Optimizer, list[torch.Tensor]]:
    """A network after some steps with drawn gradients, its optimizer, and the gradients of its weight."""
    torch.manual_seed(0)
    network = nn.Linear(6, 4)
    optimizer = make_optimizer({"unet": network}, "AdamWScheduleFree", arguments)
    gradients = []
    for step in range(steps):
        set_rates(optimizer, {"unet": 1e-2 * min(1, step / 3)})  # a warm-up by the loop, as the option makes it
        for weight in network.parameters():
            weight.grad = torch.randn_like(weight)
        gradients.append(network.weight.grad.double().clone())
        optimizer.step()
    return network, optimizer, gradients


@torch.no_grad()
def test_weights_move_as_the_paper_says() -> None:
    """The iteration of Defazio et al. 2024 in fp64: y takes the gradients, z the steps, x is their weighted average."""
    network, optimizer, gradients = moved(8, weight_decay=DECAY)
    torch.manual_seed(0)
    z = nn.Linear(6, 4).weight.detach().double()
    x, square, largest, total = z.clone(), torch.zeros_like(z), 0.0, 0.0
    for step, gradient in enumerate(gradients):
        rate = 1e-2 * min(1, step / 3)
        y = (1 - BETA1) * z + BETA1 * x
        square = BETA2 * square + (1 - BETA2) * gradient**2
        direction = gradient / ((square / (1 - BETA2 ** (step + 1))).sqrt() + EPS) + DECAY * y
        z = z - rate * direction
        largest = max(largest, rate)
        total += largest**2
        share = largest**2 / total if total else 0.0
        x = (1 - share) * x + share * z
    trained = network.weight.detach().clone()
    torch.testing.assert_close(trained.double(), (1 - BETA1) * z + BETA1 * x, rtol=1e-5, atol=1e-7)
    with evaluated(optimizer):
        torch.testing.assert_close(network.weight.detach().double(), x, rtol=1e-5, atol=1e-6)
        assert not torch.equal(network.weight, trained)


@torch.no_grad()
def test_used_weights_are_those_of_the_package_and_leave_no_trace() -> None:
    """Inside, what the package's own `eval` makes of it; afterwards every bit is back, also after an exception."""
    network, optimizer, _ = moved(5)
    before = network.weight.detach().clone()
    with pytest.raises(OSError, match="full"), evaluated(optimizer):
        used = network.weight.detach().clone()
        raise OSError("disk full")
    assert torch.equal(network.weight, before)
    optimizer.eval()  # type: ignore[attr-defined]
    torch.testing.assert_close(used, network.weight.detach(), rtol=1e-6, atol=0)


def test_nothing_is_moved_before_the_first_step_nor_for_others() -> None:
    """Samples before the first step show the weights as loaded, and plain AdamW has no others."""
    for optimizer_name, steps in (("AdamWScheduleFree", 0), ("AdamW", 1)):
        network = nn.Linear(3, 2)
        optimizer = make_optimizer({"unet": network}, optimizer_name)
        for _ in range(steps):
            network(torch.ones(3)).sum().backward()
            optimizer.step()
        before = network.weight.detach().clone()
        with evaluated(optimizer):
            assert torch.equal(network.weight, before)
        assert len(optimizer.state) == 2 * steps


@torch.no_grad()
def test_network_that_stops_stays_with_the_used_weights() -> None:
    """A text encoder that is frozen on the way is, from then on, what a model saved at that step would have held."""
    network, optimizer, _ = moved(4)
    with evaluated(optimizer):
        used = network.weight.detach().clone()
    drop_group(optimizer, "unet")
    assert torch.equal(network.weight, used)


def test_own_warmup_is_told() -> None:
    """With `warmup_steps` among its arguments the rate that is told is the one that a step really uses."""
    network = nn.Linear(3, 2)
    optimizer = make_optimizer({"unet": network}, "AdamWScheduleFree", {"warmup_steps": 4})
    rates = []
    for _ in range(6):
        rates.append(set_rates(optimizer, {"unet": 1.0})["unet"])
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert optimizer.param_groups[0]["scheduled_lr"] == rates[-1]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1]


OPTIONS: dict[str, Any] = {
    "optimizer_type": "AdamWScheduleFree",
    "max_train_steps": 6,
    "lr_warmup_steps": 2,
    "stop_text_encoder_training": 3,
    "save_state": True,
}
LOOKS: dict[str, Any] = {
    "validation_split": 0.4,
    "validate_every_n_steps": 1,
    "save_every_n_steps": 1,
    "sample_prompts": "a dog --s 1",
    "sample_every_n_steps": 1,
}


def test_saved_models_hold_the_used_weights(train: Train, tmp_path: Path) -> None:
    """A model is the average, the state beside it the weights that are trained; together they are the formula."""
    train(**OPTIONS | {"save_every_n_steps": 3, "stop_text_encoder_training": None})
    for name in ("at-step00000003", "last"):
        state = read_tensors(tmp_path / "out" / f"{name}-state")
        (group, _) = state.optimizer["optimizer"]["param_groups"]
        model = load(tmp_path / "out" / name).unet.requires_grad_(False)
        off = 0.0
        for number, (weight_name, used) in zip(group["params"], model.named_parameters(), strict=True):
            y, z = state.weights[f"unet.{weight_name}"], state.optimizer["optimizer"]["state"][number]["z"]
            torch.testing.assert_close((1 - BETA1) * z + BETA1 * used, y, rtol=1e-5, atol=1e-6)
            off = max(off, float((used - y).abs().max()))
        assert group["k"] == (6 if name == "last" else 3) and off > 1e-5


def test_samples_are_drawn_with_the_used_weights(train: Train, tmp_path: Path) -> None:
    """The last sample is the picture that the saved model draws."""
    prompt = Prompt("a dog", "", 64, 64, 5, 2, 1.0)
    events = train(**OPTIONS, sample_prompts="a dog --w 64 --h 64 --d 5 --s 2 --l 1")
    networks = load(tmp_path / "out" / "last")
    drawn = Painter(networks, Drawing((64, 64), 0, None, "epsilon"), Engine("no")).picture(prompt, 5)
    with Image.open(tmp_path / "run" / of(Sampled, events)[-1].path) as picture:
        assert np.abs(np.asarray(picture).astype(int) - drawn).max() <= 1


def test_looking_at_the_used_weights_changes_no_step(train: Train, tmp_path: Path) -> None:
    """Samples, measurements and saves after every step leave each loss and the last state as they are without."""
    held_out = {"validation_split": LOOKS["validation_split"]}
    often = train("often", **OPTIONS | LOOKS)
    never = train("never", **OPTIONS | held_out, output_dir=str(tmp_path / "never out"))
    assert told(often) == told(never)
    assert_same_state(tmp_path / "out" / "last-state", tmp_path / "never out" / "last-state")
    assert all(event.averaged for event in of(Validated, often))


@pytest.mark.parametrize("step", [2, 3, 4])
def test_resumed_run_is_the_straight_one(step: int, train: Train, tmp_path: Path) -> None:
    """Stopped before, at and after the step at which the text encoder stops: losses, state and models are the same."""
    straight = train("straight", **OPTIONS, output_dir=str(tmp_path / "straight out"))
    with wishing(step, "stop"):
        part = train("part", **OPTIONS)
    rest = train("rest", **OPTIONS, resume=str(tmp_path / "part"))
    assert told(part) + told(rest) == told(straight)
    assert_same_state(tmp_path / "out" / "last-state", tmp_path / "straight out" / "last-state")
    for network in ("unet", "text_encoder"):
        ours, theirs = (
            load_file(next((tmp_path / out / "last" / network).glob("*.safetensors")))
            for out in ("out", "straight out")
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
