"""Rules about optimizer, learning rate and schedule."""

from trainer.contract.config import TrainingConfig
from trainer.contract.optimizers import NO_AVERAGE, OPTIMIZERS, PLAIN_ADAMW
from trainer.contract.rule import Rule
from trainer.contract.schedule import ENDS_AT_A_SHARE, decay_steps, warmup_steps


def _finds_rate(config: TrainingConfig) -> bool:
    return OPTIMIZERS[config.rate.optimizer].finds_rate


def _averages(config: TrainingConfig) -> bool:
    return OPTIMIZERS[config.rate.optimizer].averages


def _relative(config: TrainingConfig) -> bool:
    return bool(config.rate.arguments.get("relative_step"))


RATE_RULES: tuple[Rule, ...] = (
    Rule(
        code="two_optimizers",
        fields=("use_8bit_adam", "optimizer_type"),
        broken=lambda c: c.rate.use_8bit_adam and c.rate.optimizer_type not in ("AdamW", "AdamW8bit"),
        message="8-bit Adam and another optimizer are both chosen. Choose one.",
        mends=(
            ("The other one", {"use_8bit_adam": False}),
            ("8-bit Adam", {"optimizer_type": "AdamW8bit", "optimizer_args": None}),
        ),
    ),
    Rule(
        code="rate_not_one",
        fields=("learning_rate", "optimizer_type"),
        broken=lambda c: _finds_rate(c) and c.rate.learning_rate < 0.1,
        message="This optimizer finds the size of its steps by itself and multiplies it by the learning rate: use 1.",
        mends=(("Use 1", {"learning_rate": 1.0}), ("Use AdamW", {"optimizer_type": "AdamW", "optimizer_args": None})),
        severity="warning",
    ),
    Rule(
        code="rate_of_one",
        fields=("learning_rate", "optimizer_type"),
        broken=lambda c: not _finds_rate(c) and not _relative(c) and c.rate.learning_rate >= 0.1,
        message="This learning rate destroys a model in a few steps; about 1 is meant for Prodigy and DAdaptAdam only.",
        mends=(
            ("Use 0.000002", {"learning_rate": 2e-6}),
            ("Use Prodigy", {"optimizer_type": "Prodigy", "optimizer_args": None, "use_8bit_adam": False}),
        ),
        severity="warning",
    ),
    Rule(
        code="two_rates",
        fields=("learning_rate_te", "optimizer_type"),
        broken=lambda c: _finds_rate(c) and c.rate.learning_rate_te not in (None, 0, c.rate.learning_rate),
        message="This optimizer finds one size of step for all weights: the text encoder cannot have its own rate.",
        mends=(("One rate for both", {"learning_rate_te": None}),),
    ),
    Rule(
        code="text_encoder_rate_zero",
        fields=("learning_rate_te",),
        broken=lambda c: c.rate.learning_rate_te == 0 and not c.networks.unetonly,
        message="A learning rate of 0 leaves the text encoder as it is, and still costs the memory of training it.",
        mends=(
            ("Train only the U-Net", {"learning_rate_te": None, "unetonly": True, "encoderonly": False}),
            ("Same rate for both", {"learning_rate_te": None}),
        ),
        severity="warning",
    ),
    Rule(
        code="text_encoder_rate_unused",
        fields=("learning_rate_te", "unetonly"),
        broken=lambda c: c.networks.unetonly and c.rate.learning_rate_te is not None,
        message="Only the U-Net is trained: the text encoder's learning rate has no effect.",
        mends=(("Leave it out", {"learning_rate_te": None}),),
        severity="warning",
    ),
    Rule(
        code="schedule_of_schedule_free",
        fields=("lr_scheduler", "optimizer_type"),
        broken=lambda c: _averages(c) and c.rate.lr_scheduler not in ("constant", "constant_with_warmup"),
        message="This optimizer averages the weights in place of a schedule, and a falling rate undoes that.",
        mends=(("Constant rate", {"lr_scheduler": "constant"}), ("Use AdamW", PLAIN_ADAMW)),
    ),
    Rule(
        code="two_warmups",
        fields=("lr_warmup_steps", "optimizer_args"),
        broken=lambda c: "warmup_steps" in c.rate.arguments and c.rate.lr_warmup_steps > 0,
        message="The optimizer has a warm-up of its own among its arguments, and the schedule has one as well.",
        mends=(("Only the optimizer's", {"lr_warmup_steps": 0}), ("No arguments", {"optimizer_args": None})),
    ),
    Rule(
        code="two_averages",
        fields=("use_ema", "optimizer_type"),
        broken=lambda c: _averages(c) and c.networks.use_ema,
        message="This optimizer averages the weights by itself; a second average of them would only lag behind.",
        mends=(
            ("Only the optimizer's", NO_AVERAGE),
            ("Use AdamW", PLAIN_ADAMW),
        ),
    ),
    Rule(
        code="relative_step",
        fields=("optimizer_args", "learning_rate"),
        broken=lambda c: _relative(c),
        message="With relative_step Adafactor sets its own rate: learning rate, warm-up and schedule have no effect.",
        mends=(("Use the learning rate", {"optimizer_args": None}),),
        severity="warning",
    ),
    Rule(
        code="warmup_init_alone",
        fields=("optimizer_args",),
        broken=lambda c: bool(c.rate.arguments.get("warmup_init")) and not _relative(c),
        message="warmup_init is a part of Adafactor's relative_step and needs relative_step=True.",
        mends=(("No arguments", {"optimizer_args": None}),),
    ),
    Rule(
        code="cycles_unused",
        fields=("lr_scheduler_num_cycles", "lr_scheduler"),
        broken=lambda c: c.rate.lr_scheduler_num_cycles != 1 and c.rate.lr_scheduler != "cosine_with_restarts",
        message="Cycles are given, but this schedule has none: they have no effect.",
        mends=(
            ("Cosine with restarts", {"lr_scheduler": "cosine_with_restarts"}),
            ("One cycle", {"lr_scheduler_num_cycles": 1}),
        ),
        severity="warning",
    ),
    Rule(
        code="power_unused",
        fields=("lr_scheduler_power", "lr_scheduler"),
        broken=lambda c: c.rate.lr_scheduler_power != 1 and c.rate.lr_scheduler != "polynomial",
        message="A power is given, but this schedule has none: it has no effect.",
        mends=(("Polynomial", {"lr_scheduler": "polynomial"}), ("Power 1", {"lr_scheduler_power": 1.0})),
        severity="warning",
    ),
    Rule(
        code="fall_missing",
        fields=("lr_decay_steps", "lr_scheduler"),
        broken=lambda c: c.rate.lr_scheduler == "warmup_stable_decay" and c.rate.lr_decay_steps == 0,
        message="The rate is to fall at the end, but over no steps: it would stay constant.",
        mends=(("Over the last fifth", {"lr_decay_steps": 0.2}), ("Constant", {"lr_scheduler": "constant"})),
    ),
    Rule(
        code="fall_too_long",
        fields=("lr_decay_steps", "max_train_steps"),
        broken=lambda c: (
            c.length.max_train_steps is not None
            and c.rate.lr_scheduler == "warmup_stable_decay"
            and warmup_steps(c.rate, c.length.max_train_steps) + decay_steps(c.rate, c.length.max_train_steps)
            > c.length.max_train_steps
        ),
        message="Warm-up and fall of the learning rate together are longer than the whole run. Make them shorter.",
        mends=(("A tenth and a fifth", {"lr_warmup_steps": 0.1, "lr_decay_steps": 0.2}),),
    ),
    Rule(
        code="fall_unused",
        fields=("lr_decay_steps", "lr_scheduler"),
        broken=lambda c: c.rate.lr_decay_steps != 0 and c.rate.lr_scheduler != "warmup_stable_decay",
        message="Steps over which the rate falls are given, but this schedule has none: they have no effect.",
        mends=(
            ("Constant, falling at the end", {"lr_scheduler": "warmup_stable_decay"}),
            ("Leave them out", {"lr_decay_steps": 0}),
        ),
        severity="warning",
    ),
    Rule(
        code="share_missing",
        fields=("lr_scheduler_min_lr_ratio", "lr_scheduler"),
        broken=lambda c: c.rate.lr_scheduler == "cosine_with_min_lr" and c.rate.lr_scheduler_min_lr_ratio == 0,
        message="The share at the end is 0: it is the plain cosine.",
        mends=(("A tenth", {"lr_scheduler_min_lr_ratio": 0.1}), ("Plain cosine", {"lr_scheduler": "cosine"})),
        severity="warning",
    ),
    Rule(
        code="share_unused",
        fields=("lr_scheduler_min_lr_ratio", "lr_scheduler"),
        broken=lambda c: c.rate.lr_scheduler_min_lr_ratio != 0 and c.rate.lr_scheduler not in ENDS_AT_A_SHARE,
        message="A share at the end is given, but this schedule has none: it has no effect.",
        mends=(
            ("Cosine down to a share", {"lr_scheduler": "cosine_with_min_lr"}),
            ("Leave it out", {"lr_scheduler_min_lr_ratio": 0.0}),
        ),
        severity="warning",
    ),
    Rule(
        code="timescale_unused",
        fields=("lr_scheduler_timescale", "lr_scheduler"),
        broken=lambda c: c.rate.lr_scheduler_timescale is not None and c.rate.lr_scheduler != "inverse_sqrt",
        message="A timescale is given, but this schedule has none: it has no effect.",
        mends=(
            ("Inverse square root", {"lr_scheduler": "inverse_sqrt"}),
            ("Leave it out", {"lr_scheduler_timescale": None}),
        ),
        severity="warning",
    ),
)
