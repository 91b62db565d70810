"""A small JSON object in a file of its own (process.json, exit.json), written whole or not at all.

Comes in: a path and a mapping. Goes out: a file that readers in other processes find either old or new, never half.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PATIENCE_S = 2.0
"""How long to try again on Windows, where a file that somebody is reading can be neither replaced nor opened."""


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write into a temporary name in the same folder, flush to the disk, rename. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if os.name != "nt" or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def read_record(path: Path) -> dict[str, Any] | None:
    """The record, or None where there is no such file or it holds no JSON object."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            record = json.loads(path.read_bytes())
        except PermissionError:
            if os.name != "nt" or time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        except (OSError, ValueError):
            return None
        else:
            return record if isinstance(record, dict) else None
