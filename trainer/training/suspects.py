"""Which options of a job may be at fault where loss or gradients stop being numbers, and what to try instead."""

from collections.abc import Callable
from dataclasses import dataclass

from trainer.contract.config import OPTIONS, TrainingConfig


@dataclass(frozen=True, slots=True)
class Suspect:
    """An option, when it is under suspicion, and what to try."""

    name: str
    under_suspicion: Callable[[TrainingConfig], bool]
    advice: str


SUSPECTS: tuple[Suspect, ...] = (
    Suspect("mixed_precision", lambda c: c.hardware.mixed_precision == "fp16", "bf16 or none"),
    Suspect("max_grad_norm", lambda c: c.rate.max_grad_norm == 0, "1"),
    Suspect("debiased_estimation_loss", lambda c: c.loss.debiased_estimation_loss, "off"),
    Suspect("noise_offset", lambda c: c.loss.noise_offset > 0.3, "0.05"),
    Suspect("multires_noise_discount", lambda c: c.loss.multires_noise_iterations > 0, "0.3 or less"),
    Suspect("vae", lambda c: c.model.vae is not None, "the model's own"),
    Suspect("learning_rate", lambda c: True, "a tenth of it"),
)
"""The likeliest first; the learning rate always is one."""


def suspect_options(config: TrainingConfig) -> list[str]:
    """Each suspect option of this job with its value and what to try: "Mixed precision fp16 (try bf16 or none)"."""
    values = config.flat()
    found = [suspect for suspect in SUSPECTS if suspect.under_suspicion(config)]
    return [f"{OPTIONS[one.name].shown.label} {_words(values[one.name])} (try {one.advice})" for one in found]


def _words(value: object) -> str:
    return "on" if value is True else f"{value:g}" if isinstance(value, float) else str(value)
