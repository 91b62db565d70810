"""Prove that 8-bit AdamW works on this machine, or say in plain words why not and what to do.

Run it with the Python of the studio: `.venv\\Scripts\\python bitsandbytes_windows\\check.py` (Linux: `.venv/bin/python
bitsandbytes_windows/check.py`). Nothing is changed. Exit code 0 when it works, 1 when it does not. It takes real
optimizer steps on the GPU where there is one, else on the CPU: an import alone proves nothing, since bitsandbytes
imports without its native library and only stops at the first step.
"""

import importlib
import importlib.util
import logging
import os
import platform
import sys
from dataclasses import dataclass
from typing import Any

STEPS = 20
# bitsandbytes keeps the state of tensors under 4096 values in 32 bits (min_8bit_size), so the tensor must be larger.
SHAPE = (64, 128)

RUN_SETUP = "Run setup.ps1 again (Linux: ./setup.sh); it installs what is missing."
NEWER_DRIVER = "Install the current NVIDIA driver for this card, restart the computer and run this check again."
WITHOUT_8BIT = "Until then train with the optimizer AdamW: same result, more memory."

# (a part of what was said, lower case; what it means; what to do)
KNOWN = (
    (
        "no kernel image is available",
        "The installed build holds no code for this generation of GPU.",
        "Run setup.ps1 again (Linux: ./setup.sh): it chooses the build of PyTorch by the GPU. Cards before the "
        f"GeForce 10 series may have no support in bitsandbytes at all. {WITHOUT_8BIT}",
    ),
    ("driver version is insufficient", "The NVIDIA driver is older than this build of PyTorch needs.", NEWER_DRIVER),
    ("driver on your system is too old", "The NVIDIA driver is older than this build of PyTorch needs.", NEWER_DRIVER),
    ("found no nvidia driver", "PyTorch finds no NVIDIA driver.", NEWER_DRIVER),
    (
        "out of memory",
        "The memory of the GPU is full.",
        "Close other programs that use the GPU (nvidia-smi lists them) and run this check again.",
    ),
    (
        "winerror 126",
        "Windows lacks a library that this package needs.",
        "Install the current Microsoft Visual C++ Redistributable (x64) from Microsoft's site and restart.",
    ),
    (
        "dll load failed",
        "Windows could not load a library of this package.",
        "Install the current Microsoft Visual C++ Redistributable (x64) from Microsoft's site and restart.",
    ),
    (
        "bitsandbytes",
        "bitsandbytes has no native library for this CUDA version, or could not load it.",
        f"{RUN_SETUP} {WITHOUT_8BIT}",
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome: whether 8-bit AdamW works, what was found, what to do."""

    works: bool
    what: str
    mend: str = ""

    def __str__(self) -> str:
        head = "8-bit AdamW works." if self.works else "8-bit AdamW does not work."
        return "\n".join(line for line in (head, self.what, self.mend and f"What to do: {self.mend}") if line)


def check() -> Finding:
    """Go through all that can be wrong, in the order in which one thing needs the other."""
    for name in ("torch", "bitsandbytes"):
        if is_missing(name):
            return Finding(False, f"The package {name} is not installed in {sys.executable}.", advise_python())
    # At import it recommends a package that would fetch code from the net; that is no finding.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        torch = importlib.import_module("torch")
        gpus = list_gpus()
        if gpus and torch.version.cuda is None:
            what = f"PyTorch {torch.__version__} is a build without CUDA, but there is a GPU: {', '.join(gpus)}."
            return Finding(False, what, RUN_SETUP)
        device = "cpu" if torch.version.cuda is None else find_device(torch)
        return take_steps(torch, importlib.import_module("bitsandbytes"), device)
    except Exception as caught:  # anything that torch or bitsandbytes raises is what we are here to explain
        return explain(f"{type(caught).__name__}: {caught}")


def is_missing(name: str) -> bool:
    """Whether a package is not installed."""
    try:
        return importlib.util.find_spec(name) is None
    except ValueError:
        # Python says this of a module whose entry in sys.modules was taken away.
        return True


def advise_python() -> str:
    """What to do about a missing package: it may only be the wrong Python."""
    if sys.prefix == sys.base_prefix:
        python = r".venv\Scripts\python" if os.name == "nt" else ".venv/bin/python"
        return (
            f"Start this check with the studio's own Python, {python}. If that has no such package either: {RUN_SETUP}"
        )
    return RUN_SETUP


def list_gpus() -> list[str]:
    """Names of the NVIDIA GPUs, from the driver and independent of torch; empty without a driver."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # no package, no driver, no permission: all mean that nothing is known of a GPU
        return []
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    return [str(nvml.nvmlDeviceGetName(handle)) for handle in handles]


def find_device(torch: Any) -> str:
    """ "cuda"; raises what torch says when its CUDA build cannot reach a GPU."""
    torch.cuda.init()
    torch.zeros(1, device="cuda")
    return "cuda"


def take_steps(torch: Any, bitsandbytes: Any, device: str) -> Finding:
    """Pull a tensor towards zero with AdamW8bit: the loss must fall and the state must really be 8 bits wide."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(SHAPE, device=device))
    optimizer = bitsandbytes.optim.AdamW8bit([weight], lr=1e-2)
    losses = []
    for _ in range(STEPS):
        loss = weight.square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    state = optimizer.state[weight]["state1"].dtype
    seen = (
        f"{STEPS} steps on {describe_device(torch, device)}: loss {losses[0]:.3f} -> {losses[-1]:.3f}, "
        f"state kept as {str(state).removeprefix('torch.')}; bitsandbytes {bitsandbytes.__version__}, "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}."
    )
    # AdamW moves every value by about lr a step: after 20 steps of 0.01 the mean square of N(0, 1) is 0.7 to 0.8.
    if not (losses[-1] < 0.9 * losses[0] and state == torch.uint8):
        return Finding(False, f"The steps ran, but their result is wrong. {seen}", f"{RUN_SETUP} {WITHOUT_8BIT}")
    slow = "" if device == "cuda" else "There is no NVIDIA GPU here: on the CPU 8 bits save memory, but are slower."
    return Finding(True, f"{seen}\n{slow}".strip())


def describe_device(torch: Any, device: str) -> str:
    """The GPU by its name, or "the CPU"."""
    return torch.cuda.get_device_name(0) if device == "cuda" else "the CPU"


def explain(said: str) -> Finding:
    """Turn what torch or bitsandbytes said into what it means and what to do."""
    forced = os.environ.get("BNB_CUDA_VERSION")
    if forced is not None and "bitsandbytes" in said.lower():
        what = (
            f"The environment variable BNB_CUDA_VERSION={forced} makes bitsandbytes load the library of that version."
        )
        return Finding(False, f"{what}\n{said}", "Remove this variable, open a new terminal and run this check again.")
    for part, meaning, mend in KNOWN:
        if part in said.lower():
            return Finding(False, f"{meaning}\n{said}", mend)
    return Finding(False, said, f"{RUN_SETUP} {WITHOUT_8BIT}")


def main() -> int:
    """Print the finding; 0 when 8-bit AdamW works, else 1."""
    finding = check()
    print(finding)
    return 0 if finding.works else 1


if __name__ == "__main__":
    sys.exit(main())
