"""What lies in one folder: images that are read, images of other kinds, folders, links that lead nowhere.

One directory walk, no file is opened. Hidden names never appear; nothing is visited twice or below. Lengths and times
of the images come along, so that an index can tell which of them are as they were.
"""

import os
import stat
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import features

from trainer.dataset.wording import ending_of

FORMATS: dict[str, tuple[str, ...]] = {
    ".png": ("PNG",),
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".webp": ("WEBP",),
    ".bmp": ("BMP", "DIB"),
}
"""Endings that are read, and what Pillow calls their content; MPO is a JPEG with a second view, as phones write it."""
if features.check("avif"):
    FORMATS[".avif"] = ("AVIF",)

OTHER_IMAGES = frozenset(
    (
        *(".gif", ".tif", ".tiff", ".heic", ".heif", ".jxl", ".jfif", ".jp2", ".psd", ".tga", ".svg", ".ico", ".avif"),
        *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf"),
    )
) - frozenset(FORMATS)
"""Pictures of kinds that are not read: they are named in a warning instead of passing unseen."""

Fault = Literal["missing", "not_a_folder", "unreadable"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The names in one folder, sorted; `fault` says why it could not be listed, and then all are empty."""

    path: Path
    images: tuple[str, ...] = ()
    sizes_bytes: "array[int]" = field(default_factory=lambda: array("q"))
    """For each of `images` the file's length, -1 where it cannot be asked for."""
    mtimes_ns: "array[int]" = field(default_factory=lambda: array("q"))
    folders: tuple[str, ...] = ()
    other_images: tuple[str, ...] = ()
    broken_links: tuple[str, ...] = ()
    looping_folders: tuple[str, ...] = ()
    fault: Fault | None = None


def list_folder(path: Path) -> Listing:
    """List one folder, not its sub-folders. A link to this folder or to one above it is a loop and not followed."""
    try:
        if not path.is_dir():
            return Listing(path, fault="not_a_folder" if path.exists() else "missing")
        names: dict[str, list[str]] = {kind: [] for kind in ("image", "folder", "other", "broken", "loop")}
        sizes, mtimes = array("q"), array("q")
        with os.scandir(path) as items:
            # An item with its status weighs a kilobyte: what is needed is taken out one by one.
            for item in items:
                if _hidden(item):
                    continue
                kind = _kind(item, path)
                if kind == "image":
                    try:
                        status = item.stat()
                        sizes.append(status.st_size)
                        mtimes.append(status.st_mtime_ns)
                    except OSError:
                        sizes.append(-1)
                        mtimes.append(-1)
                if kind:
                    names[kind].append(item.name)
    except OSError:  # no permission, or a link that leads back to itself
        return Listing(path, fault="unreadable")
    images = names["image"]
    order = sorted(range(len(images)), key=images.__getitem__)
    return Listing(
        path,
        images=tuple(images[i] for i in order),
        sizes_bytes=array("q", (sizes[i] for i in order)),
        mtimes_ns=array("q", (mtimes[i] for i in order)),
        folders=tuple(sorted(names["folder"])),
        other_images=tuple(sorted(names["other"])),
        broken_links=tuple(sorted(names["broken"])),
        looping_folders=tuple(sorted(names["loop"])),
    )


def _kind(item: os.DirEntry[str], folder: Path) -> str:
    ending = ending_of(item.name)
    try:
        if ending in FORMATS and item.is_file():
            return "image"
        if item.is_dir():
            return "loop" if item.is_symlink() and _leads_back(item, folder) else "folder"
        if item.is_file():
            return "other" if ending in OTHER_IMAGES else ""
    except OSError:  # a link that leads to itself
        return "loop"
    return "broken" if item.is_symlink() and ending in FORMATS else ""


def _leads_back(item: os.DirEntry[str], folder: Path) -> bool:
    target, here = Path(item.path).resolve(), folder.resolve()
    return target == here or target in here.parents


def _hidden(item: os.DirEntry[str]) -> bool:
    if item.name.startswith("."):
        return True
    if os.name != "nt":
        return False
    # On Windows this stat comes with the listing and costs nothing.
    attributes = getattr(item.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)
