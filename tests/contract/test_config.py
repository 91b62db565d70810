"""The options: declared once, complete, and readable in every form that they arrive in."""

import pytest
from pydantic import ValidationError

from trainer.contract.config import DEFAULTS, OPTIONS, TrainingConfig

CONTRACT = [
    "v2",
    "v_parameterization",
    "pretrained_model_name_or_path",
    "fine_tuning",
    "shuffle_caption",
    "caption_extension",
    "train_data_dir",
    "reg_data_dir",
    "use_ema",
    "ucg",
    "unetonly",
    "encoderonly",
    "dataset_repeats",
    "output_dir",
    "use_safetensors",
    "save_every_n_epochs",
    "save_state",
    "resume",
    "prior_loss_weight",
    "no_token_padding",
    "stop_text_encoder_training",
    "color_aug",
    "flip_aug",
    "face_crop_aug_range",
    "random_crop",
    "debug_dataset",
    "resolution",
    "train_batch_size",
    "use_8bit_adam",
    "mem_eff_attn",
    "xformers",
    "vae",
    "cache_latents",
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "learning_rate",
    "max_train_steps",
    "seed",
    "gradient_checkpointing",
    "mixed_precision",
    "save_precision",
    "clip_skip",
    "logging_dir",
    "log_prefix",
    "lr_scheduler",
    "lr_warmup_steps",
]


def test_every_option_of_the_contract_is_declared() -> None:
    """The 48 options of the contract (one is a second spelling) are all there."""
    assert set(CONTRACT) <= set(OPTIONS)
    assert len(CONTRACT) == 47


def test_the_contracts_defaults_hold() -> None:
    """What a command line leaves out means what it meant to the ancestor."""
    expected = {
        "caption_extension": ".caption",
        "prior_loss_weight": 1.0,
        "train_batch_size": 1,
        "min_bucket_reso": 256,
        "max_bucket_reso": 1024,
        "learning_rate": 2e-6,
        "max_train_steps": 1600,
        "mixed_precision": "no",
        "lr_scheduler": "constant",
        "lr_warmup_steps": 0,
        "save_precision": None,
        "seed": None,
        "clip_skip": None,
    }
    assert {name: DEFAULTS[name] for name in expected} == expected


def test_flat_values_come_back_as_they_went() -> None:
    """Config to flat values to config changes nothing."""
    config = TrainingConfig.from_flat({"resolution": "640,448", "ucg": True, "max_grad_norm": 0, "seed": 0})
    assert TrainingConfig.from_flat(config.flat()) == config
    assert config.changed() == {"seed": 0, "max_grad_norm": 0.0, "resolution": "640,448", "ucg": 0.06}


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("512", (512, 512)),
        (768, (768, 768)),
        ("640,448", (640, 448)),
        ("640 x 448", (640, 448)),
        ([512, 768], (512, 768)),
    ],
)
def test_resolution_is_width_then_height(given: object, size: tuple[int, int]) -> None:
    """One number is a square, two are width and height, however they are written."""
    assert TrainingConfig.from_flat({"resolution": given}).images.size == size


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resolution", "12x"),
        ("resolution", "32"),
        ("resolution", "1,2,3"),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("train_batch_size", 1.5),
        ("train_batch_size", 0),
        ("ucg", 1.2),
        ("face_crop_aug_range", "4,2"),
        ("face_crop_aug_range", "a,b"),
        ("lr_warmup_steps", 1.5),
        ("lr_scheduler", "cosin"),
        ("output_name", "a/b"),
        ("caption_extension", "../txt"),
        ("clip_skip", 0),
        ("seed", -1),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: object) -> None:
    """Values outside their bounds, of the wrong kind or not finite never reach a config."""
    with pytest.raises(ValidationError):
        TrainingConfig.from_flat({name: value})


def test_a_config_cannot_be_changed() -> None:
    """What a run was asked to do stays what it was asked."""
    config = TrainingConfig()
    with pytest.raises(ValidationError):
        config.rate.learning_rate = 1.0  # type: ignore[misc]


def test_an_empty_box_is_not_given() -> None:
    """Forms and foreign presets write an empty text for "nothing"."""
    assert TrainingConfig.from_flat({"vae": "", "caption_extension": " ", "output_name": ""}) == TrainingConfig()


def test_every_option_has_words() -> None:
    """Each row has a label and a help sentence that ends, and choices have plain words or are words themselves."""
    for option in OPTIONS.values():
        assert option.shown.label and option.help.endswith("."), option.name
        assert set(option.shown.words) <= set(map(str, option.choices)), option.name
