"""Training on an NVIDIA card: every precision with every memory saver. Left out unless asked for with `-m gpu`."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import Train, of
from trainer.contract.events import Finished, Started, Stepped

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA card"),
]

PRECISIONS = ("no", "fp16", "bf16")
CLOSE = {"no": 1e-4, "fp16": 0.01, "bf16": 0.03}
"""Relative; how far the first step's loss may lie from fp32's: half precision keeps 11 bits, bf16 keeps 8."""


def losses(train: Train, name: str, **values: Any) -> list[float]:
    """The losses of a run."""
    return [step.loss for step in of(Stepped, train(name, **values))]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", ["AdamW", "AdamW8bit", "PagedAdamW8bit", "Lion8bit", "Adafactor"])
def test_a_run_on_the_card(precision: str, optimizer: str, train: Train, tmp_path: Path) -> None:
    """It runs to its end on the card, tells the card's memory, and what it saves has moved and is finite."""
    if "8bit" in optimizer:
        pytest.importorskip("bitsandbytes")
    options = {"mixed_precision": precision, "optimizer_type": optimizer, "save_model_as": "safetensors"}
    events = train(**options, max_train_steps=6, use_ema=True)
    (started,), (finished,) = of(Started, events), of(Finished, events)
    assert finished.result == "completed" and torch.cuda.get_device_name(0) in started.device
    steps = of(Stepped, events)
    assert all(step.loss is not None and math.isfinite(step.loss) for step in steps)
    assert all(step.vram_gib is not None and step.vram_gib > 0 for step in steps)
    train("still", **options, max_train_steps=1, learning_rate=1e-12, output_name="still")
    after, before = (load_file(tmp_path / "out" / f"{name}.safetensors") for name in ("last", "still"))
    moved = [name for name, weight in after.items() if not torch.equal(weight, before[name])]
    assert any("model.diffusion_model" in name for name in moved) and not any("first_stage" in name for name in moved)
    assert all(bool(weight.isfinite().all()) for weight in after.values())


def test_precisions_agree(train: Train) -> None:
    """The same pictures, noise and timesteps give the same loss, to what each precision can hold."""
    first = {name: losses(train, name, mixed_precision=name, max_train_steps=1)[0] for name in PRECISIONS}
    for name, loss in first.items():
        assert loss == pytest.approx(first["no"], rel=CLOSE[name])


@pytest.mark.parametrize("saver", ["sdpa", "mem_eff_attn", "xformers", "gradient_checkpointing"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_memory_savers_change_no_loss(saver: str, precision: str, train: Train) -> None:
    """Attention of another kind, or activations computed twice, are the same mathematics."""
    if saver == "xformers":
        pytest.importorskip("xformers")
    plain = losses(train, "plain", mixed_precision=precision)
    saving = losses(train, saver, mixed_precision=precision, **{saver: True})
    assert saving == pytest.approx(plain, rel=CLOSE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_resumed_run_goes_on(precision: str, train: Train, tmp_path: Path) -> None:
    """Four steps straight, and two and two with a state between them, the fp16 scaler's factor included."""
    straight = losses(train, "straight", mixed_precision=precision, max_train_steps=4)
    first = losses(train, "first", mixed_precision=precision, max_train_steps=2, save_state=True, output_name="half")
    state = str(tmp_path / "out" / "half-state")
    second = losses(train, "second", mixed_precision=precision, max_train_steps=4, resume=state)
    # Some kernels of the card add up in another order each time.
    assert first + second == pytest.approx(straight, rel=10 * CLOSE[precision])


def test_a_full_card_is_told_as_such(train: Train, tmp_path: Path) -> None:
    """Where the card gives no more memory the run ends with the words and the code for it."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            train("full")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    last = (tmp_path / "full" / "events.jsonl").read_text("utf-8").splitlines()[-1]
    assert '"card_memory"' in last


def test_samples_are_drawn_on_the_card(train: Train, tmp_path: Path) -> None:
    """In half precision too a sample is a picture and no black square."""
    train(mixed_precision="fp16", sample_prompts="a dog --w 64 --h 64 --s 3", sample_at_first=True)
    assert any((tmp_path / "run" / "samples").glob("*.png"))
