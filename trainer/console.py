"""The run in a terminal: one more reader of events.

A bar with the step, the loss and the time left where the output is a terminal; plain dated lines, one every few
seconds at most, where it is a file (RUN/log.txt).
"""

import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from trainer.contract.events import (
    GIB_IN_GB,
    Event,
    EventReader,
    Finished,
    Phase,
    Planned,
    Removed,
    Sampled,
    Saved,
    Stepped,
    Validated,
    Warned,
)

_LINE_EVERY_S = 5.0
_ENDINGS = {
    "completed": "all steps done",
    "stopped": "stopped as asked",
    "paused": "paused",
    "failed": "ended by itself",
}


class Console:
    """Shows events as they come. `watch` polls a file in a thread of its own; `show` takes them one by one."""

    def __init__(self, events_file: Path, out: TextIO | None = None) -> None:
        self._reader = EventReader(events_file)
        self._out = out or sys.stderr
        self._bar: tqdm | None = None
        self._total: int | None = None
        self._last_line = 0.0
        self._phase = ""
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self) -> None:
        """Start to show what is appended, until `close`."""
        self._thread = threading.Thread(target=self._poll, name="console", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show the rest and end."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        for event in self._reader.read():
            self.show(event)
        if self._bar is not None:
            self._bar.close()

    def _poll(self) -> None:
        while not self._done.wait(0.2):
            for event in self._reader.read():
                self.show(event)

    def show(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Planned():
                self._total = event.total_steps
                images = f"{event.images:,} images" + (f" and {event.reg_images:,} beside" if event.reg_images else "")
                self._say(f"{images}, {event.steps_per_epoch:,} steps an epoch, {event.total_steps:,} steps in all")
            case Stepped():
                self._step(event)
            case Phase() if event.name != self._phase:
                self._phase = event.name
                if event.name != "training":
                    self._say(event.name + (f", {event.total:,} {event.unit}".rstrip() if event.total else ""))
            case Validated():
                loss = "not finite" if event.loss is None else f"{event.loss:.4f}"
                self._say(f"step {event.step:,}: loss {loss} on the {event.images:,} images held out")
            case Sampled():
                self._say(f"step {event.step:,}: sample {event.path}")
            case Saved():
                self._say(f"step {event.step:,}: saved {event.path} ({event.size_bytes / 1e9:.2f} GB)")
            case Removed():
                self._say(f"step {event.step:,}: removed the older {event.path}")
            case Warned():
                self._say(f"look at this: {event.message}")
            case Finished():
                self._close_bar()
                self._say(f"{_ENDINGS[event.result]} at step {event.step:,}. {event.message}".rstrip())

    def _step(self, event: Stepped) -> None:
        loss = "not finite" if event.loss is None else f"{event.loss:.4f}"
        if self._out.isatty():
            if self._bar is None:
                self._bar = tqdm(total=self._total, initial=event.step - 1, unit="step", file=self._out, smoothing=0.1)
            self._bar.update(event.step - self._bar.n)
            self._bar.set_postfix_str(f"loss {loss}", refresh=False)
            return
        now = time.monotonic()
        if event.step in (1, self._total) or now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            parts = [f"step {event.step:,}", f"loss {loss}"]
            if event.images_per_second is not None:
                parts.append(f"{event.images_per_second:.1f} images/s")
            memory = event.vram_gib if event.vram_gib is not None else event.ram_gib
            if memory is not None:
                parts.append(f"{memory * GIB_IN_GB:.1f} GB")
            self._say(", ".join(parts))

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self._out)
        else:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=self._out, flush=True)
