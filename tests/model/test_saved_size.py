"""The format of a saved model and its size, told before it is written."""

from pathlib import Path

import pytest

from tests.tiny_models import load
from trainer.contract.saves import SaveSection
from trainer.model.facts import read_facts
from trainer.model.load import Networks
from trainer.model.save import save_model
from trainer.model.saved_size import form_of, saved_bytes

FORMS = ("safetensors", "ckpt", "diffusers_safetensors", "diffusers")


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


@pytest.mark.parametrize("precision", ["float", "fp16", None])
@pytest.mark.parametrize("source_form", ["safetensors", "diffusers_safetensors"])
@pytest.mark.parametrize("family", ["v1", "v2"])
def test_sizes_are_foretold_from_any_source_to_any_form(
    family: str, source_form: str, precision: str | None, loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """The size told before a save is that of what is written, to 3 in a hundred of a model of 5 MB."""
    source = save_model(loaded[family], tmp_path / "source", form=source_form, precision="fp16")[0]
    facts, networks = read_facts(source), load(source)
    for form in FORMS:
        path = save_model(networks, tmp_path / form, form=form, precision=precision)[0]
        written = sum(part.stat().st_size for part in path.rglob("*")) if path.is_dir() else path.stat().st_size
        told = saved_bytes(facts, SaveSection(save_model_as=form, save_precision=precision))
        assert abs(told / written - 1) < 0.03, (form, told, written)


def test_ema_keys_are_counted(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """The second copy of the U-Net's weights that `save_ema_keys` asks for belongs to the size."""
    networks = loaded["v1"]
    ema = networks.unet.state_dict()
    path = save_model(networks, tmp_path / "x", form="safetensors", precision="fp16", ema=ema)[0]
    saves = SaveSection(save_model_as="safetensors", save_precision="fp16", save_ema_keys=True)
    assert abs(saved_bytes(networks.facts, saves) / path.stat().st_size - 1) < 0.03
