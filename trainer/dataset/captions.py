"""Captions: which file belongs to an image, what stands in it, and what of it is used each time.

A scan comes in; entries (one image with its caption and repeats) and problems go out. In numbered folders a caption
file replaces the folder's name; in a captioned folder every image needs its own.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.contract.config import CaptionSection, DataSection
from trainer.contract.problems import Mend, Problem
from trainer.dataset.scan import CHUNK, Folder, Picture, Scan
from trainer.dataset.wording import counted, listed

USUAL_EXTENSIONS = (".txt", ".caption", ".cap")
"""What captioning tools write; looked for beside images whose caption is missing."""

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


def entries_of(scan: Scan, data: DataSection) -> tuple[list[Entry], list[Problem]]:
    """Every picture with its caption, folder by folder, and the problems of all captions at once."""
    entries: list[Entry] = []
    findings = _Findings()
    with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as threads:
        for folder in scan.folders:
            files = {name.casefold(): name for name in _names_in(folder.path)}
            captions = _captions_of(folder, data.caption_extension, files, threads)
            needed = data.fine_tuning and not folder.regularization
            for picture, caption in zip(folder.pictures, captions, strict=True):
                text = folder.name if caption.text is None else caption.text
                entries.append(
                    Entry(picture, text, folder.repeats, folder.regularization, folder.path, caption.text is not None)
                )
                findings.note(picture.path.name, caption, text, needed, folder.regularization)
            findings.look_beside(folder, files, data.caption_extension, needed)
    return entries, findings.problems(data)


def caption_for(entry: Entry, captions: CaptionSection, rng: np.random.Generator) -> str:
    """The caption of one use: left out with the rate `ucg`, its comma-separated parts in a new order with shuffling.

    The dice for leaving out are thrown first and always, so that shuffling does not change which ones are left out.
    """
    dropped = rng.random() < captions.ucg
    if dropped:
        return ""
    if not captions.shuffle_caption:
        return entry.caption
    parts = [part.strip() for part in entry.caption.split(",")]
    return ", ".join(parts[i] for i in rng.permutation(len(parts)))


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading one caption gave: text, or None with no file; `fault` where the file could not be read."""

    text: str | None
    fault: str = ""
    file: str = ""


def _captions_of(
    folder: Folder, extension: str, files: Mapping[str, str], threads: ThreadPoolExecutor
) -> Iterator[_Read]:
    names = [_present(picture.path.name, extension, files) for picture in folder.pictures]
    # A block at a time: a task for each of 100,000 files would weigh more than the captions.
    blocks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    for block in threads.map(lambda block: [_read(folder.path, name) for name in block], blocks):
        yield from block


def _read(folder: Path, name: str | None) -> _Read:
    if name is None:
        return _Read(None)
    try:
        return _Read(read_caption(folder / name), file=name)
    except UnicodeDecodeError:
        return _Read("", "not_utf8", name)
    except OSError:
        return _Read("", "unreadable", name)


def _candidates(picture_name: str, extension: str) -> list[str]:
    stem = os.path.splitext(picture_name)[0]
    parts = stem.split("_")
    names = [stem + extension]
    if len(parts) > FACE_NUMBERS:
        names.append("_".join(parts[:-FACE_NUMBERS]) + extension)
    return names


def _present(picture_name: str, extension: str, files: Mapping[str, str]) -> str | None:
    """The first candidate that stands in a listing (lower-cased name -> name), without asking the disk once more."""
    for name in _candidates(picture_name, extension):
        found = files.get(name.casefold())
        # Where the file system tells cases apart, A.TXT is not the caption of A.png with .txt.
        if found is not None and (found == name or os.name == "nt"):
            return name
    return None


def _names_in(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:  # taken away between scan and now: no captions there, and the scan's files will be missed too
        return []


def _first_line(content: bytes) -> bytes:
    return content.split(b"\n", 1)[0].split(b"\r", 1)[0]


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Findings:
    """Collects what is wrong with captions over all folders, to say each thing once."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.empty: list[str] = []
        self.empty_needed: list[str] = []
        self.faults: dict[str, list[str]] = {"not_utf8": [], "unreadable": []}
        self.beside: dict[str, int] = {}
        self.without_name = False

    def note(self, picture: str, caption: _Read, text: str, needed: bool, regularization: bool) -> None:
        if caption.fault:
            self.faults[caption.fault].append(caption.file)
        elif caption.text is None and needed:
            self.missing.append(picture)
        elif not text:
            (self.empty_needed if needed else self.empty).append(caption.file or picture)

    def look_beside(self, folder: Folder, files: Mapping[str, str], extension: str, needed: bool) -> None:
        """Count the captions that another extension would find in a folder where this one finds none or few."""
        for other in USUAL_EXTENSIONS:
            if other == extension:
                continue
            hits = sum(
                _present(picture.path.name, extension, files) is None
                and _present(picture.path.name, other, files) is not None
                for picture in folder.pictures
            )
            self.beside[other] = self.beside.get(other, 0) + hits

    def problems(self, data: DataSection) -> list[Problem]:
        box = ("caption_extension", "train_data_dir")
        problems = [
            Problem(f"disk.caption_{fault}", message.format(*_named(names, "caption file")), box)
            for fault, message in (
                ("not_utf8", "{0} {1} not in UTF-8. Save {2} as UTF-8 in a text editor."),
                ("unreadable", "{0} {1} not readable. Allow reading {2}, or take {2} away."),
            )
            if (names := self.faults[fault])
        ]
        if self.missing:
            problems.append(self._missing(data))
        elif any(self.beside.values()):
            problems.append(self._other_extension(data))
        if self.empty_needed:
            who, verb, _ = _named(self.empty_needed, "caption file")
            message = f"{who} {verb} empty. Write a caption into the first line."
            problems.append(Problem("disk.caption_empty", message, box))
        if self.empty:
            who, _, _ = _named(self.empty, "image")
            message = f"{who}: the caption is empty, and is learnt as an empty one."
            problems.append(Problem("disk.caption_empty", message, box, "warning"))
        return problems

    def _missing(self, data: DataSection) -> Problem:
        who, _, _ = _named(self.missing, "image")
        verb = "has" if len(self.missing) == 1 else "have"
        message = f"{who} {verb} no caption file ending in {data.caption_extension}."
        found = self._best()
        if found:
            message += f" {counted(self.beside[found], 'caption')} ending in {found} {_verb(self.beside[found])} there."
        else:
            message += " Write the captions, or train with numbered folders."
        return Problem("disk.captions_missing", message, ("caption_extension", "train_data_dir"), mends=_switch(found))

    def _other_extension(self, data: DataSection) -> Problem:
        found = self._best()
        assert found
        message = (
            f"{counted(self.beside[found], 'caption file')} ending in {found} {_verb(self.beside[found])} beside the "
            f"images unread: the job reads {data.caption_extension}, and uses the folder's name where there is none."
        )
        return Problem("disk.captions_of_other_ending", message, ("caption_extension",), "warning", _switch(found))

    def _best(self) -> str:
        """The extension that would find most captions, empty where none would find any."""
        return max((other for other in self.beside if self.beside[other]), key=self.beside.__getitem__, default="")


def _switch(extension: str) -> tuple[Mend, ...]:
    return (Mend(f"Switch to {extension}", {"caption_extension": extension}),) if extension else ()


def _verb(number: int) -> str:
    return "lies" if number == 1 else "lie"


def _named(names: Iterable[str], noun: str) -> tuple[str, str, str]:
    """Who, is or are, it or them."""
    names = list(names)
    if len(names) == 1:
        return names[0], "is", "it"
    return f"{counted(len(names), noun)} ({listed(names)})", "are", "them"
