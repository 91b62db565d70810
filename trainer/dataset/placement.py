"""Where an image is cut: resized size, corner of the cut, mirrored or not. Known without reading any pixel.

The cut of one use is a function of the picture, its bucket, the options and the generator of that use; the latent
cache keys on it, the page draws it.
"""

from dataclasses import dataclass

import numpy as np

from trainer.contract.config import ImageSection
from trainer.dataset.buckets import Size, fit, scale_to_cover
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


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture: centre and size in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def side(self) -> int:
        """The longer side."""
        return max(self.width, self.height)


def face_in_name(stem: str) -> Face | None:
    """The face that a file name tells: NAME_x_y_width_height, centre and size; None where it tells none."""
    parts = stem.split("_")
    if len(parts) < 5 or not all(part.isdecimal() for part in parts[-4:]):
        return None
    face = Face(*(int(part) for part in parts[-4:]))
    return face if face.x > 0 and face.side > 0 else None


def placement(picture: Picture, bucket: Size, images: ImageSection, rng: np.random.Generator) -> Placement:
    """The cut of one use. The dice for mirroring are thrown first, so that it does not depend on the kind of cut."""
    flipped = images.flip_aug and bool(rng.random() < 0.5)
    face = face_in_name(picture.path.stem) if images.face_range is not None else None
    if face is not None and images.face_range is not None:
        width, height, left, top = _around_face(picture, bucket, face, images, rng)
        return Placement(width, height, left, top, flipped)
    if images.random_crop:
        width, height = scale_to_cover(picture.width, picture.height, bucket)
        left = int(rng.integers(0, width - bucket[0], endpoint=True))
        top = int(rng.integers(0, height - bucket[1], endpoint=True))
        return Placement(width, height, left, top, flipped)
    middle = fit(picture.width, picture.height, bucket)
    return Placement(middle.resized_w, middle.resized_h, middle.crop_left, middle.crop_top, flipped)


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
