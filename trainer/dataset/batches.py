"""Which images are learnt together, in which order: a pure function of (seed, epoch).

Entries come in; for each epoch a list of batches of uses goes out. A batch never mixes sizes, short last batches are
kept, and every epoch has the same number of batches. All randomness of a run is drawn here through `rng`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from trainer.contract.config import ImageSection
from trainer.dataset.buckets import Size, bucket_of, sizes_of
from trainer.dataset.captions import Entry
from trainer.dataset.regularization import Pool


class Purpose(IntEnum):
    """What a random number is for: streams of different purposes never meet."""

    ORDER = 0
    POOL = 1
    PIXELS = 2
    CAPTION = 3
    LATENT = 4
    NOISE = 5
    TIMESTEP = 6
    OFFSET = 7
    OFFSET_STRENGTH = 8
    PYRAMID = 9
    PERTURBATION = 10
    PERTURBATION_STRENGTH = 11


def rng(seed: int, epoch: int, index: int, purpose: Purpose) -> np.random.Generator:
    """The generator for one purpose of one use in one epoch, the same on every machine, worker and process."""
    return np.random.default_rng([seed, epoch, index, int(purpose)])


@dataclass(frozen=True, slots=True)
class Use:
    """One use of one image in an epoch. `index` is unique in the epoch; a training image has the same ones in all."""

    entry: Entry
    bucket: Size
    index: int


class Batches:
    """The batches of every epoch of a job.

    Training images are used as often as their repeats. Regularization images, where there are any, are used as often
    as all training images together, drawn from the whole pool (see `Pool`). Where that draw gives an epoch fewer
    batches than another, its largest batches are halved until the numbers agree, so that an epoch has one length.
    """

    def __init__(self, entries: Sequence[Entry], images: ImageSection, batch_size: int, seed: int) -> None:
        self._entries = list(entries)
        self.batch_size = batch_size
        self._seed = seed
        self.sizes, buckets = _buckets(self._entries, images)
        repeats = np.array([entry.repeats for entry in self._entries], dtype=np.int64)
        is_reg = np.array([entry.regularization for entry in self._entries], dtype=bool)
        numbers = np.arange(len(self._entries))
        self._train = np.repeat(numbers[~is_reg], repeats[~is_reg])
        self._bucket_of = buckets
        self._train_counts = np.bincount(buckets[self._train], minlength=len(self.sizes))
        self._pool = Pool(numbers[is_reg], repeats[is_reg], buckets[is_reg], rng(seed, 0, 0, Purpose.POOL))
        self.reg_uses_per_epoch = len(self._train) if self._pool.size else 0
        self.per_epoch = self._most_batches()

    @property
    def uses_per_epoch(self) -> int:
        """Training and regularization uses together."""
        return len(self._train) + self.reg_uses_per_epoch

    def bucket_of(self, entry_number: int) -> Size:
        """The bucket of the entry at this place of the list of entries."""
        return self.sizes[self._bucket_of[entry_number]]

    def batch_sizes(self, epoch: int) -> list[list[int]]:
        """For each of `sizes`, the sizes of its batches in an epoch: full ones, a short last one, halves."""
        counts = self._train_counts + self._reg_counts(epoch)
        sizes = [_cut(int(count), self.batch_size) for count in counts]
        for _ in range(self.per_epoch - sum(map(len, sizes))):
            fullest = max((row for row in sizes if row), key=max)
            place = fullest.index(max(fullest))
            half = fullest[place] // 2
            fullest[place : place + 1] = [fullest[place] - half, half]
        assert sum(map(len, sizes)) == self.per_epoch and all(size > 0 for row in sizes for size in row)
        return sizes

    def epoch(self, number: int) -> list[tuple[Use, ...]]:
        """The batches of one epoch (counted from 0), in order."""
        chosen = np.concatenate([self._train, self._drawn(number)])
        buckets = self._bucket_of[chosen]
        order = rng(self._seed, number, 0, Purpose.ORDER)
        batches: list[tuple[Use, ...]] = []
        for bucket, sizes in enumerate(self.batch_sizes(number)):
            indices = order.permutation(np.flatnonzero(buckets == bucket))
            start = 0
            for size in sizes:
                part = indices[start : start + size]
                start += size
                batches.append(tuple(Use(self._entries[chosen[i]], self.sizes[bucket], int(i)) for i in part))
            assert start == len(indices)
        return [batches[i] for i in order.permutation(len(batches))]

    def _reg_counts(self, epoch: int) -> np.ndarray:
        return np.bincount(self._bucket_of[self._drawn(epoch)], minlength=len(self.sizes))

    def _drawn(self, epoch: int) -> np.ndarray:
        return self._pool.draw(epoch * self.reg_uses_per_epoch, self.reg_uses_per_epoch)

    def _most_batches(self) -> int:
        """The batches of the epoch that has most, over all draws of regularization images that can be."""
        if not self.reg_uses_per_epoch:
            return int(_ceil(self._train_counts, self.batch_size).sum())
        number = self.reg_uses_per_epoch
        return int(
            sum(
                _ceil(train + self._pool.window_counts(number, bucket), self.batch_size)
                for bucket, train in enumerate(self._train_counts)
            ).max()
        )


def _buckets(entries: Sequence[Entry], images: ImageSection) -> tuple[list[Size], np.ndarray]:
    """The bucket sizes in order, and for each entry the number of its own."""
    listed = sizes_of(images)
    buckets: dict[Size, Size] = {}
    for entry in entries:
        size = entry.picture.width, entry.picture.height
        if size not in buckets:
            buckets[size] = bucket_of(*size, images, listed)
    sizes = sorted(set(buckets.values())) if images.bucket_no_upscale else listed
    number_of = {size: number for number, size in enumerate(sizes)}
    numbers = (number_of[buckets[entry.picture.width, entry.picture.height]] for entry in entries)
    return sizes, np.fromiter(numbers, dtype=np.int64, count=len(entries))


def _ceil(counts: np.ndarray, batch_size: int) -> np.ndarray:
    return -(-counts // batch_size)


def _cut(count: int, batch_size: int) -> list[int]:
    full, rest = divmod(count, batch_size)
    return [batch_size] * full + ([rest] if rest else [])
