"""The images of a job as they lie on disk: numbered folders or one captioned folder, and regularization folders.

A `DataSection` comes in; folders with their pictures (upright sizes, read from headers alone, in threads, or known from
an index) and the problems of the folders and files go out. Nothing is decoded, written or renamed.
"""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.config import DataSection
from trainer.contract.problems import Problem
from trainer.dataset.faces import Face, FacesUnreadable, Looked, read_faces
from trainer.dataset.flaws import Flaws
from trainer.dataset.headers import Header, read_header
from trainer.dataset.index import BLOCK, Index
from trainer.dataset.layout import Found, Layout, captioned_folder, numbered_folders
from trainer.dataset.wording import shown

Progress = Callable[[int, int], None]
"""Called with (done, total) files."""

CHUNK = 64
"""Files that one thread reads at a time: few enough for a smooth progress bar, enough to outweigh the hand-over."""


@dataclass(frozen=True, slots=True, init=False)
class Picture:
    """An image file with its upright size in pixels (EXIF orientation applied).

    There may be a million of them, so the folder is shared and the path is made when it is asked for: about 200 bytes
    each, where a `Path` alone has 500.
    """

    folder: Path
    name: str
    width: int
    height: int
    size_bytes: int
    mtime_ns: int
    face: Face | None
    """Where the index of faces beside it says that one is; a name that tells it itself goes before this."""

    def __init__(
        self, path: Path, width: int, height: int, size_bytes: int = 0, mtime_ns: int = 0, *, face: Face | None = None
    ) -> None:
        values = path.parent, path.name, width, height, size_bytes, mtime_ns, face
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def within(
        cls, folder: Path, name: str, width: int, height: int, size_bytes: int, mtime_ns: int, face: Face | None
    ) -> "Picture":
        """The picture of this name in a folder: without taking a path apart, since a scan makes all of them so."""
        made = object.__new__(cls)
        put = object.__setattr__
        put(made, "folder", folder)
        put(made, "name", name)
        put(made, "width", width)
        put(made, "height", height)
        put(made, "size_bytes", size_bytes)
        put(made, "mtime_ns", mtime_ns)
        put(made, "face", face)
        return made

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.folder / self.name


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of images: how often each is used in an epoch, and the caption that its name stands for."""

    path: Path
    name: str
    """The caption for images without a caption file: "sks star" for 10_sks star; empty for a captioned folder."""
    repeats: int
    pictures: tuple[Picture, ...]
    """In order of their names."""
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


def scan(data: DataSection, progress: Progress | None = None, index: Index | None = None) -> Scan:
    """Find the folders and read every image's header; all problems at once, no exception for a bad file.

    Files that `index` knows as they are now are not opened, and what is read is noted there.
    """
    layouts = _layouts(data)
    problems = [problem for layout in layouts.values() for problem in layout.problems]
    problems += _same_folder(data)
    total = sum(len(item.images) for layout in layouts.values() for item in layout.folders)
    reader = _Reader(index if index is not None else Index(None), progress, total)
    folders: list[Folder] = []
    for field, layout in layouts.items():
        flaws = Flaws(field)
        folders += [_folder(item, reader, flaws) for item in layout.folders]
        problems += flaws.problems(left_out=data.skip_bad_images)
    return Scan(tuple(folders), tuple(problems))


def headers_of(found: Found, index: Index) -> Iterator[tuple[str, Header]]:
    """(name, header) of every picture of one folder beside those that are learnt, such as a folder of masks."""
    return _Reader(index, None, len(found.images)).headers(found)


def threads() -> ThreadPoolExecutor:
    """Threads for reading files: it waits for the disk more than it computes, most of all on a network drive."""
    return ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1)))


def _layouts(data: DataSection) -> dict[str, Layout]:
    """Option that names a folder -> what lies in it."""
    layouts: dict[str, Layout] = {}
    if data.train_data_dir is not None:
        train = data.train_data_dir.expanduser()
        layouts["train_data_dir"] = (
            captioned_folder(train, data.dataset_repeats) if data.fine_tuning else numbered_folders(train)
        )
    if data.reg_data_dir is not None:
        layouts["reg_data_dir"] = numbered_folders(data.reg_data_dir.expanduser(), regularization=True)
    return layouts


class _Reader:
    """Reads headers in order, a block at a time, so that never more than a block of them is in memory."""

    def __init__(self, index: Index, progress: Progress | None, total: int) -> None:
        self._index = index
        self._progress = progress
        self._done, self._total = 0, total

    def unchanged(self, item: Found, faces: Mapping[str, Looked]) -> list[Picture] | None:
        """The pictures of a folder in which nothing has changed since a scan that found no flaw; else None."""
        sizes = self._index.picture_sizes(item.path, item.images, item.sizes_bytes, item.mtimes_ns)
        if sizes is None:
            return None
        self._count(len(item.images))
        rows = zip(item.images, sizes[::2], sizes[1::2], item.sizes_bytes, item.mtimes_ns, strict=True)
        if not faces:
            return [Picture.within(item.path, *row, None) for row in rows]
        return [Picture.within(item.path, *row, _face(faces, row[0], row[3])) for row in rows]

    def note_unchanged(self, item: Found, pictures: Sequence[Picture]) -> None:
        """Note that this scan found no flaw in a folder."""
        # The files as they were read: one that changed after the listing makes the next listing differ.
        sizes_bytes = array("q", (picture.size_bytes for picture in pictures))
        mtimes_ns = array("q", (picture.mtime_ns for picture in pictures))
        picture_sizes = array("i", (side for picture in pictures for side in (picture.width, picture.height)))
        self._index.note_picture_sizes(item.path, item.images, sizes_bytes, mtimes_ns, picture_sizes)

    def headers(self, item: Found) -> Iterator[tuple[str, Header]]:
        """(name, header) of every image of a folder."""
        with threads() as pool:
            for start in range(0, len(item.images), BLOCK):
                block = slice(start, start + BLOCK)
                names = item.images[block]
                known = self._index.headers(item.path, names, item.sizes_bytes[block], item.mtimes_ns[block])
                new = [name for name, header in zip(names, known, strict=True) if header is None]
                self._count(len(names) - len(new))
                read = dict(zip(new, self._read(item.path, new, pool), strict=True))
                self._index.note_headers(item.path, read.items())
                for name, header in zip(names, known, strict=True):
                    yield name, header if header is not None else read[name]
        self._index.forget_gone(item.path, item.images)

    def _read(self, folder: Path, names: Sequence[str], pool: ThreadPoolExecutor) -> Iterator[Header]:
        chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
        for headers in pool.map(lambda chunk: [read_header(folder / name) for name in chunk], chunks):
            self._count(len(headers))
            yield from headers

    def _count(self, files: int) -> None:
        self._done += files
        if files and self._progress is not None:
            self._progress(self._done, self._total)


def _folder(item: Found, reader: _Reader, flaws: Flaws) -> Folder:
    faces = _faces(item.path)
    pictures = reader.unchanged(item, faces)
    if pictures is None:
        pictures, plain = [], True
        for name, header in reader.headers(item):
            plain &= not flaws.note(name, header)
            if header.flaw is None:
                face = _face(faces, name, header.size_bytes)
                size_bytes, mtime_ns = header.size_bytes, header.mtime_ns
                pictures.append(
                    Picture.within(item.path, name, header.width, header.height, size_bytes, mtime_ns, face)
                )
        if plain:
            reader.note_unchanged(item, pictures)
    return Folder(item.path, item.name, item.repeats, tuple(pictures), item.regularization)


def _faces(folder: Path) -> Mapping[str, Looked]:
    try:
        return read_faces(folder)
    except FacesUnreadable:  # the check says so where faces are asked for
        return {}


def _face(faces: Mapping[str, Looked], name: str, size_bytes: int) -> Face | None:
    looked = faces.get(name) if faces else None
    return looked.face if looked is not None and looked.size_bytes == size_bytes else None


def _same_folder(data: DataSection) -> list[Problem]:
    train, reg = data.train_data_dir, data.reg_data_dir
    if train is None or reg is None or train.expanduser().resolve() != reg.expanduser().resolve():
        return []
    message = f"Images and regularization images are the same folder, {shown(reg)}. Choose another one for one of them."
    return [Problem("disk.same_folder", message, ("reg_data_dir", "train_data_dir"))]
