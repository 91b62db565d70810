"""Settings of EveryDream2 (victorchall): its train.json, for whole models of Stable Diffusion 1.x and 2.x.

A flat JSON object with the names of its flags, whose defaults are laid under it. Names, units and defaults were read
from its source at 00ae25ae (train.py) and 5098db83 (train.json, doc/OPTIMIZER.md).
"""

from collections.abc import Mapping
from typing import Any

from trainer.contract.foreign.optimizer import lay_average, lay_clipping, lay_optimizer
from trainer.contract.foreign.reading import Reading

PROGRAM = "EveryDream2"
SIGNS = frozenset({"resume_ckpt", "data_root", "cond_dropout", "disable_textenc_training"})

_DEFAULTS: dict[str, Any] = {
    "batch_size": 2,
    "cond_dropout": 0.04,
    "max_epochs": 300,
    "resolution": 512,
    "lr_scheduler": "constant",
    "sample_steps": 250,
    "seed": 555,
}
_SAME = {
    "resume_ckpt": "pretrained_model_name_or_path",
    "data_root": "train_data_dir",
    "project_name": "output_name",
    "save_ckpt_dir": "output_dir",
    "logdir": "logging_dir",
    "max_epochs": "max_train_epochs",
    "batch_size": "train_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "gradient_checkpointing": "gradient_checkpointing",
    "resolution": "resolution",
    "cond_dropout": "caption_dropout_rate",
    "shuffle_tags": "shuffle_caption",
    "zero_frequency_noise_ratio": "noise_offset",
    "enable_zero_terminal_snr": "zero_terminal_snr",
    "min_snr_gamma": "min_snr_gamma",
    "disable_textenc_training": "unetonly",
    "disable_unet_training": "encoderonly",
    "save_optimizer": "save_state",
    "sample_prompts": "sample_prompts",
    "lr": "learning_rate",
    "lr_scheduler": "lr_scheduler",
    "lr_warmup_steps": "lr_warmup_steps",
}
_SAME_BUT_ZERO = {
    "save_every_n_epochs": "save_every_n_epochs",
    "sample_steps": "sample_every_n_steps",
    "clip_skip": "clip_skip",
    "timestep_start": "min_timestep",
}
_LEFT = {
    "ckpt_every_n_minutes": "Models are saved every so many steps or epochs here, states every so many minutes.",
    "embedding_perturbation": "This is not here.",
    "pyramid_noise_discount": "Choose multi-resolution noise here.",
    "lr_decay_steps": "The rate falls over the whole run.",
    "scale_lr": "The rate is the one that is written here: multiply it yourself.",
    "rated_dataset": "Ratings of images are not here.",
    "save_ckpts_from_n_epochs": "Saves begin with the first.",
    "hf_repo_subfolder": "Choose the model itself.",
    "ema_strength_target": "Give the decay of the average instead.",
    "ema_resume_model": "An average goes on with its run's state here.",
    "run_name": "Runs are named by their result here.",
    "wandb": "TensorBoard and the page show a run here; nothing is sent elsewhere.",
}
_SILENT = (
    *("config", "log_step", "notebook", "write_schedule", "lowvram", "rated_dataset_target_dropout_percent"),
    *("load_settings_every_epoch", "ema_sample_nonema_model", "ema_sample_ema_model", "plugins"),
)


def read(record: Mapping[str, Any]) -> Reading:
    """Read its train.json."""
    found = Reading(_DEFAULTS | dict(record))
    _optimizer(found)
    _average(found)
    _machine(found)
    for key, option in _SAME.items():
        found.take(key, option)
    for key, option in _SAME_BUT_ZERO.items():
        found.take(key, option, empty=(0,))
    found.take("seed", empty=(-1,))
    found.take("timestep_end", "max_timestep", empty=(1000,))
    folder = {"fine_tuning": True, "caption_extension": ".txt", "enable_bucket": True}
    found.convert("data_root", "Captions stand in .txt files beside the images, which go into buckets.", folder)
    flip = found.number("flip_p")
    if flip:
        found.convert("flip_p", f"Half of the images are flipped here; it was {100 * flip:g} %.", {"flip_aug": True})
    _loss(found)
    validation = found.pop("validation_config")
    found.leave("validation_config", validation, "Choose here which share of the images is held out.")
    for key, said in _LEFT.items():
        found.leave(key, found.pop(key), said)
    found.skip(*_SILENT)
    found.finish()
    return found


def _optimizer(found: Reading) -> None:
    """Its optimizer has a file of its own; without one it is the 8-bit AdamW."""
    file = found.pop("optimizer_config")
    if file:
        found.leave(
            "optimizer_config", file, "The optimizer stands in a file of its own: 8-bit AdamW, its usual one, is taken."
        )
    if file and found.peek("lr") is None:
        found.leave("lr", file, "The learning rate stands in the optimizer's file: give it here.")
    found.skip("useadam8bit")
    lay_clipping(found)
    lay_optimizer(found, "optimizer", "AdamW8bit", None)


def _average(found: Reading) -> None:
    decay, every = found.number("ema_decay_rate"), found.number("ema_update_interval")
    device = found.pop("ema_device")
    if decay:
        lay_average(found, "ema_decay_rate", decay, every, "cpu" if device == "cpu" else "same")


def _machine(found: Reading) -> None:
    """Half precision unless it is switched off; the kind of attention has two names through the years."""
    off, on = found.pop("disable_amp"), found.pop("amp")
    found.put("amp", {"mixed_precision": "no" if off or on is False else "fp16"})
    attention = found.pop("attn_type")
    if found.pop("disable_xformers") is False or attention == "xformers":
        found.put("attn_type", {"xformers": True})
    elif attention == "slice":
        found.put("attn_type", {"mem_eff_attn": True})
    elif attention == "sdp":
        found.put("attn_type", {"sdpa": True})
    card = found.pop("gpuid")
    if card:
        found.put("gpuid", {"gpu_ids": card})
    full = found.pop("save_full_precision")
    found.put("save_full_precision", {"save_precision": "float" if full else "fp16"})


def _loss(found: Reading) -> None:
    kind = found.pop("loss_type")
    if kind == "huber":
        found.put("loss_type", {"loss_type": "huber"})
    elif kind not in (None, "mse"):
        found.leave("loss_type", kind, f"There is no loss {kind} here: the squared error stands in its place.")
