"""What may mend a run that crashed: option values to change, from what changes nothing in the result to what does.

Comes in: the settings of the crashed run. Goes out: the ways that fit it; `ways_for` of crash.py leaves out those
that are set already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.contract.config import TrainingConfig
from trainer.contract.optimizers import NO_AVERAGE, PLAIN_ADAMW

_SMALLEST_SIDE = 256
"""Pixels; below this models of 512 make no pictures."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to mend it: what to click, what that does, and the option values that it sets. None: try again as is."""

    title: str
    about: str
    values: Mapping[str, Any] = field(default_factory=dict)


def less_memory(config: TrainingConfig) -> list[Way]:
    """What makes a run smaller, from what changes nothing in the result to what changes much."""
    ways = []
    hardware = config.hardware
    if not (hardware.sdpa or hardware.xformers or hardware.mem_eff_attn):
        about = "Attention without a table of every point with every other: faster, too. The result is the same."
        ways.append(Way("PyTorch's own attention", about, {"sdpa": True}))
    about = "Calculates parts twice instead of keeping them: slower by about a third. The result is the same."
    ways.append(Way("Gradient checkpointing", about, {"gradient_checkpointing": True}))
    images = config.images
    if not images.cached and not images.random_crop and not images.color_aug:
        about = "The VAE encodes every image once and leaves before the first step. The result is the same."
        ways.append(Way("Cache latents", about, {"cache_latents": True}))
    if config.networks.use_ema and config.networks.ema_device == "same":
        about = "The average of the weights leaves the card: each step waits for a copy. The result is the same."
        ways.append(Way("Average in the computer's memory", about, {"ema_device": "cpu"}))
    if hardware.mixed_precision == "no":
        about = "Most numbers take half the room. The result differs a little. Needs a card of 2020 or newer."
        ways.append(Way("Mixed precision bf16", about, {"mixed_precision": "bf16"}))
    ways += _smaller_batch(config)
    if config.rate.optimizer == "AdamW":
        about = "The optimizer's memory shrinks to a quarter. The result differs a little."
        ways.append(Way("8-bit Adam", about, {"optimizer_type": "AdamW8bit", "optimizer_args": None}))
    if not (config.networks.unetonly or config.networks.encoderonly):
        about = "The text encoder stays as it is: new words are learnt less well, and much less memory is needed."
        ways.append(Way("Train only the U-Net", about, {"unetonly": True}))
    return ways + _smaller_pictures(config)


def _smaller_batch(config: TrainingConfig) -> list[Way]:
    """A part of the images at a time, and so many times the batches: a step stays as large as it is."""
    size = config.length.train_batch_size
    parts = next((parts for parts in (2, 3, 5, 7) if size % parts == 0), None)
    if parts is None:
        return []
    gathered = parts * config.length.gradient_accumulation_steps
    values = {"train_batch_size": size // parts, "gradient_accumulation_steps": gathered}
    some = {2: "Half", 3: "A third of"}.get(parts, "Some of")
    about = f"{some} the images at a time, and a step is as large as before."
    return [Way(f"Batch of {size // parts}, {gathered} batches a step", about, values)]


def _smaller_pictures(config: TrainingConfig) -> list[Way]:
    """Three quarters of the sides, on the grid of 64, where they stay sides that models know."""
    width, height = (side * 3 // 4 // 64 * 64 for side in config.images.size)
    if min(width, height) < _SMALLEST_SIDE:
        return []
    shown = f"{width}" if width == height else f"{width} x {height}"
    about = "Smaller pictures: fine detail is not learnt."
    return [Way(f"Resolution {shown}", about, {"resolution": f"{width},{height}"})]


def less_host_memory(config: TrainingConfig) -> list[Way]:
    """What leaves the computer's memory to others."""
    ways = [_alone("Each helper process takes memory of its own."), *less_memory(config)]
    if config.networks.use_ema:
        about = "The last step's weights are saved, not a calmer average, which is as large as the networks."
        ways.append(Way("No averaging of the weights", about, NO_AVERAGE))
    return ways


def smaller_saves(config: TrainingConfig) -> list[Way]:
    """What makes a run write less."""
    saves, ways = config.saves, []
    if saves.save_precision in (None, "float"):
        ways.append(Way("Save in fp16", "A save takes half the room.", {"save_precision": "fp16"}))
    if saves.save_every_n_epochs and not saves.save_last_n_epochs:
        ways.append(Way("Keep the last two epochs", "Older saves of the run are removed.", {"save_last_n_epochs": 2}))
    if saves.save_every_n_steps and not saves.save_last_n_steps:
        steps = 2 * saves.save_every_n_steps
        ways.append(Way("Keep the last two saves", "Older saves of the run are removed.", {"save_last_n_steps": steps}))
    about = "Only the rotating state for a crash is kept, not one with every save."
    ways.append(Way("No states beside the saves", about, {"save_state": False}))
    return ways


def calmer(config: TrainingConfig) -> list[Way]:
    """What keeps numbers finite."""
    ways = []
    if config.hardware.mixed_precision == "fp16":
        about = "The same room as fp16, without its narrow range. Needs a card of 2020 or newer."
        ways.append(Way("bf16 instead of fp16", about, {"mixed_precision": "bf16"}))
    rate = config.rate.learning_rate / 10
    ways.append(
        Way(
            f"Learning rate {rate:g}",
            "A tenth: the likeliest cause is a rate that is too high.",
            {"learning_rate": rate},
        )
    )
    if config.rate.max_grad_norm == 0:
        ways.append(
            Way("Clip gradients at 1", "One bad batch can then not throw the weights far.", {"max_grad_norm": 1.0})
        )
    return ways


def without_bitsandbytes(config: TrainingConfig) -> list[Way]:
    """The same run with an optimizer of PyTorch's own."""
    return [Way("Plain AdamW", "Needs more memory, and nothing that is not installed.", PLAIN_ADAMW)]


def without_helpers(config: TrainingConfig) -> list[Way]:
    """Images read in the trainer's own process."""
    return [_alone("Images are read by the trainer itself, so nothing has to be shared between processes.")]


def _alone(about: str) -> Way:
    return Way("Read images without helpers", about, {"max_data_loader_n_workers": 0})


def without_bad_images(config: TrainingConfig) -> list[Way]:
    """Damaged images left out."""
    about = "Every image is decoded before the first step, and those that cannot be are named and left out."
    return [Way("Leave out damaged images", about, {"skip_bad_images": True})]
