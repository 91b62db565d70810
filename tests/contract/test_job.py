"""Jobs: all that is wrong at once, on its boxes; what is right, the same everywhere."""

import json
from pathlib import Path

import pytest

from trainer.contract.config import OPTIONS
from trainer.contract.job import Job, check_values, make_job, read_job, write_job
from trainer.contract.problems import errors_of
from trainer.contract.rules import RULES

NEEDED = {"pretrained_model_name_or_path": "/m.ckpt", "train_data_dir": "/images", "output_dir": "/out"}

BROKEN: dict[str, dict[str, object]] = {
    "model_missing": {"pretrained_model_name_or_path": None},
    "images_missing": {"train_data_dir": None},
    "output_missing": {"output_dir": None},
    "steps_and_epochs": {"max_train_steps": 10, "max_train_epochs": 2},
    "no_length": {"max_train_steps": None},
    "cache_random_crop": {"cache_latents": True, "random_crop": True},
    "cache_color_aug": {"cache_latents": True, "color_aug": True},
    "cache_face_crop": {"cache_latents": True, "face_crop_aug_range": "1,2"},
    "bucket_min": {"enable_bucket": True, "min_bucket_reso": 576},
    "bucket_max": {"enable_bucket": True, "max_bucket_reso": 448},
    "bucket_steps": {"enable_bucket": True, "bucket_reso_steps": 640},
    "bucket_options_without_buckets": {"bucket_no_upscale": True},
    "bounds_without_upscale": {"enable_bucket": True, "bucket_no_upscale": True, "max_bucket_reso": 2048},
    "keep_without_shuffle": {"keep_tokens": 1},
    "weights_without_padding": {"weighted_captions": True, "no_token_padding": True},
    "weights_torn_apart": {"weighted_captions": True, "shuffle_caption": True},
    "windows_without_padding": {"max_token_length": 150, "no_token_padding": True},
    "no_caption_left": {"caption_dropout_rate": 1.0},
    "nothing_trained": {"unetonly": True, "encoderonly": True},
    "encoder_never_trained": {"encoderonly": True, "stop_text_encoder_training": -1},
    "stop_without_encoder": {"unetonly": True, "stop_text_encoder_training": 5},
    "two_attentions": {"xformers": True, "mem_eff_attn": True},
    "warmup_too_long": {"lr_warmup_steps": 2000},
    "warmup_missing": {"lr_scheduler": "constant_with_warmup"},
    "repeats_without_captions": {"dataset_repeats": 5},
    "prior_without_images": {"prior_loss_weight": 0.5},
    "v_without_v2": {"v_parameterization": True},
    "clip_skip_v2": {"v2": True, "clip_skip": 2},
    "samples_without_prompts": {"sample_at_first": True},
    "prefix_without_folder": {"log_prefix": "a"},
    "ema_keys_without_ema": {"save_ema_keys": True},
    "ema_keys_in_a_folder": {"save_ema_keys": True, "use_ema": True, "save_model_as": "diffusers"},
    "validation_without_images": {"validate_every_n_steps": 10},
    "raw_without_ema": {"save_raw": True},
    "keep_epochs_without_saves": {"save_last_n_epochs": 2},
    "keep_steps_without_saves": {"save_last_n_steps": 20},
    "two_formats": {"use_safetensors": True, "save_model_as": "ckpt"},
    "zero_snr_without_v": {"zero_terminal_snr": True},
    "v_scale_without_v": {"scale_v_pred_loss_like_noise_pred": True},
    "two_timestep_weights": {"min_snr_gamma": 5, "debiased_estimation_loss": True},
    "noise_offset_missing": {"adaptive_noise_scale": 0.01},
    "discount_without_levels": {"multires_noise_discount": 0.2},
    "perturbation_missing": {"ip_noise_gamma_random_strength": True},
    "one_timestep": {"min_timestep": 400, "max_timestep": 400},
    "huber_without_huber": {"huber_c": 0.2},
    "masks_missing": {"masked_loss": True},
    "masks_unused": {"conditioning_data_dir": "/masks"},
    "two_masks": {"masked_loss": True, "conditioning_data_dir": "/masks", "alpha_mask": True},
    "two_optimizers": {"use_8bit_adam": True, "optimizer_type": "Lion"},
    "rate_not_one": {"optimizer_type": "Prodigy"},
    "rate_of_one": {"learning_rate": 1.0},
    "two_rates": {"optimizer_type": "Prodigy", "learning_rate": 1.0, "learning_rate_te": 0.5},
    "text_encoder_rate_zero": {"learning_rate_te": 0},
    "text_encoder_rate_unused": {"learning_rate_te": 1e-6, "unetonly": True},
    "relative_step": {"optimizer_type": "Adafactor", "optimizer_args": "relative_step=True"},
    "warmup_init_alone": {"optimizer_type": "Adafactor", "optimizer_args": "warmup_init=True"},
    "schedule_of_schedule_free": {"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "cosine"},
    "two_warmups": {
        "optimizer_type": "AdamWScheduleFree",
        "optimizer_args": "warmup_steps=9",
        "lr_warmup_steps": 5,
    },
    "two_averages": {"optimizer_type": "AdamWScheduleFree", "use_ema": True, "save_raw": True},
    "ema_options_without_ema": {"ema_decay": 0.99},
    "cycles_unused": {"lr_scheduler_num_cycles": 2},
    "power_unused": {"lr_scheduler_power": 2},
    "fall_missing": {"lr_scheduler": "warmup_stable_decay"},
    "fall_too_long": {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 0.5, "lr_decay_steps": 0.6},
    "fall_unused": {"lr_decay_steps": 0.2},
    "share_missing": {"lr_scheduler": "cosine_with_min_lr"},
    "share_unused": {"lr_scheduler_min_lr_ratio": 0.1},
    "timescale_unused": {"lr_scheduler_timescale": 100},
    "huber_scale_by_noise": {"loss_type": "huber", "huber_scale": 2},
}


def codes(values: dict[str, object]) -> set[str]:
    return {problem.code for problem in check_values(values)[1]}


def test_sound_values_have_no_problem() -> None:
    """A model, a folder of images and a folder for the result are enough."""
    assert codes(NEEDED) == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_each_rule_can_be_broken_and_mended(rule) -> None:  # type: ignore[no-untyped-def]
    """Every rule fires on its own case, and each of its mends makes it silent."""
    values = {**NEEDED, **BROKEN[rule.code]}
    found = {p.code: p for p in check_values(values)[1]}
    problem = found[f"rule.{rule.code}"]
    assert set(problem.fields) <= set(OPTIONS)
    for mend in problem.mends:
        assert f"rule.{rule.code}" not in codes({**values, **mend.values}), mend.label


def test_all_is_said_at_once() -> None:
    """Values that cannot be read do not hide the rules that the others break."""
    values = {"train_batch_size": "four", "learning_rate": "-1", "cache_latents": True, "random_crop": True, "sead": 1}
    problems = check_values(values)[1]
    assert {p.code for p in problems} >= {
        "value.int",
        "value.bounds",
        "value.unknown_option",
        "rule.cache_random_crop",
        "rule.model_missing",
    }
    by_field = {p.fields[0]: p.message for p in problems}
    assert by_field["train_batch_size"] == "Batch size needs a whole number, not “four”."
    assert by_field["learning_rate"] == "Learning rate must be above 0, at most 1, not “-1”."
    assert by_field["sead"] == "There is no option sead. Did you mean seed?"


def test_epochs_replace_the_default_of_steps() -> None:
    """Only a number of steps that was chosen contradicts epochs."""
    config, problems = check_values({**NEEDED, "max_train_epochs": 3})
    assert not problems and config is not None and config.length.max_train_steps is None


def test_an_emptied_box_is_named() -> None:
    """A value that is always needed cannot be nothing."""
    (problem,) = check_values({**NEEDED, "train_batch_size": None})[1]
    assert problem.message == "Batch size is empty. The default is 1."


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    """job.json holds every option, and reading it gives the same job, warnings included."""
    job = make_job({**NEEDED, "max_train_epochs": 2, "clip_skip": 2, "v2": True, "output_name": "Prüfung 'eins'"})
    assert isinstance(job, Job) and job.warnings
    write_job(tmp_path / "job.json", job)
    assert read_job(tmp_path / "job.json") == job
    assert set(json.loads((tmp_path / "job.json").read_text("utf-8"))["options"]) == set(OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"options": 3}', '{"schema": 99, "options": {}}'])
def test_a_job_that_cannot_be_read_is_a_problem(tmp_path: Path, text: str) -> None:
    """A torn or foreign job.json is said, never trained with defaults."""
    (tmp_path / "job.json").write_text(text, encoding="utf-8")
    found = read_job(tmp_path / "job.json")
    assert isinstance(found, list) and errors_of(found)


def test_relative_paths_are_taken_from_the_caller(tmp_path: Path) -> None:
    """A job means the same whatever folder the trainer is started in; a hub name stays a name."""
    (tmp_path / "m.safetensors").touch()
    values = {**NEEDED, "train_data_dir": "images", "pretrained_model_name_or_path": "m.safetensors"}
    job = make_job(values, tmp_path)
    assert isinstance(job, Job)
    assert job.config.data.train_data_dir == tmp_path / "images"
    assert job.config.model.pretrained_model_name_or_path == str(tmp_path / "m.safetensors")
    hub = make_job({**NEEDED, "pretrained_model_name_or_path": "owner/name"}, tmp_path)
    assert isinstance(hub, Job) and hub.config.model.pretrained_model_name_or_path == "owner/name"
