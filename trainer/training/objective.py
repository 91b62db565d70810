"""The objective of Stable Diffusion 1.x and 2.x: add noise to an image's latents, and predict what was added.

All arithmetic is fp32: with the schedule in bf16 only 733 of the 1,000 noise levels stay apart, and the noise of the
first two is exactly zero. Symbols as in Ho et al. 2020 (DDPM): x0 latents, eps noise, abar the cumulated alphas.
"""

from typing import Literal

import torch
from torch import Tensor

from trainer.contract.loss import LossSection, LossType

Prediction = Literal["epsilon", "v"]

TIMESTEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
"""The noise schedule that every Stable Diffusion 1.x and 2.x was trained with, whatever its scheduler file says."""

MOST_SNR = 1000.0
"""The debiased weight and that of v as noise take no larger signal-to-noise ratio: only timestep 0 has one."""


class NoiseSchedule:
    """Mixing weights of image and noise at each of the 1,000 timesteps, fp32, kept on one device."""

    def __init__(self, device: torch.device | str = "cpu", zero_terminal_snr: bool = False) -> None:
        # "scaled linear": the square roots of the betas are evenly spaced.
        betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float32) ** 2
        alphas = torch.cumprod(1.0 - betas, 0)
        self.alphas_cumprod: Tensor = (to_zero_terminal_snr(alphas) if zero_terminal_snr else alphas).to(device)

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

    def snr(self, timesteps_B: Tensor) -> Tensor:
        """Signal to noise, abar_t / (1 - abar_t): [B], from 1,175 down to 0.0047, or to 0 with a zero terminal SNR."""
        alphas = self.alphas_cumprod[timesteps_B]
        return alphas / (1.0 - alphas)

    def target(self, prediction: Prediction, x0_BCHW: Tensor, eps_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """What the U-Net is to predict."""
        return eps_BCHW if prediction == "epsilon" else self.velocity(x0_BCHW, eps_BCHW, timesteps_B)


class Objective:
    """What the networks are to predict, and how far off an answer is, as the options ask."""

    def __init__(self, prediction: Prediction, loss: LossSection, device: torch.device | str = "cpu") -> None:
        self.prediction: Prediction = prediction
        self.loss = loss
        self.schedule = NoiseSchedule(device, loss.zero_terminal_snr)

    def errors(
        self, predicted_BCHW: Tensor, target_BCHW: Tensor, timesteps_B: Tensor, masks_BHW: Tensor | None = None
    ) -> Tensor:
        """How far off each sample is before any weight, fp32 [B]: every image counts the same, whatever its bucket.

        With masks the mean is still one over all latents: half a picture masked out counts half.
        """
        difference = predicted_BCHW.float() - target_BCHW.float()
        threshold = self.threshold(timesteps_B).view(-1, 1, 1, 1) if self.loss.has_threshold else None
        distances = distance(self.loss.loss_type, difference, threshold)
        if masks_BHW is not None:
            distances = distances * masks_BHW[:, None]
        return distances.mean(dim=(1, 2, 3))

    def threshold(self, timesteps_B: Tensor) -> Tensor:
        """Where Huber's loss goes over from squares to distances, [B] (Khrapov et al. 2024, Scheduled Pseudo-Huber)."""
        c, scale = self.loss.huber_c, self.loss.huber_scale
        if self.loss.huber_schedule == "constant":
            return torch.full_like(timesteps_B, c * scale, dtype=torch.float32)
        if self.loss.huber_schedule == "exponential":
            return c ** (timesteps_B.float() / TIMESTEPS) * scale
        sigma = self.schedule.snr(timesteps_B).rsqrt()
        return (1 - c) / (1 + sigma).square() + c

    def weights(self, timesteps_B: Tensor) -> Tensor:
        """How much each sample counts by its timestep alone, [B]; all ones where no option weighs timesteps."""
        snr = self.schedule.snr(timesteps_B)
        capped = snr.clamp(max=MOST_SNR)
        weights = torch.ones_like(snr)
        v = self.prediction == "v"
        if self.loss.min_snr_gamma > 0:
            # Hang et al. 2023, "Min-SNR Weighting Strategy"; the error of v is 1 + SNR times that of x0.
            weights = weights * snr.clamp(max=self.loss.min_snr_gamma) / (snr + 1 if v else snr)
        if self.loss.scale_v_pred_loss_like_noise_pred and v:
            weights = weights * capped / (capped + 1)
        if self.loss.debiased_estimation_loss:
            # Yu et al. 2023, "Debias the Training of Diffusion Models".
            weights = weights * (1 / (capped + 1) if v else capped.rsqrt())
        return weights


def to_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """The schedule with nothing of the image left at its end: sqrt(abar) shifted to 0 there, the first kept.

    Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1.
    """
    roots = alphas_cumprod.sqrt()
    return ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))).square()


def distance(kind: LossType, difference: Tensor, threshold: Tensor | None = None) -> Tensor:
    """How much each difference d counts: d^2, |d|, Huber's 2c (sqrt(d^2 + c^2) - c), or that without the factor c.

    The last two are the pseudo-Huber loss (Charbonnier et al. 1997), here without the cancellation of large numbers.
    """
    if kind == "l1":
        return difference.abs()
    squares = difference.square()
    if threshold is None:
        return squares
    soft = 2 * squares / ((squares + threshold.square()).sqrt() + threshold)
    return soft * threshold if kind == "huber" else soft


def batch_loss(error_B: Tensor, weight_B: Tensor) -> Tensor:
    """(1/B) sum of w_i error_i. The weights are not normalised: a sample of weight 0 still counts in B."""
    return (error_B * weight_B).mean()
