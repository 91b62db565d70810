"""Buckets: the sizes that images are learnt in, which of them an image goes to, and how it is resized and cut to fit.

Sizes are (width, height) in pixels. Lists and assignment are those of sd-scripts today: both sides within smallest
and largest, area at most that of the resolution, sides on a grid of 64 (the U-Net halves an eighth of it three times).
Where nothing may be enlarged there is no list: each image has the bucket that its own size leads to.
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
    """The bucket sizes of a job; a single one, the resolution on the grid, where buckets are off.

    With bucket_no_upscale these are only where images go that have no bucket of their own (see `bucket_of`).
    """
    if images.enable_bucket:
        step = images.bucket_reso_steps
        return bucket_sizes(images.size, images.min_bucket_reso, images.max_bucket_reso, step)
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
    step = images.bucket_reso_steps
    for field, value, rounded in (
        ("min_bucket_reso", images.min_bucket_reso, max(step, images.min_bucket_reso // step * step)),
        ("max_bucket_reso", images.max_bucket_reso, -(-images.max_bucket_reso // step) * step),
    ):
        if value != rounded:
            which = "shortest" if field == "min_bucket_reso" else "longest"
            message = f"The {which} bucket side {value} is not made of {step}s: {rounded} is used."
            problems.append(Problem("disk.bucket_side_rounded", message, (field,), "warning"))
    return problems


def assign(width: int, height: int, sizes: Sequence[Size]) -> Size:
    """The bucket of an image: its own size where that is one, else the nearest in width / height, ties to the first."""
    assert width > 0 and height > 0
    if (width, height) in sizes:
        return (width, height)
    aspect = width / height
    return min(sizes, key=lambda size: abs(size[0] / size[1] - aspect))


def bucket_of(width: int, height: int, images: ImageSection, sizes: Sequence[Size]) -> Size:
    """The bucket of an image in a job whose `sizes_of` are `sizes`."""
    kept = _without_enlarging(width, height, images)
    return assign(width, height, sizes) if kept is None else _floored(kept, images.bucket_reso_steps)


def resized_size(width: int, height: int, bucket: Size, images: ImageSection) -> Size:
    """What an image is resized to before its bucket is cut out of it; at least the bucket on both sides."""
    kept = _without_enlarging(width, height, images)
    return scale_to_cover(width, height, bucket) if kept is None else kept


def _without_enlarging(width: int, height: int, images: ImageSection) -> Size | None:
    """The size of an image that is never enlarged: its own, or one of the resolution's area where it has more pixels.

    When shrinking, the side is brought onto the grid that leaves the smaller change of shape. None without
    bucket_no_upscale, and for an image too narrow for any bucket: that one goes to the list's, enlarged.
    """
    if not (images.enable_bucket and images.bucket_no_upscale):
        return None
    area, step = images.size[0] * images.size[1], images.bucket_reso_steps
    resized = (width, height)
    if width * height > area:
        aspect = width / height
        ideal_w = math.sqrt(area * aspect)
        by_width, by_height = _on_grid(ideal_w, step), _on_grid(area / ideal_w, step)
        if min(by_width, by_height) < step:
            return None
        # Of the two candidates the bucket's shape counts, with its other side on the grid as well.
        other_h, other_w = _on_grid(by_width / aspect, step), _on_grid(by_height * aspect, step)
        if min(other_h, other_w) < step:
            return None
        if abs(by_width / other_h - aspect) < abs(other_w / by_height - aspect):
            resized = by_width, int(by_width / aspect + 0.5)
        else:
            resized = int(by_height * aspect + 0.5), by_height
    return resized if min(resized) >= step else None


def _floored(size: Size, step: int) -> Size:
    return size[0] // step * step, size[1] // step * step


def _on_grid(side: float, step: int) -> int:
    return int(side + 0.5) // step * step


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
