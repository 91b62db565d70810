"""The losses of the demo's models step by step, for twelve sets of options; `python -m tests.training.pin` pins anew.

A change that should not change training must leave them equal to the last digit; one that should pins them anew in its
own commit and says why. So that the last digit means the same on every x86-64 processor, they are computed in a process
of its own with the oldest kernels of each library: between AVX2 and SSE the losses differ by up to 1.1e-4 of their size
after ten steps; with these kernels not one digit moved when glibc and numpy had AVX2 and FMA taken away as well. Where
a probe of the kernels has other bits than those of the machine that pinned (another architecture, another build of
torch), the losses are held to 1e-3.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.training.conftest import draw_pictures, of, run_to_the_end
from trainer.contract.events import Stepped, Validated
from trainer.demo.make import make_demo

ROOT = Path(__file__).resolve().parents[2]
PINNED = ROOT / "tests" / "fixtures" / "training" / "pinned_losses.json"

KERNELS = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
}
"""What every x86-64 processor has. One thread: how sums are split over threads shows in the last digits."""

V2 = {"v2": True, "v_parameterization": True}

PRESETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plain, 2.x": V2,
    "regularization": {"reg_data_dir": "REG", "prior_loss_weight": 0.5},
    "buckets, 2.x": V2
    | {
        "resolution": "128,64",
        "enable_bucket": True,
        "min_bucket_reso": 64,
        "max_bucket_reso": 128,
        "gradient_accumulation_steps": 2,
    },
    "captions": {"shuffle_caption": True, "keep_tokens": 1, "ucg": 0.3, "caption_dropout_rate": 0.1},
    "augmentation, 2.x": V2 | {"cache_latents": False, "flip_aug": True, "random_crop": True, "color_aug": True},
    "reading": {"clip_skip": 2, "no_token_padding": True},
    "one network, 2.x": V2 | {"unetonly": True, "lr_scheduler": "linear", "lr_warmup_steps": 3},
    "text encoder stops": {"stop_text_encoder_training": 4, "lr_scheduler": "polynomial"},
    "weights and offset, 2.x": V2 | {"min_snr_gamma": 5.0, "noise_offset": 0.1, "zero_terminal_snr": True},
    "huber": {"loss_type": "huber", "multires_noise_iterations": 3, "min_timestep": 100, "ip_noise_gamma": 0.1},
    "averaged and measured, 2.x": V2 | {"use_ema": True, "validation_split": 0.3, "max_grad_norm": 0.1},
}
"""Of 1.x that predict the noise, and of 2.x that predict v."""


def measure(home: Path) -> dict[str, Any]:
    """The probe, and for each preset the losses of ten steps, and behind them what was measured on held-out images.

    To be called in a process that was started with `KERNELS`.
    """
    torch.backends.mkldnn.enabled = False  # its blocks follow the size of the processor's caches
    sizes = [(64, 64), (80, 64), (64, 128)]
    draw_pictures(home / "train" / "2_sks dog, sitting, red", sizes)
    draw_pictures(home / "train" / "1_sks cat", sizes[::2], first=3)
    draw_pictures(home / "reg" / "1_dog", sizes, first=5)
    demo = make_demo(home)
    models = {False: demo / "model", True: demo / "model-v2"}
    losses: dict[str, list[float]] = {}
    for number, (name, preset) in enumerate(PRESETS.items()):
        values = {
            "pretrained_model_name_or_path": str(models["v2" in preset]),
            "train_data_dir": str(home / "train"),
            "output_dir": str(home / "out"),
            "resolution": "64",
            "max_train_steps": 10,
            "train_batch_size": 2,
            "cache_latents": True,
            "learning_rate": 1e-3,
            "seed": 7,
            "max_data_loader_n_workers": 0,
        }
        own = {key: str(home / "reg") if value == "REG" else value for key, value in preset.items()}
        events = run_to_the_end(values | own, home / f"run {number}")
        losses[name] = [event.loss for event in (*of(Stepped, events), *of(Validated, events))]
    return {"probe": probe(), "losses": losses}


def probe() -> str:
    """A digest of the bits that the kernels of this process give for what the networks are made of."""
    numbers = torch.arange(2 * 8 * 9 * 9, dtype=torch.float32).view(2, 8, 9, 9).sin().requires_grad_()
    kernel = torch.arange(16 * 8 * 9, dtype=torch.float32).view(16, 8, 3, 3).cos().requires_grad_()
    image = torch.nn.functional.silu(torch.nn.functional.group_norm(torch.conv2d(numbers, kernel, padding=1), 4))
    rows = image.flatten(2).transpose(1, 2)
    seen = torch.nn.functional.scaled_dot_product_attention(rows, rows, rows)
    out = torch.nn.functional.gelu(torch.nn.functional.layer_norm(seen @ rows.transpose(1, 2), (81,)))
    out.square().mean().backward()
    assert numbers.grad is not None and kernel.grad is not None
    digest = hashlib.sha256()
    for tensor in (out, numbers.grad, kernel.grad, numbers.detach().exp(), numbers.detach().std(dim=(1, 2, 3))):
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def measured() -> dict[str, Any]:
    """What `measure` finds, in a process with the oldest kernels."""
    command = [sys.executable, "-m", "tests.training.pin", "--print"]
    environment = os.environ | KERNELS
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Pin what is measured now, or with --print only print it."""
    if "--print" in sys.argv:
        with tempfile.TemporaryDirectory() as home:
            print(json.dumps(measure(Path(home))))
        return
    made = {"made_with": f"torch {torch.__version__.partition('+')[0]}, {platform.machine()}"}
    PINNED.write_text(json.dumps(made | measured(), indent=1) + "\n", encoding="utf-8")
    print(f"Pinned in {PINNED.relative_to(ROOT)}; say in the commit why.")


if __name__ == "__main__":
    main()
