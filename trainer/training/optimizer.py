"""The optimizer of the networks that are trained, in groups named "unet" and "text_encoder", from its own package.

AdamW's hyper-parameters are the ancestor's: betas 0.9 and 0.999, eps 1e-8, weight decay 0.01 on every weight.
"""

import importlib
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainer.contract.optimizers import OPTIMIZERS

START_RATE = 1.0
"""What stands in the groups until the loop sets the rate, before each step; some packages refuse 0."""


def make_optimizer(
    networks: Mapping[str, nn.Module], name: str = "AdamW", arguments: Mapping[str, Any] | None = None
) -> torch.optim.Optimizer:
    """One group for each network, holding the weights that take gradients; a network without any gets no group.

    `arguments` go to the constructor of the optimizer called `name`, over the defaults of its package and ours.
    Raises ImportError where its package is missing, and what the constructor raises.
    """
    groups = [
        {"params": parameters, "name": part}
        for part, network in networks.items()
        if (parameters := [weight for weight in network.parameters() if weight.requires_grad])
    ]
    assert groups, "a run trains at least one network: the rules say so before"
    settings = {"lr": START_RATE} | dict(OPTIMIZERS[name].defaults) | dict(arguments or {})
    if name == "AdamW":
        # Fused: 1,000 small tensors in one call, and a step whose gradients are no numbers is left out on the device.
        settings["fused"] = True
    if settings.get("relative_step"):
        settings["lr"] = None
    optimizer = optimizer_class(name)(groups, **settings)
    if OPTIMIZERS[name].averages:
        for group in optimizer.param_groups:
            group["train_mode"] = True  # nothing to move before the first step
    return optimizer


def optimizer_class(name: str) -> Any:
    """The class of that name in its own package, imported only now. Raises ImportError where it is missing."""
    package = OPTIMIZERS[name].package
    if package == "torch":
        return torch.optim.AdamW
    if package == "bitsandbytes":
        return getattr(bitsandbytes().optim, name)
    modules = {"transformers": "transformers.optimization", "lion-pytorch": "lion_pytorch"}
    return getattr(importlib.import_module(modules.get(package, package)), name)


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float]) -> dict[str, float]:
    """Set the learning rates of the next step by group; returns the rates that this step really uses.

    Prodigy and D-Adaptation use d times the rate, with the d that they have found so far; Adafactor with relative
    steps (Shazeer and Stern 2018, section 7) uses its own and passes over ours. AdamWScheduleFree may have a warm-up
    of its own.
    """
    told = {}
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]
        told[group["name"]] = group["lr"] * group.get("d", 1.0)
        if group.get("relative_step"):
            step = 1 + optimizer.state.get(group["params"][0], {}).get("step", 0)
            told[group["name"]] = min(1e-6 * step if group["warmup_init"] else 1e-2, step**-0.5)
        if group.get("warmup_steps"):
            told[group["name"]] *= min(1.0, (group["k"] + 1) / group["warmup_steps"])
    return told


def skips_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step can be left out without the computer waiting for the device to tell that it must be."""
    return isinstance(optimizer, torch.optim.AdamW)


def drop_group(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Take a network out of the optimizer and let its state go; it stays with the weights that it is used with."""
    kept = []
    for group in optimizer.param_groups:
        if group["name"] != name:
            kept.append(group)
            continue
        _put_average(optimizer, group)
        for weight in group["params"]:
            optimizer.state.pop(weight, None)
    optimizer.param_groups[:] = kept


def weights_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All weights that the optimizer moves."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


@contextmanager
def evaluated(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, the weights are those that a model is used with; afterwards they are what they were, to the last bit.

    Only with AdamWScheduleFree are they others than those that are trained.
    """
    groups = [group for group in optimizer.param_groups if _averages(group)]
    kept = [(weight, weight.detach().to("cpu", copy=True)) for group in groups for weight in group["params"]]
    try:
        for group in groups:
            _put_average(optimizer, group)
        yield
    finally:
        with torch.no_grad():
            # Not by the formula turned round, which would change the last bits: measuring must change no step.
            for weight, value in kept:
                weight.copy_(value)


def _averages(group: Mapping[str, Any]) -> bool:
    return "weight_lr_power" in group


@torch.no_grad()
def _put_average(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> None:
    """x in place of y, where y = (1 - beta1) z + beta1 x (Defazio et al. 2024, "The Road Less Scheduled")."""
    for weight in group["params"] if _averages(group) else ():
        if "z" in optimizer.state.get(weight, {}):
            weight.lerp_(optimizer.state[weight]["z"], 1 - 1 / group["betas"][0])


def hide_bitsandbytes() -> None:
    """Keep diffusers from importing bitsandbytes (1.5 to 3 s) where no 8-bit optimizer is asked for."""
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]


def bitsandbytes() -> types.ModuleType:
    """The bitsandbytes package. Raises ImportError where it is missing, and what it raises where it is broken."""
    if sys.modules.get("bitsandbytes", ...) is None:
        del sys.modules["bitsandbytes"]
    return importlib.import_module("bitsandbytes")
