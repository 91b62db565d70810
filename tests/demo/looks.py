"""Tell the demo's subject and style in a picture, without any learned model.

uint8 [H, W, 3] goes in, yes or no comes out. Both look at the thing that `tests.demo.scorer` finds, and ask which
shades its pixels are nearest to.
"""

import cv2
import numpy as np

from tests.demo.scorer import ground_and_thing
from trainer.demo.pictures import INK, SUBJECT
from trainer.demo.scenes import COLOURS, SLATE

SHADES = np.array([SUBJECT.first, SUBJECT.second, SLATE, *COLOURS.values()], dtype=np.float32)
"""The subject's two first, where a colour of the world is the same shade: the nearest of equals is the first."""
BOTH, TOGETHER = 0.15, 0.6
"""The least share of each of the subject's two colours on the thing, and of both."""
RIM = 3
"""Pixels of the outline that are looked at; in ink it is 3.5 (small) to 6 (large) wide at 128."""
DARK = 90.0
"""Distance in RGB from ink; the nearest shade of the world, slate, is 96 away."""
MOST = 0.5


def shows_subject(picture: np.ndarray) -> bool:
    """Whether the thing has both colours of the subject and hardly any other."""
    pixels = picture.astype(np.float32)
    _, patch = ground_and_thing(pixels)
    if patch is None:
        return False
    core = pixels[_shrunk(patch, 1)]
    nearest = np.argmin(np.linalg.norm(core[:, None] - SHADES, axis=-1), axis=-1)
    first, second = ((nearest == number).mean() if len(core) else 0.0 for number in (0, 1))
    return bool(min(first, second) >= BOTH and first + second >= TOGETHER)


def shows_ink(picture: np.ndarray) -> bool:
    """Whether the thing has a dark outline around something that is not dark; not to be seen on a black ground."""
    pixels = picture.astype(np.float32)
    _, patch = ground_and_thing(pixels)
    if patch is None:
        return False
    away = np.linalg.norm(pixels - np.asarray(INK, dtype=np.float32), axis=-1)
    inside = _shrunk(patch, 1 + RIM + 2)
    rim = _shrunk(patch, 1) & ~_shrunk(patch, 1 + RIM)
    if not inside.any():
        return False
    return bool((away[rim] < DARK).mean() >= MOST and (away[inside] < DARK).mean() < 1 - MOST)


def _shrunk(mask: np.ndarray, by: int) -> np.ndarray:
    kernel = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    return cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
