"""Where the demo lies and whether it is whole. No torch in here: the page asks this at every start."""

from pathlib import Path

_DONE = "made"
VERSION = "2"
"""Raised when the demo's models or pictures change, so that an older one is made anew."""


def demo_folder(home: Path) -> Path:
    """The demo's folder inside the studio's home: model/, model-v2/, images/, reg/, style/."""
    return home / "demo"


def is_made(home: Path) -> bool:
    """Whether the demo is there and whole: its mark is written last."""
    try:
        return (demo_folder(home) / _DONE).read_text(encoding="utf-8").strip() == VERSION
    except OSError:
        return False


def mark_made(folder: Path) -> None:
    """Say that everything in this folder of the demo is written."""
    (folder / _DONE).write_text(VERSION + "\n", encoding="utf-8")
