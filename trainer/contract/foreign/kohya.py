"""Presets of kohya_ss (bmaltais), DreamBooth and finetune, of all years.

A flat JSON object without a version; the same names as the flags, but for boxes of its page: there an empty text and a
zero mean "not given", warm-up and the end of the text encoder are percents, and many numbers are texts. What each
key means was read from its source at 45088f04 (kohya_gui/dreambooth_gui.py, finetune_gui.py, common_gui.py).
"""

import shlex
from collections.abc import Mapping
from typing import Any

from trainer.contract.cli import parse_line
from trainer.contract.foreign.optimizer import lay_optimizer
from trainer.contract.foreign.reading import Note, Reading, RefusedError
from trainer.contract.prompts import sampler_named

PROGRAM = "kohya_ss"
SIGNS = frozenset({"max_resolution", "lr_warmup", "model_list", "num_cpu_threads_per_process", "image_folder"})
"""Keys that none of our options and no other studio has."""

_OLD_NAMES = {
    "v_model": "v_parameterization",
    "cache_latent": "cache_latents",
    "caption_extention": "caption_extension",
}
"""Renamed there between December 2022 and January 2023."""
_OTHER_MODELS = ("sdxl", "sdxl_checkbox", "sd3_checkbox", "flux1_checkbox", "anima_checkbox", "lumina_checkbox")
_OTHER_KEYS = (
    *("sdxl", "sd3", "flux", "anima", "lumina", "learning_rate_te1", "learning_rate_te2", "t5xxl", "clip_l", "clip_g"),
    *("discrete_flow_shift", "guidance_scale", "logit_", "mode_scale", "model_prediction_type", "timestep_sampling"),
    *("train_blocks", "weighting_scheme", "sigmoid_scale", "blocks_to_swap", "double_blocks_", "single_blocks_"),
)
"""How keys begin that only other models have."""
_LORA = ("LoRA_type", "network_dim", "network_module", "num_vectors_per_token")

_PLAIN = (
    *("pretrained_model_name_or_path", "v2", "v_parameterization", "vae", "reg_data_dir", "output_dir", "output_name"),
    *("logging_dir", "resume", "train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing"),
    *("learning_rate", "learning_rate_te", "max_grad_norm", "max_data_loader_n_workers", "prior_loss_weight"),
    *("enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale", "random_crop"),
    *("cache_latents", "cache_latents_to_disk", "color_aug", "flip_aug", "masked_loss", "caption_extension"),
    *("shuffle_caption", "keep_tokens", "max_token_length", "caption_dropout_rate", "caption_dropout_every_n_epochs"),
    *("weighted_captions", "no_token_padding", "scale_v_pred_loss_like_noise_pred", "debiased_estimation_loss"),
    *("ip_noise_gamma", "ip_noise_gamma_random_strength", "min_snr_gamma", "loss_type", "huber_schedule", "huber_c"),
    *("huber_scale", "min_timestep", "mixed_precision", "mem_eff_attn", "save_precision", "save_state"),
)
_PLAIN_BUT_ZERO = (
    *("seed", "max_timestep", "save_every_n_epochs", "save_every_n_steps", "save_last_n_epochs", "save_last_n_steps"),
    *("sample_every_n_epochs", "sample_every_n_steps"),
)
"""Where a zero, or an empty box, means "not given"."""

LEFT = {
    "dataset_config": "Its folders stand in a file of its own: choose the folders here.",
    "full_fp16": "Weights are kept in full precision here; mixed precision saves most of what this does.",
    "full_bf16": "Weights are kept in full precision here; mixed precision saves most of what this does.",
    "fp8_base": "Weights are kept in full precision here.",
    "multi_gpu": "One run trains on one card here.",
    "v_pred_like_loss": "This loss is not here.",
    "vae_batch_size": "How many images are encoded at once is found here by itself.",
    "persistent_data_loader_workers": "Loading processes stay by themselves here.",
    "save_last_n_steps_state": "States have a limit of their own here, by number.",
    "save_last_n_epochs_state": "States have a limit of their own here, by number.",
    "save_state_on_train_end": "A stopped run always leaves a state here; with “Save states” every save has one.",
    "lr_scheduler_args": "Schedules of other packages are not here.",
    "lr_scheduler_type": "Schedules of other packages are not here.",
    "block_lr": "One learning rate for the whole U-Net.",
    "log_with": "TensorBoard and the page show a run here; nothing is sent elsewhere.",
    "use_wandb": "TensorBoard and the page show a run here; nothing is sent elsewhere.",
    "save_state_to_huggingface": "Nothing is sent elsewhere.",
    "extra_accelerate_launch_args": "The launch is this studio's own.",
}
SILENT = (
    *("model_list", "save_as_bool", "save_as", "training_preset", "num_cpu_threads_per_process", "num_processes"),
    *("num_machines", "main_process_port", "create_caption", "create_buckets", "generate_caption_database"),
    *(
        "generate_image_buckets",
        "batch_size",
        "full_path",
        "use_latent_files",
        "train_dir",
        "caption_metadata_filename",
    ),
    *("latent_metadata_filename", "skip_cache_check", "async_upload", "log_tracker_name", "log_tracker_config"),
    *("log_config", "resume_from_huggingface", "wandb_run_name", "noise_offset_type", "multires_noise_discount"),
)
"""Of its page and its launch, not of a run; or told beside another key."""


def read(record: Mapping[str, Any]) -> Reading:
    """Read a preset. Raises RefusedError for one of another kind of training or of other models."""
    record = {_OLD_NAMES.get(key, key): value for key, value in record.items()}
    refuse_others(record, PROGRAM)
    found = Reading(record)
    found.skip_where(_OTHER_KEYS)
    _folders(found)
    _rate(found, _length(found))
    _text_encoder(found)
    _noise(found)
    _samples(found)
    for key in _PLAIN:
        found.take(key)
    for key in _PLAIN_BUT_ZERO:
        found.take(key, empty=(0,))
    found.take("max_resolution", "resolution")
    found.take("clip_skip", empty=(0, 1))
    found.take("save_model_as", empty=("same as source model",))
    _attention(found)
    _card(found)
    _more_flags(found)
    for key, said in LEFT.items():
        found.leave(key, found.pop(key), said)
    found.skip(*SILENT)
    found.skip_where(("dynamo_", "huggingface_path", "huggingface_repo", "metadata_", "wandb_run"))
    found.finish()
    return found


def refuse_others(record: Mapping[str, Any], program: str) -> None:
    """Raise RefusedError where a record is for parts of a model, or for other models."""
    if any(record.get(key) for key in _LORA):
        raise RefusedError(f"This preset of {program} trains a LoRA or an embedding; this studio trains whole models.")
    if any(str(record.get(key, "")).lower() == "true" for key in _OTHER_MODELS):
        raise RefusedError(
            f"This preset of {program} is not for Stable Diffusion 1.x or 2.x, which this studio trains."
        )


def _folders(found: Reading) -> None:
    """A finetune preset has one folder with captions, and always buckets."""
    folder, repeats = found.pop("image_folder"), found.pop("dataset_repeats")
    finetune = folder is not None or found.peek("train_text_encoder") is not None
    if finetune:
        values = {"fine_tuning": True, "enable_bucket": True}
        values |= {"train_data_dir": folder} if folder else {}
        values |= {"dataset_repeats": repeats} if repeats else {}
        found.convert("image_folder", "A preset of its finetune page: one folder with captions, in buckets.", values)
    found.take("train_data_dir")


def _length(found: Reading) -> float:
    """Epochs decide there; without them steps; without either the box "epoch", which is returned."""
    epochs, steps, box = (found.number(key) for key in ("max_train_epochs", "max_train_steps", "epoch"))
    if epochs:
        found.put("max_train_epochs", {"max_train_epochs": int(epochs)})
    elif steps:
        found.put("max_train_steps", {"max_train_steps": int(steps)})
        found.leave("epoch", box > 1, f"{steps:,.0f} steps are given, and decide.")
    elif box:
        found.convert("epoch", f"Epochs: {box:.0f}.", {"max_train_epochs": int(box)})
    return box


def _rate(found: Reading, epochs: float) -> None:
    """Warm-up is a percent there; restarts are as many as epochs where their number is not given."""
    percent, steps = found.number("lr_warmup"), found.number("lr_warmup_steps")
    schedule = found.pop("lr_scheduler")
    if (percent or steps) and schedule == "constant":
        said = "With the schedule constant there is no warm-up there: choose constant_with_warmup for one."
        found.leave("lr_warmup", percent or steps, said)
    elif steps:
        found.put("lr_warmup_steps", {"lr_warmup_steps": steps})
    elif percent:
        share = {"lr_warmup_steps": percent / 100}
        found.convert("lr_warmup", f"{percent:g} % of all steps: a warm-up of {percent / 100:g}.", share)
    name, eight, arguments = found.pop("optimizer"), found.on("use_8bit_adam"), found.pop("optimizer_args")
    if name is not None:
        lay_optimizer(found, "optimizer", str(name), arguments)
    elif eight:
        lay_optimizer(found, "use_8bit_adam", "AdamW8bit", arguments)
    cycles, power = found.number("lr_scheduler_num_cycles"), found.number("lr_scheduler_power")
    if schedule == "adafactor":
        found.convert("lr_scheduler", "Adafactor sets its rate by itself: the schedule is constant.", {})
    elif schedule is not None:
        found.put("lr_scheduler", {"lr_scheduler": schedule})
    if schedule == "cosine_with_restarts":
        found.put("lr_scheduler_num_cycles", {"lr_scheduler_num_cycles": int(cycles or epochs or 1)})
    if schedule == "polynomial" and power:
        found.put("lr_scheduler_power", {"lr_scheduler_power": power})


def _text_encoder(found: Reading) -> None:
    """A percent of all steps on its page, -1 for never; its finetune page has a switch in place of it."""
    percent = found.number("stop_text_encoder_training")
    steps = found.values.get("max_train_steps")
    switch = found.pop("train_text_encoder")
    if percent < 0 or (switch is not None and str(switch).lower() == "false"):
        key = "stop_text_encoder_training" if percent < 0 else "train_text_encoder"
        found.convert(key, "The text encoder is not trained: only the U-Net.", {"unetonly": True})
    elif percent and steps:
        stop = round(steps * percent / 100)
        said = f"{percent:g} % of {steps:,} steps: after step {stop:,}."
        found.convert("stop_text_encoder_training", said, {"stop_text_encoder_training": stop})
    elif percent:
        said = f"{percent:g} % of all steps, whose number is not in the file: give the step when the plan is known."
        found.leave("stop_text_encoder_training", percent, said)


def _noise(found: Reading) -> None:
    """Only the chosen one of two kinds of noise is used there."""
    multires = found.peek("noise_offset_type") == "Multires"
    if multires:
        found.take("multires_noise_iterations", empty=(0,))
        found.take("multires_noise_discount", empty=(0,))
    for key in ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"):
        if multires:
            found.leave(key, found.pop(key), "Multi-resolution noise is chosen in its place.")
        else:
            found.take(key)
    found.skip("multires_noise_iterations")


def _samples(found: Reading) -> None:
    """Its sampler is chosen once for all prompts; here each line may say its own."""
    prompts, sampler = found.pop("sample_prompts"), found.pop("sample_sampler")
    if prompts is None:
        return
    name = sampler_named(str(sampler)) if sampler else None
    lines = [line for line in str(prompts).splitlines() if line.strip()]
    if sampler and name is None:
        found.leave("sample_sampler", sampler, f"There is no sampler {sampler} here: samples are drawn with DDIM.")
    elif name:
        lines = [line if line.startswith("#") or "--ss " in line else f"{line} --ss {sampler}" for line in lines]
    found.put("sample_prompts", {"sample_prompts": "\n".join(lines)})


def _attention(found: Reading) -> None:
    """Once a switch, then a choice of three."""
    chosen = found.pop("xformers")
    if str(chosen).lower() in ("true", "xformers", "sdpa"):
        found.put("xformers", {"sdpa" if chosen == "sdpa" else "xformers": True})


def _card(found: Reading) -> None:
    cards = found.pop("gpu_ids")
    if cards is not None and "," in str(cards):
        found.leave("gpu_ids", cards, "One run trains on one card here.")
    elif cards is not None:
        found.put("gpu_ids", {"gpu_ids": cards})


def _more_flags(found: Reading) -> None:
    """Flags that were written into a box, behind all others."""
    text = found.pop("additional_parameters")
    if text is None:
        return
    try:
        line = parse_line(shlex.split(str(text)))
    except ValueError:
        found.leave("additional_parameters", text, "These flags cannot be read: a quotation mark is missing.")
        return
    if line.values:
        found.convert("additional_parameters", f"Its flags: {', '.join(line.values)}.", line.values)
    found.notes += [Note("additional_parameters", "unknown", problem.message) for problem in line.problems]
