"""The models in presets/demo: small, in half precision, of both families, with a VAE that keeps pictures."""

import re
from pathlib import Path

import pytest
from diffusers import AutoencoderKL
from safetensors import safe_open

from benchmarks.demo_model.vae import psnr
from trainer.model.inspect import ModelFacts, inspect_model

SHIPPED = Path(__file__).parents[2] / "presets" / "demo"
MODELS = ("model", "model-v2")

PATH = re.compile(r"(^|[\"'\s])(/|[A-Za-z]:\\)\w")
"""The beginning of an absolute path."""


def bytes_in(folder: Path) -> int:
    """The size of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*"))


def test_they_are_small_and_in_half_precision() -> None:
    """At most 16 MB a model and 32 MB together; every weight is fp16, and no file names a path of some machine."""
    assert all(bytes_in(SHIPPED / name) < 16e6 for name in MODELS) and bytes_in(SHIPPED) < 32e6
    for file in SHIPPED.rglob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
            assert kinds <= {"F16", "I64"}, file
            assert not any(PATH.search(text) for text in (weights.metadata() or {}).values()), file
    for file in SHIPPED.rglob("*.json"):
        assert not PATH.search(file.read_text("utf-8")), file


@pytest.mark.parametrize(("name", "family", "prediction"), [("model", "v1", "epsilon"), ("model-v2", "v2", "v")])
def test_they_are_what_they_say(name: str, family: str, prediction: str) -> None:
    """Each is inspected as a model of its family and prediction."""
    facts = inspect_model(str(SHIPPED / name))
    assert isinstance(facts, ModelFacts), facts
    assert (facts.family, facts.prediction) == (family, prediction)


def test_the_vae_keeps_pictures() -> None:
    """At least 30 dB between pictures held out and their round trip."""
    assert psnr(AutoencoderKL.from_pretrained(SHIPPED / "model" / "vae").float().eval(), 40) >= 30
