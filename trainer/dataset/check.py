"""Gate 3, the disk: everything that is wrong with folders, images, captions and the output folder, at once.

A config comes in; a `Report` with the scan, the entries, the plan (where one can be made) and all problems goes out.
The page, `python -m trainer check` and the trainer call the same function.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from trainer.contract.config import ImageSection, TrainingConfig
from trainer.contract.problems import Problem
from trainer.dataset.buckets import assign, rounding_problems, scale_to_cover, sizes_of
from trainer.dataset.captions import Entry, entries_of
from trainer.dataset.plan import Plan, make_plan
from trainer.dataset.scan import Folder, Picture, Progress, Scan, scan
from trainer.dataset.wording import counted, listed, shown

ENLARGED_TOO_MUCH = 1.5
"""From this factor on an image is called small: enlarging invents detail that the model then learns as blur."""

MOST_TOKENS = 75
"""What fits into the text encoder's 77 places beside the start and the end token."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a job would train on; `plan` is None where there is nothing to train on or no length is given."""

    scan: Scan
    entries: tuple[Entry, ...]
    plan: Plan | None
    problems: tuple[Problem, ...]


def check_dataset(
    config: TrainingConfig,
    world_size: int = 1,
    count_tokens: Callable[[str], int] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look at everything on disk that a job reads and writes, models excepted.

    `count_tokens` tells how many tokens a caption has, without start and end; without it length is not judged.
    """
    found = scan(config.data, progress)
    entries, problems = entries_of(found, config.data)
    problems = [*found.problems, *problems, *rounding_problems(config.images)]
    for field, regularization in (("train_data_dir", False), ("reg_data_dir", True)):
        folders = [folder for folder in found.folders if folder.regularization is regularization]
        problems += _duplicates(folders, field)
        problems += _shared_stems(folders, field)
        problems += _all_unreadable(folders, field, found.problems)
    problems += _small(found.folders, config.images)
    if count_tokens is not None:
        problems += _long_captions(entries, count_tokens)
    if config.saves.output_dir is not None:
        problems += output_problems(config.saves.output_dir.expanduser())
    length_given = config.length.max_train_steps is not None or config.length.max_train_epochs is not None
    can_plan = length_given and any(not entry.regularization for entry in entries)
    plan = make_plan(config, entries, world_size) if can_plan else None
    return Report(found, tuple(entries), plan, tuple(problems))


def output_problems(folder: Path) -> list[Problem]:
    """Whether a file can be made in the output folder, or in the nearest one above it that exists."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        what = "a file" if nearest.exists() else "not there"
        message = f"{shown(nearest)} is {what}. Choose a folder for the trained model."
        return [Problem("disk.output_not_a_folder", message, ("output_dir",))]
    try:
        # Permissions alone tell too little (read-only drives, network shares): only writing proves it.
        with tempfile.TemporaryFile(dir=nearest):
            return []
    except OSError as reason:
        why = (reason.strerror or type(reason).__name__).lower()
        message = f"Nothing can be written into {shown(nearest)} ({why}). Choose another folder, or allow writing."
        return [Problem("disk.output_unwritable", message, ("output_dir",))]


def _all_unreadable(folders: Sequence[Folder], field: str, problems: Iterable[Problem]) -> list[Problem]:
    """Folders are there and hold image files, but not one that can be read."""
    if not folders or any(folder.pictures for folder in folders):
        return []
    if any(problem.code in ("disk.no_images", "disk.reg_empty") for problem in problems if field in problem.fields):
        return []
    message = f"Not one image in {shown(folders[0].path)} can be read."
    return [Problem("disk.no_readable_image", message, (field,))]


def _small(folders: Sequence[Folder], images: ImageSection) -> list[Problem]:
    sizes = sizes_of(images)
    small: list[tuple[float, Picture]] = []
    for folder in folders:
        for picture in folder.pictures:
            bucket = assign(picture.width, picture.height, sizes)
            factor = scale_to_cover(picture.width, picture.height, bucket)[0] / picture.width
            if factor > ENLARGED_TOO_MUCH:
                small.append((factor, picture))
    if not small:
        return []
    small.sort(key=lambda pair: -pair[0])
    if len(small) == 1:
        factor, picture = small[0]
        size = f"{picture.width} × {picture.height}"
        message = f"{picture.path.name} is small: {size}, enlarged {factor:.1f} times for its bucket."
    else:
        names = listed([f"{picture.path.name} {factor:.1f} times" for factor, picture in small])
        message = f"{counted(len(small), 'image')} are small and enlarged for their bucket: {names}."
    return [Problem("disk.image_small", message, ("resolution", "train_data_dir"), "warning")]


def _duplicates(folders: Sequence[Folder], field: str) -> list[Problem]:
    """The same file content more than once; only files of the same length are read."""
    by_length: dict[int, list[Path]] = defaultdict(list)
    for folder in folders:
        for picture in folder.pictures:
            by_length[picture.size_bytes].append(picture.path)
    by_content: dict[bytes, list[Path]] = defaultdict(list)
    for paths in by_length.values():
        if len(paths) > 1:
            for path in paths:
                by_content[_digest(path)].append(path)
    groups = [[path.name for path in paths] for paths in by_content.values() if len(paths) > 1]
    if not groups:
        return []
    if len(groups) == 1:
        times = "twice" if len(groups[0]) == 2 else f"{len(groups[0])} times"
        message = f"{listed(groups[0])} are the same image. It would count {times}."
    else:
        pairs = listed([" = ".join(names) for names in groups])
        message = f"{counted(len(groups), 'image')} are there more than once and count each time: {pairs}."
    return [Problem("disk.image_duplicate", message, (field,), "warning")]


def _digest(path: Path) -> bytes:
    try:
        return blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:  # gone since the scan: like no other file
        return str(path).encode()


def _shared_stems(folders: Sequence[Folder], field: str) -> list[Problem]:
    shared: list[str] = []
    for folder in folders:
        by_stem: dict[str, list[str]] = defaultdict(list)
        for picture in folder.pictures:
            by_stem[picture.path.stem].append(picture.path.name)
        shared += [" + ".join(names) for names in by_stem.values() if len(names) > 1]
    if not shared:
        return []
    message = f"These share one caption file, since only their endings differ: {listed(shared)}."
    return [Problem("disk.shared_stem", message, (field,), "warning")]


def _long_captions(entries: Sequence[Entry], count_tokens: Callable[[str], int]) -> list[Problem]:
    tokens = {text: count_tokens(text) for text in {entry.caption for entry in entries}}
    long = [entry.picture.path.name for entry in entries if tokens[entry.caption] > MOST_TOKENS]
    if not long:
        return []
    verb = "is" if len(long) == 1 else "are"
    message = (
        f"{counted(len(long), 'caption')} {verb} longer than {MOST_TOKENS} tokens, "
        f"and what comes after is not learnt: {listed(long)}."
    )
    return [Problem("disk.caption_long", message, ("train_data_dir",), "warning")]
