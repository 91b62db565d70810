"""What each optimizer step learns from: batches of captions and pixels, in the order of the plan, without end.

The batches of an epoch go round the processes in turn; a step gathers as many from each as the options say, the last
step of an epoch what is left. Pixels and captions are made in worker processes, whose number changes nothing.
"""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from trainer.contract.config import CaptionSection, ImageSection
from trainer.contract.loss import MaskSource
from trainer.dataset.batches import Batches, Purpose, Use, rng
from trainer.dataset.captions import caption_for
from trainer.dataset.masks import Masks
from trainer.dataset.pixels import pixels
from trainer.dataset.plan import steps_in_epoch

AHEAD = 4
"""Batches that each worker prepares ahead."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch: uses of one bucket, with their captions and, where latents are not cached, pixels."""

    uses: tuple[Use, ...]
    captions: list[str]
    pixels_BHWC: Tensor | None
    """uint8, or None with cached latents."""
    counts: bool
    """False for a filler: a process that has no batch left in a step learns one with weight 0, so that all meet."""
    masks_BHW: Tensor | None = None
    """How much each latent counts, fp32 [B, H/8, W/8], where there are masks."""


@dataclass(frozen=True, slots=True)
class Group:
    """What one optimizer step learns: this process's batches, and how many there are over all processes."""

    epoch: int
    """Counted from 0."""
    batches: tuple[Batch, ...]
    present: int
    """Batches over all processes, fillers left out."""
    images: int
    """Uses over all processes, fillers left out."""
    ends_epoch: bool


@dataclass(frozen=True, slots=True)
class Share:
    """How the batches of an epoch are dealt out."""

    gathered: int = 1
    """Batches that each process gathers for a step."""
    processes: int = 1
    rank: int = 0


@dataclass(frozen=True, slots=True)
class _Order:
    """One batch to be made, perhaps in a worker process."""

    epoch: int
    uses: tuple[Use, ...]
    counts: bool


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step will learn, before its pixels are read."""

    epoch: int
    own: tuple[_Order, ...]
    present: int
    images: int
    ends_epoch: bool


class Feed:
    """The steps of a run from any step on: a function of the options, the entries and the seed, without a memory."""

    def __init__(self, batches: Batches, maker: "BatchMaker", share: Share, workers: int) -> None:
        self._batches = batches
        self._maker = maker
        self._share = share
        self._workers = workers
        self.steps_per_epoch = steps_in_epoch(batches.per_epoch, share.processes, share.gathered)

    def groups(self, first_step: int) -> Iterator[Group]:
        """The steps from `first_step` (counted from 0) on, for ever."""
        waiting: deque[_Step] = deque()
        loader = DataLoader(
            self._maker,
            sampler=_Orders(self, first_step, waiting),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=AHEAD if self._workers else None,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_signals_alone,
        )
        made = iter(loader)
        while True:
            # The sampler notes a step before it hands out the first order of it.
            first = next(made)
            step = waiting.popleft()
            rest = [next(made) for _ in step.own[1:]]
            yield Group(step.epoch, (first, *rest), step.present, step.images, step.ends_epoch)

    def steps(self, first_step: int) -> Iterator[_Step]:
        """Which uses each step from `first_step` on has, for ever; nothing is read."""
        epoch, number = divmod(first_step, self.steps_per_epoch)
        per_step = self._share.processes * self._share.gathered
        while True:
            batches = self._batches.epoch(epoch)
            for start in range(number * per_step, len(batches), per_step):
                dealt = batches[start : start + per_step]
                own = tuple(_Order(epoch, uses, True) for uses in dealt[self._share.rank :: self._share.processes])
                yield _Step(
                    epoch=epoch,
                    own=own or (_Order(epoch, dealt[0], False),),
                    present=len(dealt),
                    images=sum(map(len, dealt)),
                    ends_epoch=start + per_step >= len(batches),
                )
            epoch, number = epoch + 1, 0


class BatchMaker(Dataset[Batch]):
    """Makes the batch of an order. It is handed to worker processes, so it holds options only."""

    def __init__(
        self,
        images: ImageSection,
        captions: CaptionSection,
        seed: int,
        with_pixels: bool,
        masks: MaskSource | None = None,
    ) -> None:
        self._images = images
        self._captions = captions
        self._seed = seed
        self._with_pixels = with_pixels
        self._masks = Masks(masks, images) if masks is not None else None

    def __getitem__(self, order: _Order) -> Batch:
        captions = [
            caption_for(
                use.entry, self._captions, rng(self._seed, order.epoch, use.index, Purpose.CAPTION), order.epoch
            )
            for use in order.uses
        ]
        seen = masks = None
        if self._with_pixels:
            seen = _stacked(
                pixels(use.entry, use.bucket, self._images, self._dice(order.epoch, use)) for use in order.uses
            )
        if self._masks is not None:
            masks = _stacked(self._masks.of(use, self._dice(order.epoch, use)) for use in order.uses)
        return Batch(order.uses, captions, seen, order.counts, masks)

    def _dice(self, epoch: int, use: Use) -> np.random.Generator:
        return rng(self._seed, epoch, use.index, Purpose.PIXELS)


def worker_count(asked: int | None, cached: bool) -> int:
    """How many worker processes read images: as asked, else none with cached latents, and at most 4 without."""
    if asked is not None:
        return asked
    return 0 if cached else min(4, max(0, (os.cpu_count() or 1) - 1))


def _stacked(rows: Iterable[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(list(rows)))


class _Orders(Sampler[_Order]):
    """Hands the loader one order after the other, and notes each step when it begins."""

    def __init__(self, feed: Feed, first_step: int, waiting: deque[_Step]) -> None:
        self._feed = feed
        self._first_step = first_step
        self._waiting = waiting

    def __iter__(self) -> Iterator[_Order]:
        for step in self._feed.steps(self._first_step):
            self._waiting.append(step)
            yield from step.own


def _leave_signals_alone(worker: int) -> None:
    """Ctrl+C reaches every process of a terminal; only the main ones are to act on it, and end their workers after."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_it_is(batch: Batch) -> Batch:
    return batch
