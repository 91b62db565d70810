"""What lies in one folder: images that are read, images of other kinds, folders, links that lead nowhere.

One directory walk, no file is opened. Hidden names never appear; nothing is visited twice or below.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import features

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
        with os.scandir(path) as items:
            found = sorted((item for item in items if not _hidden(item)), key=lambda item: item.name)
    except OSError:  # no permission, or a link that leads back to itself
        return Listing(path, fault="unreadable")
    names: dict[str, list[str]] = {kind: [] for kind in ("image", "folder", "other", "broken", "loop", "")}
    for item in found:
        names[_kind(item, path)].append(item.name)
    return Listing(
        path,
        images=tuple(names["image"]),
        folders=tuple(names["folder"]),
        other_images=tuple(names["other"]),
        broken_links=tuple(names["broken"]),
        looping_folders=tuple(names["loop"]),
    )


def _kind(item: os.DirEntry[str], folder: Path) -> str:
    ending = os.path.splitext(item.name)[1].lower()
    try:
        if item.is_dir():
            return "loop" if item.is_symlink() and _leads_back(item, folder) else "folder"
        if item.is_file():
            return "image" if ending in FORMATS else "other" if ending in OTHER_IMAGES else ""
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
