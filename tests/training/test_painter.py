"""One picture: the same as diffusers draws it, for every sampler, family and schedule."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)

from tests.tiny_models import load
from trainer.contract.prompts import Prompt
from trainer.training.engine import Engine
from trainer.training.painter import Drawing, Painter

ZERO_TERMINAL = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
PROMPT = ("a harbour at dawn", "blurry", 128, 64, 11, 4)


def drawn(path: Path, prompt: Prompt, zero_terminal: bool = False) -> np.ndarray:
    """Our picture of a prompt."""
    AcceleratorState._reset_state(reset_partial_state=True)
    networks = load(path)
    drawing = Drawing((64, 64), 0, None, networks.prediction, zero_terminal)
    return Painter(networks, drawing, Engine("no")).picture(prompt, prompt.seed or 0)


def expected(path: Path, prompt: Prompt, scheduler: type, timesteps: list[int] | None = None, **settings) -> np.ndarray:
    """The picture of diffusers' own pipeline, uint8."""
    pipeline = StableDiffusionPipeline.from_pretrained(path, safety_checker=None, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **settings)
    if scheduler is DPMSolverMultistepScheduler:
        # Diffusers begins with noise of strength 1 there, k-diffusion and we with that of the first level.
        pipeline.scheduler.init_noise_sigma = (1 - pipeline.scheduler.alphas_cumprod[-1]) ** 0.5
    how = {"timesteps": timesteps} if timesteps else {"num_inference_steps": prompt.steps}
    drawn = pipeline(
        prompt.text,
        negative_prompt=prompt.negative,
        width=prompt.width,
        height=prompt.height,
        guidance_scale=prompt.scale,
        generator=torch.Generator("cpu").manual_seed(prompt.seed),
        output_type="np",
        **how,
    )
    return np.round(drawn.images[0] * 255)


@pytest.mark.parametrize(("family", "zero_terminal"), [("v1", False), ("v2", False), ("v2", True)])
@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_ddim_draws_as_in_diffusers(
    family: str, zero_terminal: bool, scale: float, tiny_v1: Path, tiny_v2: Path
) -> None:
    """Prompt, unwanted words, size, seed, steps and scale give the picture of diffusers' pipeline with DDIM.

    With a zero terminal SNR it is drawn in that schedule, from its last timestep on.
    """
    path = {"v1": tiny_v1, "v2": tiny_v2}[family]
    prompt = Prompt(*PROMPT, scale)
    theirs = expected(path, prompt, DDIMScheduler, clip_sample=False, **(ZERO_TERMINAL if zero_terminal else {}))
    ours = drawn(path, prompt, zero_terminal)
    assert ours.shape == (64, 128, 3)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("Euler", EulerDiscreteScheduler),
        ("Euler a", EulerAncestralDiscreteScheduler),
        ("DPM++ 2M", DPMSolverMultistepScheduler),
    ],
)
def test_other_samplers_draw_as_in_diffusers(
    family: str, sampler: str, scheduler: type, tiny_v1: Path, tiny_v2: Path
) -> None:
    """Four steps, at 999, 666, 333 and 0, give the picture of diffusers' scheduler of the same name."""
    path = {"v1": tiny_v1, "v2": tiny_v2}[family]
    prompt = Prompt(*PROMPT, 7.5, sampler)
    own = {"timesteps": [999, 666, 333, 0]} if sampler == "DPM++ 2M" else {"timestep_spacing": "linspace"}
    theirs = expected(path, prompt, scheduler, **own)
    assert np.abs(drawn(path, prompt) - theirs).max() <= 1
