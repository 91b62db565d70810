"""Captions: which file belongs to an image, what stands in it, and what of it is used each time.

A scan comes in; entries (one image with its caption and repeats) and problems go out. In numbered folders a caption
file replaces the folder's name; in a captioned folder every image needs its own. Files that an index knows as they
are now are not opened.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from trainer.contract.config import CaptionSection, DataSection
from trainer.contract.problems import Problem
from trainer.dataset.caption_problems import CaptionProblems
from trainer.dataset.index import BLOCK, Index
from trainer.dataset.scan import CHUNK, Folder, Picture, Scan, threads
from trainer.dataset.wording import ending_of

USUAL_EXTENSIONS = (".txt", ".caption", ".cap")
"""What captioning tools write; looked for beside images whose caption is missing."""

Files = Mapping[str, tuple[int, int]]
"""Name of a caption file (in small letters on Windows) -> its length and time."""

FACE_NUMBERS = 4
"""A face-crop name ends in _x_y_width_height: all faces cut from one picture share that picture's caption."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a data set: its caption, and how often it is used in an epoch."""

    picture: Picture
    caption: str
    repeats: int
    regularization: bool
    folder: Path
    captioned: bool = False
    """Whether the caption comes from a file of its own, not from the folder's name."""
    mask: Picture | None = None
    """The picture that says which parts are learnt, where masks lie in a folder."""


def caption_file(picture: Path, extension: str) -> Path:
    """The caption file of a picture: the first of the two candidates that exists, else the plain one.

    The plain one is the picture's path with another ending; the second leaves out the four numbers of a face-crop
    name (a_120_80_60_60.png may have a.txt), where the name has five parts or more.
    """
    candidates = _candidates(picture.name, extension)
    for name in candidates[1:]:
        if not (picture.parent / candidates[0]).exists() and (picture.parent / name).exists():
            return picture.parent / name
    return picture.parent / candidates[0]


def read_caption(path: Path) -> str | None:
    """The first line, stripped, without a byte-order mark; None where there is no file.

    Raises UnicodeDecodeError where the first line is not UTF-8, OSError where the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _first_line(start).decode("utf-8-sig").strip()


def write_caption(path: Path, text: str) -> None:
    """Replace the first line of a caption file, atomically, in UTF-8 without a byte-order mark.

    Line breaks in `text` become spaces, since only one line is read; the lines below the first stay as they are.
    """
    line = " ".join(text.split("\n")).replace("\r", " ").strip()
    rest = b""
    if path.exists():
        old = path.read_bytes()
        rest = old[len(_first_line(old)) :].lstrip(b"\r\n") if _is_utf8(old) else b""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(line.encode() + b"\n" + rest)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def entries_of(scan: Scan, data: DataSection, index: Index | None = None) -> tuple[list[Entry], list[Problem]]:
    """Every picture with its caption, folder by folder, and the problems of all captions at once."""
    index = index if index is not None else Index(None)
    entries: list[Entry] = []
    findings = CaptionProblems()
    with threads() as pool:
        for folder in scan.folders:
            files = _caption_files(folder.path, (data.caption_extension, *USUAL_EXTENSIONS))
            needed = data.fine_tuning and not folder.regularization
            for start in range(0, len(folder.pictures), BLOCK):
                pictures = folder.pictures[start : start + BLOCK]
                names = [_present(picture.name, data.caption_extension, files) for picture in pictures]
                for picture, name, caption in zip(
                    pictures, names, _captions(folder.path, names, files, index, pool), strict=True
                ):
                    text = folder.name if caption.text is None else caption.text
                    captioned = caption.text is not None
                    entries.append(Entry(picture, text, folder.repeats, folder.regularization, folder.path, captioned))
                    if caption.fault:
                        findings.note_fault(caption.fault, name or picture.name)
                    elif not captioned and needed:
                        findings.note_missing(picture.name)
                    elif not text:
                        findings.note_empty(name or picture.name, needed)
            _look_beside(folder, files, data.caption_extension, findings)
    return entries, findings.problems(data.caption_extension)


def caption_for(entry: Entry, captions: CaptionSection, rng: np.random.Generator, epoch: int = 0) -> str:
    """The caption of one use in an epoch (from 0): left out by chance, its comma-separated parts shuffled or left out.

    It is left out where `ucg` or `caption_dropout_rate` says so, each by itself. One throw decides for both, first and
    always, so that shuffling does not change which ones are left out. The first `keep_tokens` parts keep their place.
    """
    either = captions.ucg + captions.caption_dropout_rate - captions.ucg * captions.caption_dropout_rate
    every = captions.caption_dropout_every_n_epochs
    if rng.random() < either or (every and (epoch + 1) % every == 0):
        return ""
    if not captions.shuffle_caption and not captions.caption_tag_dropout_rate:
        return entry.caption
    parts = [part.strip() for part in entry.caption.split(",")]
    fixed, moved = parts[: captions.keep_tokens], parts[captions.keep_tokens :]
    if captions.shuffle_caption:
        moved = [moved[i] for i in rng.permutation(len(moved))]
    if captions.caption_tag_dropout_rate:
        stay = rng.random(len(moved)) >= captions.caption_tag_dropout_rate
        moved = [part for part, stays in zip(moved, stay, strict=True) if stays]
    return ", ".join(fixed + moved)


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading one caption gave: text, or None with no file; `fault` where the file could not be read."""

    text: str | None
    fault: str = ""


_NO_FILE = _Read(None)


def _captions(
    folder: Path, names: Sequence[str | None], files: Files, index: Index, pool: ThreadPoolExecutor
) -> Iterator[_Read]:
    """The captions of up to BLOCK pictures; `names` are their caption files, None for none."""
    wanted = sorted({name for name in names if name is not None})
    if not wanted:
        yield from repeat(_NO_FILE, len(names))
        return
    states = [files[_key(name)] for name in wanted]
    known = index.captions(folder, wanted, [size for size, _ in states], [mtime for _, mtime in states])
    texts = {name: _Read(text) for name, text in zip(wanted, known, strict=True) if text is not None}
    new = [name for name in wanted if name not in texts]
    # Some at a time: a task for each of 100,000 files would weigh more than the captions.
    chunks = [new[start : start + CHUNK] for start in range(0, len(new), CHUNK)]
    read = (one for chunk in pool.map(lambda chunk: [_read(folder / name) for name in chunk], chunks) for one in chunk)
    texts.update(zip(new, read, strict=True))
    sound = ((name, *files[_key(name)], text) for name in new if (text := texts[name].text) is not None)
    index.note_captions(folder, (row for row in sound if not texts[row[0]].fault))
    for name in names:
        yield _NO_FILE if name is None else texts[name]


def _read(path: Path) -> _Read:
    try:
        return _Read(read_caption(path))
    except UnicodeDecodeError:
        return _Read("", "not_utf8")
    except OSError:
        return _Read("", "unreadable")


def _look_beside(folder: Folder, files: Files, extension: str, findings: CaptionProblems) -> None:
    """Count the captions that another extension would find in a folder where this one finds none or few."""
    if not files:
        return
    for other in USUAL_EXTENSIONS:
        if other == extension:
            continue
        hits = sum(
            _present(picture.name, extension, files) is None and _present(picture.name, other, files) is not None
            for picture in folder.pictures
        )
        findings.note_beside(other, hits)


def _candidates(picture_name: str, extension: str) -> list[str]:
    stem = os.path.splitext(picture_name)[0]
    parts = stem.split("_")
    names = [stem + extension]
    if len(parts) > FACE_NUMBERS:
        names.append("_".join(parts[:-FACE_NUMBERS]) + extension)
    return names


def _present(picture_name: str, extension: str, files: Files) -> str | None:
    """The first candidate that stands in a listing, without asking the disk once more."""
    if not files:
        return None
    return next((name for name in _candidates(picture_name, extension) if _key(name) in files), None)


def _key(name: str) -> str:
    # Where the file system tells cases apart, A.TXT is not the caption of A.png with .txt.
    return name.casefold() if os.name == "nt" else name


def _caption_files(path: Path, extensions: Sequence[str]) -> Files:
    """The files in a folder that may be captions."""
    endings = {ending_of(f"x{extension}") for extension in extensions}
    files: dict[str, tuple[int, int]] = {}
    try:
        with os.scandir(path) as items:
            for item in items:
                if ending_of(item.name) in endings:
                    with contextlib.suppress(OSError):  # a link that leads nowhere is no caption
                        status = item.stat()
                        files[_key(item.name)] = status.st_size, status.st_mtime_ns
    except OSError:  # taken away between scan and now: no captions there, and the scan's files will be missed too
        return files
    return files


def _first_line(content: bytes) -> bytes:
    return content.split(b"\n", 1)[0].split(b"\r", 1)[0]


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
