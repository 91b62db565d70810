"""Headers with flaws as problems: one for each kind of flaw, naming the files."""

from collections.abc import Mapping
from pathlib import Path

from trainer.contract.problems import Problem
from trainer.dataset.headers import Header
from trainer.dataset.listing import FORMATS
from trainer.dataset.wording import counted, listed

FLAWS: dict[str, tuple[str, str, str]] = {
    "unreadable": ("cannot be opened", "cannot be opened", "Allow reading it"),
    "zero_bytes": ("is empty, 0 bytes long", "are empty, 0 bytes long", "Copy it again"),
    "not_an_image": ("is no image inside", "are no images inside", "Save it as one"),
    "truncated": ("is damaged or cut off", "are damaged or cut off", "Copy or save it again"),
    "too_large": ("has more than 178 megapixels", "have more than 178 megapixels", "Make it smaller"),
}
"""Flaw -> what one file is, what several are, how one is mended."""


def flaws_of(headers: Mapping[Path, Header], field: str) -> list[Problem]:
    """Problems of the files themselves; `field` is the option that names their folder."""
    problems = []
    for flaw, (is_so, are_so, mend) in FLAWS.items():
        names = [path.name for path, header in headers.items() if header.flaw == flaw]
        if names:
            advice = f"{mend}, or take it out of the folder."
            what = is_so
            if len(names) > 1:
                what, advice = are_so, advice.replace(" it", " them")
            problems.append(Problem(f"disk.image_{flaw}", f"{_subject(names)} {what}. {advice}", (field,)))
    return problems + _animated(headers, field) + _wrong_endings(headers, field)


def _animated(headers: Mapping[Path, Header], field: str) -> list[Problem]:
    names = [path.name for path, header in headers.items() if header.flaw is None and header.frames > 1]
    if not names:
        return []
    verb = "moves" if len(names) == 1 else "move"
    message = f"{_subject(names)} {verb}: only the first picture is learnt."
    return [Problem("disk.image_animated", message, (field,), "warning")]


def _wrong_endings(headers: Mapping[Path, Header], field: str) -> list[Problem]:
    names = [
        f"{path.name} ({header.format})"
        for path, header in headers.items()
        if header.flaw is None and header.format not in FORMATS[path.suffix.lower()]
    ]
    if not names:
        return []
    verb = "holds another format than its" if len(names) == 1 else "hold another format than their"
    message = f"{_subject(names)} {verb} ending says. It is read all the same; other programs may stumble."
    return [Problem("disk.image_wrong_ending", message, (field,), "warning")]


def _subject(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{counted(len(names), 'image')} ({listed(names)})"
