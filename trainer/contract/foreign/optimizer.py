"""An optimizer of another studio with its arguments, clipping, and an average of the weights, laid under ours."""

from collections.abc import Mapping
from typing import Any

from trainer.contract.foreign.reading import Note, Reading
from trainer.contract.optimizers import OPTIMIZERS, known_name, read_arguments

_NEAR = {
    "pagedadamw": ("AdamW", "its state stays on the card"),
    "pagedadamw32bit": ("AdamW", "its state stays on the card"),
    "pagedlion8bit": ("Lion8bit", "its state stays on the card"),
    "dadaptation": ("DAdaptAdam", "the same method, of its first package"),
    "dadaptadampreprint": ("DAdaptAdam", "the same method, of its first package"),
    "adamw_8bit": ("AdamW8bit", "the same"),
    "lion_8bit": ("Lion8bit", "the same"),
    "schedule_free_adamw": ("AdamWScheduleFree", "the same"),
    "dadapt_adam": ("DAdaptAdam", "the same"),
}
"""Other spellings, and optimizers that are close to one of ours: name in small letters -> ours, and how close."""

RELATIVE = {"scale_parameter": "True", "relative_step": "True"}
"""What Adafactor does in sd-scripts unless its arguments say otherwise (library/train_util.py, get_optimizer)."""


def lay_optimizer(found: Reading, key: str, name: str, arguments: Any) -> None:
    """Lay an optimizer and its arguments, `name=value name=value`, under ours; what is not here is told."""
    ours = known_name(name)
    if ours not in OPTIMIZERS and name.lower() in _NEAR:
        ours, said = _NEAR[name.lower()]
        found.convert(key, f"{name}: {ours}, {said}.", {"optimizer_type": ours})
    elif ours in OPTIMIZERS:
        found.put(key, {"optimizer_type": ours})
    else:
        found.leave(key, name, f"There is no optimizer {name} here: AdamW stands in its place.")
        found.leave(f"{key}_args", arguments, f"Arguments of {name}.")
        return
    kept: dict[str, str] = {}
    for part in str(arguments or "").split():
        part = part.replace('"', "").replace("'", "")
        try:
            read_arguments(ours, part)
        except ValueError as reason:
            found.notes.append(Note(f"{key}_args", "left", f"{str(reason)[:1].upper()}{str(reason)[1:].rstrip('.')}."))
            continue
        argument, _, value = part.partition("=")
        kept[argument] = value
    if ours == "Adafactor" and not kept.keys() >= RELATIVE.keys():
        said = "Adafactor sets its own rate there unless it is told not to; here its arguments say so."
        found.convert(f"{key}_args", said, {"optimizer_args": _joined(RELATIVE | kept)})
    elif kept:
        found.put(f"{key}_args", {"optimizer_args": _joined(kept)})


def lay_clipping(found: Reading) -> None:
    """Lay `clip_grad_norm` under ours. Where it is not given nothing is clipped there; here it would be, at 1."""
    if found.peek("clip_grad_norm") is None:
        found.skip("clip_grad_norm")
        found.put("clip_grad_norm", {"max_grad_norm": 0.0})
    found.take("clip_grad_norm", "max_grad_norm")


def lay_average(found: Reading, key: str, decay: float, every: float, device: str) -> None:
    """Lay an average of the weights under ours, which takes in every step: with as long a memory.

    `every` is how many steps there lie between two updates by `decay`.
    """
    values = {"use_ema": True, "ema_decay": decay, "ema_device": device}
    if every > 1 and 0 < decay < 1:
        values["ema_decay"] = round(decay ** (1 / every), 6)
        found.convert(key, f"{decay:g} every {every:.0f} steps is {values['ema_decay']:g} every step.", values)
    else:
        found.put(key, values)


def _joined(arguments: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in arguments.items())
