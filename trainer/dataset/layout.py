"""Which folders count: numbered ones below a parent, or one captioned folder; and what to say where none do.

A wrong level is the commonest mistake with these folders, so each way of being wrong has its own problem with the
one click that mends it. Nothing is renamed or moved.
"""

from array import array
from dataclasses import dataclass, field
from pathlib import Path

from trainer.contract.problems import Mend, Problem
from trainer.dataset.listing import Listing, list_folder
from trainer.dataset.wording import counted, listed, shown

MENDS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that counts, with the names, lengths and times of its images."""

    path: Path
    name: str
    repeats: int
    images: tuple[str, ...]
    regularization: bool
    sizes_bytes: "array[int]" = field(default_factory=lambda: array("q"))
    mtimes_ns: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders that count and problems of the level, the names and the listing."""

    folders: tuple[Found, ...]
    problems: tuple[Problem, ...]


def repeats_and_name(folder: str) -> tuple[int, str] | None:
    """ "10_sks star" -> (10, "sks star"); "5" -> (5, ""); None where no number stands before the first underscore."""
    first, _, name = folder.partition("_")
    first = first.strip().removeprefix("+")
    return (int(first), name) if first.isdecimal() else None


def numbered_folders(parent: Path, regularization: bool = False) -> Layout:
    """The folders REPEATS_NAME below `parent`, in order of their names."""
    field = "reg_data_dir" if regularization else "train_data_dir"
    listing = list_folder(parent)
    if listing.fault is not None:
        return Layout((), (_fault(listing, field),))
    found: list[Found] = []
    problems: list[Problem] = []
    unused: list[str] = []
    for folder in listing.folders:
        parsed = repeats_and_name(folder)
        if parsed is None or parsed[0] < 1:
            unused.append(folder)
            continue
        inner = list_folder(parent / folder)
        if inner.fault is not None:
            problems.append(_fault(inner, field))
            continue
        found.append(_found(inner, parsed[1], parsed[0], regularization))
        problems += _passed_over(inner, field)
    if not found and not problems:
        return Layout((), (_none_numbered(listing, field),))
    if found and not any(folder.images for folder in found):
        problems.append(_no_images(parent, field))
    else:
        problems += [_empty(folder, field) for folder in found if not folder.images]
    if unused:
        problems.append(_skipped(unused, field))
    problems += _beside(listing, field)
    return Layout(tuple(found), tuple(problems))


def captioned_folder(path: Path, repeats: int) -> Layout:
    """The one folder whose images each have a caption file."""
    listing = list_folder(path)
    if listing.fault is not None:
        return Layout((), (_fault(listing, "train_data_dir"),))
    if not listing.images:
        return Layout((), (_no_captioned_images(listing), *_passed_over(listing, "train_data_dir")))
    found = _found(listing, "", repeats, False)
    return Layout((found,), tuple(_passed_over(listing, "train_data_dir")))


def _found(listing: Listing, name: str, repeats: int, regularization: bool) -> Found:
    return Found(listing.path, name, repeats, listing.images, regularization, listing.sizes_bytes, listing.mtimes_ns)


def _fault(listing: Listing, field: str) -> Problem:
    words = {
        "missing": ("disk.folder_missing", f"There is no folder {shown(listing.path)}. Choose one that exists."),
        "not_a_folder": ("disk.not_a_folder", f"{shown(listing.path)} is a file. Choose the folder that holds it."),
        "unreadable": ("disk.folder_unreadable", f"{shown(listing.path)} may not be read. Allow reading it."),
    }
    assert listing.fault is not None
    code, message = words[listing.fault]
    mends = _use(field, [listing.path.parent]) if listing.fault == "not_a_folder" else ()
    return Problem(code, message, (field,), mends=mends)


def _none_numbered(listing: Listing, field: str) -> Problem:
    """No numbered folder here: one level too deep, one too high, captions, names without numbers, or nothing."""
    path = listing.path
    if listing.images and repeats_and_name(path.name) is not None:
        message = "This is one numbered folder. The job needs the folder above it."
        return Problem("disk.numbered_folder_itself", message, (field,), mends=_use(field, [path.parent]))
    below = [path / name for name in listing.folders if _holds_numbered(path / name)]
    if below:
        message = f"The numbered folders lie one level down, in {listed([folder.name for folder in below])}."
        return Problem("disk.numbered_folders_below", message, (field,), mends=_use(field, below))
    if listing.images:
        message = (
            f"{shown(path)} holds {counted(len(listing.images), 'image')} and no numbered folder. "
            f"Put them into a folder such as 10_name inside it"
        )
        if field == "train_data_dir":
            mends = (Mend("One folder with captions", {"fine_tuning": True}),)
            message += ", or train with captions."
            return Problem("disk.no_numbered_folder", message, (field, "fine_tuning"), mends=mends)
        return Problem("disk.no_numbered_folder", f"{message}.", (field,))
    named = [name for name in listing.folders if list_folder(path / name).images]
    if named:
        message = (
            f"No folder in {shown(path)} has a number: {listed(named)}. "
            f"Put the repeats before the name, such as 10_{named[0]}."
        )
        return Problem("disk.no_numbered_folder", message, (field,))
    return _no_images(path, field)


def _no_images(path: Path, field: str) -> Problem:
    if field == "reg_data_dir":
        message = f"There are no regularization images in {shown(path)}. Put some in, or leave the box empty."
        return Problem("disk.reg_empty", message, (field,), mends=(Mend("Without them", {"reg_data_dir": None}),))
    return Problem(
        "disk.no_images", f"There are no images in {shown(path)}. Choose the folder that holds them.", (field,)
    )


def _no_captioned_images(listing: Listing) -> Problem:
    path, field = listing.path, "train_data_dir"
    holding = [name for name in listing.folders if list_folder(path / name).images]
    if any(repeats_and_name(name) is not None for name in holding):
        message = (
            f"{shown(path)} holds numbered folders, not images. Train with numbered folders, or choose one of them."
        )
        mends = (Mend("Numbered folders", {"fine_tuning": False}), *_use(field, [path / name for name in holding]))
        return Problem("disk.folders_are_numbered", message, (field, "fine_tuning"), mends=mends[: MENDS_SHOWN + 1])
    if holding:
        message = f"The images lie one level down, in {listed(holding)}."
        return Problem("disk.images_below", message, (field,), mends=_use(field, [path / name for name in holding]))
    below = [path / name for name in listing.folders if _holds_numbered(path / name)]
    if below:
        message = f"There are no images here, but numbered folders lie in {listed([folder.name for folder in below])}."
        mends = tuple(
            Mend(f"Numbered folders in {shown(folder)}", {"fine_tuning": False, field: str(folder)})
            for folder in below[:MENDS_SHOWN]
        )
        return Problem("disk.folders_are_numbered", message, (field, "fine_tuning"), mends=mends)
    return _no_images(path, field)


def _use(field: str, paths: list[Path]) -> tuple[Mend, ...]:
    return tuple(Mend(f"Use {shown(path)}", {field: str(path)}) for path in paths[:MENDS_SHOWN])


def _holds_numbered(path: Path) -> bool:
    listing = list_folder(path)
    return any(repeats_and_name(name) is not None and list_folder(path / name).images for name in listing.folders)


def _skipped(names: list[str], field: str) -> Problem:
    verb = "is" if len(names) == 1 else "are"
    message = (
        f"{listed(names)} {verb} left out: the name does not begin with a number of repeats from 1 on, such as 10_name."
    )
    return Problem("disk.folder_skipped", message, (field,), "warning")


def _empty(folder: Found, field: str) -> Problem:
    return Problem("disk.folder_empty", f"There are no images in {folder.path.name}.", (field,), "warning")


def _beside(listing: Listing, field: str) -> list[Problem]:
    """Images beside the numbered folders are not learnt: say so."""
    problems = _loops(listing, field)
    if listing.images:
        message = (
            f"{counted(len(listing.images), 'image')} beside the numbered folders "
            f"({listed(listing.images)}) {'is' if len(listing.images) == 1 else 'are'} not learnt. "
            "Move what shall count into one of them."
        )
        problems.append(Problem("disk.images_beside", message, (field,), "warning"))
    return problems


def _passed_over(listing: Listing, field: str) -> list[Problem]:
    """What lies in a folder of images and is not read."""
    problems = _loops(listing, field)
    where = listing.path.name
    if listing.other_images:
        message = (
            f"{counted(len(listing.other_images), 'file')} in {where} ({listed(listing.other_images)}) "
            "cannot be read. Save as .png, .jpg or .webp what shall count."
        )
        problems.append(Problem("disk.images_of_other_kinds", message, (field,), "warning"))
    if listing.broken_links:
        message = f"Links in {where} lead nowhere: {listed(listing.broken_links)}. Mend or remove them."
        problems.append(Problem("disk.link_broken", message, (field,), "warning"))
    deeper = [name for name in listing.folders if list_folder(listing.path / name).images]
    if deeper and listing.images:
        message = f"Folders inside {where} are not looked into: {listed(deeper)}. Move what shall count one level up."
        problems.append(Problem("disk.folders_inside", message, (field,), "warning"))
    return problems


def _loops(listing: Listing, field: str) -> list[Problem]:
    if not listing.looping_folders:
        return []
    message = (
        f"Links in {listing.path.name} lead back to where they are and are left out: {listed(listing.looping_folders)}."
    )
    return [Problem("disk.link_loop", message, (field,), "warning")]
