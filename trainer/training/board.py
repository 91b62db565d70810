"""The curves for TensorBoard, in a dated folder, or nowhere.

Numbers of each step come in; an event file that TensorBoard reads goes out. A resumed run goes on in the folder that it
wrote before, and its step axis goes on too.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch.utils.tensorboard import SummaryWriter

from trainer.contract.config import LoggingSection


class Board(Protocol):
    """Takes numbers by name."""

    folder: Path | None

    def add(self, values: Mapping[str, float | None], step: int) -> None:
        """Numbers of one step; None is passed over."""
        ...

    def flush(self) -> None:
        """Write out what was added so far: a process that is killed later has told all of it."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


class NoBoard:
    """Where no folder was given, and in all processes but the main one."""

    folder: Path | None = None

    def add(self, values: Mapping[str, float | None], step: int) -> None:
        """Nothing is kept."""

    def flush(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard:
    """An event file below `logging_dir`."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder: Path | None = folder
        # Steps that were written and then lost with a crash are taken back.
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def add(self, values: Mapping[str, float | None], step: int) -> None:
        """Numbers of one step; None is passed over."""
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write out what was added so far."""
        self._writer.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()


def open_board(logging: LoggingSection, first_step: int, before: Path | None) -> Board:
    """The board of a run; `before` is the folder that a resumed run wrote to."""
    if logging.logging_dir is None:
        return NoBoard()
    if first_step and before is not None and before.is_dir() and before.parent == logging.logging_dir:
        return TensorBoard(before, first_step)
    name = f"{logging.log_prefix or ''}{time.strftime('%Y%m%d%H%M%S')}"
    folder, number = logging.logging_dir / name, 2
    while folder.exists():  # two runs that start in the same second
        folder, number = logging.logging_dir / f"{name}-{number}", number + 1
    return TensorBoard(folder, first_step)
