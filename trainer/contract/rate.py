"""The options of optimizer, learning rate and schedule."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from trainer.contract.optimizers import OPTIMIZERS, OptimizerName, known_name, meant_by, read_arguments
from trainer.contract.options import Shown
from trainer.contract.section import Section

ScheduleName = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "cosine_with_min_lr",
    "inverse_sqrt",
    "warmup_stable_decay",
]


def _one_line(value: Any) -> Any:
    """Other trainers' presets hold a list of name=value."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


class RateSection(Section):
    """Optimizer and learning rate."""

    title: ClassVar[str] = "Learning rate"

    learning_rate: Annotated[float, Field(gt=0, le=1), Shown("Learning rate", basic=True)] = 2e-6
    """How far each step moves. Too high forgets, too low learns nothing."""

    learning_rate_te: Annotated[float | None, Field(ge=0, le=1), Shown("Learning rate of the text encoder")] = None
    """The same for the text encoder alone; not given: the one above. The schedule acts on both."""

    lr_scheduler: Annotated[
        ScheduleName,
        Shown(
            "Schedule",
            basic=True,
            words={
                "constant": "Constant",
                "constant_with_warmup": "Constant with warm-up",
                "linear": "Linear",
                "cosine": "Cosine",
                "cosine_with_restarts": "Cosine with restarts",
                "polynomial": "Polynomial",
                "cosine_with_min_lr": "Cosine down to a share",
                "inverse_sqrt": "Inverse square root",
                "warmup_stable_decay": "Constant, falling at the end",
            },
        ),
    ] = "constant"
    """How the learning rate moves over the run."""

    lr_warmup_steps: Annotated[float, Field(ge=0, le=100_000_000), Shown("Warm-up", basic=True, unit="steps")] = 0
    """Steps over which the rate rises from zero; below 1 it is a share of all steps."""

    lr_scheduler_num_cycles: Annotated[int, Field(ge=1, le=1000), Shown("Cycles of the schedule")] = 1
    """How often the cosine with restarts starts anew at the full rate."""

    lr_scheduler_power: Annotated[float, Field(gt=0, le=100), Shown("Power of the schedule")] = 1.0
    """The exponent of the polynomial schedule; 1 is a straight line, 2 falls faster at first."""

    lr_decay_steps: Annotated[float, Field(ge=0, le=100_000_000), Shown("Fall over the last", unit="steps")] = 0
    """Steps at the end over which a rate that is constant until then falls; below 1 it is a share of all steps."""

    lr_scheduler_min_lr_ratio: Annotated[float, Field(ge=0, le=1), Shown("Share at the end")] = 0.0
    """The share of the learning rate at which a cosine down to a share, or a fall at the end, ends."""

    lr_scheduler_timescale: Annotated[int | None, Field(ge=1), Shown("Timescale of the schedule", unit="steps")] = None
    """Three times so many steps after the warm-up the inverse square root is at half the rate; not given: the warm-up's
    steps, or 10,000 without one."""

    optimizer_type: Annotated[
        OptimizerName,
        BeforeValidator(known_name),
        Shown(
            "Optimizer",
            words={
                "AdamW8bit": "AdamW, 8-bit",
                "PagedAdamW8bit": "AdamW, 8-bit, paged",
                "AdamWScheduleFree": "AdamW, schedule-free",
                "Lion8bit": "Lion, 8-bit",
                "DAdaptAdam": "D-Adaptation Adam",
            },
        ),
    ] = "AdamW"
    """What moves the weights. 8-bit ones need a quarter of the memory for their state."""

    use_8bit_adam: Annotated[bool, Shown("8-bit Adam")] = False
    """The older name for the 8-bit AdamW."""

    optimizer_args: Annotated[str | None, BeforeValidator(_one_line), Shown("Arguments of the optimizer")] = None
    """name=value, with blanks between: weight_decay=0.05 betas=0.9,0.99. Names are those of its own package."""

    max_grad_norm: Annotated[float, Field(ge=0, le=1_000_000), Shown("Clip gradients at")] = 1.0
    """Longer gradients are shortened to this length; 0 leaves them as they are."""

    @field_validator("lr_warmup_steps", "lr_decay_steps")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError("write a whole number of steps, or a share below 1")
        return value

    @field_validator("optimizer_args")
    @classmethod
    def _arguments_can_be_read(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "optimizer_type" in info.data:  # else that box has its own message
            read_arguments(meant_by(info.data["optimizer_type"], info.data.get("use_8bit_adam", False)), value)
        return value

    @property
    def optimizer(self) -> str:
        """The optimizer that is meant, by either name of the 8-bit AdamW."""
        return meant_by(self.optimizer_type, self.use_8bit_adam)

    @property
    def arguments(self) -> dict[str, Any]:
        """`optimizer_args` as values, by name."""
        return read_arguments(self.optimizer, self.optimizer_args)

    @property
    def needs_bitsandbytes(self) -> bool:
        """Whether the optimizer comes from that package."""
        return OPTIMIZERS[self.optimizer].package == "bitsandbytes"
