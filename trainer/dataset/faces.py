"""Where faces are in pictures: told by a file's name, or by the index `faces.json` beside the pictures.

File names and a folder come in, faces in pixels of the upright picture go out. Pictures are never renamed; an index
row counts only while its file has the length that it had when the face was found.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FACES_FILE = "faces.json"
VERSION = 1


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


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in one file: `face` is None where there is none; `size_bytes` is the file's length then."""

    face: Face | None
    size_bytes: int


class FacesUnreadable(ValueError):
    """An index that is no such file; the message names it."""


def face_in_name(stem: str) -> Face | None:
    """The face that a file name tells: NAME_x_y_width_height, centre and size; None where it tells none."""
    parts = stem.rsplit("_", 4)
    if len(parts) < 5 or not all(part.isdecimal() for part in parts[-4:]):
        return None
    face = Face(*(int(part) for part in parts[-4:]))
    return face if face.x > 0 and face.side > 0 else None


def read_faces(folder: Path) -> dict[str, Looked]:
    """The index of a folder: file name -> what was found; empty without one. Raises FacesUnreadable."""
    path = folder / FACES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        if version != VERSION:
            raise FacesUnreadable(f"{path} is of version {version}, and only {VERSION} is known here.")
        return {name: _looked(row) for name, row in content["images"].items()}
    except FileNotFoundError:
        return {}
    except FacesUnreadable:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as reason:
        raise FacesUnreadable(f"{path} cannot be read as a list of faces: {reason}.") from reason


def write_faces(folder: Path, found: Mapping[str, Looked]) -> Path:
    """Write the index of a folder, atomically. Raises OSError."""
    rows = {
        name: {"face": None if looked.face is None else _numbers(looked.face), "bytes": looked.size_bytes}
        for name, looked in sorted(found.items())
    }
    about = "Faces by file name: centre x, centre y, width, height in pixels of the upright picture; null: none found."
    path = folder / FACES_FILE
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    lines = ",\n".join(f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(row)}" for name, row in rows.items())
    text = f'{{"version": {VERSION}, "about": {json.dumps(about)}, "images": {{\n{lines}\n}}}}\n'
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _numbers(face: Face) -> list[int]:
    return [face.x, face.y, face.width, face.height]


def _looked(row: Mapping[str, Any]) -> Looked:
    numbers = row["face"]
    if numbers is None:
        return Looked(None, int(row["bytes"]))
    x, y, width, height = (int(number) for number in numbers)
    if min(x, y) < 0 or min(width, height) < 1:
        raise ValueError("a face has no size")
    return Looked(Face(x, y, width, height), int(row["bytes"]))
