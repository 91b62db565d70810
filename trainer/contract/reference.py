"""The option table of the documentation and the schema of presets, from the same rows as everything else.

`python -m trainer.contract.reference` rewrites docs/options.md and docs/preset.schema.json; a test keeps them fresh.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from trainer.contract.config import OPTIONS
from trainer.contract.options import Option

DOCS = Path(__file__).resolve().parents[2] / "docs"


def option_table() -> str:
    """docs/options.md: every option with its label, kind, default, range and help, by section."""
    lines = [
        "# Options",
        "",
        "Made from trainer/contract/config.py by `python -m trainer.contract.reference`; change it there.",
        "Hyphens and underscores are the same in a flag; a switch stands bare or with true/false.",
    ]
    for title, options in groupby(OPTIONS.values(), key=lambda option: option.title):
        lines += [
            "",
            f"## {title}",
            "",
            "| option | label | values | default | what it does |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(option) for option in options]
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    values = ", ".join(map(str, option.choices)) or {"switch": "on or off"}.get(option.kind, option.kind)
    if option.bounds:
        values += f", {option.bounds}"
    cells = [f"`{option.name}`", option.shown.label, values, _default(option), option.help]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(option: Option) -> str:
    if isinstance(option.default, bool):
        return "on" if option.default else "off"
    return "none" if option.default is None else str(option.default)


def preset_schema() -> dict[str, Any]:
    """A JSON Schema of presets, so that an editor completes and checks them."""
    properties: dict[str, Any] = {
        "about": {"type": "string", "description": "One line on what the preset is for."},
        "schema": {"type": "integer", "description": "The version of the preset's form."},
    }
    properties.update((name, _property(option)) for name, option in OPTIONS.items())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Preset",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _property(option: Option) -> dict[str, Any]:
    kinds = {"switch": "boolean", "whole": "integer", "number": "number", "text": "string", "path": "string"}
    row: dict[str, Any] = {"description": option.help, "default": option.default}
    if option.kind == "choice":
        row["enum"] = [*option.choices, *([None] if option.optional else [])]
    else:
        row["type"] = [kinds[option.kind], "null"] if option.optional else kinds[option.kind]
    for key, bound in (("minimum", option.minimum), ("maximum", option.maximum), ("exclusiveMinimum", option.above)):
        if bound is not None:
            row[key] = bound
    return row


def write() -> None:
    """Rewrite both files."""
    (DOCS / "options.md").write_text(option_table(), encoding="utf-8")
    schema = json.dumps(preset_schema(), indent=2, ensure_ascii=False, default=str)
    (DOCS / "preset.schema.json").write_text(schema + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
