"""Names and formats of saved models."""

import pytest

from trainer.contract.config import SaveSection
from trainer.training.saving import epoch_name, form_of, last_name, step_name


def test_names_follow_the_output_name() -> None:
    """Without a name: last, epoch-000001, step-00000120; with one it takes their place."""
    plain, named = SaveSection(), SaveSection(output_name="my dog")
    assert (last_name(plain), epoch_name(plain, 1), step_name(plain, 120)) == ("last", "epoch-000001", "step-00000120")
    assert (last_name(named), epoch_name(named, 1)) == ("my dog", "my dog-000001")
    assert step_name(named, 120) == "my dog-step-00000120"


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
