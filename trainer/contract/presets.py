"""Presets: one flat JSON object of option values over the defaults, with a line "about".

Loading always starts from the defaults, never from what stood in the form before. This is the only file that knows
old key names: `MIGRATIONS` is a list of small steps, one per schema version.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.contract.config import DEFAULTS, OPTIONS
from trainer.contract.job import ALIASES, SCHEMA, absolute_paths, unknown_option
from trainer.contract.problems import Problem

MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()
"""`MIGRATIONS[n]` takes the values of schema n+1 to schema n+2."""

_META = ("about", "schema")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of values; `own` presets were saved by the user and can be deleted."""

    name: str
    path: Path
    about: str
    values: Mapping[str, Any]
    own: bool = False


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
    """Read one preset: its values are migrated to today's names, unknown names are named with the nearest one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return [Problem("value.preset", f"There is no preset {path}. Choose another.")]
    except (OSError, ValueError):
        return [Problem("value.preset", f"{path.name} is no preset that can be read: it is not JSON.")]
    if not isinstance(record, dict):
        return [Problem("value.preset", f"{path.name} is no preset: it holds no options.")]
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
