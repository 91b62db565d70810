"""The average as keys of its own in a saved file: there where asked for, never a stale one."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import Train, of
from trainer.contract.events import Warned
from trainer.model.checkpoint import read_checkpoint
from trainer.model.inspect import ModelFacts, inspect_model
from trainer.model.keys import ema_names

UNET = "model.diffusion_model."


def test_ema_keys_hold_the_average(train: Train, tmp_path: Path) -> None:
    """`save_ema_keys` writes the average a second time, a later run begins with it, and without it none is written."""
    asked = {"use_ema": True, "save_model_as": "safetensors", "save_precision": "float"}
    train("one", save_ema_keys=True, **asked)
    first = tmp_path / "out" / "last.safetensors"
    tensors = load_file(first)
    unet = [name for name in tensors if name.startswith(UNET)]
    assert sum(name.startswith("model_ema.") for name in tensors) == len(unet) + 2
    assert all(torch.equal(tensors[name], tensors[ema_names(name)[0]]) for name in unet)
    assert int(tensors["model_ema.num_updates"]) == 3
    facts = inspect_model(str(first))
    assert isinstance(facts, ModelFacts) and facts.has_ema

    marked = tmp_path / "marked.safetensors"
    for name in unet:
        tensors[ema_names(name)[0]] = tensors[name] + 100
    save_file(tensors, marked, dict(read_checkpoint(first).content.metadata))
    train("two", pretrained_model_name_or_path=str(marked), output_name="two", **asked)
    second = load_file(tmp_path / "out" / "two.safetensors")
    assert not any(name.startswith("model_ema.") for name in second), "stale averages never survive"
    # After three steps of decays 2/11, 3/12 and 4/13 the beginning of the average counts 1.4 %: 1.4 of the 100.
    share = 2 / 11 * 3 / 12 * 4 / 13
    name = f"{UNET}out.0.weight"
    assert abs(float((second[name] - tensors[name]).mean()) - 100 * share) < 0.3


def test_a_folder_has_no_place_for_them(train: Train) -> None:
    """Where a Diffusers folder is written without being chosen, the run says that it holds no EMA keys."""
    events = train(use_ema=True, save_ema_keys=True)
    assert [told.code for told in of(Warned, events)].count("ema_keys") == 1
