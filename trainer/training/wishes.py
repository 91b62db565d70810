"""What is wished of the run: from RUN/control.jsonl in the main process, by signals in every process, by the clock.

Ctrl+C and SIGTERM mean "stop": finish the step, save, end. A second Ctrl+C ends at once. The main process's clock
wishes for a state every so many minutes.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from trainer.contract.control import WISHES, Wish, WishReader
from trainer.contract.identity import read_identity


class Wishes:
    """Reads wishes once a step."""

    def __init__(self, run: Path | None, state_every_minutes: float = 0) -> None:
        """`run` is the run folder, or None in a process that does not read it; its clock then stands still, too."""
        self._every_s = 60 * state_every_minutes if run is not None else 0
        self._struck_at: float | None = None
        self._reader: WishReader | None = None
        self._signalled = False
        if run is not None:
            # A click on Stop may come while the trainer still loads: wishes count from the launch on.
            launch = read_identity(run / "launch.json")
            self._reader = WishReader(run / "control.jsonl", since=launch.create_time if launch else None)
        self._waiting: list[Wish] = []

    def read(self) -> list[Wish]:
        """What came since the last call."""
        found = self._waiting + (self._reader.read() if self._reader is not None else [])
        self._waiting = []
        if self._signalled:
            self._signalled = False
            found.append("stop")
        return found

    def wants_end(self) -> bool:
        """Whether somebody wants the run to end; all wishes stay for the next `read`."""
        self._waiting = self.read()
        return "stop" in self._waiting or "stop_without_saving" in self._waiting

    def flags(self) -> list[float]:
        """What came since the last call as one number for each of `WISHES`, so that processes can add theirs up."""
        found = self.read()
        if self._strikes():
            found.append("state")
        return [float(wish in found) for wish in WISHES]

    def _strikes(self) -> bool:
        """Whether it is time for a state again. The first step starts the clock: before it there is nothing to lose."""
        now = time.monotonic()
        if self._struck_at is None:
            self._struck_at = now
        if not self._every_s or now - self._struck_at < self._every_s:
            return False
        self._struck_at = now
        return True

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Inside, signals are wishes."""
        names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
        before: dict[int, Any] = {}
        try:
            for name in names:
                number = getattr(signal, name)
                before[number] = signal.signal(number, self._on_signal)
        except ValueError:
            # Only the main thread may listen to signals; in another one wishes still come by file.
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                # None: somebody else than Python had set it, and there is no way back to that.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True
