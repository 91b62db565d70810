"""Where an image is cut: resized size, corner of the cut, mirrored or not. Known without reading any pixel.

The cut of one use is a function of the picture, its bucket, the options and the generator of that use; the latent
cache keys on it, the page draws it.
"""

import os
from dataclasses import dataclass

import numpy as np

from trainer.contract.config import ImageSection
from trainer.dataset.buckets import Size, resized_size
from trainer.dataset.faces import Face, face_in_name
from trainer.dataset.scan import Picture

SMALLEST_JITTERED_FACE = 40
"""Faces under 40 pixels stay where they are: five hundredths of them are less than the detector's own error."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Resize to (resized_w, resized_h), cut the bucket's size from (left, top), mirror left and right if flipped."""

    resized_w: int
    resized_h: int
    left: int
    top: int
    flipped: bool = False


def face_of(picture: Picture) -> Face | None:
    """The face of a picture: the one its name tells, else the one in the index beside it, else none."""
    return face_in_name(os.path.splitext(picture.name)[0]) or picture.face


def placement(picture: Picture, bucket: Size, images: ImageSection, rng: np.random.Generator) -> Placement:
    """The cut of one use. The dice for mirroring are thrown first, so that it does not depend on the kind of cut."""
    flipped = images.flip_aug and bool(rng.random() < 0.5)
    face = face_of(picture) if images.face_range is not None else None
    if face is not None and images.face_range is not None:
        width, height, left, top = _around_face(picture, bucket, face, images, rng)
        return Placement(width, height, left, top, flipped)
    width, height = resized_size(picture.width, picture.height, bucket, images)
    left, top = (width - bucket[0]) // 2, (height - bucket[1]) // 2
    if images.random_crop:
        left = int(rng.integers(0, width - bucket[0], endpoint=True))
        top = int(rng.integers(0, height - bucket[1], endpoint=True))
    return Placement(width, height, left, top, flipped)


def _around_face(
    picture: Picture, bucket: Size, face: Face, images: ImageSection, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Scale so that the bucket's shorter side is low..high times the face, and cut around its centre.

    Shrinks only, unless the picture is smaller than its bucket: then it is enlarged just to cover it.
    """
    assert images.face_range is not None
    low, high = images.face_range
    side = min(bucket)
    cover = max(bucket[0] / picture.width, bucket[1] / picture.height)
    smallest = max(cover, min(1.0, side / (face.side * high)))
    largest = max(smallest, min(1.0, side / (face.side * low)))
    scale = smallest if smallest == largest else float(rng.uniform(smallest, largest))
    width = max(bucket[0], int(picture.width * scale + 0.5))
    height = max(bucket[1], int(picture.height * scale + 0.5))
    jitter = 0
    if low != high and face.side > side // 10 and face.side >= SMALLEST_JITTERED_FACE:
        jitter = face.side // 20
    top = _start(height, bucket[1], int(face.y * scale + 0.5), jitter, images.random_crop, rng)
    left = _start(width, bucket[0], int(face.x * scale + 0.5), jitter, images.random_crop, rng)
    return width, height, left, top


def _start(length: int, cut: int, centre: int, jitter: int, random_crop: bool, rng: np.random.Generator) -> int:
    """Where the cut begins on one axis, so that the face's centre is in its middle or near it."""
    start = centre - cut // 2
    if random_crop:
        # The sum of two uniform numbers: anywhere, but most often near the face.
        reach = max(length - centre, centre)
        start += int(rng.integers(0, reach, size=2, endpoint=True).sum()) - reach
    elif jitter:
        start += int(rng.integers(-jitter, jitter, endpoint=True))
    return min(max(start, 0), length - cut)
