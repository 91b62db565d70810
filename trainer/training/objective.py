"""The objective of Stable Diffusion 1.x and 2.x: add noise to an image's latents, and predict what was added.

All arithmetic is fp32: with the schedule in bf16 only 733 of the 1,000 noise levels stay apart, and the noise of the
first two is exactly zero. Symbols as in Ho et al. 2020 (DDPM): x0 latents, eps noise, abar the cumulated alphas.
"""

from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v"]

TIMESTEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
"""The noise schedule that every Stable Diffusion 1.x and 2.x was trained with, whatever its scheduler file says."""


class NoiseSchedule:
    """Mixing weights of image and noise at each of the 1,000 timesteps, fp32, kept on one device."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        # "scaled linear": the square roots of the betas are evenly spaced.
        betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float32) ** 2
        self.alphas_cumprod: Tensor = torch.cumprod(1.0 - betas, 0).to(device)

    def mix(self, timesteps_B: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_t) and sqrt(1 - abar_t), each [B, 1, 1, 1]."""
        alphas = self.alphas_cumprod[timesteps_B].view(-1, 1, 1, 1)
        return alphas.sqrt(), (1.0 - alphas).sqrt()

    def add_noise(self, x0_BCHW: Tensor, eps_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4)."""
        image, noise = self.mix(timesteps_B)
        return image * x0_BCHW + noise * eps_BCHW

    def velocity(self, x0_BCHW: Tensor, eps_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """v_t = sqrt(abar_t) eps - sqrt(1 - abar_t) x0 (Salimans and Ho 2022, appendix D)."""
        image, noise = self.mix(timesteps_B)
        return image * eps_BCHW - noise * x0_BCHW

    def target(self, prediction: Prediction, x0_BCHW: Tensor, eps_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """What the U-Net is to predict."""
        return eps_BCHW if prediction == "epsilon" else self.velocity(x0_BCHW, eps_BCHW, timesteps_B)


def squared_error(predicted_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """The mean squared error of each sample, fp32 [B]: every image counts the same, whatever its bucket."""
    return (predicted_BCHW.float() - target_BCHW.float()).square().mean(dim=(1, 2, 3))


def batch_loss(error_B: Tensor, weight_B: Tensor) -> Tensor:
    """(1/B) sum of w_i error_i. The weights are not normalised: a sample of weight 0 still counts in B."""
    return (error_B * weight_B).mean()
