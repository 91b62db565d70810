"""Read a picture of the demo's world without any learned model: what is drawn on it, attribute by attribute.

uint8 [H, W, 3] goes in; the six attributes come out. The ground is what the border shows, the thing is the largest
patch that differs from it, its colour is voted for pixel by pixel, and its shape is the template that it overlaps most.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import cv2
import numpy as np

from trainer.demo.scenes import (
    COLOURS,
    GROUNDS,
    POSITIONS,
    SHAPES,
    SIZES,
    SLATE,
    Look,
    Scene,
    paint,
)

DIFFERS = 40.0
"""Distance in RGB from the ground at which a pixel is of the thing; no two colours of the world are closer than 60."""
SMALLEST = 0.004
"""A patch below this share of the picture is no thing."""
TEMPLATE = 48


def read(picture: np.ndarray) -> dict[str, str]:
    """Attribute -> value of what is drawn; empty for a thing that is not there."""
    pixels = picture.astype(np.float32)
    shade, patch = ground_and_thing(pixels)
    found = {"ground": nearest(shade, GROUNDS), "shape": "", "colour": "", "size": "", "position": "", "texture": ""}
    if patch is None:
        return found
    rows, columns = np.nonzero(patch)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    inside = patch[top:bottom, left:right]
    side = len(picture)
    shape = max(SHAPES, key=lambda name: overlap(inside, name))
    found |= {"shape": shape, **painted(pixels[top:bottom, left:right], inside)}
    # A triangle's and a star's box does not have its middle where the shape has it.
    above = template_centre(shape)
    centre = ((left + right) / 2 / side, (top + above * (bottom - top)) / side)
    found["position"] = min(POSITIONS, key=lambda name: np.hypot(*np.subtract(POSITIONS[name], centre)))
    radius = float(np.sqrt(patch.sum() / template_area(shape)) / side)
    found["size"] = min(SIZES, key=lambda name: abs(SIZES[name] - radius))
    return found


def hits(picture: np.ndarray, scene: Scene) -> dict[str, bool]:
    """Attribute -> whether the picture shows what the scene asks for."""
    return {name: value == getattr(scene, name) for name, value in read(picture).items()}


def scores(pictures: Sequence[np.ndarray], scenes: Sequence[Scene]) -> dict[str, float]:
    """Attribute -> share of pictures that have it right, and "colour + shape + position" for those three at once."""
    found = [hits(picture, scene) for picture, scene in zip(pictures, scenes, strict=True)]
    told = {name: float(np.mean([hit[name] for hit in found])) for name in found[0]}
    told["colour + shape + position"] = float(np.mean([h["colour"] and h["shape"] and h["position"] for h in found]))
    return told


def ground_and_thing(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The ground's shade, RGB [3], and the mask of the thing on it, [H, W]; None where there is none."""
    border = np.concatenate([pixels[:3].reshape(-1, 3), pixels[-3:].reshape(-1, 3), *_sides(pixels)])
    shade = np.median(border, axis=0)
    return shade, _largest_patch(np.linalg.norm(pixels - shade, axis=-1) > DIFFERS)


def _largest_patch(mask: np.ndarray) -> np.ndarray | None:
    """The largest connected patch of a mask, its holes filled; None where there is none worth the name."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    label = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[label, cv2.CC_STAT_AREA] < SMALLEST * mask.size:
        return None
    outlines, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED).astype(bool)


def overlap(inside: np.ndarray, shape: str) -> float:
    """Intersection over union of a patch in its box, stretched to the size of a template, and the template."""
    stretched = cv2.resize(inside.astype(np.float32), (TEMPLATE, TEMPLATE), interpolation=cv2.INTER_LINEAR) > 0.5
    like = template(shape)
    return float((stretched & like).sum() / (stretched | like).sum())


def painted(box: np.ndarray, inside: np.ndarray) -> dict[str, str]:
    """Colour and texture of the thing in its box: every pixel votes for the shade that it is nearest to."""
    core = cv2.erode(np.pad(inside, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(bool)
    shades: dict[str, Sequence[float]] = {**COLOURS, "": SLATE}
    away = np.stack([np.linalg.norm(box - np.asarray(shade), axis=-1) for shade in shades.values()], axis=-1)
    vote = np.argmin(away, axis=-1)
    counts = np.bincount(vote[core], minlength=len(shades))
    colour = list(shades)[int(np.argmax(counts[:-1]))]
    # Between the two colours of the thing: which of them each pixel is.
    dark = away[..., -1] < away[..., list(shades).index(colour)]
    middle = box.shape[1] // 2
    left, right = (float(dark[:, part][core[:, part]].mean()) for part in (slice(0, middle), slice(middle, None)))
    several = "two-tone" if right - left > 0.45 else "striped"
    return {"colour": colour, "texture": several if max(left, right) > 0.2 else "plain"}


def nearest(shade: Sequence[float], among: Mapping[str, Sequence[float]]) -> str:
    """The name of the shade that is nearest in RGB."""
    return min(among, key=lambda name: float(np.linalg.norm(np.subtract(shade, among[name]))))


@cache
def template(shape: str) -> np.ndarray:
    """bool [TEMPLATE, TEMPLATE]: the shape in its box."""
    rows, columns, mask = _drawn(shape)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float32)
    return cv2.resize(box, (TEMPLATE, TEMPLATE), interpolation=cv2.INTER_AREA) > 0.5


@cache
def template_area(shape: str) -> float:
    """The area of a shape of radius 1."""
    return _drawn(shape)[2].sum() / 512**2 / 0.3**2


@cache
def template_centre(shape: str) -> float:
    """Where the shape's middle lies in its box, from the top: a share of the box's height."""
    rows = _drawn(shape)[0]
    return (256 - rows.min()) / (rows.max() + 1 - rows.min())


@cache
def _drawn(shape: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    picture = np.zeros((512, 512, 3), np.uint8)
    paint(picture, shape, (0.5, 0.5), 0.3, Look((255, 255, 255), (0, 0, 0)))
    mask = picture[..., 0] > 127
    return *np.nonzero(mask), mask


def _sides(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pixels[:, :3].reshape(-1, 3), pixels[:, -3:].reshape(-1, 3)
