"""The loss on images held out of training: the same noise, timesteps and cuts each time, so that only weights differ.

Held-out entries come in; a `Validated` event and a point of the curve go out. Plain squared errors without any weight
of timesteps or images, so that runs with different losses can be compared; of what is learnt alone, where there are
masks. Nothing of training is touched: the random
numbers are the images' own, and the weights are back to the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.contract.config import ImageSection
from trainer.contract.events import Phase, Validated
from trainer.contract.loss import MaskSource
from trainer.dataset.batches import Use
from trainer.dataset.buckets import bucket_of, sizes_of
from trainer.dataset.captions import Entry
from trainer.dataset.held_out import number_of
from trainer.dataset.masks import Masks
from trainer.dataset.pixels import pixels
from trainer.training.board import Board
from trainer.training.denoiser import Denoiser
from trainer.training.ema import AsUsed
from trainer.training.engine import Engine
from trainer.training.latents import SCALE, Encoder
from trainer.training.ledger import Writer
from trainer.training.objective import TIMESTEPS, Objective, distance
from trainer.training.text import Reader

LEVELS = 8
"""Timesteps that each image is measured at. The loss differs a hundredfold between them, so all runs need the same."""


@dataclass(frozen=True, slots=True)
class Held:
    """One image held out, ready to be measured."""

    x0_CHW: Tensor
    """The mean of its posterior, scaled, fp32 on the CPU."""
    caption: str
    number: int
    """Seed of its noise."""
    mask_HW: Tensor | None = None
    """How much each latent counts, fp32 on the CPU, where images are learnt by masks."""


@dataclass(frozen=True, slots=True)
class Validator:
    """Measures the images held out, in the main process; the others wait."""

    held: Sequence[Held]
    denoiser: Denoiser
    objective: Objective
    reader: Reader
    as_used: AsUsed
    averaged: bool
    """Whether the weights that are used are averaged ones."""
    engine: Engine
    board: Board
    at_once: int
    """Timesteps in one forward pass: no more than training has images in a batch, so that the memory suffices."""

    def measure(self, step: int, epoch: int, events: Writer) -> None:
        """Tell the loss after `step` steps, of the averaged weights where there is an average."""
        events.write(Phase(name="validating", total=len(self.held), unit="images"))
        if self.engine.main:
            with self.as_used(), torch.no_grad():
                loss = sum(self._error(held) for held in self.held) / len(self.held)
            shown = loss if math.isfinite(loss) else None
            told = Validated(step=step, epoch=epoch, loss=shown, images=len(self.held), averaged=self.averaged)
            events.write(told)
            self.board.add({"loss/validation": shown}, step)
        self.engine.wait()

    def _error(self, held: Held) -> float:
        """The mean squared error of one image over all timesteps."""
        schedule, send = self.objective.schedule, self.engine.send
        t = levels(self.objective.loss.min_timestep, self.objective.loss.max_timestep)
        rows = np.random.default_rng(held.number).standard_normal((LEVELS, *held.x0_CHW.shape), dtype=np.float32)
        total = 0.0
        for some_t, some_rows in zip(t.split(self.at_once), torch.from_numpy(rows).split(self.at_once), strict=True):
            eps, t_B = send(some_rows), send(some_t)
            x0 = send(held.x0_CHW).expand_as(eps)
            with self.engine.autocast():
                words = self.reader.read([held.caption] * len(some_t)).sent(send)
                predicted = self.denoiser(schedule.add_noise(x0, eps, t_B), t_B, *words)
            target = schedule.target(self.objective.prediction, x0, eps, t_B)
            distances = distance("l2", predicted.float() - target)
            if held.mask_HW is not None:
                distances = distances * send(held.mask_HW)
            total += float(distances.mean(dim=(1, 2, 3)).double().sum())
        return total / LEVELS


def levels(lowest: int, end: int) -> Tensor:
    """`LEVELS` timesteps, the middles of equal parts of lowest, ..., end - 1: int64 on the CPU."""
    middles = (np.arange(LEVELS) + 0.5) / LEVELS
    return torch.from_numpy((lowest + middles * (end - lowest)).astype(np.int64)).clamp(max=TIMESTEPS - 1)


def make_held(entries: Sequence[Entry], images: ImageSection, masks: MaskSource | None, encoder: Encoder) -> list[Held]:
    """Encode the images held out, cut as without any chance: not mirrored, in the middle, in their own colours."""
    plain = images.model_copy(
        update={"flip_aug": False, "color_aug": False, "random_crop": False, "face_crop_aug_range": None}
    )
    sizes = sizes_of(plain)
    maker = None if masks is None else Masks(masks, plain)
    held = []
    for entry in entries:
        bucket = bucket_of(entry.picture.width, entry.picture.height, plain, sizes)
        rows = np.stack([pixels(entry, bucket, plain, np.random.default_rng(0))])
        mean = encoder.encode(torch.from_numpy(rows), [entry.picture.path.name]).mean[0]
        mask = None
        if maker is not None:
            mask = torch.from_numpy(maker.of(Use(entry, bucket, 0), np.random.default_rng(0)))
        held.append(Held(mean.cpu() * SCALE, entry.caption, number_of(entry), mask))
    return held
