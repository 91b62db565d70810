"""Gate 3, the disk: everything that is wrong with folders, images, captions and the output folder, at once.

A config comes in; a `Report` with the scan, the entries, the plan (where one can be made) and all problems goes out.
The page, `python -m trainer check` and the trainer call the same function.
"""

import heapq
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.contract.config import ImageSection, TrainingConfig
from trainer.contract.problems import Problem
from trainer.dataset.buckets import bucket_of, resized_size, rounding_problems, sizes_of
from trainer.dataset.caption_problems import long_captions
from trainer.dataset.captions import Entry, entries_of
from trainer.dataset.duplicates import Looked, duplicate_problems, look_at_all, same_content, same_look
from trainer.dataset.emphasis import counting_words
from trainer.dataset.faces import FACES_FILE, FacesUnreadable, read_faces
from trainer.dataset.held_out import hold_out, too_few_problems
from trainer.dataset.index import Index
from trainer.dataset.index_file import default_index_path
from trainer.dataset.masks import with_masks
from trainer.dataset.placement import face_of
from trainer.dataset.plan import Plan, make_plan
from trainer.dataset.scan import Folder, Picture, Progress, Scan, scan
from trainer.dataset.wording import NAMES_SHOWN, counted, listed, shown

ENLARGED_TOO_MUCH = 1.5
"""From this factor on an image is called small: enlarging invents detail that the model then learns as blur."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a job would train on; `plan` is None where there is nothing to train on or no length is given."""

    scan: Scan
    entries: tuple[Entry, ...]
    plan: Plan | None
    problems: tuple[Problem, ...]
    held_out: tuple[Entry, ...] = ()
    """Those of the entries that are measured and not trained on."""

    @property
    def trained(self) -> tuple[Entry, ...]:
        """The entries without those that are held out."""
        held_out = {id(entry) for entry in self.held_out}
        return tuple(entry for entry in self.entries if id(entry) not in held_out)


def check_dataset(
    config: TrainingConfig,
    world_size: int = 1,
    count_tokens: Callable[[str], int] | None = None,
    progress: Progress | None = None,
    *,
    deep: bool = False,
    index_path: Path | None = None,
) -> Report:
    """Look at everything on disk that a job reads and writes, models excepted.

    `count_tokens` tells how many tokens a caption has, without start and end; without it length is not judged.
    `deep` also decodes every image: it finds damage behind a sound head, which an index remembers for ordinary checks
    as well, and pictures that look nearly the same. The index is the studio's own unless `index_path` names one.
    """
    with Index(index_path if index_path is not None else default_index_path()) as index:
        found = scan(config.data, progress, index)
        looked = look_at_all(found, index, config.data.skip_bad_images, progress) if deep else Looked(found, (), {})
        found = looked.scan
        entries, problems = entries_of(found, config.data, index)
        if config.loss.mask_source == "folder" and config.loss.conditioning_data_dir is not None:
            entries, more = with_masks(entries, config.loss.conditioning_data_dir.expanduser(), index)
            problems += more
        problems = [*found.problems, *looked.problems, *problems, *rounding_problems(config.images)]
        for field, regularization in (("train_data_dir", False), ("reg_data_dir", True)):
            folders = [folder for folder in found.folders if folder.regularization is regularization]
            same = same_content(folders, index)
            near = same_look(folders, looked.looks, same) if deep else []
            problems += duplicate_problems(same, near, field)
            problems += _shared_stems(folders, field)
            problems += _all_unreadable(folders, field, found.problems)
    problems += _small(found.folders, config.images)
    if config.images.face_range is not None:
        problems += _without_face(found.folders)
    if count_tokens is not None:
        if config.captions.weighted_captions:
            count_tokens = counting_words(count_tokens)
        captions = ((entry.picture.name, entry.caption) for entry in entries)
        problems += long_captions(captions, count_tokens, config.captions.token_limit)
    if config.saves.output_dir is not None:
        problems += output_problems(config.saves.output_dir.expanduser())
    share = config.validation.validation_split
    problems += too_few_problems(entries, share)
    report = Report(found, tuple(entries), None, tuple(problems), hold_out(entries, share))
    length_given = config.length.max_train_steps is not None or config.length.max_train_epochs is not None
    can_plan = length_given and any(not entry.regularization for entry in entries)
    plan = make_plan(config, report.trained, world_size, held_out=len(report.held_out)) if can_plan else None
    return replace(report, plan=plan)


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
    factors: dict[tuple[int, int], float] = {}
    number = 0
    smallest: list[tuple[float, int, Picture]] = []
    for folder in folders:
        for picture in folder.pictures:
            size = picture.width, picture.height
            if size not in factors:
                factors[size] = resized_size(*size, bucket_of(*size, images, sizes), images)[0] / size[0]
            if factors[size] > ENLARGED_TOO_MUCH:
                number += 1
                # Only those that will be named are kept: in a folder of thumbnails all are small.
                keep = heapq.heappush if len(smallest) < NAMES_SHOWN else heapq.heappushpop
                keep(smallest, (factors[size], -number, picture))
    if not number:
        return []
    smallest.sort(key=lambda row: (-row[0], -row[1]))
    if number == 1:
        factor, _, picture = smallest[0]
        size_shown = f"{picture.width} × {picture.height}"
        message = f"{picture.name} is small: {size_shown}, enlarged {factor:.1f} times for its bucket."
    else:
        names = listed([f"{picture.name} {factor:.1f} times" for factor, _, picture in smallest], number)
        message = f"{counted(number, 'image')} are small and enlarged for their bucket: {names}."
    return [Problem("disk.image_small", message, ("resolution", "train_data_dir"), "warning")]


def _shared_stems(folders: Sequence[Folder], field: str) -> list[Problem]:
    shared: list[str] = []
    for folder in folders:
        seen: set[str] = set()
        twice: dict[str, list[str]] = defaultdict(list)
        for picture in folder.pictures:
            stem = picture.name.rpartition(".")[0]
            if stem in seen:
                twice[stem] = []
            seen.add(stem)
        if twice:
            for picture in folder.pictures:
                if (stem := picture.name.rpartition(".")[0]) in twice:
                    twice[stem].append(picture.name)
        shared += [" + ".join(names) for names in twice.values()]
    if not shared:
        return []
    message = f"These share one caption file, since only their endings differ: {listed(shared)}."
    return [Problem("disk.shared_stem", message, (field,), "warning")]


def _without_face(folders: Sequence[Folder]) -> list[Problem]:
    """Crops around faces are asked for: which training images have none to crop around."""
    problems: list[Problem] = []
    names: list[str] = []
    not_looked: list[Path] = []
    for folder in folders:
        if folder.regularization:
            continue
        without = [picture.name for picture in folder.pictures if face_of(picture) is None]
        try:
            looked = read_faces(folder.path)
        except FacesUnreadable as reason:
            looked = {}
            message = f"{reason} Take it away and find the faces again."
            problems.append(Problem("disk.faces_unreadable", message, ("face_crop_aug_range",), "warning"))
        names += without
        if any(name not in looked for name in without):
            not_looked.append(folder.path)
    if names:
        verb = "has" if len(names) == 1 else "have"
        message = (
            f"{counted(len(names), 'image')} ({listed(names)}) {verb} no known face and will be cut like any other."
        )
        if not_looked:
            place = not_looked[0] if len(not_looked) == 1 else not_looked[0].parent
            message += f' To find them: python -m trainer faces "{shown(place)}".'
        else:
            message += f" None was found there: write it into {FACES_FILE}, or leave it so."
        problems.append(Problem("disk.face_missing", message, ("face_crop_aug_range", "train_data_dir"), "warning"))
    return problems
