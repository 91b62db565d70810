"""The ways from noise to a picture: their levels, and where each of them ends."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

from trainer.contract.prompts import SAMPLERS
from trainer.training.objective import BETA_END, BETA_START, NoiseSchedule
from trainer.training.walks import Walk, levels

BETAS = {"beta_start": BETA_START, "beta_end": BETA_END, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("steps", [2, 7, 20, 50])
def test_karras_levels_are_those_of_diffusers(steps: int) -> None:
    """Sigmas and timesteps of a Karras walk are those of diffusers' Euler scheduler with Karras sigmas."""
    theirs = EulerDiscreteScheduler(**BETAS, use_karras_sigmas=True, timestep_spacing="linspace")
    theirs.set_timesteps(steps)
    times, sigmas = levels(steps, NoiseSchedule().alphas_cumprod, karras=True)
    np.testing.assert_allclose(sigmas, theirs.sigmas, rtol=1e-4)
    np.testing.assert_allclose(times, theirs.timesteps, rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("steps", [2, 9, 25])
def test_second_order_steps_are_those_of_diffusers(steps: int) -> None:
    """DPM++ 2M on Karras levels goes where diffusers' solver goes, for a model that answers by a formula."""
    theirs = DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True, final_sigmas_type="zero")
    theirs.set_timesteps(steps)
    walk = Walk("DPM++ 2M Karras", steps, NoiseSchedule())
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((1, 4, 8, 8), generator=generator)
    ours = walk.start(noise)
    other = ours.clone()
    for place, time in enumerate(theirs.timesteps):
        image, strength = walk.image[place], walk.noise[place]
        for_ours, for_other = ((torch.tanh(2 * x) * strength + 0.1 * image) for x in (ours, other))
        ours = walk.step(place, (ours - strength * for_ours) / image, for_ours, generator)
        other = theirs.step(for_other, time, other).prev_sample
    torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("zero_terminal", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [2, 3, 30])
def test_a_model_that_knows_the_picture_is_believed(sampler: str, steps: int, zero_terminal: bool) -> None:
    """Where the U-Net sees the same picture at every level, that picture comes out, whatever the noise was."""
    schedule = NoiseSchedule(zero_terminal_snr=zero_terminal)
    walk = Walk(sampler, steps, schedule, zero_terminal)
    generator = torch.Generator().manual_seed(3)
    picture, noise = (torch.randn((1, 4, 8, 8), generator=generator) for _ in range(2))
    x = walk.start(noise)
    for place in range(len(walk.times)):
        eps = (x - walk.image[place] * picture) / walk.noise[place]
        x = walk.step(place, picture, eps, generator)
    assert len(walk.times) == steps
    assert bool(x.isfinite().all())
    # DDIM ends at the first timestep, where 0.03 of the noise is left.
    torch.testing.assert_close(x, picture, rtol=0.0, atol=0.2 if sampler == "DDIM" else 1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_levels_fall(sampler: str) -> None:
    """The noise becomes less with every step, and the U-Net is told times from 999 down."""
    walk = Walk(sampler, 20, NoiseSchedule())
    assert bool((walk.noise.flatten().diff() < 0).all())
    assert bool((walk.times.diff() < 0).all()) and float(walk.times[-1]) >= 0 and float(walk.times[0]) <= 999
    torch.testing.assert_close(walk.image.square() + walk.noise.square(), torch.ones_like(walk.image))
