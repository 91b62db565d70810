"""The models in presets/demo: small, in half precision, of both families, with a VAE that keeps pictures."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open

from benchmarks.demo_model.card import card
from benchmarks.demo_model.folder import ship
from benchmarks.demo_model.vae import psnr
from benchmarks.make_demo_model import DRAWN_WITH
from benchmarks.page import RESULTS
from tests.demo.trials import drawn, general, judged
from trainer.demo.make import MODELS, SHIPPED, make_demo
from trainer.model.inspect import ModelFacts, inspect_model

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


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_they_draw_what_captions_of_scenes_held_out_say(tmp_path: Path) -> None:
    """Both, as diffusers draws them; 200 captions and the VAE's round trip beside them are in the card."""
    asked = general(64)
    prompts = [words for words, _ in asked]
    told = {name: judged(drawn(make_demo(tmp_path / name) / name, prompts, 15), asked) for name in MODELS}
    least = {"colour": 0.92, "position": 0.96, "ground": 0.96, "shape": 0.8, "colour + shape + position": 0.72}
    for attribute, share in least.items():
        assert told["model"][attribute] >= share, (attribute, told)
        assert told["model-v2"][attribute] >= told["model"][attribute] - 0.1, (attribute, told)


def test_the_card_is_that_of_the_diary() -> None:
    """Every figure in presets/demo/README.md is one that was noted while the models were made."""
    diary = json.loads((RESULTS / "demo_model.json").read_text("utf-8"))
    assert (SHIPPED / "README.md").read_text("utf-8") == card(diary, DRAWN_WITH)


def test_shipping_leaves_out_what_lies_elsewhere(tmp_path: Path) -> None:
    """No tokenizer and no VAE unless asked for; the weights are those of the folder in fp16."""
    whole = make_demo(tmp_path / "home") / "model-v2"
    for with_vae in (False, True):
        ship(whole, tmp_path / "shipped", with_vae=with_vae)
        parts = {path.name for path in (tmp_path / "shipped").iterdir()}
        assert parts == {"model_index.json", "scheduler", "text_encoder", "unet"} | ({"vae"} if with_vae else set())
        for part in ("text_encoder", "unet"):
            (mine,), (theirs,) = ((home / part).glob("*.safetensors") for home in (tmp_path / "shipped", whole))
            with safe_open(mine, "pt") as new, safe_open(theirs, "pt") as old:
                assert set(new.keys()) == set(old.keys())
                for name in new.keys():  # noqa: SIM118
                    assert torch.equal(new.get_tensor(name), old.get_tensor(name).half())
