"""Run by the Python of .venv, as a file: import the installed packages and say what they see, as one line of JSON.

Nothing comes in (or the word "xformers": then the exit code tells whether its attention computes on the GPU); out
come `torch` and `cuda` (versions), `gpu` (its name), `why` (why there is none), `failed` and a `summary` for people.
"""

import importlib
import json
import platform
import sys
from typing import Any

PACKAGES = ("torch", "transformers", "diffusers", "accelerate", "bitsandbytes", "gradio")


def try_imports() -> str | None:
    """What went wrong with the first package that cannot be imported; None when all can."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except Exception as caught:  # whatever a package raises while it loads is the finding
            return f"{name}: {type(caught).__name__}: {caught}"
    return None


def describe_torch() -> dict[str, Any]:
    """Version and build of torch, and its GPU or why it has none."""
    torch = importlib.import_module("torch")
    gpu, why = None, None
    if torch.version.cuda is not None:
        try:
            torch.cuda.init()
            gpu = torch.cuda.get_device_name(0)
        except (RuntimeError, AssertionError) as caught:
            why = str(caught).splitlines()[0]
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "gpu": gpu, "why": why}


def run_xformers() -> None:
    """One attention on the GPU with xformers; raises when it cannot."""
    torch = importlib.import_module("torch")
    attention = importlib.import_module("xformers.ops").memory_efficient_attention
    query = torch.randn(1, 64, 8, 40, device="cuda", dtype=torch.float16, requires_grad=True)
    attention(query, query, query).sum().backward()
    torch.cuda.synchronize()
    assert torch.isfinite(query.grad).all()


def main(words: list[str]) -> int:
    """Print the proof; the exit code is 0 unless Python itself or xformers gives up."""
    if words == ["xformers"]:
        run_xformers()
        return 0
    failed = try_imports()
    proof: dict[str, Any] = {"failed": failed}
    if failed is None:
        proof |= describe_torch()
        device = proof["gpu"] or "no GPU, training runs on the CPU"
        proof["summary"] = f"Python {platform.python_version()}, PyTorch {proof['torch']}, {device}"
    print(json.dumps(proof))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
