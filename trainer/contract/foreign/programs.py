"""Whose preset a record is, and what is taken from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.contract.foreign import everydream, kohya, onetrainer, scripts
from trainer.contract.foreign.reading import Note, Reading, RefusedError
from trainer.contract.problems import Problem

_STUDIOS = (onetrainer, everydream, kohya)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Option values from another studio's preset, one sentence about it, and what was not simply taken."""

    values: Mapping[str, Any]
    about: str
    notes: tuple[Note, ...]


def read_foreign(record: Mapping[str, Any], toml: bool = False) -> Foreign | Problem | None:
    """What is taken from another studio's preset; None for a record that is ours.

    A problem where the whole preset is for something that is not trained here. `toml` records are settings files of
    kohya's scripts.
    """
    studio = scripts if toml else next((each for each in _STUDIOS if each.SIGNS & record.keys()), None)
    if studio is None:
        return None
    try:
        found = studio.read(record)
    except RefusedError as refused:
        return Problem("value.preset_foreign", str(refused))
    return Foreign(found.values, _about(studio.PROGRAM, found), tuple(found.notes))


def _about(program: str, found: Reading) -> str:
    counts = {
        "taken as they are": len(found.same),
        "in another form": _number(found, "converted"),
        "left out": _number(found, "left"),
        "not known here": _number(found, "unknown"),
    }
    return f"From {program}: " + ", ".join(f"{number} {words}" for words, number in counts.items() if number) + "."


def _number(found: Reading, kind: str) -> int:
    return sum(note.kind == kind for note in found.notes)
