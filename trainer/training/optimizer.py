"""AdamW for the networks that are trained, in groups named "unet" and "text_encoder"; plain or with 8-bit state.

Hyper-parameters are the ancestor's: betas 0.9 and 0.999, eps 1e-8, weight decay 0.01 on every weight.
"""

import importlib
import sys
import types
from collections.abc import Mapping

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPS = 1e-8
WEIGHT_DECAY = 0.01


def make_optimizer(networks: Mapping[str, nn.Module], eight_bit: bool) -> torch.optim.Optimizer:
    """One group for each network, holding the weights that take gradients; a network without any gets no group."""
    groups = [
        {"params": parameters, "name": name}
        for name, network in networks.items()
        if (parameters := [weight for weight in network.parameters() if weight.requires_grad])
    ]
    assert groups, "a run trains at least one network: the rules say so before"
    # The rate stands in the groups from the first step on: the loop sets it before each step.
    settings = {"lr": 0.0, "betas": BETAS, "eps": EPS, "weight_decay": WEIGHT_DECAY}
    if eight_bit:
        return bitsandbytes().optim.AdamW8bit(groups, **settings)
    # Fused: 1,000 small tensors in one call, and a step whose gradients are no numbers is left out on the device.
    return torch.optim.AdamW(groups, fused=True, **settings)


def skips_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step can be left out without the computer waiting for the device to tell that it must be."""
    return isinstance(optimizer, torch.optim.AdamW)


def drop_group(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Take a network out of the optimizer and let its state go."""
    kept = []
    for group in optimizer.param_groups:
        if group["name"] != name:
            kept.append(group)
            continue
        for weight in group["params"]:
            optimizer.state.pop(weight, None)
    optimizer.param_groups[:] = kept


def weights_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All weights that the optimizer moves."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def hide_bitsandbytes() -> None:
    """Keep diffusers from importing bitsandbytes (1.5 to 3 s) where no 8-bit optimizer is asked for."""
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]


def bitsandbytes() -> types.ModuleType:
    """The bitsandbytes package. Raises ImportError where it is missing, and what it raises where it is broken."""
    if sys.modules.get("bitsandbytes", ...) is None:
        del sys.modules["bitsandbytes"]
    return importlib.import_module("bitsandbytes")
