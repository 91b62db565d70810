"""Images that are there more than once: the same bytes, or, where asked, nearly the same look.

Folders come in, problems go out. Digests and looks are kept in the index, so that the second time costs nothing.
Looking decodes every image; the ones whose pixels are damaged come to light by it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from trainer.contract.problems import Problem
from trainer.dataset.flaws import Flaws
from trainer.dataset.headers import Header
from trainer.dataset.index import BLOCK, Index, Mark
from trainer.dataset.looks import SIDE, alike, look_of
from trainer.dataset.pixels import PictureUnreadable, read_picture
from trainer.dataset.scan import Folder, Picture, Progress, Scan, threads
from trainer.dataset.wording import counted, listed

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Looked:
    """A scan without the images that do not decode, the problems of those, and the look of each that is left."""

    scan: Scan
    problems: tuple[Problem, ...]
    looks: dict[Path, tuple[bytes, ...]]
    """Folder -> the looks of its pictures, in their order."""


def look_at_all(scan: Scan, index: Index, left_out: bool, progress: Progress | None = None) -> Looked:
    """Decode every image that the index has not seen decoded; `left_out` says that the job goes on without bad ones."""
    folders: list[Folder] = []
    problems: list[Problem] = []
    looks: dict[Path, tuple[bytes, ...]] = {}
    done, total = 0, sum(len(folder.pictures) for folder in scan.folders)
    for field, regularization in (("train_data_dir", False), ("reg_data_dir", True)):
        flaws = Flaws(field)
        for folder in scan.folders:
            if folder.regularization is not regularization:
                continue
            sound: list[Picture] = []
            seen: list[bytes] = []
            for picture, look in zip(folder.pictures, _marks("look", folder.pictures, index, _look), strict=True):
                done += 1
                if progress is not None and (done % BLOCK == 0 or done == total):
                    progress(done, total)
                if look:
                    sound.append(picture)
                    seen.append(look)
                else:
                    flaws.note(picture.name, Header(flaw="undecodable"))
            if len(sound) < len(folder.pictures):
                kept = {picture.name for picture in sound}
                index.note_undecodable(folder.path, (p.name for p in folder.pictures if p.name not in kept))
            folders.append(replace(folder, pictures=tuple(sound)))
            looks[folder.path] = tuple(seen)
        problems += flaws.problems(left_out)
    return Looked(Scan(tuple(folders), scan.problems), tuple(problems), looks)


def same_content(folders: Sequence[Folder], index: Index) -> list[list[Picture]]:
    """Groups of pictures with the same bytes; only files of the same length are read."""
    lengths = np.fromiter((p.size_bytes for folder in folders for p in folder.pictures), dtype=np.int64)
    values, counts = np.unique(lengths, return_counts=True)
    repeated = set(values[counts > 1].tolist())
    if not repeated:
        return []
    pictures: list[Picture] = []
    digests = bytearray()
    for folder in folders:
        candidates = [picture for picture in folder.pictures if picture.size_bytes in repeated]
        for picture, digest in zip(candidates, content_digests(candidates, index), strict=True):
            if digest:  # else it has gone since the scan
                pictures.append(picture)
                digests += digest
    # Side by side in one array a digest takes 16 bytes, as a key of a dictionary some 200.
    words = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((words[:, 1], words[:, 0]))
    equal = np.all(words[order][1:] == words[order][:-1], axis=1)
    groups: list[list[int]] = []
    for place in np.flatnonzero(equal):
        if place == 0 or not equal[place - 1]:
            groups.append([int(order[place])])
        groups[-1].append(int(order[place + 1]))
    return [[pictures[place] for place in group] for group in sorted(groups)]


def content_digests(pictures: Sequence[Picture], index: Index) -> Iterator[bytes]:
    """A digest of each file's content, empty where it cannot be read; only files that are new or changed are read.

    Pictures of one folder in order of their names, one folder after the other.
    """
    return _marks("digest", pictures, index, _digest)


def undecodable(pictures: Iterable[Picture], index: Index) -> set[Path]:
    """Those whose pixels are damaged; only files that are new or changed are decoded."""
    ordered = sorted(pictures, key=lambda picture: (str(picture.folder), picture.name))
    damaged = [
        picture for picture, look in zip(ordered, _marks("look", ordered, index, _look), strict=True) if not look
    ]
    for folder, members in groupby(damaged, attrgetter("folder")):
        index.note_undecodable(folder, [picture.name for picture in members])
    return {picture.path for picture in damaged}


def same_look(
    folders: Sequence[Folder], looks: dict[Path, tuple[bytes, ...]], known: Iterable[Sequence[Picture]]
) -> list[list[Picture]]:
    """Groups of pictures that look nearly the same; of the groups `known` to have the same bytes only the first."""
    copies = {id(picture) for group in known for picture in group[1:]}
    pictures: list[Picture] = []
    seen: list[bytes] = []
    for folder in folders:
        for picture, look in zip(folder.pictures, looks[folder.path], strict=True):
            if id(picture) not in copies:
                pictures.append(picture)
                seen.append(look)
    return [[pictures[place] for place in group] for group in alike(seen)]


def duplicate_problems(
    same: Sequence[Sequence[Picture]], near: Sequence[Sequence[Picture]], field: str
) -> list[Problem]:
    """The groups of `same_content` and `same_look` as warnings; `field` is the option that names the folders."""
    problems = []
    if same:
        if len(same) == 1:
            names = [picture.name for picture in same[0]]
            times = "twice" if len(names) == 2 else f"{len(names)} times"
            message = f"{listed(names)} are the same image. It would count {times}."
        else:
            message = (
                f"{counted(len(same), 'image')} are there more than once and count each time: {_groups(same, '=')}."
            )
        problems.append(Problem("disk.image_duplicate", message, (field,), "warning"))
    if near:
        if len(near) == 1:
            message = (
                f"{listed([picture.name for picture in near[0]])} are nearly the same picture. "
                "Keep one of them, unless it shall count more than others."
            )
        else:
            message = (
                f"{counted(len(near), 'picture')} are there in nearly the same form more than once: "
                f"{_groups(near, '~')}. Keep one of each, unless it shall count more than others."
            )
        problems.append(Problem("disk.image_near_duplicate", message, (field,), "warning"))
    return problems


def _groups(groups: Sequence[Sequence[Picture]], sign: str) -> str:
    return listed([f" {sign} ".join(picture.name for picture in group) for group in groups])


def _marks(mark: Mark, pictures: Sequence[Picture], index: Index, make: Callable[[Picture], bytes]) -> Iterator[bytes]:
    """The marks of pictures, from the index or made in threads and noted; empty where `make` finds none.

    Pictures of one folder in order of their names, one folder after the other.
    """
    with threads() as pool:
        for folder, members in groupby(pictures, attrgetter("folder")):
            own = list(members)
            for start in range(0, len(own), BLOCK):
                block = own[start : start + BLOCK]
                known = index.marks(
                    mark,
                    folder,
                    [picture.name for picture in block],
                    [picture.size_bytes for picture in block],
                    [picture.mtime_ns for picture in block],
                )
                new = [picture for picture, found in zip(block, known, strict=True) if found is None]
                made = list(pool.map(make, new))
                index.note_marks(
                    mark,
                    folder,
                    [(p.name, p.size_bytes, p.mtime_ns, found) for p, found in zip(new, made, strict=True) if found],
                )
                rest = iter(made)
                for found in known:
                    yield next(rest) if found is None else found


def _look(picture: Picture) -> bytes:
    try:
        return look_of(read_picture(picture.path, at_least=(2 * SIDE, 2 * SIDE)))
    except PictureUnreadable:
        return b""


def _digest(picture: Picture) -> bytes:
    try:
        return blake2b(picture.path.read_bytes(), digest_size=DIGEST_BYTES).digest()
    except OSError:
        return b""
