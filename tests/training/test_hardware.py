"""Gate 4: what this machine cannot do is said before anything is loaded."""

import sys
import types
from typing import Any

import pytest
import torch

from trainer.contract.config import TrainingConfig
from trainer.contract.optimizers import OPTIMIZERS
from trainer.contract.problems import Problem
from trainer.training.hardware import check_hardware, default_device, device_name, memory_gib, total_memory_gib

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="these are the words for a machine without a GPU")


def found(**values: Any) -> list[Problem]:
    """The problems of these options on this machine."""
    return check_hardware(TrainingConfig.from_flat(values))


def test_plain_options_run_everywhere() -> None:
    """The defaults and bf16 need nothing that this machine lacks."""
    assert found() == [] and found(mixed_precision="bf16") == []


def test_fp16_needs_a_gpu() -> None:
    """fp16 on a CPU is an error with two ways out."""
    (problem,) = found(mixed_precision="fp16")
    assert problem.severity == "error" and problem.fields == ("mixed_precision",)
    assert [dict(mend.values) for mend in problem.mends] == [{"mixed_precision": "no"}, {"mixed_precision": "bf16"}]


def test_a_card_that_is_asked_for_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the processor would train, slowly and unasked: that is refused. With it there is nothing to say."""
    (problem,) = found(gpu_ids=1)
    assert (problem.severity, problem.fields) == ("error", ("gpu_ids",))
    assert problem.message.startswith("PyTorch cannot use card 1") and problem.mends[0].values == {"gpu_ids": None}
    monkeypatch.setattr("trainer.training.hardware.default_device", lambda: torch.device("cuda", 0))
    assert found(gpu_ids=1) == []


def test_bf16_needs_a_card_that_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card without bf16 units is named, with fp16 as the way out."""
    monkeypatch.setattr("trainer.training.hardware.default_device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce GTX 1080")
    (problem,) = found(mixed_precision="bf16")
    assert problem.message.startswith("GeForce GTX 1080") and problem.mends[0].values == {"mixed_precision": "fp16"}


def test_eight_bit_is_tried() -> None:
    """Where bitsandbytes works there is nothing to say, by either name of the option."""
    pytest.importorskip("bitsandbytes")
    assert found(use_8bit_adam=True) == [] and found(optimizer_type="AdamW8bit") == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_runs_here(name: str) -> None:
    """With the pinned packages there is nothing to say about any of them."""
    assert found(optimizer_type=name, optimizer_args="weight_decay=0.02") == []


def test_small_first_steps_are_steps() -> None:
    """An optimizer that is told to begin with a tiny step moves the weights all the same."""
    for name in ("Prodigy", "DAdaptAdam"):
        assert found(optimizer_type=name, optimizer_args="d0=1e-8") == []


def test_argument_that_the_package_refuses_is_named() -> None:
    """A value that only the constructor can judge is found before anything is loaded, in the package's own words."""
    (problem,) = found(optimizer_type="Prodigy", optimizer_args="betas=0.9,1.5")
    assert "1.5" in problem.message and problem.mends[0].values["optimizer_args"] is None


def broken_package() -> types.ModuleType:
    """A bitsandbytes whose optimizer cannot be made."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA Setup failed\nlong advice")

    package = types.ModuleType("bitsandbytes")
    package.optim = types.SimpleNamespace(AdamW8bit=fail)  # type: ignore[attr-defined]
    return package


def test_broken_eight_bit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is there and does not work is an error that says why, with plain AdamW as the way out."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", broken_package())
    (problem,) = found(use_8bit_adam=True)
    assert problem.code == "machine.bitsandbytes_broken" and "CUDA Setup failed" in problem.message
    assert "long advice" not in problem.message
    assert problem.mends[0].values == {"use_8bit_adam": False, "optimizer_type": "AdamW", "optimizer_args": None}


def test_missing_eight_bit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not there is an error of its own."""

    def missing() -> None:
        raise ImportError("No module named 'bitsandbytes'")

    monkeypatch.setattr("trainer.training.optimizer.bitsandbytes", missing)
    assert [problem.code for problem in found(use_8bit_adam=True)] == ["machine.bitsandbytes_missing"]


def test_missing_xformers_is_a_warning() -> None:
    """Without xformers, or with one that does not run here, PyTorch's attention is used and that is said."""
    (problem,) = found(xformers=True)
    assert (problem.code, problem.severity) == ("machine.xformers_missing", "warning")


def test_memory_is_told_in_gib() -> None:
    """Without a card there is no card's memory; the process holds less than the computer has."""
    device = default_device()
    total, used = total_memory_gib(device), memory_gib(device)
    assert total[0] is None and used[0] is None
    assert 0.05 < used[1] < total[1] < 100_000
    assert device_name(device)
