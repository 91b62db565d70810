"""The images of a job as they lie on disk: numbered folders or one captioned folder, and regularization folders.

A `DataSection` comes in; folders with their pictures (upright sizes, read from headers alone, in threads) and the
problems of the folders and files go out. Nothing is decoded, written or renamed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.config import DataSection
from trainer.contract.problems import Problem
from trainer.dataset.flaws import flaws_of
from trainer.dataset.headers import Header, read_header
from trainer.dataset.layout import Found, captioned_folder, numbered_folders
from trainer.dataset.wording import shown

Progress = Callable[[int, int], None]
"""Called with (done, total) files."""

CHUNK = 64
"""Files that one thread reads at a time: few enough for a smooth progress bar, enough to outweigh the hand-over."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file with its upright size in pixels (EXIF orientation applied)."""

    path: Path
    width: int
    height: int
    size_bytes: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of images: how often each is used in an epoch, and the caption that its name stands for."""

    path: Path
    name: str
    """The caption for images without a caption file: "sks star" for 10_sks star; empty for a captioned folder."""
    repeats: int
    pictures: tuple[Picture, ...]
    regularization: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """The folders that count, in order of their names, and what is wrong with folders and files."""

    folders: tuple[Folder, ...]
    problems: tuple[Problem, ...]

    @property
    def pictures(self) -> int:
        """How many readable images lie in the training folders."""
        return sum(len(folder.pictures) for folder in self.folders if not folder.regularization)


def scan(data: DataSection, progress: Progress | None = None) -> Scan:
    """Find the folders and read every image's header; all problems at once, no exception for a bad file."""
    found: list[Found] = []
    problems: list[Problem] = []
    if data.train_data_dir is not None:
        train = data.train_data_dir.expanduser()
        looked = captioned_folder(train, data.dataset_repeats) if data.fine_tuning else numbered_folders(train)
        found += looked.folders
        problems += looked.problems
    if data.reg_data_dir is not None:
        looked = numbered_folders(data.reg_data_dir.expanduser(), regularization=True)
        found += looked.folders
        problems += looked.problems
        problems += _same_folder(data)
    headers = read_headers([folder.path / name for folder in found for name in folder.images], progress)
    folders = tuple(_folder(item, headers) for item in found)
    for field, reg in (("train_data_dir", False), ("reg_data_dir", True)):
        flagged = {p: header for item in found if item.regularization is reg for p, header in _own(item, headers)}
        problems += flaws_of(flagged, field)
    return Scan(folders, tuple(problems))


def read_headers(paths: Sequence[Path], progress: Progress | None = None) -> dict[Path, Header]:
    """The header of every file, in the order of `paths`, read in threads."""
    headers: dict[Path, Header] = {}
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    # Reading waits for the disk more than it computes, most of all on a network drive.
    with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as threads:
        for chunk, read in zip(chunks, threads.map(_read_chunk, chunks), strict=True):
            headers.update(zip(chunk, read, strict=True))
            if progress is not None:
                progress(len(headers), len(paths))
    return headers


def _read_chunk(paths: Sequence[Path]) -> list[Header]:
    return [read_header(path) for path in paths]


def _own(item: Found, headers: dict[Path, Header]) -> Iterator[tuple[Path, Header]]:
    for name in item.images:
        path = item.path / name
        yield path, headers[path]


def _folder(item: Found, headers: dict[Path, Header]) -> Folder:
    pictures = tuple(
        Picture(path, header.width, header.height, header.size_bytes, header.mtime_ns)
        for path, header in _own(item, headers)
        if header.flaw is None
    )
    return Folder(item.path, item.name, item.repeats, pictures, item.regularization)


def _same_folder(data: DataSection) -> list[Problem]:
    train, reg = data.train_data_dir, data.reg_data_dir
    if train is None or reg is None or train.expanduser().resolve() != reg.expanduser().resolve():
        return []
    message = f"Images and regularization images are the same folder, {shown(reg)}. Choose another one for one of them."
    return [Problem("disk.same_folder", message, ("reg_data_dir", "train_data_dir"))]
