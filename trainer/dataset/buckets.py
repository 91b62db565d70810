"""Buckets: the sizes that images are learnt in, which of them an image goes to, and how it is resized and cut to fit.

Sizes are (width, height) in pixels. Lists and assignment are those of sd-scripts today: both sides within smallest
and largest, area at most that of the resolution, sides on a grid of 64 (the U-Net halves an eighth of it three times).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.contract.config import ImageSection
from trainer.contract.problems import Problem

Size = tuple[int, int]

STEP = 64


@dataclass(frozen=True, slots=True)
class Fit:
    """How an image is brought to its bucket: first resized, then cut from (crop_left, crop_top) of the resized one."""

    resized_w: int
    resized_h: int
    crop_left: int
    crop_top: int


def bucket_sizes(size: Size, smallest: int, largest: int, step: int = STEP) -> list[Size]:
    """All sizes on the grid with sides in smallest..largest and no more pixels than `size`, plus the largest square.

    `smallest` is rounded down and `largest` up to the grid. Sorted by (width, height).
    """
    area = size[0] * size[1]
    smallest, largest = max(step, smallest // step * step), -(-largest // step) * step
    square = max(step, math.isqrt(area) // step * step)
    sizes = {(square, square)}
    for width in range(smallest, largest + 1, step):
        height = min(largest, area // width // step * step)
        if height >= smallest:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def sizes_of(images: ImageSection) -> list[Size]:
    """The bucket sizes of a job; a single one, the resolution on the grid, where buckets are off."""
    if images.enable_bucket:
        return bucket_sizes(images.size, images.min_bucket_reso, images.max_bucket_reso)
    return [(_nearest(images.size[0]), _nearest(images.size[1]))]


def rounding_problems(images: ImageSection) -> list[Problem]:
    """A warning for each size that is off the grid and was rounded."""
    problems = []
    if not images.enable_bucket:
        (rounded,) = sizes_of(images)
        if rounded != images.size:
            message = (
                f"The resolution {_times(images.size)} is not made of 64s: images are learnt at {_times(rounded)}."
            )
            problems.append(Problem("disk.resolution_rounded", message, ("resolution",), "warning"))
        return problems
    for field, value, rounded in (
        ("min_bucket_reso", images.min_bucket_reso, images.min_bucket_reso // STEP * STEP),
        ("max_bucket_reso", images.max_bucket_reso, -(-images.max_bucket_reso // STEP) * STEP),
    ):
        if value != rounded:
            which = "shortest" if field == "min_bucket_reso" else "longest"
            message = f"The {which} bucket side {value} is not made of 64s: {rounded} is used."
            problems.append(Problem("disk.bucket_side_rounded", message, (field,), "warning"))
    return problems


def assign(width: int, height: int, sizes: Sequence[Size]) -> Size:
    """The bucket of an image: its own size where that is one, else the nearest in width / height, ties to the first."""
    assert width > 0 and height > 0
    if (width, height) in sizes:
        return (width, height)
    aspect = width / height
    return min(sizes, key=lambda size: abs(size[0] / size[1] - aspect))


def scale_to_cover(width: int, height: int, bucket: Size) -> Size:
    """The size after resizing: one side as the bucket's, the other at least so, proportions kept to half a pixel."""
    wider = width / height > bucket[0] / bucket[1]
    scale = bucket[1] / height if wider else bucket[0] / width
    resized = int(width * scale + 0.5), int(height * scale + 0.5)
    assert resized[0] >= bucket[0] and resized[1] >= bucket[1]
    return resized


def fit(width: int, height: int, bucket: Size) -> Fit:
    """Resize to cover the bucket and cut its middle."""
    resized_w, resized_h = scale_to_cover(width, height, bucket)
    return Fit(resized_w, resized_h, (resized_w - bucket[0]) // 2, (resized_h - bucket[1]) // 2)


def _nearest(side: int) -> int:
    return max(STEP, (side + STEP // 2) // STEP * STEP)


def _times(size: Size) -> str:
    return f"{size[0]} × {size[1]}"
