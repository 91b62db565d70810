"""Presets: one flat JSON object of option values over the defaults, with a line "about".

Loading always starts from the defaults, never from what stood in the form before. This is the only file that knows
old key names: `MIGRATIONS` is a list of small steps, one per schema version. Presets of other studios are read by
trainer.contract.foreign, and told what was not simply taken.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer.contract.config import DEFAULTS, OPTIONS
from trainer.contract.foreign.programs import read_foreign
from trainer.contract.foreign.reading import Note
from trainer.contract.job import ALIASES, SCHEMA, absolute_paths, unknown_option
from trainer.contract.problems import Problem

MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()
"""`MIGRATIONS[n]` takes the values of schema n+1 to schema n+2."""

_META = ("about", "schema")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of values; `own` presets were saved by the user and can be deleted.

    `notes` tell what of another studio's preset is not simply one of the values.
    """

    name: str
    path: Path
    about: str
    values: Mapping[str, Any]
    own: bool = False
    notes: tuple[Note, ...] = ()


def list_presets(shipped: Path, own: Path, base: Path | None = None) -> list[Preset]:
    """All readable presets, shipped ones first, each by name. A file that cannot be read is left out.

    `base` is where relative folders in presets begin: the studio's home.
    """
    presets: list[Preset] = []
    for folder, is_own in ((shipped, False), (own, True)):
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            preset = load_preset(path, base=base, own=is_own)
            if isinstance(preset, Preset):
                presets.append(preset)
    return presets


def load_preset(path: Path, *, base: Path | None = None, own: bool = False) -> Preset | list[Problem]:
    """Read one preset: its values are migrated to today's names, unknown names are named with the nearest one.

    It may be a preset of another studio, or a settings file (.toml) of kohya's scripts.
    """
    toml = path.suffix.lower() == ".toml"
    try:
        text = path.read_text(encoding="utf-8-sig")
        record = tomllib.loads(text) if toml else json.loads(text)
    except FileNotFoundError:
        return [Problem("value.preset", f"There is no preset {path}. Choose another.")]
    except (OSError, ValueError, RecursionError):
        return [
            Problem(
                "value.preset", f"{path.name} is no preset that can be read: it is not {'TOML' if toml else 'JSON'}."
            )
        ]
    if not isinstance(record, dict):
        return [Problem("value.preset", f"{path.name} is no preset: it holds no options.")]
    foreign = read_foreign(record, toml)
    if isinstance(foreign, Problem):
        return [foreign]
    if foreign is not None:
        values = foreign.values if base is None else absolute_paths(foreign.values, base)
        return Preset(path.stem, path, foreign.about, values, own, foreign.notes)
    schema = record.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        return [Problem("value.preset", f"{path.name} was written by a newer version. Update this program to use it.")]
    values = {ALIASES.get(name, name): value for name, value in record.items() if name not in _META}
    for migrate in MIGRATIONS[schema - 1 :]:
        values = migrate(values)
    unknown = [unknown_option(name) for name in values if name not in OPTIONS]
    if base is not None:
        values = absolute_paths(values, base)
    return unknown or Preset(path.stem, path, str(record.get("about", "")), values, own)


def import_preset(path: Path, folder: Path, base: Path | None = None) -> Preset | list[Problem]:
    """Read any preset and keep it among one's own in `folder`, under a name that is free there.

    What comes back is what loading it from there gives, with the notes.
    """
    found = load_preset(path)
    if isinstance(found, list):
        return found
    # A browser sends quotation marks in a file's name as %22.
    stem = re.sub(r"%22|[^\w .,()+-]", "-", found.name).lstrip("_ .,()+-")[:70].rstrip(". ") or "imported"
    names = [stem, *(f"{stem} ({number})" for number in range(2, 1000))]
    name = next(name for name in names if not (folder / f"{name}.json").exists())
    saved = save_preset(folder, name, found.values, found.about)
    if isinstance(saved, Problem):
        return [saved]
    kept = load_preset(saved.path, base=base, own=True)
    return replace(kept, notes=found.notes) if isinstance(kept, Preset) else kept


def save_preset(folder: Path, name: str, values: Mapping[str, Any], about: str = "") -> Preset | Problem:
    """Write the values that differ from the defaults as `folder/name.json`, whole or not at all."""
    name = name.strip()
    if not re.fullmatch(r"[^\W_][\w .,()+-]{0,79}", name) or name.endswith("."):
        message = "Give the preset a name of letters, digits, spaces and - . , ( ), at most 80 long."
        return Problem("value.preset_name", message)
    changed = {key: value for key, value in values.items() if DEFAULTS[key] != value}
    record = {"about": about, "schema": SCHEMA, **changed}
    path = folder / f"{name}.json"
    temporary = folder / f".{name}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as reason:
        return Problem("disk.preset", f"The preset could not be written to {folder}: {reason.strerror}.")
    return Preset(name, path, about, changed, own=True)


def delete_preset(preset: Preset) -> None:
    """Move one's own preset into `deleted/` beside it, from where it can be fetched back by hand."""
    assert preset.own, "shipped presets stay"
    trash = preset.path.parent / "deleted"
    trash.mkdir(exist_ok=True)
    os.replace(preset.path, trash / preset.path.name)
