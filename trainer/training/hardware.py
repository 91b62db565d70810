"""Gate 4, the machine: whether device and packages can do what a job asks; and how much memory it has and uses.

A config comes in, all problems go out at once. What can only be known by trying is tried: a package that is installed
may still not run on this device.
"""

import contextlib
import os
import re
import sys
from pathlib import Path

import psutil
import torch

from trainer.contract.config import TrainingConfig
from trainer.contract.optimizers import OPTIMIZERS, PLAIN_ADAMW
from trainer.contract.problems import Mend, Problem
from trainer.contract.rate import RateSection
from trainer.model.attention import attend_with_xformers
from trainer.training.optimizer import make_optimizer, set_rates

GIB = 2**30


def check_hardware(config: TrainingConfig) -> list[Problem]:
    """Everything that this machine cannot do of what the config asks, errors and warnings."""
    device = default_device()
    return [
        *_card_problems(config, device),
        *_precision_problems(config, device),
        *(
            _optimizer_problems(config.rate, device)
            if config.rate.optimizer != "AdamW" or config.rate.arguments
            else []
        ),
        *_xformers_problems(config, device),
    ]


def _card_problems(config: TrainingConfig, device: torch.device) -> list[Problem]:
    """A card that is asked for is the only one that this process sees: without it the processor would train."""
    number = config.hardware.gpu_ids
    if number is None or device.type == "cuda":
        return []
    message = f"PyTorch cannot use card {number} on this machine. Leave it empty to train on what there is."
    mends = (Mend("Leave it empty", {"gpu_ids": None}),)
    return [Problem("machine.no_such_card", message, ("gpu_ids",), mends=mends)]


def default_device() -> torch.device:
    """The device that a run of this process would use: the first GPU, else the CPU."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, device.type)


def total_memory_gib(device: torch.device) -> tuple[float | None, float]:
    """Memory of the card (None without one) and of the computer, in GiB."""
    vram = torch.cuda.get_device_properties(device).total_memory / GIB if device.type == "cuda" else None
    return vram, psutil.virtual_memory().total / GIB


def memory_gib(device: torch.device) -> tuple[float | None, float]:
    """What this process holds now: of the card's memory (None without one), and of the computer's, in GiB.

    Neither asks the card, so neither waits for it.
    """
    vram = torch.cuda.memory_reserved(device) / GIB if device.type == "cuda" else None
    return vram, psutil.Process().memory_info().rss / GIB


def peak_memory_gib(device: torch.device) -> tuple[float | None, float]:
    """The most that this process held so far: of the card's memory (None without one), of the computer's, in GiB."""
    vram = torch.cuda.max_memory_reserved(device) / GIB if device.type == "cuda" else None
    return vram, _peak_host_bytes() / GIB


def _peak_host_bytes() -> int:
    """The high-water mark of the memory that this process really occupies, as its system counts it."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":
        # Not getrusage: that mark is handed on to the programs that a process starts, and would be a parent's.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        if found is not None:
            return int(found[1]) * 1024
    import resource  # noqa: PLC0415 - not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _precision_problems(config: TrainingConfig, device: torch.device) -> list[Problem]:
    asked = config.hardware.mixed_precision
    off = Mend("No mixed precision", {"mixed_precision": "no"})
    if asked == "fp16" and device.type == "cpu":
        message = "This machine has no GPU that PyTorch can use, and fp16 trains on a GPU only. Use bf16, or none."
        mends = (off, Mend("Use bf16", {"mixed_precision": "bf16"}))
        return [Problem("machine.fp16_needs_gpu", message, ("mixed_precision",), mends=mends)]
    if asked == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        message = f"{device_name(device)} does not compute in bf16. Use fp16."
        mends = (Mend("Use fp16", {"mixed_precision": "fp16"}), off)
        return [Problem("machine.bf16_unsupported", message, ("mixed_precision",), mends=mends)]
    return []


def _optimizer_problems(rate: RateSection, device: torch.device) -> list[Problem]:
    """One real step of the optimizer on a small tensor: an import alone proves nothing."""
    name, package = rate.optimizer, OPTIMIZERS[rate.optimizer].package
    mend = Mend("Use plain AdamW", PLAIN_ADAMW)
    fields = ("use_8bit_adam", "optimizer_type", "optimizer_args")
    try:
        # Packages print advice of their own when they fail; ours is the one to read.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            # From 0 even a step of 1e-9 shows, as that of an optimizer which looks for its rate may be.
            network = torch.nn.ParameterList([torch.zeros(64, 128, device=device)])
            optimizer = make_optimizer({"unet": network}, name, rate.arguments)
            set_rates(optimizer, {"unet": 0.1})
            network[0].sum().backward()
            optimizer.step()
            works = bool((network[0] < 0).all())
    except ImportError:
        message = f"{name} needs the package {package}, which is not installed. Install it, or use plain AdamW."
        return [Problem(f"machine.{package}_missing", message, fields, mends=(mend,))]
    except Exception as reason:
        message = (
            f"{name} does not run on this machine as it is set ({_short(reason)}). "
            f"Use plain AdamW, look at its arguments, or mend the installation of {package}."
        )
        return [Problem(f"machine.{package}_broken", message, fields, mends=(mend,))]
    if not works:
        message = f"{name} runs on this machine but moves no weights. Use plain AdamW."
        return [Problem(f"machine.{package}_broken", message, fields, mends=(mend,))]
    return []


def _xformers_problems(config: TrainingConfig, device: torch.device) -> list[Problem]:
    if not config.hardware.xformers or xformers_works(device):
        return []
    message = (
        "xformers is not installed, or does not run on this device. PyTorch's own attention is used, which is as fast."
    )
    mend = Mend("Use PyTorch's own", {"xformers": False, "sdpa": True})
    return [Problem("machine.xformers_missing", message, ("xformers",), "warning", (mend,))]


def xformers_works(device: torch.device) -> bool:
    """Whether xformers' kernel runs forwards and backwards on the device, tried on a small tensor."""
    try:
        q, k, v = (torch.ones(1, 1, 64, 64, device=device, requires_grad=True) for _ in range(3))
        attend_with_xformers(q, k, v).sum().backward()
    except Exception:
        return False
    return True


def _short(reason: Exception) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0][:120]
