"""What is wished of a running trainer, one JSON object a line in RUN/control.jsonl.

Page and command line append, the trainer reads once a step: a wish costs no signal, no socket and no shared memory,
and works the same on Windows.
"""

import json
import os
import time
from pathlib import Path
from typing import Literal, get_args

Wish = Literal["stop", "stop_without_saving", "save", "sample"]
WISHES: tuple[str, ...] = get_args(Wish)


def send(path: Path, wish: Wish) -> None:
    """Append one wish. Raises OSError where the run folder cannot be written."""
    assert wish in WISHES
    line = json.dumps({"wish": wish, "time": time.time()}).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


class WishReader:
    """Reads wishes that were sent since the last call. Wishes older than the reader belong to an earlier process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def read(self) -> list[Wish]:
        """New wishes, oldest first; what is not a known wish is passed over."""
        try:
            if self._path.stat().st_size <= self._offset:
                return []
        except FileNotFoundError:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            block = file.read()
        end = block.rfind(b"\n") + 1
        self._offset += end
        wishes: list[Wish] = []
        for line in block[:end].splitlines():
            try:
                wish = json.loads(line).get("wish")
            except (ValueError, AttributeError):
                continue
            if wish in WISHES:
                wishes.append(wish)
        return wishes
