"""Presets and saved configurations of OneTrainer (Nerogar), for fine-tuning of Stable Diffusion 1.5, 2.0 and 2.1.

A nested JSON object that says what differs from its own defaults, so these are laid under it. Names, units and
defaults were read from its source at 00f380ac (modules/util/config/TrainConfig.py and modules/util/enum).
"""

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from trainer.contract.foreign.onetrainer_keys import DEFAULTS, LEFT, SILENT, SILENT_BEGINNINGS
from trainer.contract.foreign.optimizer import lay_average, lay_clipping, lay_optimizer
from trainer.contract.foreign.reading import Reading, RefusedError

PROGRAM = "OneTrainer"
SIGNS = frozenset({"training_method", "base_model_name", "learning_rate_scheduler", "output_model_destination"})

_UNET = {"train": True, "gradient_checkpointing": True}
_TEXT_ENCODER = {"train": True, "stop_training_after": 30, "stop_training_after_unit": "EPOCH"}

_MODELS = {
    "STABLE_DIFFUSION_15": {},
    "STABLE_DIFFUSION_20_BASE": {"v2": True},
    "STABLE_DIFFUSION_21_BASE": {"v2": True},
    "STABLE_DIFFUSION_20": {"v2": True, "v_parameterization": True},
    "STABLE_DIFFUSION_21": {"v2": True, "v_parameterization": True},
}
_FORMATS = {
    "SAFETENSORS": "safetensors",
    "LEGACY_SAFETENSORS": "safetensors",
    "ORIGINAL_SINGLE_FILE": "safetensors",
    "CKPT": "ckpt",
    "DIFFUSERS": "diffusers_safetensors",
}
_PRECISIONS = {"FLOAT_32": "float", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}
_SCHEDULES = {
    "CONSTANT": "constant_with_warmup",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_RESTARTS": "cosine_with_restarts",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
}
_OPTIMIZER_ARGUMENTS = (
    *("clip_threshold", "d0", "d_coef", "decay_rate", "growth_rate", "r", "slice_p", "weight_decay"),
    "weight_lr_power",
)
_SWITCHED_ARGUMENTS = (
    "decouple",
    "relative_step",
    "safeguard_warmup",
    "scale_parameter",
    "use_bias_correction",
    "warmup_init",
)


def read(record: Mapping[str, Any]) -> Reading:
    """Read a preset. Raises RefusedError for one of another kind of training or of other models."""
    method, model = record.get("training_method", "FINE_TUNE"), record.get("model_type", "STABLE_DIFFUSION_15")
    if method != "FINE_TUNE":
        raise RefusedError(f"This preset of OneTrainer is for {method}; this studio trains whole models.")
    if model not in _MODELS:
        raise RefusedError(
            f"This preset of OneTrainer is for {model}; this studio trains Stable Diffusion 1.x and 2.x."
        )
    found = Reading(DEFAULTS | dict(record))
    found.skip("training_method")
    found.pop("model_type")
    found.put("model_type", _MODELS[model])
    _files(found)
    _images(found)
    _length(found)
    _rate(found)
    _parts(found)
    _average(found)
    _loss(found)
    _samples(found)
    for key, said in LEFT.items():
        found.leave(key, found.pop(key), said)
    found.skip(*SILENT)
    found.skip_where(SILENT_BEGINNINGS)
    found.finish()
    return found


def _files(found: Reading) -> None:
    found.take("base_model_name", "pretrained_model_name_or_path")
    destination = found.pop("output_model_destination")
    if destination is not None:
        kind = PureWindowsPath if "\\" in str(destination) else PurePosixPath
        path = kind(str(destination))
        name = path.stem if path.suffix in (".safetensors", ".ckpt") else path.name
        found.put("output_model_destination", {"output_dir": str(path.parent), "output_name": name})
    _choose(found, "output_model_format", "save_model_as", _FORMATS)
    _choose(found, "output_dtype", "save_precision", _PRECISIONS)
    every, unit = found.number("save_every"), found.pop("save_every_unit")
    _take_times(found, "save_every", every, unit, {"STEP": "save_every_n_steps", "EPOCH": "save_every_n_epochs"})
    after, unit = found.number("backup_after"), found.pop("backup_after_unit")
    minutes = {"SECOND": 1 / 60, "MINUTE": 1, "HOUR": 60}.get(str(unit))
    if after and minutes:
        found.put("backup_after", {"save_state": True, "save_state_every_minutes": after * minutes})
    elif after and unit != "NEVER":
        found.leave("backup_after", after, "States are saved every so many minutes here.")


def _images(found: Reading) -> None:
    """Concepts may stand in the file itself; one folder can be taken, with captions beside its images."""
    concepts = found.rows("concepts")
    if len(concepts) == 1 and concepts[0].peek("path"):
        values = {"train_data_dir": str(concepts[0].pop("path")), "fine_tuning": True, "caption_extension": ".txt"}
        found.convert("concepts", "One folder, with captions in .txt files beside its images.", values)
    elif concepts:
        found.leave("concepts", concepts, f"{len(concepts)} folders: put them into one, and choose that here.")
    else:
        found.convert(
            "concepts", "Captions stand in .txt files there.", {"fine_tuning": True, "caption_extension": ".txt"}
        )
    resolution = found.pop("resolution")
    sizes = [size.strip() for size in str(resolution).split(",")]
    if len(sizes) > 1:
        found.leave("resolution", resolution, f"Several resolutions: only the first, {sizes[0]}, is taken.")
    found.put("resolution", {"resolution": sizes[0].replace("x", ",")})
    found.take("aspect_ratio_bucketing", "enable_bucket")
    old = found.pop("latent_caching")
    if found.on("image_caching") and old is not False:
        found.put("image_caching", {"cache_latents": True, "cache_latents_to_disk": True})


def _length(found: Reading) -> None:
    found.take("epochs", "max_train_epochs")
    found.take("batch_size", "train_batch_size")
    found.take("gradient_accumulation_steps")


def _rate(found: Reading) -> None:
    warmup = found.number("learning_rate_warmup_steps")
    floor, cycles = found.number("learning_rate_min_factor"), found.number("learning_rate_cycles")
    name = str(found.pop("learning_rate_scheduler"))
    schedule = _SCHEDULES.get(name, "constant_with_warmup")
    if name not in _SCHEDULES:
        found.leave("learning_rate_scheduler", name, f"There is no schedule {name} here: the rate is constant.")
    if schedule == "constant_with_warmup" and not warmup:
        schedule = "constant"
    values: dict[str, Any] = {"lr_scheduler": schedule, "lr_warmup_steps": warmup}
    if schedule == "cosine" and floor:
        values |= {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": floor}
    elif floor:
        found.leave("learning_rate_min_factor", floor, "Only the cosine ends above zero here.")
    if schedule == "cosine_with_restarts" and cycles:
        values["lr_scheduler_num_cycles"] = int(cycles)
    found.put("learning_rate_scheduler", values)
    scaler = found.pop("learning_rate_scaler")
    if scaler not in (None, "NONE"):
        found.leave("learning_rate_scaler", scaler, "The rate is the one that is written here: multiply it yourself.")
    lay_clipping(found)
    _optimizer(found)


def _optimizer(found: Reading) -> None:
    given = found.part("optimizer")
    name = str(given.pop("optimizer") or "ADAMW")
    arguments = {key: given.pop(key) for key in _OPTIMIZER_ARGUMENTS}
    switches = {key: given.pop(key) is True for key in _SWITCHED_ARGUMENTS}
    if name == "ADAFACTOR":
        # Of no other optimizer of ours is an argument that is off at odds with what it does by itself.
        arguments |= switches | {"eps": _pair(given, "eps", "eps2")}
    else:
        arguments |= {key: True for key, on in switches.items() if on}
        arguments |= {"betas": _pair(given, "beta1", "beta2"), "eps": given.pop("eps"), "beta3": given.pop("beta3")}
    arguments["amsgrad"] = given.pop("amsgrad") or None
    lay_optimizer(found, "optimizer", name, " ".join(f"{k}={v}" for k, v in arguments.items() if v is not None))


def _parts(found: Reading) -> None:
    """U-Net, text encoder and VAE each have a record of their own."""
    unet, encoder, vae = found.part("unet", _UNET), found.part("text_encoder", _TEXT_ENCODER), found.part("vae")
    if name := vae.pop("model_name"):
        found.put("vae.model_name", {"vae": str(name)})
    rate = found.number("learning_rate")
    encoder_rate = encoder.number("learning_rate")
    found.put("learning_rate", {"learning_rate": unet.number("learning_rate") or rate})
    if encoder.pop("train") is False:
        found.put("text_encoder.train", {"unetonly": True})
    elif unet.pop("train") is False:
        found.put("unet.train", {"encoderonly": True, "learning_rate": encoder_rate or rate})
    else:
        if encoder_rate:
            found.put("text_encoder.learning_rate", {"learning_rate_te": encoder_rate})
        _stop(found, encoder)
    skipped = found.number("text_encoder_layer_skip")
    if skipped:
        said = f"{skipped:.0f} layers left out are a clip skip of {skipped + 1:.0f}."
        found.convert("text_encoder_layer_skip", said, {"clip_skip": int(skipped) + 1})
    dropout = found.number("dropout_probability") or encoder.number("dropout_probability")
    if dropout:
        found.put("dropout_probability", {"caption_dropout_rate": dropout})
    all_parts, of_unet = found.pop("gradient_checkpointing"), unet.pop("gradient_checkpointing")
    on = of_unet is True if all_parts is None else all_parts in (True, "ON", "CPU_OFFLOADED")
    found.put("gradient_checkpointing", {"gradient_checkpointing": on})
    precision = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16"}.get(str(found.pop("train_dtype")), "no")
    found.put("train_dtype", {"mixed_precision": precision})
    attention = found.pop("attention_mechanism")
    found.put("attention_mechanism", {"xformers": True} if attention == "XFORMERS" else {"sdpa": True})


def _stop(found: Reading, encoder: Reading) -> None:
    after, unit = encoder.number("stop_training_after"), encoder.pop("stop_training_after_unit")
    key = "text_encoder.stop_training_after"
    if unit == "STEP" and after:
        found.put(key, {"stop_text_encoder_training": int(after)})
    elif unit == "EPOCH" and 0 < after < found.values.get("max_train_epochs", 0):
        said = f"It stops after {after:.0f} epochs there, here at a step: give the step when the plan is known."
        found.leave(key, after, said)
    elif unit not in ("EPOCH", "NEVER", "STEP"):
        found.leave(key, after, "The text encoder stops at a step here, not after a time.")


def _average(found: Reading) -> None:
    mode, decay, every = found.pop("ema"), found.number("ema_decay"), found.number("ema_update_step_interval")
    if mode in ("CPU", "GPU"):
        lay_average(found, "ema_decay", decay, every, "cpu" if mode == "CPU" else "same")


def _loss(found: Reading) -> None:
    squared, absolute = found.number("mse_strength"), found.number("mae_strength")
    if absolute and not squared:
        found.put("mae_strength", {"loss_type": "l1"})
    else:
        found.leave("mae_strength", absolute, "One loss at a time: the squared error stands.")
    found.leave("huber_strength", found.number("huber_strength"), "Choose the Huber loss here.")
    weight, strength = found.pop("loss_weight_fn"), found.number("loss_weight_strength")
    if weight == "MIN_SNR_GAMMA":
        found.put("loss_weight_fn", {"min_snr_gamma": strength})
    elif weight == "DEBIASED_ESTIMATION":
        found.put("loss_weight_fn", {"debiased_estimation_loss": True})
    elif weight not in (None, "CONSTANT"):
        found.leave("loss_weight_fn", weight, f"There is no weighting {weight} here: all timesteps weigh the same.")
    found.take("offset_noise_weight", "noise_offset")
    found.take("perturbation_noise_weight", "ip_noise_gamma")
    found.take("rescale_noise_scheduler_to_zero_terminal_snr", "zero_terminal_snr")
    if found.on("force_v_prediction"):
        found.put("force_v_prediction", {"v_parameterization": True})
    for key, option in (("min_noising_strength", "min_timestep"), ("max_noising_strength", "max_timestep")):
        given = found.peek(key) is not None
        share = found.number(key)
        if given and share not in (0, 1):
            found.convert(key, f"{share:g} of 1,000 timesteps.", {option: round(1000 * share)})
    kind = found.pop("timestep_distribution")
    if kind not in (None, "UNIFORM"):
        found.leave("timestep_distribution", kind, "Timesteps are drawn evenly here.")


def _samples(found: Reading) -> None:
    after, unit = found.number("sample_after"), found.pop("sample_after_unit")
    lines = [_line(sample) for sample in found.rows("samples") if sample.peek("prompt")]
    if lines:
        found.put("samples", {"sample_prompts": "\n".join(lines)})
    _take_times(found, "sample_after", after, unit, {"STEP": "sample_every_n_steps", "EPOCH": "sample_every_n_epochs"})


def _line(sample: Reading) -> str:
    flags = {"n": "negative_prompt", "w": "width", "h": "height", "s": "diffusion_steps", "l": "cfg_scale"}
    if not sample.pop("random_seed"):
        flags["d"] = "seed"
    said = {flag: sample.pop(key) for flag, key in flags.items()}
    words = " ".join(str(sample.pop("prompt")).split())
    return " ".join([words, *(f"--{flag} {value}" for flag, value in said.items() if value is not None)])


def _take_times(found: Reading, key: str, every: float, unit: Any, options: Mapping[str, str]) -> None:
    if every and unit in options:
        found.put(key, {options[unit]: int(every)})
    elif every and unit not in (None, "NEVER"):
        found.leave(key, every, f"Every {every:g} {str(unit).lower()}s: here it is every so many steps or epochs.")


def _choose(found: Reading, key: str, option: str, names: Mapping[str, str]) -> None:
    value = found.pop(key)
    if value in names:
        found.put(key, {option: names[value]})
    else:
        found.leave(key, value, f"{value} is not here; the default stands instead.")


def _pair(given: Reading, first: str, second: str) -> str | None:
    pair = (given.pop(first), given.pop(second))
    return None if None in pair else f"{pair[0]},{pair[1]}"
