"""Find faces in a folder's pictures and write them into the index beside them; the pictures stay as they are.

A folder comes in, faces.json in it goes out. Needs OpenCV 4, whose package carries the trained detector (the cascade
`haarcascade_frontalface_default`, by R. Lienhart); nothing is downloaded. OpenCV 5 has neither detector nor file.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from trainer.contract.problems import Problem
from trainer.dataset.faces import FACES_FILE, Face, FacesUnreadable, Looked, read_faces, write_faces
from trainer.dataset.listing import list_folder
from trainer.dataset.pixels import PictureUnreadable, read_picture
from trainer.dataset.wording import shown

SEEN_SIDE = 800
"""The longer side that the detector sees: faces from a twentieth of it on are found, at 0.1 s a picture."""

SMALLEST_SHARE = 1 / 20

CONFIRMATIONS = 6
"""Overlapping hits that make a face. With OpenCV's usual 3 textures such as hair or leaves are taken for faces."""

CASCADE = "haarcascade_frontalface_default.xml"
INSTALL = 'python -m pip install "opencv-python-headless>=4.9,<5"'

Find = Callable[[Image.Image], Face | None]


@dataclass(frozen=True, slots=True)
class Found:
    """What one folder gave."""

    folder: Path
    images: int
    faces: int
    unreadable: tuple[str, ...]
    """Names of pictures that cannot be decoded; they have no row."""
    file: Path | None
    """The index that was written; None where there is nothing to write."""


def load_finder() -> Find | Problem:
    """The detector, or what to do where it is missing."""
    if importlib.util.find_spec("cv2") is None:
        return Problem("machine.no_face_detector", f"Finding faces needs OpenCV, which is not installed. {INSTALL}")
    cv2 = importlib.import_module("cv2")
    cascade = Path(cv2.__file__).parent / "data" / CASCADE
    if not hasattr(cv2, "CascadeClassifier") or not cascade.is_file():
        message = f"OpenCV {cv2.__version__} comes without a face detector; version 4 has one. {INSTALL}"
        return Problem("machine.no_face_detector", message)
    # From memory: on Windows OpenCV cannot open files whose path has an umlaut.
    text = cascade.read_text(encoding="utf-8")
    detector = cv2.CascadeClassifier()
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    if not detector.read(storage.getFirstTopLevelNode()):
        return Problem("machine.no_face_detector", f"{shown(cascade)} is damaged. Install OpenCV anew: {INSTALL}")
    return lambda picture: _largest(cv2, detector, picture)


def folders_of(path: Path) -> list[Path] | Problem:
    """The folders to look through: `path` where it holds images, and the ones in it that do."""
    listing = list_folder(path)
    if listing.fault is not None:
        return Problem("disk.folder_missing", f"There is no folder {shown(path)} that can be read. Name another one.")
    below = [path / name for name in listing.folders if list_folder(path / name).images]
    folders = [path, *below] if listing.images else below
    return folders or Problem("disk.no_images", f"There are no images in {shown(path)} or one level below.")


def find_faces(folder: Path, find: Find, again: bool = False) -> Found:
    """Look at every picture that is new or changed since the last time, at all of them with `again`.

    Raises OSError where the index cannot be written.
    """
    try:
        known = {} if again else read_faces(folder)
    except FacesUnreadable:
        known = {}
    listing = list_folder(folder)
    rows: dict[str, Looked] = {}
    unreadable: list[str] = []
    for name, size_bytes in zip(listing.images, listing.sizes_bytes, strict=True):
        row = known.get(name)
        if row is None or row.size_bytes != size_bytes:
            try:
                row = Looked(find(read_picture(folder / name)), size_bytes)
            except PictureUnreadable:
                unreadable.append(name)
                continue
        rows[name] = row
    file = write_faces(folder, rows) if rows or (folder / FACES_FILE).exists() else None
    faces = sum(row.face is not None for row in rows.values())
    return Found(folder, len(listing.images), faces, tuple(unreadable), file)


def _largest(cv2: ModuleType, detector: Any, picture: Image.Image) -> Face | None:
    """The largest face in an RGB picture, in its own pixels."""
    scale = min(1.0, SEEN_SIDE / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    grey = np.asarray(picture.convert("L").resize(size, Image.Resampling.BOX))
    least = max(24, round(max(size) * SMALLEST_SHARE))
    boxes = detector.detectMultiScale(
        cv2.equalizeHist(grey), scaleFactor=1.1, minNeighbors=CONFIRMATIONS, minSize=(least, least)
    )
    if len(boxes) == 0:
        return None
    x, y, width, height = max((tuple(int(v) for v in box) for box in boxes), key=lambda box: box[2] * box[3])
    return Face(
        round((x + width / 2) / scale), round((y + height / 2) / scale), round(width / scale), round(height / scale)
    )
