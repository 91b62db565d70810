"""Resize and cut in one go: an area average when shrinking, Lanczos when enlarging.

Only the part that the cut keeps is computed, so that a very long and thin picture, whose resized form would fill the
memory, costs no more than any other.
"""

import numpy as np
from PIL import Image

from trainer.dataset.buckets import Size


def resize_and_cut(image: Image.Image, resized: Size, left: int, top: int, size: Size) -> np.ndarray:
    """The rectangle `size` at (left, top) of the RGB image brought to `resized`: uint8 [height, width, 3].

    Shrinking (or keeping) both sides averages areas, as OpenCV's INTER_AREA; else Pillow's Lanczos.
    """
    assert image.mode == "RGB" and left + size[0] <= resized[0] and top + size[1] <= resized[1]
    if resized[0] > image.width or resized[1] > image.height:
        return _lanczos(image, resized, left, top, size)
    box = left, top, left + size[0], top + size[1]
    if resized == image.size:
        return np.asarray(image.crop(box))
    columns = _edges(image.width, resized[0], box[0], box[2])
    rows = _edges(image.height, resized[1], box[1], box[3])
    x, y = int(columns[0]), int(rows[0])
    part = np.asarray(image.crop((x, y, _end(columns[-1], image.width), _end(rows[-1], image.height))))
    # Both passes average along the first axis, where whole rows are added: the second one works on the transposed.
    lines = _average(part.reshape(part.shape[0], -1), rows - y)
    lines = lines.reshape(size[1], part.shape[1], 3).transpose(1, 0, 2).reshape(part.shape[1], -1)
    cells = _average(lines, columns - x).reshape(size[0], size[1], 3).transpose(1, 0, 2)
    return np.rint(cells).clip(0, 255).astype(np.uint8)


def _edges(length: int, resized: int, start: int, end: int) -> np.ndarray:
    """Where the cells start..end of a side resized from `length` to `resized` begin and end, in source pixels."""
    return np.arange(start, end + 1) * (length / resized)


def _end(edge: float, length: int) -> int:
    return min(int(np.ceil(edge)), length)


def _average(lines: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of the lines between consecutive edges, the lines that an edge cuts counting by their share.

    [n, m] and k+1 rising edges -> float32 [k, m]. Each cell is at least one line wide, as when shrinking.
    """
    # An edge that misses a line's end by rounding alone must not open a cell of no width.
    edges = np.where(np.abs(edges - np.rint(edges)) < 1e-6, np.rint(edges), edges)
    first = np.minimum(edges[:-1].astype(np.int64), len(lines) - 1)
    last = np.minimum(np.ceil(edges[1:]).astype(np.int64) - 1, len(lines) - 1)
    sums = np.empty((len(first), lines.shape[1]), dtype=np.float32)
    for i, (a, b) in enumerate(zip(first, last, strict=True)):
        np.add.reduce(lines[a : b + 1], axis=0, dtype=np.float32, out=sums[i])
        # reduce has taken the outer lines whole: give back the shares that lie outside.
        if (before := edges[i] - a) > 0:
            sums[i] -= np.float32(before) * lines[a]
        if (after := b + 1 - edges[i + 1]) > 0:
            sums[i] -= np.float32(after) * lines[b]
    return sums / np.diff(edges).astype(np.float32)[:, None]


def _lanczos(image: Image.Image, resized: Size, left: int, top: int, size: Size) -> np.ndarray:
    """Pillow's Lanczos, restricted to the cut: its filter looks at pixels outside of the box where it needs them."""
    scale_x, scale_y = image.width / resized[0], image.height / resized[1]
    box = (left * scale_x, top * scale_y, (left + size[0]) * scale_x, (top + size[1]) * scale_y)
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box=box))
