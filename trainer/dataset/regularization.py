"""Which regularization images an epoch uses, so that over the epochs all are used equally often.

The whole pool (each image as often as its folder's repeats) is laid on a circle once; epochs take consecutive
stretches of it. So no place of the circle comes twice before all have come once, whatever the pool's size, and any
epoch is computed without the ones before it.
"""

import numpy as np


class Pool:
    """Regularization entries on a circle. Buckets are spread evenly along it, images are in random order within theirs.

    The even spread keeps the number of images of each bucket nearly the same from epoch to epoch, and which bucket
    stands where does not depend on the seed, so that a plan needs none.
    """

    def __init__(
        self, numbers: np.ndarray, repeats: np.ndarray, buckets: np.ndarray, generator: np.random.Generator
    ) -> None:
        """`numbers` are the entries' places in the caller's list; `repeats` and `buckets` belong to them."""
        owner = np.repeat(np.arange(len(numbers)), repeats)
        copy = np.arange(len(owner)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        # An image with p repeats stands at (k + u) / p for one random u: its copies lie as far apart as they can.
        within = (copy + generator.random(len(numbers))[owner]) / np.maximum(repeats[owner], 1)
        along = np.empty(len(owner))
        for bucket in np.unique(buckets):
            places = np.flatnonzero(buckets[owner] == bucket)
            ranked = places[np.argsort(within[places], kind="stable")]
            along[ranked] = (np.arange(len(ranked)) + 0.5) / len(ranked)
        order = np.lexsort((buckets[owner], along))
        self._circle = np.asarray(numbers, dtype=np.int64)[owner[order]]
        self._buckets = buckets[owner[order]]
        self.size = len(owner)

    def draw(self, start: int, number: int) -> np.ndarray:
        """`number` entries from place `start` of the circle on, going round as often as needed."""
        if not self.size:
            return np.empty(0, dtype=np.int64)
        return self._circle[(start + np.arange(number)) % self.size]

    def window_counts(self, number: int, bucket: int) -> np.ndarray:
        """How many of a bucket are drawn in every different stretch of `number` that an epoch can take.

        A bucket at a time: with bucket_no_upscale there can be hundreds, over a pool of a hundred thousand.
        """
        rounds, rest = divmod(number, self.size)
        belongs = self._buckets == bucket
        sums = np.concatenate([[0], np.cumsum(np.tile(belongs, 2))])
        starts = np.arange(0, self.size, np.gcd(number, self.size))
        return rounds * int(belongs.sum()) + sums[starts + rest] - sums[starts]
