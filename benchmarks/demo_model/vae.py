"""The demo's VAE: learnt from cuts of drawn pictures, then folded so that its latents have the usual scale.

A number of steps and a folder for what is kept on the way go in; an `AutoencoderKL` comes out. A run that was cut
short goes on from its last state.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from trainer.demo.scenes import COLOURS, GROUNDS, SHAPES, TEXTURES, Colour, Look, draw_scene, paint, render

SCALE = 0.18215
CUT = 64
"""Pixels: cuts this large, around the shape, cost a quarter of a whole picture and teach the same."""
BATCH = 12
RATE = 2.5e-3
KEEP_S = 60.0
"""Seconds between two states: what a killed run loses at most."""


def make_vae() -> AutoencoderKL:
    """0.98 million parameters; groups of 4 and more channels: with one channel a group, pictures came out blotched."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=SCALE,
    )


def train_vae(steps: int, seed: int, state: Path, tell: Callable[[str], None]) -> AutoencoderKL:
    """Learn for so many steps; the weights that come back are the average over the last two hundred or so."""
    torch.manual_seed(seed)
    vae = make_vae()
    average = make_vae()
    average.load_state_dict(vae.state_dict())
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    done = 0
    if state.exists():
        kept = torch.load(state, weights_only=True)
        vae.load_state_dict(kept["vae"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["step"]
    began, told, kept_at = time.monotonic(), done, time.monotonic()
    for step in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = (
                RATE * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            )
        pixels = batch_of_cuts(np.random.default_rng([seed, step]))
        loss = vae_loss(vae, pixels, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for kept_weight, weight in zip(average.parameters(), vae.parameters(), strict=True):
                kept_weight.lerp_(weight, 1 - min(0.995, (1 + step) / (10 + step)))
        if time.monotonic() - kept_at > KEEP_S or step + 1 == steps:
            keep(state, {"vae": vae, "average": average, "optimizer": optimizer}, step + 1)
            speed = (step + 1 - told) / (time.monotonic() - kept_at)
            kept_at, told = time.monotonic(), step + 1
            tell(
                f"VAE: step {step + 1} of {steps}, loss {loss.item():.4f}, {speed:.2f} steps/s, {psnr(average):.2f} dB"
            )
    tell(f"VAE: {time.monotonic() - began:.0f} s from step {done}")
    return average.eval()


def keep(path: Path, parts: dict[str, Any], step: int) -> None:
    """Write what is needed to go on, whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, partial)
    partial.replace(path)


def vae_loss(vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """L1, squared error and edges, heavier where there is something, and a little pull towards a normal posterior."""
    posterior = vae.encode(pixels).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator)
    out = vae.decode(posterior.mean + posterior.std * noise).sample
    ground = pixels[:, :, :1, :1]
    weight = 1 + 4 * ((pixels - ground).abs().amax(dim=1, keepdim=True) / 0.5).clamp(max=1)
    difference = out - pixels
    edges = sum((torch.diff(out, dim=d) - torch.diff(pixels, dim=d)).abs().mean() for d in (2, 3))
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).sum(dim=(1, 2, 3)).mean()
    kl = kl / pixels[0].numel()
    return (weight * (0.5 * difference.abs() + 2 * difference**2)).mean() + 0.3 * edges + 5e-5 * kl


def batch_of_cuts(rng: np.random.Generator) -> Tensor:
    """fp32 [BATCH, 3, CUT, CUT], -1 to 1: two thirds cuts of scenes, the rest whatever a new subject may look like."""
    cuts = [cut_of_a_scene(rng) if number % 3 else anything(rng) for number in range(BATCH)]
    return as_tensor(np.stack(cuts))


def cut_of_a_scene(rng: np.random.Generator) -> np.ndarray:
    """uint8 [CUT, CUT, 3]: half of a scene's width, somewhere around its shape."""
    scene = draw_scene(rng)
    left, top = (float(np.clip(c - 0.25 + rng.uniform(-0.12, 0.12), 0, 0.5)) for c in scene.centre)
    # On whole pixels of the picture, as they are when it is seen whole.
    return render(scene, CUT, (round(left * 2 * CUT) / (2 * CUT), round(top * 2 * CUT) / (2 * CUT), 0.5))


def anything(rng: np.random.Generator) -> np.ndarray:
    """uint8 [CUT, CUT, 3]: one to three shapes of any two colours, outlined or not, on any ground."""
    image = np.empty((CUT, CUT, 3), dtype=np.uint8)
    image[:] = any_colour(rng) if rng.random() < 0.5 else list(GROUNDS.values())[rng.integers(len(GROUNDS))]
    for _ in range(rng.integers(1, 4)):
        look = Look(
            any_colour(rng),
            any_colour(rng),
            TEXTURES[rng.integers(len(TEXTURES))],
            any_colour(rng) if rng.random() < 0.3 else None,
        )
        shape = SHAPES[rng.integers(len(SHAPES))]
        paint(image, shape, tuple(rng.uniform(0.2, 0.8, 2)), float(rng.uniform(0.15, 0.42)), look)
    return image


def any_colour(rng: np.random.Generator) -> Colour:
    """A colour of the world, a full one, or any at all: all three are as likely."""
    kind = rng.integers(3)
    if kind == 0:
        return list(COLOURS.values())[rng.integers(len(COLOURS))]
    drawn = rng.integers(0, 256, 3) if kind == 1 else rng.choice([0, 255], 3)
    return tuple(int(part) for part in drawn)


def as_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] -> fp32 [N, 3, H, W], -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pictures: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> the same, encoded and decoded; the posterior's mean is taken."""
    out = [
        vae.decode(vae.encode(as_tensor(part)).latent_dist.mean).sample
        for part in np.array_split(pictures, max(1, len(pictures) // 8))
    ]
    pixels = torch.cat(out).mul(127.5).add(127.5).clamp(0, 255).round().byte()
    return pixels.permute(0, 2, 3, 1).numpy()


def psnr(vae: AutoencoderKL, count: int = 24, side: int = 128) -> float:
    """Mean over pictures held out of the peak signal-to-noise ratio of a round trip, in dB."""
    rng = np.random.default_rng(99)
    pictures = np.stack([render(draw_scene(rng, held_out=True), side) for _ in range(count)])
    vae.eval()
    error = ((round_trip(vae, pictures).astype(float) - pictures) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-9))))


@torch.no_grad()
def fold(vae: AutoencoderKL, seed: int, count: int = 512) -> None:
    """Make each latent channel of the world's pictures have mean 0 and, times 0.18215, deviation 1. Exact; do it once.

    Encoder and decoder end and begin with 1x1 convolutions, so a shift and a scale of each channel goes into those.
    """
    rng = np.random.default_rng([seed, 1])
    pictures = np.stack([render(draw_scene(rng), 128) for _ in range(count)])
    latents = torch.cat([vae.encode(as_tensor(part)).latent_dist.mean for part in np.array_split(pictures, count // 8)])
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)) * SCALE
    channels = len(mean)
    vae.quant_conv.weight[:channels] /= deviation[:, None, None, None]
    vae.quant_conv.bias[:channels] = (vae.quant_conv.bias[:channels] - mean) / deviation
    vae.quant_conv.bias[channels:] -= 2 * deviation.log()
    vae.post_quant_conv.bias += F.conv2d(mean[None, :, None, None], vae.post_quant_conv.weight)[0, :, 0, 0]
    vae.post_quant_conv.weight *= deviation[None, :, None, None]
