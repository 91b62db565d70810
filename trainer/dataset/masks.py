"""Masks: which parts of an image its loss is taken from.

Entries and the folder of masks come in; the entries with their masks and the problems go out. A mask is a picture of
the image's name in that folder, or, where folders share names, in a folder of the image's folder's name inside it:
white is learnt, black is not. Or it is the image's own alpha channel.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainer.contract.config import ImageSection
from trainer.contract.loss import MaskSource
from trainer.contract.problems import Mend, Problem
from trainer.dataset.batches import Use
from trainer.dataset.buckets import Size
from trainer.dataset.captions import Entry
from trainer.dataset.duplicates import content_digests, undecodable
from trainer.dataset.headers import Flaw
from trainer.dataset.index import Index
from trainer.dataset.layout import Found
from trainer.dataset.listing import list_folder
from trainer.dataset.pixels import pixels_at, read_alpha, read_red
from trainer.dataset.placement import Placement, placement
from trainer.dataset.scan import Picture, headers_of
from trainer.dataset.wording import counted, listed, shown

FIELD = "conditioning_data_dir"
CELL = 8
"""Pixels on a side of what one latent stands for."""
SAME_SHAPE = 0.02
"""How far the ratio of a mask's sides may be from its image's: half a pixel on a side of 25."""


@dataclass(frozen=True, slots=True)
class _Mask:
    picture: Picture
    flaw: Flaw | None


class Masks:
    """Makes the masks of uses. With cached latents, whose cut never changes, each is kept once it is made."""

    def __init__(self, source: MaskSource, images: ImageSection) -> None:
        self._source = source
        self._images = images
        self._kept: dict[tuple[Path, Size, Placement], np.ndarray] = {}

    def of(self, use: Use, rng: np.random.Generator) -> np.ndarray:
        """How much each latent of a use counts, float32 [H/8, W/8] from 0 to 1.

        `rng` is the generator of the use's pixels: the mask is resized, cut and mirrored as they are, then averaged
        over the area of each latent. Raises PictureUnreadable.
        """
        place = placement(use.entry.picture, use.bucket, self._images, rng)
        mask = use.entry.picture if self._source == "alpha" else use.entry.mask
        if mask is None:  # a regularization image without a mask
            return np.ones((use.bucket[1] // CELL, use.bucket[0] // CELL), dtype=np.float32)
        path = mask.path
        key = path, use.bucket, place
        if key not in self._kept:
            image = read_alpha(path) if self._source == "alpha" else read_red(path)
            made = over_latents(pixels_at(image.convert("RGB"), use.bucket, place)[..., 0])
            if not self._images.cached:
                return made
            self._kept[key] = made
        return self._kept[key]


def over_latents(mask: np.ndarray) -> np.ndarray:
    """Means of a mask, uint8 [H, W], over squares of 8 x 8 pixels: float32 [H/8, W/8] from 0 to 1."""
    height, width = mask.shape
    cells = mask.reshape(height // CELL, CELL, width // CELL, CELL)
    return cells.mean(axis=(1, 3), dtype=np.float32) / np.float32(255)


def with_masks(entries: Sequence[Entry], folder: Path, index: Index) -> tuple[list[Entry], list[Problem]]:
    """The entries with their masks, and what is wrong with masks, all at once.

    Every training image needs one; a regularization image without one counts as a whole. Each mask is decoded once,
    which the index remembers: one that is damaged inside would otherwise end a run in its midst.
    """
    listing = list_folder(folder)
    if listing.fault is not None:
        message = f"There is no folder of masks at {shown(folder)}, or it may not be read. Choose one that exists."
        return list(entries), [Problem("disk.mask_folder", message, (FIELD,))]
    found = list(_paired(entries, folder, index))
    if any(mask is not None and mask.picture.path == entry.picture.path for entry, mask in found):
        message = f"The masks in {shown(folder)} are the images themselves. Choose the folder that holds the masks."
        return list(entries), [Problem("disk.mask_itself", message, (FIELD, "train_data_dir"))]
    used = {mask.picture.path: mask for _, mask in found if mask is not None}
    damaged = {path for path, mask in used.items() if mask.flaw}
    damaged |= undecodable([mask.picture for path, mask in used.items() if path not in damaged], index)
    masked = [
        entry if mask is None or mask.picture.path in damaged else replace(entry, mask=mask.picture)
        for entry, mask in found
    ]
    missing = [entry.picture.name for entry, mask in found if mask is None and not entry.regularization]
    flawed = sorted(path.name for path in damaged)
    other_shape = [entry.picture.name for entry in masked if entry.mask is not None and _other_shape(entry, entry.mask)]
    uses = Counter(entry.mask.path for entry in masked if entry.mask is not None)
    shared = [path.name for path, count in uses.items() if count > 1]
    problems = (_missing(missing, folder), _flawed(flawed), _of_other_shape(other_shape), _shared(shared))
    return masked, [problem for problem in problems if problem is not None]


def digest_of_masks(entries: Sequence[Entry], index: Index) -> str | None:
    """A digest of what stands in the masks and of whose they are, wherever they lie; None without any."""
    masks = {entry.mask.path: entry.mask for entry in entries if entry.mask is not None}
    if not masks:
        return None
    ordered = sorted(masks.values(), key=_place)
    contents = dict(zip((mask.path for mask in ordered), content_digests(ordered, index), strict=True))
    digest = hashlib.sha256()
    for entry in entries:
        content = None if entry.mask is None else contents[entry.mask.path]
        digest.update(repr((entry.folder.name, entry.picture.name, content)).encode())
    return digest.hexdigest()[:32]


def _paired(entries: Sequence[Entry], folder: Path, index: Index) -> Iterator[tuple[Entry, _Mask | None]]:
    """Each entry with its mask."""
    read: dict[Path, Mapping[str, _Mask]] = {}
    for entry in entries:
        stem = _stem(entry.picture.name)
        places = (folder / entry.folder.name, folder)
        for place in places:
            if place not in read:
                read[place] = _read(place, index)
        yield entry, next((read[place][stem] for place in places if stem in read[place]), None)


def _read(folder: Path, index: Index) -> Mapping[str, _Mask]:
    """The masks in a folder by their stems; the first of those that differ in their endings only."""
    listing = list_folder(folder)
    if not listing.images:
        return {}
    found = Found(folder, "", 1, listing.images, False, listing.sizes_bytes, listing.mtimes_ns)
    masks: dict[str, _Mask] = {}
    for name, header in headers_of(found, index):
        picture = Picture(folder / name, header.width, header.height, header.size_bytes, header.mtime_ns)
        masks.setdefault(_stem(name), _Mask(picture, header.flaw))
    return masks


def _place(picture: Picture) -> tuple[str, str]:
    return str(picture.folder), picture.name


def _stem(name: str) -> str:
    stem = os.path.splitext(name)[0]
    return stem.casefold() if os.name == "nt" else stem


def _other_shape(entry: Entry, mask: Picture) -> bool:
    ratio = mask.width * entry.picture.height / (mask.height * entry.picture.width)
    return abs(ratio - 1) > SAME_SHAPE


def _missing(names: Sequence[str], folder: Path) -> Problem | None:
    if not names:
        return None
    verb = "has" if len(names) == 1 else "have"
    message = (
        f"{counted(len(names), 'image')} {verb} no mask in {shown(folder)}: {listed(names)}. "
        "Put a picture of the same name there, white where the image is to be learnt, or train without masks."
    )
    return Problem("disk.mask_missing", message, (FIELD, "masked_loss"), mends=_without())


def _flawed(names: Sequence[str]) -> Problem | None:
    if not names:
        return None
    message = f"{counted(len(names), 'mask')} cannot be read: {listed(names)}. Save them again."
    return Problem("disk.mask_unreadable", message, (FIELD,), mends=_without())


def _of_other_shape(names: Sequence[str]) -> Problem | None:
    if not names:
        return None
    message = (
        f"The masks of {counted(len(names), 'image')} ({listed(names)}) have other proportions than the image. "
        "Make each as wide and high as its image, or the same in small."
    )
    return Problem("disk.mask_shape", message, (FIELD,))


def _shared(names: Sequence[str]) -> Problem | None:
    if not names:
        return None
    message = (
        f"{counted(len(names), 'mask')} ({listed(names)}) belong to several images of one name. To tell them apart, "
        "put the masks into folders named as those of the images."
    )
    return Problem("disk.mask_shared", message, (FIELD,), "warning")


def _without() -> tuple[Mend, ...]:
    return (Mend("Without masks", {"masked_loss": False}),)
