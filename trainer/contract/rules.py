"""Rules between options, as data: which boxes, when it is broken, what to say, how to mend it.

Gate 2 of four: it knows the options and nothing else, neither disk nor machine. Each rule is one row; `broken_rules`
returns all that are broken at once.
"""

from trainer.contract.caption_rules import CAPTION_RULES
from trainer.contract.config import TrainingConfig
from trainer.contract.loss_rules import LOSS_RULES
from trainer.contract.problems import Mend, Problem
from trainer.contract.prompts import parse_prompts
from trainer.contract.rate_rules import RATE_RULES
from trainer.contract.rule import Rule
from trainer.contract.save_rules import SAVE_RULES

UNCACHED = {"cache_latents": False, "cache_latents_to_disk": False}

RULES: tuple[Rule, ...] = (
    Rule(
        code="model_missing",
        fields=("pretrained_model_name_or_path",),
        broken=lambda c: c.model.pretrained_model_name_or_path is None,
        message="No model is chosen. Choose a .safetensors or .ckpt file, or a Diffusers folder.",
    ),
    Rule(
        code="images_missing",
        fields=("train_data_dir",),
        broken=lambda c: c.data.train_data_dir is None,
        message="No folder of images is chosen. Choose the folder that holds them.",
    ),
    Rule(
        code="output_missing",
        fields=("output_dir",),
        broken=lambda c: c.saves.output_dir is None and not c.images.debug_dataset,
        message="No folder for the trained model is chosen. Choose one; it is made where it does not exist.",
    ),
    Rule(
        code="steps_and_epochs",
        fields=("max_train_steps", "max_train_epochs"),
        broken=lambda c: c.length.max_train_steps is not None and c.length.max_train_epochs is not None,
        message="Steps and epochs are both given. Give one; the other follows from it.",
        mends=(("Keep the epochs", {"max_train_steps": None}), ("Keep the steps", {"max_train_epochs": None})),
    ),
    Rule(
        code="no_length",
        fields=("max_train_steps", "max_train_epochs"),
        broken=lambda c: c.length.max_train_steps is None and c.length.max_train_epochs is None,
        message="It is not said how long to train. Give steps or epochs.",
        mends=(("1,600 steps", {"max_train_steps": 1600}),),
    ),
    Rule(
        code="cache_random_crop",
        fields=("cache_latents", "random_crop"),
        broken=lambda c: c.images.cached and c.images.random_crop,
        message="Random crop cannot be used with cached latents: they fix the cut.",
        mends=(
            ("Turn off random crop", {"random_crop": False}),
            ("Do not cache", UNCACHED),
        ),
    ),
    Rule(
        code="cache_color_aug",
        fields=("cache_latents", "color_aug"),
        broken=lambda c: c.images.cached and c.images.color_aug,
        message="Colours cannot be varied with cached latents: they fix the colours.",
        mends=(
            ("Leave colours as they are", {"color_aug": False}),
            ("Do not cache", UNCACHED),
        ),
    ),
    Rule(
        code="cache_face_crop",
        fields=("cache_latents", "face_crop_aug_range"),
        broken=lambda c: c.images.cached and c.images.face_crop_aug_range is not None,
        message="Crops around the face change each time and cannot be used with cached latents.",
        mends=(
            ("Do not crop around the face", {"face_crop_aug_range": None}),
            ("Do not cache", UNCACHED),
        ),
    ),
    Rule(
        code="bucket_min",
        fields=("min_bucket_reso", "resolution"),
        broken=lambda c: c.images.enable_bucket and c.images.min_bucket_reso > min(c.images.size),
        message="The shortest bucket side is longer than the resolution's shorter side. Make it smaller.",
        mends=(("Use 256", {"min_bucket_reso": 256}), ("Use 64", {"min_bucket_reso": 64})),
    ),
    Rule(
        code="bucket_max",
        fields=("max_bucket_reso", "resolution"),
        broken=lambda c: c.images.enable_bucket and c.images.max_bucket_reso < max(c.images.size),
        message="The longest bucket side is shorter than the resolution's longer side. Make it larger.",
        mends=(("Use 1024", {"max_bucket_reso": 1024}), ("Use 2048", {"max_bucket_reso": 2048})),
    ),
    Rule(
        code="bucket_steps",
        fields=("bucket_reso_steps", "resolution"),
        broken=lambda c: c.images.enable_bucket and c.images.bucket_reso_steps > min(c.images.size),
        message="The steps of bucket sides are longer than the resolution's shorter side. Make them smaller.",
        mends=(("Use 64", {"bucket_reso_steps": 64}),),
    ),
    Rule(
        code="bucket_options_without_buckets",
        fields=("bucket_no_upscale", "bucket_reso_steps", "enable_bucket"),
        broken=lambda c: (
            not c.images.enable_bucket and (c.images.bucket_no_upscale or c.images.bucket_reso_steps != 64)
        ),
        message="Options of buckets are given, but buckets are off: they have no effect.",
        mends=(
            ("Use buckets", {"enable_bucket": True}),
            ("No buckets", {"bucket_no_upscale": False, "bucket_reso_steps": 64}),
        ),
        severity="warning",
    ),
    Rule(
        code="bounds_without_upscale",
        fields=("bucket_no_upscale", "min_bucket_reso", "max_bucket_reso"),
        broken=lambda c: (
            c.images.enable_bucket
            and c.images.bucket_no_upscale
            and (c.images.min_bucket_reso, c.images.max_bucket_reso) != (256, 1024)
        ),
        message="Images that are never enlarged get buckets of their own size: shortest and longest side hardly act.",
        mends=(("Leave both as they were", {"min_bucket_reso": 256, "max_bucket_reso": 1024}),),
        severity="warning",
    ),
    Rule(
        code="nothing_trained",
        fields=("unetonly", "encoderonly"),
        broken=lambda c: c.networks.unetonly and c.networks.encoderonly,
        message="Only the U-Net and only the text encoder are both chosen: nothing would be trained.",
        mends=(("Only the U-Net", {"encoderonly": False}), ("Only the text encoder", {"unetonly": False})),
    ),
    Rule(
        code="encoder_never_trained",
        fields=("encoderonly", "stop_text_encoder_training"),
        broken=lambda c: (
            c.networks.encoderonly
            and c.networks.stop_text_encoder_training is not None
            and c.networks.stop_text_encoder_training <= 0
        ),
        message="Only the text encoder is to be trained, and it is to stop before the first step.",
        mends=(
            ("Let it train", {"stop_text_encoder_training": None}),
            ("Train both networks", {"encoderonly": False}),
        ),
    ),
    Rule(
        code="stop_without_encoder",
        fields=("stop_text_encoder_training", "unetonly"),
        broken=lambda c: c.networks.unetonly and c.networks.stop_text_encoder_training is not None,
        message="Only the U-Net is trained, so the step at which the text encoder stops has no effect.",
        severity="warning",
    ),
    Rule(
        code="two_attentions",
        fields=("xformers", "mem_eff_attn"),
        broken=lambda c: c.hardware.xformers and c.hardware.mem_eff_attn,
        message="xformers and attention in slices are both chosen. Choose one.",
        mends=(("xformers", {"mem_eff_attn": False}), ("Slices", {"xformers": False})),
    ),
    Rule(
        code="warmup_too_long",
        fields=("lr_warmup_steps", "max_train_steps"),
        broken=lambda c: (
            c.length.max_train_steps is not None
            and c.rate.lr_warmup_steps >= 1
            and c.rate.lr_warmup_steps > c.length.max_train_steps
        ),
        message="The warm-up is longer than the whole run. Make it shorter.",
        mends=(("Warm up over 5 %", {"lr_warmup_steps": 0.05}), ("No warm-up", {"lr_warmup_steps": 0})),
    ),
    Rule(
        code="warmup_missing",
        fields=("lr_scheduler", "lr_warmup_steps"),
        broken=lambda c: c.rate.lr_scheduler == "constant_with_warmup" and c.rate.lr_warmup_steps == 0,
        message="The schedule has a warm-up of no steps: it is the constant one.",
        severity="warning",
    ),
    Rule(
        code="repeats_without_captions",
        fields=("dataset_repeats", "fine_tuning"),
        broken=lambda c: c.data.dataset_repeats != 1 and not c.data.fine_tuning,
        message="Repeats are given, but numbered folders carry their own number: it has no effect here.",
        mends=(("One folder with captions", {"fine_tuning": True}), ("Leave repeats at 1", {"dataset_repeats": 1})),
        severity="warning",
    ),
    Rule(
        code="prior_without_images",
        fields=("prior_loss_weight", "reg_data_dir"),
        broken=lambda c: c.length.prior_loss_weight != 1 and c.data.reg_data_dir is None,
        message="A weight of regularization images is given, but no folder of them: it has no effect.",
        severity="warning",
    ),
    Rule(
        code="v_without_v2",
        fields=("v_parameterization", "v2"),
        broken=lambda c: c.model.v_parameterization and not c.model.v2,
        message="The model is said to predict v, which hardly any 1.x model does. Look at what the model is.",
        severity="warning",
    ),
    Rule(
        code="clip_skip_v2",
        fields=("clip_skip", "v2"),
        broken=lambda c: c.model.v2 and c.networks.clip_skip is not None and c.networks.clip_skip > 1,
        message="2.x models leave out their last layer already: clip skip counts from there. Few tools read them so.",
        severity="warning",
    ),
    Rule(
        code="samples_without_prompts",
        fields=("sample_prompts", "sample_every_n_steps", "sample_every_n_epochs", "sample_at_first"),
        broken=lambda c: (
            c.samples.sample_prompts is None
            and bool(c.samples.sample_every_n_steps or c.samples.sample_every_n_epochs or c.samples.sample_at_first)
        ),
        message="Samples are asked for, but there is no prompt to draw. Write at least one.",
        mends=(
            (
                "No samples",
                {"sample_every_n_steps": None, "sample_every_n_epochs": None, "sample_at_first": False},
            ),
        ),
    ),
    Rule(
        code="prefix_without_folder",
        fields=("log_prefix", "logging_dir"),
        broken=lambda c: c.logging.log_prefix is not None and c.logging.logging_dir is None,
        message="A prefix for the TensorBoard folder is given, but no folder: it has no effect.",
        severity="warning",
    ),
    Rule(
        code="validation_without_images",
        fields=("validate_every_n_steps", "validation_split"),
        broken=lambda c: c.validation.validate_every_n_steps is not None and c.validation.validation_split == 0,
        message="A loss is to be measured on images held out, but none are: it has no effect.",
        mends=(("Hold a tenth out", {"validation_split": 0.1}), ("Do not measure", {"validate_every_n_steps": None})),
        severity="warning",
    ),
    *CAPTION_RULES,
    *RATE_RULES,
    *SAVE_RULES,
    *LOSS_RULES,
)


def broken_rules(config: TrainingConfig) -> list[Problem]:
    """All rules that the config breaks, errors and warnings, in the order of `RULES`, then the prompts' problems."""
    problems = [
        Problem(
            code=f"rule.{rule.code}",
            message=rule.message,
            fields=rule.fields,
            severity=rule.severity,
            mends=tuple(Mend(label, values) for label, values in rule.mends),
        )
        for rule in RULES
        if rule.broken(config)
    ]
    return problems + parse_prompts(config.samples.sample_prompts)[1]
