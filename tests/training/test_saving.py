"""Formats of saved models."""

import pytest

from trainer.contract.saves import SaveSection
from trainer.training.saving import form_of


@pytest.mark.parametrize(
    ("options", "source", "form"),
    [
        ({}, "ckpt", "ckpt"),
        ({}, "safetensors", "safetensors"),
        ({}, "diffusers", "diffusers"),
        ({}, "diffusers_safetensors", "diffusers_safetensors"),
        ({"use_safetensors": True}, "ckpt", "safetensors"),
        ({"use_safetensors": True}, "diffusers", "diffusers_safetensors"),
        ({"save_model_as": "ckpt"}, "diffusers_safetensors", "ckpt"),
        ({"save_model_as": "safetensors", "use_safetensors": True}, "ckpt", "safetensors"),
    ],
)
def test_format_is_as_chosen_else_that_of_the_source(options: dict, source: str, form: str) -> None:
    """A chosen format wins; without one the result is of the source's kind, as .safetensors where that is asked for."""
    assert form_of(SaveSection(**options), source) == form  # type: ignore[arg-type]
