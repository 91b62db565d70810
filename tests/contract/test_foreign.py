"""Presets of other studios: each key lands under the option that means the same, or is told with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.contract.config import OPTIONS
from trainer.contract.foreign import everydream, kohya, onetrainer
from trainer.contract.foreign.programs import Foreign, read_foreign
from trainer.contract.job import check_values
from trainer.contract.presets import Preset, import_preset, load_preset
from trainer.contract.problems import Problem, errors_of

STUDIOS = (kohya, onetrainer, everydream)

KOHYA: dict[str, Any] = {
    "pretrained_model_name_or_path": "/models/base.safetensors",
    "train_data_dir": "/images",
    "reg_data_dir": "",
    "output_dir": "/out",
    "output_name": "cat",
    "model_list": "custom",
    "max_resolution": "512, 640",
    "learning_rate": "1e-6",
    "learning_rate_te": 5e-7,
    "lr_scheduler": "cosine_with_restarts",
    "lr_scheduler_num_cycles": "",
    "lr_scheduler_power": "",
    "lr_warmup": "10",
    "epoch": 4,
    "max_train_epochs": "",
    "max_train_steps": 0,
    "train_batch_size": "2",
    "gradient_accumulation_steps": 4.0,
    "optimizer": "AdamW8bit",
    "optimizer_args": "weight_decay=0.05 betas=0.9,0.99",
    "mixed_precision": "bf16",
    "save_precision": "fp16",
    "save_model_as": "same as source model",
    "save_every_n_epochs": 1,
    "save_every_n_steps": 0,
    "seed": "0",
    "clip_skip": 2,
    "xformers": "sdpa",
    "enable_bucket": True,
    "bucket_reso_steps": 1,
    "noise_offset_type": "Multires",
    "noise_offset": 0.05,
    "multires_noise_iterations": 8,
    "multires_noise_discount": 0.2,
    "min_snr_gamma": 5,
    "sample_every_n_steps": 50,
    "sample_sampler": "euler_a",
    "sample_prompts": "a cat --w 512\n# not this one\n\na dog --ss ddim",
    "additional_parameters": "--ip_noise_gamma 0.1 --max_bucket_reso=768 --fused_backward_pass",
    "stop_text_encoder_training": 0,
    "wandb_api_key": "s3cret",
    "dynamo_backend": "no",
    "sdxl": False,
    "t5xxl": "x.safetensors",
    "learning_rate_te1": 1e-5,
    "full_fp16": True,
    "someday": 7,
}
"""A DreamBooth preset as its page writes it: texts for numbers, empty texts and zeros for what is not given."""


def taken(record: dict[str, Any], **changes: Any) -> Foreign:
    """A record that has to be another studio's and to be read."""
    found = read_foreign({**record, **changes})
    assert isinstance(found, Foreign), found
    return found


def told(found: Foreign, key: str) -> str:
    """What is said of a key."""
    return " ".join(f"{note.kind}: {note.said}" for note in found.notes if note.key == key)


def test_a_preset_of_kohya_means_here_what_it_means_there() -> None:
    """Every key of a whole preset, and no other."""
    found = taken(KOHYA)
    assert found.values == {
        "pretrained_model_name_or_path": "/models/base.safetensors",
        "train_data_dir": "/images",
        "output_dir": "/out",
        "output_name": "cat",
        "resolution": "512,640",
        "learning_rate": 1e-6,
        "learning_rate_te": 5e-7,
        "lr_scheduler": "cosine_with_restarts",
        "lr_scheduler_num_cycles": 4,
        "lr_warmup_steps": 0.1,
        "max_train_epochs": 4,
        "max_train_steps": None,
        "train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "optimizer_type": "AdamW8bit",
        "optimizer_args": "weight_decay=0.05 betas=0.9,0.99",
        "mixed_precision": "bf16",
        "save_precision": "fp16",
        "save_every_n_epochs": 1,
        "clip_skip": 2,
        "sdpa": True,
        "enable_bucket": True,
        "multires_noise_iterations": 8,
        "multires_noise_discount": 0.2,
        "min_snr_gamma": 5.0,
        "sample_every_n_steps": 50,
        "sample_prompts": "a cat --w 512 --ss euler_a\n# not this one\na dog --ss ddim",
        "ip_noise_gamma": 0.1,
        "max_bucket_reso": 768,
    }
    assert {note.key: note.kind for note in found.notes} == {
        "epoch": "converted",
        "lr_warmup": "converted",
        "noise_offset": "left",
        "additional_parameters": "unknown",
        "bucket_reso_steps": "left",
        "full_fp16": "left",
        "wandb_api_key": "left",
        "someday": "unknown",
    }
    assert "64 to 1024" in told(found, "bucket_reso_steps") and "it was 7" in told(found, "someday")
    assert "fused_backward_pass" in told(found, "additional_parameters")


def test_a_secret_is_neither_taken_nor_shown() -> None:
    """Keys and tokens stay out of values and words."""
    found = taken(KOHYA, huggingface_token="s3cret")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(("percent", "steps", "stop"), [(25, 1600, 400), (50.0, "333", 166), (100, 10, 10)])
def test_percents_become_steps(percent: float, steps: Any, stop: int) -> None:
    """Where the number of steps is given, the end of the text encoder is exact, and said."""
    found = taken(KOHYA, stop_text_encoder_training=percent, max_train_steps=steps)
    assert found.values["stop_text_encoder_training"] == stop
    assert f"after step {stop}" in told(found, "stop_text_encoder_training")
    assert found.values["max_train_steps"] == int(steps) and "max_train_epochs" not in found.values


def test_a_percent_of_an_unknown_number_is_left_and_said() -> None:
    """The number of steps depends on the images: nobody guesses."""
    found = taken(KOHYA, stop_text_encoder_training=25)
    assert "stop_text_encoder_training" not in found.values
    assert told(found, "stop_text_encoder_training").startswith("left: 25 %")


def test_below_zero_percent_the_text_encoder_is_left_alone() -> None:
    """As with the switch of its finetune page."""
    assert taken(KOHYA, stop_text_encoder_training=-1).values["unetonly"] is True
    page = {"train_text_encoder": False, "image_folder": "/captioned", "dataset_repeats": "10", "train_data_dir": ""}
    finetune = taken(KOHYA, **page)
    assert finetune.values["unetonly"] is True and finetune.values["fine_tuning"] is True
    assert (finetune.values["train_data_dir"], finetune.values["dataset_repeats"]) == ("/captioned", 10)


def test_no_warm_up_where_there_was_none() -> None:
    """The schedule "constant" ignores it there, and honours it here."""
    found = taken(KOHYA, lr_scheduler="constant")
    assert "lr_warmup_steps" not in found.values and told(found, "lr_warmup").startswith("left")


def test_presets_of_all_years_are_read() -> None:
    """Names and types of December 2022."""
    old = {"v_model": True, "cache_latent": True, "use_8bit_adam": True, "xformers": True, "lr_warmup": 0, "v2": True}
    assert taken(old).values == {
        "v2": True,
        "v_parameterization": True,
        "cache_latents": True,
        "optimizer_type": "AdamW8bit",
        "xformers": True,
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", "scale_parameter=True relative_step=True"),
        ("relative_step=False", "scale_parameter=True relative_step=False"),
        ("scale_parameter=False relative_step=False warmup_init=False", None),
    ],
)
def test_adafactor_goes_on_as_there(given: str, kept: str | None) -> None:
    """There it sets its own rate unless told not to; here it does not unless told to."""
    found = taken(KOHYA, optimizer="Adafactor", optimizer_args=given, lr_scheduler="adafactor")
    assert found.values["optimizer_args"] == (kept or given)
    assert bool(told(found, "optimizer_args")) == (kept is not None)


def test_an_optimizer_that_is_not_here_is_said() -> None:
    """With its arguments; one of ours keeps the arguments that it takes."""
    found = taken(KOHYA, optimizer="SGDNesterov", optimizer_args="momentum=0.9")
    assert "optimizer_type" not in found.values and "SGDNesterov" in told(found, "optimizer")
    found = taken(KOHYA, optimizer="Prodigy", optimizer_args="d_coef=2 decouple=True momentum=3")
    assert found.values["optimizer_args"] == "d_coef=2 decouple=True" and "momentum" in told(found, "optimizer_args")


@pytest.mark.parametrize(
    "record",
    [
        KOHYA | {"sdxl": True},
        KOHYA | {"sdxl_checkbox": "True"},
        KOHYA | {"flux1_checkbox": True},
        KOHYA | {"LoRA_type": "Standard"},
        {"training_method": "LORA"},
        {"training_method": "FINE_TUNE", "model_type": "STABLE_DIFFUSION_XL_10_BASE"},
    ],
)
def test_what_is_for_something_else_is_refused_as_a_whole(record: dict[str, Any]) -> None:
    """One sentence, and nothing of it in the form."""
    found = read_foreign(record)
    assert isinstance(found, Problem) and found.message.endswith(".")


def test_a_preset_of_onetrainer_stands_on_its_defaults() -> None:
    """What its file does not say is what it does by itself."""
    found = taken(
        {
            "training_method": "FINE_TUNE",
            "model_type": "STABLE_DIFFUSION_21",
            "base_model_name": "/models/sd21",
            "output_model_destination": "C:\\models\\cat.safetensors",
            "learning_rate_scheduler": "COSINE",
            "learning_rate_min_factor": 0.1,
            "epochs": 20,
            "ema": "CPU",
            "ema_decay": 0.995,
            "resolution": "768,512",
            "train_dtype": "BFLOAT_16",
            "loss_weight_fn": "MIN_SNR_GAMMA",
            "unet": {"learning_rate": 2e-6},
            "text_encoder": {"learning_rate": 1e-6, "stop_training_after": 900, "stop_training_after_unit": "STEP"},
            "text_encoder_layer_skip": 1,
            "optimizer": {"optimizer": "ADAMW_8BIT", "beta1": 0.9, "beta2": 0.98, "weight_decay": 0.01, "fused": False},
            "concepts": [{"path": "/cats", "enabled": True}, {"path": "/dogs", "enabled": False}],
            "samples": [{"prompt": "a cat", "width": 768, "height": 512, "seed": 3, "diffusion_steps": 20}],
            "sample_after": 100,
            "sample_after_unit": "STEP",
            "save_every": 5,
            "save_every_unit": "EPOCH",
            "mae_strength": 0.5,
            "masked_training": True,
            "max_noising_strength": 0.8,
        }
    )
    assert found.values == {
        "v2": True,
        "v_parameterization": True,
        "pretrained_model_name_or_path": "/models/sd21",
        "output_dir": "C:\\models",
        "output_name": "cat",
        "save_model_as": "safetensors",
        "save_precision": "float",
        "save_every_n_epochs": 5,
        "save_state": True,
        "save_state_every_minutes": 30,
        "train_data_dir": "/cats",
        "fine_tuning": True,
        "caption_extension": ".txt",
        "resolution": "768,768",
        "enable_bucket": True,
        "cache_latents": True,
        "cache_latents_to_disk": True,
        "max_train_epochs": 20,
        "max_train_steps": None,
        "train_batch_size": 1,
        "lr_scheduler": "cosine_with_min_lr",
        "lr_warmup_steps": 200,
        "lr_scheduler_min_lr_ratio": 0.1,
        "max_grad_norm": 1.0,
        "optimizer_type": "AdamW8bit",
        "optimizer_args": "weight_decay=0.01 betas=0.9,0.98",
        "learning_rate": 2e-6,
        "learning_rate_te": 1e-6,
        "stop_text_encoder_training": 900,
        "clip_skip": 2,
        "gradient_checkpointing": True,
        "mixed_precision": "bf16",
        "sdpa": True,
        "use_ema": True,
        "ema_decay": 0.998998,
        "ema_device": "cpu",
        "min_snr_gamma": 5.0,
        "max_timestep": 800,
        "sample_prompts": "a cat --w 768 --h 512 --s 20 --d 3",
        "sample_every_n_steps": 100,
    }
    assert {note.key for note in found.notes if note.kind == "left"} >= {
        "resolution",
        "masked_training",
        "mae_strength",
    }


def test_settings_of_everydream_are_read() -> None:
    """Its average every few steps becomes one of every step with as long a memory."""
    found = taken(
        {
            "resume_ckpt": "/models/base",
            "data_root": "/cats",
            "max_epochs": 30,
            "lr": 2e-6,
            "lr_scheduler": "cosine",
            "seed": -1,
            "cond_dropout": 0.1,
            "clip_skip": 0,
            "flip_p": 0.5,
            "ema_decay_rate": 0.9,
            "ema_update_interval": 10,
            "ema_device": "cpu",
            "gpuid": 1,
            "disable_amp": True,
            "disable_textenc_training": True,
            "timestep_end": 500,
            "optimizer_config": "optimizer.json",
        }
    )
    assert found.values == {
        "pretrained_model_name_or_path": "/models/base",
        "train_data_dir": "/cats",
        "fine_tuning": True,
        "caption_extension": ".txt",
        "enable_bucket": True,
        "flip_aug": True,
        "max_train_epochs": 30,
        "max_train_steps": None,
        "train_batch_size": 2,
        "resolution": "512,512",
        "caption_dropout_rate": 0.1,
        "learning_rate": 2e-6,
        "lr_scheduler": "cosine",
        "max_grad_norm": 0.0,
        "optimizer_type": "AdamW8bit",
        "use_ema": True,
        "ema_decay": 0.989519,
        "ema_device": "cpu",
        "gpu_ids": 1,
        "mixed_precision": "no",
        "unetonly": True,
        "max_timestep": 500,
        "save_precision": "fp16",
        "sample_every_n_steps": 250,
    }
    assert told(found, "optimizer_config").startswith("left")


def test_no_sign_of_a_studio_is_an_option() -> None:
    """Otherwise a preset of ours could be taken for another studio's."""
    signs = [sign for studio in STUDIOS for sign in studio.SIGNS]
    assert len(signs) == len(set(signs)) and not set(signs) & set(OPTIONS)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1e-6", "0", "-1", "10", "True"])
)
KEYS = sorted({*KOHYA, *kohya.LEFT, "lr_warmup_steps", "max_timestep", "gpu_ids", "train_text_encoder", "image_folder"})
OT_KEYS = [
    *("epochs", "ema", "ema_decay", "ema_update_step_interval", "resolution", "learning_rate_scheduler", "optimizer"),
    *(
        "learning_rate_warmup_steps",
        "learning_rate",
        "concepts",
        "samples",
        "unet",
        "text_encoder",
        "vae",
        "save_every",
    ),
    *(
        "save_every_unit",
        "text_encoder_layer_skip",
        "clip_grad_norm",
        "min_noising_strength",
        "backup_after",
        "train_dtype",
    ),
    *("output_model_destination", "dropout_probability", "sample_after", "sample_after_unit", "loss_weight_strength"),
]
ED_KEYS = [
    "max_epochs",
    "lr",
    "seed",
    "flip_p",
    "ema_decay_rate",
    "ema_update_interval",
    "gpuid",
    "resolution",
    "lr_scheduler",
    "clip_grad_norm",
]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES).map(lambda record: {"lr_warmup": 0, **record})
    | st.dictionaries(st.sampled_from(OT_KEYS), VALUES).map(lambda record: {"base_model_name": "x", **record})
    | st.dictionaries(st.sampled_from(ED_KEYS), VALUES).map(lambda record: {"data_root": "x", **record})
)
def test_whatever_stands_in_a_preset_the_form_can_show_it(record: dict[str, Any]) -> None:
    """No value that a box refuses, and nothing that ends in a traceback."""
    found = read_foreign(record)
    assert found is not None
    if isinstance(found, Foreign):
        problems = errors_of(check_values(found.values)[1])
        assert [problem for problem in problems if problem.code.startswith("value.")] == []


def test_an_imported_preset_is_ones_own(tmp_path: Path) -> None:
    """Under a name that is free, the same after loading again; what was told is told at the import only."""
    file = tmp_path / "#My %22cat%22.json"
    file.write_text(json.dumps(KOHYA), encoding="utf-8")
    first, second = import_preset(file, tmp_path / "own"), import_preset(file, tmp_path / "own")
    assert isinstance(first, Preset) and isinstance(second, Preset)
    assert (first.name, second.name) == ("My -cat-", "My -cat- (2)")
    again = load_preset(first.path, own=True)
    assert isinstance(again, Preset) and again.values == first.values and again.about == first.about
    assert first.notes and not again.notes


def test_ones_own_preset_of_another_machine_is_imported_too(tmp_path: Path) -> None:
    """And what is none is said, with nothing written."""
    (tmp_path / "mine.json").write_text('{"about": "Mine.", "schema": 1, "seed": 3}', encoding="utf-8")
    found = import_preset(tmp_path / "mine.json", tmp_path / "own")
    assert isinstance(found, Preset) and found.values == {"seed": 3} and not found.notes
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe{}")
    (tmp_path / "bad.toml").write_text("no", encoding="utf-8")
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000, encoding="utf-8")
    for name in ("bad.json", "bad.toml", "deep.json", "deep.toml"):
        assert isinstance(import_preset(tmp_path / name, tmp_path / "own"), list)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["mine.json"]


def test_a_settings_file_of_the_scripts_is_read(tmp_path: Path) -> None:
    """Its sections have no meaning; epochs win over steps, as there."""
    text = """
        max_train_steps = 1600
        [model]
        pretrained_model_name_or_path = "/models/base.ckpt"
        [training]
        max_train_epochs = 3
        optimizer_type = "AdamW8bit"
        optimizer_args = ["weight_decay=0.05", "betas=0.9,0.99"]
        vae_batch_size = 4
        noises = true
    """
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    found = load_preset(tmp_path / "run.toml")
    assert isinstance(found, Preset)
    assert found.values == {
        "pretrained_model_name_or_path": "/models/base.ckpt",
        "max_train_epochs": 3,
        "max_train_steps": None,
        "optimizer_type": "AdamW8bit",
        "optimizer_args": "weight_decay=0.05 betas=0.9,0.99",
    }
    assert [(note.key, note.kind) for note in found.notes] == [("vae_batch_size", "left"), ("noises", "unknown")]
