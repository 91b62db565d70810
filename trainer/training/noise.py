"""The random numbers of a step: noise, timesteps and the draw from the VAE's posterior.

Each is a function of (seed, epoch, index of the use) and drawn on the CPU, so that a GPU and a CPU, any number of
workers or processes, and a resumed run see the same ones.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainer.dataset.batches import Purpose, Use, rng
from trainer.training.objective import TIMESTEPS


def draw_normal(seed: int, epoch: int, uses: Sequence[Use], shape: Sequence[int], purpose: Purpose) -> Tensor:
    """Standard normal numbers [B, *shape], fp32 on the CPU."""
    rows = [rng(seed, epoch, use.index, purpose).standard_normal(tuple(shape), dtype=np.float32) for use in uses]
    return torch.from_numpy(np.stack(rows))


def draw_timesteps(seed: int, epoch: int, uses: Sequence[Use]) -> Tensor:
    """One of the 1,000 timesteps for each use, all equally likely: int64 [B] on the CPU."""
    return torch.tensor([int(rng(seed, epoch, use.index, Purpose.TIMESTEP).integers(TIMESTEPS)) for use in uses])
