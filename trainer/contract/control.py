"""What is wished of a running trainer, one JSON object a line in RUN/control.jsonl.

Page and command line append, the trainer reads once a step: a wish costs no signal, no socket and no shared memory,
and works the same on Windows.
"""

import json
import os
import time
from pathlib import Path
from typing import Literal, get_args

Wish = Literal["stop", "stop_without_saving", "pause", "save", "sample", "state"]
"""`pause` writes a state and leaves the card, to go on in the same run; `save` writes a model, `state` a state into the
run folder; the trainer's own clock wishes for states too."""
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
    """Reads wishes that were sent since the last call. Wishes older than the reader belong to an earlier process.

    With `since` (seconds since 1970) the wishes from that moment on count instead, so that a click on Stop is heard
    that came while the trainer was still loading: give it the create_time of the identity in launch.json.
    """

    def __init__(self, path: Path, since: float | None = None) -> None:
        self._path = path
        self._since = 0.0 if since is None else since
        self._offset = path.stat().st_size if since is None and path.exists() else 0

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
                record = json.loads(line)
                wish, sent = record.get("wish"), record.get("time", 0.0)
            except (ValueError, AttributeError):
                continue
            if wish in WISHES and sent >= self._since:
                wishes.append(wish)
        return wishes
