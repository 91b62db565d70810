"""The process that draws for the page: `python -m trainer.drawing.drawer HOME`. It keeps the last model loaded.

Comes in: tasks in HOME/drawings. Goes out: their states and pictures. Nothing may slow a run that trains: when one
begins, this process ends at once, in mid-picture too, and a fresh one without torch waits for the run's end. Idle, it
ends by itself.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import psutil

from trainer.drawing.checkpoints import look_at
from trainer.drawing.request import Request, picture_file
from trainer.drawing.sheet import sheet_file, write_sheet
from trainer.drawing.tasks import (
    LOCK,
    State,
    Task,
    announce_drawer,
    drawer_lives,
    start_drawer,
    training_now,
    unfinished,
)
from trainer.runs.lock import take_lock

if TYPE_CHECKING:
    from trainer.drawing.artist import Artist

IDLE_S = 300.0
LOOK_EVERY_S = 0.5
TELL_EVERY_S = 0.25

_HANDOVER_S = 10.0
"""How long the one before may take to let go of the lock."""

MOST_ATTEMPTS = 2


class Cancelled(Exception):
    """The picture is not wanted any more."""


class Drawer:
    """Works through the tasks of HOME."""

    def __init__(self, home: Path, idle_s: float = IDLE_S) -> None:
        self._home = home
        self._idle_s = idle_s
        self._artist: Artist | None = None
        self._beside_training = False
        """Whether what is drawn now may go on while a run trains."""

    def work(self) -> None:
        """Draw until nothing has been asked for `idle_s` seconds."""
        last = time.monotonic()
        Thread(target=self._watch, name="watch", daemon=True).start()
        while time.monotonic() - last < self._idle_s:
            waiting = unfinished(self._home)
            run = training_now(self._home) if waiting else None
            ready = [task for task in waiting if run is None or _on_cpu(task)]
            if ready:
                self._take(ready[0])
            elif run is not None:
                self._say_waiting(waiting, run.name)
            if waiting:
                last = time.monotonic()
            if not drawer_lives(self._home):
                announce_drawer(self._home)  # another one, which found this one at work, had its name there
            if not ready:
                time.sleep(LOOK_EVERY_S / 2)

    def _watch(self) -> None:
        """In a thread: leave memory and device to a run as soon as it lives, whatever is being done here."""
        while True:
            time.sleep(LOOK_EVERY_S)
            if self._artist is not None and not self._beside_training and training_now(self._home) is not None:
                if unfinished(self._home):
                    start_drawer(self._home)
                print("a run begins: the model leaves memory", flush=True)
                # Not sys.exit: only an end of the whole process gives the card back at once, from any place in it.
                os._exit(0)

    def _say_waiting(self, tasks: list[Task], name: str) -> None:
        for task in tasks:
            state = task.state()
            if (state.phase, state.message) != ("waiting", name):
                state.phase, state.message = "waiting", name
                task.tell(state)

    def _take(self, task: Task) -> None:
        state = task.state()
        request = task.request()
        began = time.monotonic()
        state.attempts += 1
        state.message = ""
        try:
            if task.cancelled:
                raise Cancelled
            if request is None:
                raise ValueError("what was asked cannot be read")
            if state.attempts > MOST_ATTEMPTS:
                raise ValueError("the process that draws ended by itself twice, maybe for lack of memory")
            self._beside_training = request.on_cpu
            if request.on_cpu:
                give_way()
            self._draw_all(task, request, state)
            state.phase = "done"
        except Cancelled:
            state.phase = "cancelled"
        except Exception as failure:
            # Whatever a damaged model or a full card throws: the task says it, and the next one has its turn.
            state.phase, state.message = "failed", _sentence(failure)
            print(f"{task.path.name}: {failure!r}", flush=True)
            self._artist = None
        state.seconds = time.monotonic() - began
        self._write_sheet(request, state)
        task.tell(state)

    def _draw_all(self, task: Task, request: Request, state: State) -> None:
        for c, p in self._ordered(request):
            checkpoint, prompt = request.checkpoints[c], request.prompts[p]
            path = picture_file(checkpoint, prompt, self._home)
            state.checkpoint, state.prompt, state.step, state.steps = c, p, 0, prompt.steps
            if not path.is_file():
                state.phase = "loading"
                task.tell(state)
                problems = look_at(checkpoint)[1]
                if problems:
                    raise ValueError(" ".join(problem.message for problem in problems))
                artist = self._ready()
                artist.load(checkpoint, request.on_cpu)
                state.phase = "drawing"
                artist.draw(checkpoint, prompt, self._teller(task, state))
            state.pictures[f"{c}-{p}"] = str(path)
            task.tell(state)

    def _ordered(self, request: Request) -> list[tuple[int, int]]:
        """The loaded checkpoint first, then the last of them, which is the one to be tried."""
        artist = self._artist
        loaded = {c for c, one in enumerate(request.checkpoints) if artist is not None and artist.has(one)}
        return sorted(request.cells, key=lambda cell: (cell[0] not in loaded, -cell[0]))

    def _ready(self) -> "Artist":
        if self._artist is None:
            from trainer.drawing.artist import Artist  # noqa: PLC0415 - torch, only when something is drawn

            self._artist = Artist(self._home)
        return self._artist

    def _teller(self, task: Task, state: State) -> Callable[[int], None]:
        """Tells how many steps are done, a few times a second, and hears of a cancel at each step."""
        last = 0.0

        def tell(step: int) -> None:
            nonlocal last
            if task.cancelled:
                raise Cancelled
            if time.monotonic() - last > TELL_EVERY_S:
                last = time.monotonic()
                state.step = step
                task.tell(state)

        task.tell(state)
        return tell

    def _write_sheet(self, request: Request | None, state: State) -> None:
        """All pictures in one, where there are several."""
        if request is None or len(state.pictures) < 2:
            return
        path = sheet_file(request, self._home)
        write_sheet(path, request, state.pictures)
        state.sheet = str(path)


def give_way() -> None:
    """Take only what others leave of the processor. It cannot be taken back, but slows nothing that is alone."""
    process = psutil.Process()
    process.nice(19 if os.name != "nt" else psutil.IDLE_PRIORITY_CLASS)


def main(home: Path, idle_s: float = IDLE_S) -> None:
    """Be the drawer of HOME, or end where another process is it."""
    deadline = time.monotonic() + _HANDOVER_S
    while (lock := take_lock(home / "drawings" / LOCK)) is None:
        if time.monotonic() > deadline:
            print("another drawer is at work here", flush=True)
            return
        time.sleep(0.1)
    with lock:
        announce_drawer(home)
        Drawer(home, idle_s).work()


def _on_cpu(task: Task) -> bool:
    request = task.request()
    return request is None or request.on_cpu or task.cancelled


def _sentence(failure: Exception) -> str:
    text = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
    if "out of memory" in text.lower():
        return "The memory is full. Choose a smaller size, or close what else uses the card."
    return text[:300]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
