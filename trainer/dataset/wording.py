"""Paths, names and numbers as people read them in a message."""

from collections.abc import Sequence
from pathlib import Path

NAMES_SHOWN = 5
"""A message names this many files and counts the rest: more would hide what to do."""


def shown(path: Path) -> str:
    """The path with the home folder written as ~, as the page shows it."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # not under the home folder, or there is none
        return str(path)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 image", "1,240 images"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(size_bytes: float) -> str:
    """ "2.0 GB", "15 MB", "3 kB"."""
    if size_bytes >= 1e8:
        return f"{size_bytes / 1e9:.1f} GB"
    if size_bytes >= 1e6:
        return f"{size_bytes / 1e6:.0f} MB"
    return f"{max(1, round(size_bytes / 1e3))} kB"


def ending_of(name: str) -> str:
    """ "a.PNG" -> ".png"."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def listed(names: Sequence[str], number: int | None = None) -> str:
    """ "a.png", "a.png and b.png", "a.png, b.png, c.png, d.png, e.png and 12 more".

    `number` is how many there are, where only the first of them are given.
    """
    number = len(names) if number is None else number
    if number == 1:
        return names[0]
    if number <= NAMES_SHOWN:
        return ", ".join(names[:-1]) + " and " + names[-1]
    return ", ".join(names[:NAMES_SHOWN]) + f" and {number - NAMES_SHOWN:,} more"
