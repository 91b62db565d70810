"""The random numbers of a step: noise, timesteps and the draw from the VAE's posterior.

Each is a function of (seed, epoch, index of the use) and drawn on the CPU, so that a GPU and a CPU, any number of
workers or processes, and a resumed run see the same ones. So no draw is shared by a batch, as some are in the programs
that these options come from: who else is in a batch changes nothing for an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from trainer.contract.loss import LossSection
from trainer.dataset.batches import Purpose, Use, rng
from trainer.training.objective import TIMESTEPS


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a batch, each [B, C, H, W], fp32 on the device."""

    asked: Tensor
    """What the networks are to find."""
    added: Tensor
    """What is mixed into the latents; another one only with an input perturbation."""


@dataclass(frozen=True, slots=True)
class Dice:
    """Throws noise and timesteps as the options ask. `send` brings a tensor from the CPU to the device."""

    loss: LossSection
    seed: int
    send: Callable[[Tensor], Tensor]

    def timesteps(self, epoch: int, uses: Sequence[Use]) -> Tensor:
        """The timestep of each use, int64 [B] on the CPU."""
        return draw_timesteps(self.seed, epoch, uses, self.loss.min_timestep, self.loss.max_timestep)

    def noise(self, x0_BCHW: Tensor, epoch: int, uses: Sequence[Use]) -> Noise:
        """Noise for latents: plain, shifted by an offset, with coarser levels, perturbed, in this order."""
        loss, shape = self.loss, x0_BCHW.shape[1:]
        eps = self._normal(epoch, uses, shape, Purpose.NOISE)
        if loss.noise_offset > 0:
            eps = eps + self._offset(x0_BCHW, epoch, uses)
        if loss.multires_noise_iterations > 0:
            levels = loss.multires_noise_iterations, loss.multires_noise_discount
            eps = eps + self.send(draw_pyramid(self.seed, epoch, uses, shape, levels))
            eps = eps / eps.std(dim=(1, 2, 3), keepdim=True)
        if loss.ip_noise_gamma == 0:
            return Noise(eps, eps)
        # Ning et al. 2023, "Input Perturbation Reduces Exposure Bias in Diffusion Models".
        at_random = Purpose.PERTURBATION_STRENGTH if loss.ip_noise_gamma_random_strength else None
        gamma = self._strength(epoch, uses, loss.ip_noise_gamma, at_random)
        return Noise(eps, eps + gamma * self._normal(epoch, uses, shape, Purpose.PERTURBATION))

    def _offset(self, x0_BCHW: Tensor, epoch: int, uses: Sequence[Use]) -> Tensor:
        """One number for each channel, [B, C, 1, 1]: N(0, 1) times the offset."""
        loss = self.loss
        at_random = Purpose.OFFSET_STRENGTH if loss.noise_offset_random_strength else None
        strength = self._strength(epoch, uses, loss.noise_offset, at_random)
        if loss.adaptive_noise_scale != 0:
            brightness = x0_BCHW.mean(dim=(2, 3), keepdim=True).abs()
            strength = (strength + loss.adaptive_noise_scale * brightness).clamp(min=0)
        return strength * self._normal(epoch, uses, (x0_BCHW.shape[1], 1, 1), Purpose.OFFSET)

    def _normal(self, epoch: int, uses: Sequence[Use], shape: Sequence[int], purpose: Purpose) -> Tensor:
        return self.send(draw_normal(self.seed, epoch, uses, shape, purpose))

    def _strength(self, epoch: int, uses: Sequence[Use], most: float, at_random: Purpose | None) -> Tensor:
        """`most` for every use, or a number between 0 and it for each, [B, 1, 1, 1]."""
        share = torch.ones(len(uses)) if at_random is None else draw_uniform(self.seed, epoch, uses, at_random)
        return self.send(most * share).view(-1, 1, 1, 1)


def draw_normal(seed: int, epoch: int, uses: Sequence[Use], shape: Sequence[int], purpose: Purpose) -> Tensor:
    """Standard normal numbers [B, *shape], fp32 on the CPU."""
    rows = [rng(seed, epoch, use.index, purpose).standard_normal(tuple(shape), dtype=np.float32) for use in uses]
    return torch.from_numpy(np.stack(rows))


def draw_uniform(seed: int, epoch: int, uses: Sequence[Use], purpose: Purpose) -> Tensor:
    """A number from 0 to 1 for each use, fp32 [B] on the CPU."""
    return torch.tensor([rng(seed, epoch, use.index, purpose).random(dtype=np.float32) for use in uses])


def draw_timesteps(seed: int, epoch: int, uses: Sequence[Use], low: int = 0, high: int = TIMESTEPS) -> Tensor:
    """One of the timesteps low, ..., high - 1 for each use, all equally likely: int64 [B] on the CPU.

    Where that leaves none (low >= high), it is `high` itself for all.
    """
    if low >= high:
        return torch.full((len(uses),), high)
    return torch.tensor([int(rng(seed, epoch, use.index, Purpose.TIMESTEP).integers(low, high)) for use in uses])


def draw_pyramid(seed: int, epoch: int, uses: Sequence[Use], shape: Sequence[int], levels: tuple[int, float]) -> Tensor:
    """The sum of up to n coarser and coarser noises, enlarged to `shape` (C, H, W): fp32 [B, C, H, W] on the CPU.

    `levels` is (n, discount). Level i is r**i times smaller, with r from 2 to 4 drawn for each level of each use, and
    weighs discount**i; a level with a side of 1 is the last (Whitaker 2023, "Multi-Resolution Noise for Diffusion
    Model Training").
    """
    number, discount = levels
    channels, height, width = shape
    rows = torch.zeros((len(uses), channels, height, width))
    for row, use in zip(rows, uses, strict=True):
        dice = rng(seed, epoch, use.index, Purpose.PYRAMID)
        for level in range(number):
            shrunk = (2 + 2 * dice.random()) ** level
            size = max(1, int(height / shrunk)), max(1, int(width / shrunk))
            coarse = torch.from_numpy(dice.standard_normal((1, channels, *size), dtype=np.float32))
            row += interpolate(coarse, size=(height, width), mode="bilinear")[0] * discount**level
            if min(size) == 1:
                break
    return rows
