"""The optimizers by name: the package each comes from, and the arguments that it takes, as data.

Nothing of the packages is imported here; a test holds every row against the constructor that it speaks of.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

OptimizerName = Literal[
    "AdamW",
    "AdamW8bit",
    "PagedAdamW8bit",
    "AdamWScheduleFree",
    "Adafactor",
    "Lion",
    "Lion8bit",
    "Prodigy",
    "DAdaptAdam",
]
Kind = Literal["number", "whole", "switch", "pair", "number or none"]

_WORDS: dict[str, Any] = {
    "number": "a number such as 0.01",
    "whole": "a whole number above 0",
    "switch": "True or False",
    "pair": "two numbers such as 0.9,0.99",
    "number or none": "a number, or None",
}
_ADAM: dict[str, Kind] = {"betas": "pair", "eps": "number", "weight_decay": "number"}
_D: dict[str, Kind] = {"d0": "number", "growth_rate": "number", "decouple": "switch", "use_bias_correction": "switch"}

EIGHT_BIT = 1 + 4 / 256
"""Bytes of a moment in 8 bits: one for each weight, and a scale in fp32 for each block of 256."""
ADAFACTOR_BYTES = 1.9
"""For a 1.x model, whose 3 x 3 convolutions are factored over their last two sides only; 1.4 for a 2.x model."""


@dataclass(frozen=True, slots=True)
class OptimizerFacts:
    """What is known of an optimizer without importing it."""

    package: str
    state_bytes: float
    """Bytes of its state for a weight, with the arguments that it has by itself."""
    arguments: Mapping[str, Kind]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Where ours are not the package's own."""
    finds_rate: bool = False
    """It looks for the size of its steps by itself, and the learning rate is a factor of it: about 1."""
    averages: bool = False
    """It keeps an average of the weights, which is what a model is used with, and takes no schedule for that."""


OPTIMIZERS: dict[str, OptimizerFacts] = {
    "AdamW": OptimizerFacts("torch", 8, _ADAM | {"amsgrad": "switch"}),
    "AdamW8bit": OptimizerFacts("bitsandbytes", 2 * EIGHT_BIT, _ADAM | {"min_8bit_size": "whole"}),
    "PagedAdamW8bit": OptimizerFacts("bitsandbytes", 2 * EIGHT_BIT, _ADAM | {"min_8bit_size": "whole"}),
    "AdamWScheduleFree": OptimizerFacts(
        "schedulefree",
        8,
        _ADAM | {"warmup_steps": "whole", "r": "number", "weight_lr_power": "number", "foreach": "switch"},
        averages=True,
    ),
    "Adafactor": OptimizerFacts(
        "transformers",
        ADAFACTOR_BYTES,
        {
            "eps": "pair",
            "clip_threshold": "number",
            "decay_rate": "number",
            "beta1": "number or none",
            "weight_decay": "number",
            "scale_parameter": "switch",
            "relative_step": "switch",
            "warmup_init": "switch",
        },
        # So that the learning rate is the one that was given.
        {"scale_parameter": False, "relative_step": False},
    ),
    "Lion": OptimizerFacts("lion-pytorch", 4, {"betas": "pair", "weight_decay": "number"}),
    "Lion8bit": OptimizerFacts(
        "bitsandbytes", EIGHT_BIT, {"betas": "pair", "weight_decay": "number", "min_8bit_size": "whole"}
    ),
    "Prodigy": OptimizerFacts(
        "prodigyopt",
        16,
        _ADAM | _D | {"beta3": "number or none", "d_coef": "number", "safeguard_warmup": "switch", "slice_p": "whole"},
        finds_rate=True,
    ),
    "DAdaptAdam": OptimizerFacts("dadaptation", 12, _ADAM | _D, finds_rate=True),
}
assert set(OPTIMIZERS) == set(get_args(OptimizerName))


def state_bytes(optimizer: str, arguments: Mapping[str, Any]) -> float:
    """Bytes of an optimizer's state for a weight, with these arguments."""
    one_more = bool(arguments.get("amsgrad")) + (arguments.get("beta1") is not None)
    return OPTIMIZERS[optimizer].state_bytes + 4 * one_more


def known_name(value: Any) -> Any:
    """The name as it is written here: people write `adamw8bit` and `AdaFactor` as well."""
    if isinstance(value, str):
        return next((name for name in OPTIMIZERS if name.lower() == value.strip().lower()), value)
    return value


def meant_by(optimizer_type: str, use_8bit_adam: bool) -> str:
    """The optimizer that is meant, by either name of the 8-bit AdamW; the rules name a contradiction."""
    return "AdamW8bit" if use_8bit_adam and optimizer_type == "AdamW" else optimizer_type


def read_arguments(optimizer: str, text: str | None) -> dict[str, Any]:
    """The arguments in a line such as `weight_decay=0.05 betas=0.9,0.99`. Raises ValueError, in words for a person."""
    allowed = OPTIMIZERS[optimizer].arguments
    found: dict[str, Any] = {}
    for part in (text or "").split():
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{part}: write name=value, without blanks inside, such as weight_decay=0.05")
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(allowed)}."
            raise ValueError(f"{optimizer} has no argument {name}: {hint}")
        if name in found:
            raise ValueError(f"{name} is given twice")
        try:
            found[name] = _read(allowed[name], value)
        except ValueError:
            raise ValueError(f"{name}={value}: write {_WORDS[allowed[name]]}") from None
    return found


def _read(kind: Kind, value: str) -> Any:
    if kind == "switch":
        if value.lower() not in ("true", "false"):
            raise ValueError
        return value.lower() == "true"
    if kind == "pair":
        first, second = (_number(part) for part in value.strip("()[]").split(","))
        return first, second
    if kind == "whole":
        if int(value) < 1:
            raise ValueError
        return int(value)
    if kind == "number or none" and value.lower() == "none":
        return None
    return _number(value)


def _number(text: str) -> float:
    number = float(text)
    if number != number:
        raise ValueError
    return number


PLAIN_ADAMW = {"use_8bit_adam": False, "optimizer_type": "AdamW", "optimizer_args": None}
"""The option values that choose the optimizer that is always there: PyTorch's own."""

NO_AVERAGE = {"use_ema": False, "save_raw": False, "save_ema_keys": False}
"""The option values without an average of the weights, and without what is saved beside one."""
