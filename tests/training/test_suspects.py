"""Options under suspicion when a run diverges."""

from typing import Any

import pytest

from trainer.contract.config import OPTIONS, TrainingConfig
from trainer.training.suspects import SUSPECTS, suspect_options

GUILTY: dict[str, Any] = {
    "mixed_precision": "fp16",
    "max_grad_norm": 0,
    "debiased_estimation_loss": True,
    "noise_offset": 0.5,
    "multires_noise_discount": 0.9,
    "vae": "other.safetensors",
    "learning_rate": 0.5,
}


def test_only_the_learning_rate_is_always_a_suspect() -> None:
    """A job with defaults has nothing else to look at."""
    assert suspect_options(TrainingConfig()) == ["Learning rate 2e-06 (try a tenth of it)"]


@pytest.mark.parametrize("suspect", SUSPECTS, ids=lambda suspect: suspect.name)
def test_suspect_is_named_with_its_value(suspect: Any) -> None:
    """Each option of the table is named when it stands on a doubtful value, and before the learning rate."""
    values = {"multires_noise_iterations": 6} if suspect.name == "multires_noise_discount" else {}
    told = suspect_options(TrainingConfig.from_flat({**values, suspect.name: GUILTY[suspect.name]}))
    assert len(told) == (1 if suspect.name == "learning_rate" else 2)
    assert told[0].startswith(OPTIONS[suspect.name].shown.label) and suspect.advice in told[0]
