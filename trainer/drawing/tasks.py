"""What was asked of the process that draws, and how far each request is: folders in HOME/drawings/tasks. No torch.

A task is a folder: whoever asks writes request.json, the drawer writes state.json, whoever watches reads that; a file
`cancel` calls it off. The pictures themselves lie in the folders of their runs and outlive the task.
"""

import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Thread
from typing import Literal

from trainer.contract.identity import identity_of, is_alive, read_identity
from trainer.contract.records import read_record, write_record
from trainer.drawing.request import Request
from trainer.runs.folder import RunFolder
from trainer.runs.processes import start_detached
from trainer.runs.queue import live_runs

Phase = Literal["waiting", "loading", "drawing", "done", "cancelled", "failed"]

OVER: tuple[Phase, ...] = ("done", "cancelled", "failed")
KEPT = 20
"""Finished tasks whose record is kept; their pictures are kept anyway."""

DRAWER = "trainer.drawing.drawer"
LOCK = "drawer.lock"


@dataclass(slots=True)
class State:
    """How far a task is. `pictures` names the files by "checkpoint-prompt", both counted from 0."""

    phase: Phase = "waiting"
    message: str = ""
    """Why it failed, or the name of the run that it waits for."""
    checkpoint: int = 0
    prompt: int = 0
    step: int = 0
    steps: int = 0
    pictures: dict[str, str] = field(default_factory=dict)
    sheet: str = ""
    """The file with all pictures of several in one."""
    seconds: float = 0.0
    attempts: int = 0

    @property
    def is_over(self) -> bool:
        return self.phase in OVER


@dataclass(frozen=True, slots=True)
class Task:
    """One request in its folder."""

    path: Path

    @property
    def cancelled(self) -> bool:
        """Whether somebody has called it off."""
        return (self.path / "cancel").exists()

    def request(self) -> Request | None:
        """What is asked, or None where it cannot be read."""
        try:
            return Request.from_dict(read_record(self.path / "request.json") or {})
        except (KeyError, TypeError):
            return None

    def state(self) -> State:
        """How far it is."""
        record = read_record(self.path / "state.json") or {}
        known = State.__dataclass_fields__
        return State(**{name: value for name, value in record.items() if name in known})

    def tell(self, state: State) -> None:
        """Write how far it is. Only the drawer does; but for a task that nobody has taken, who cancels it may."""
        write_record(self.path / "state.json", asdict(state))

    def cancel(self) -> None:
        """Call it off: at the next step, or at once where it still waits. Pictures that are done stay."""
        (self.path / "cancel").touch()
        state = self.state()
        if state.phase == "waiting":
            state.phase = "cancelled"
            self.tell(state)


def ask(home: Path, request: Request) -> Task:
    """Ask for pictures and see to it that somebody draws them. Raises OSError."""
    folder = tasks_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    _forget_old(folder)
    task = Task(folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}")
    task.path.mkdir()
    write_record(task.path / "request.json", request.as_dict())
    tend(home)
    return task


def tasks_in(home: Path) -> list[Task]:
    """All tasks that are asked for, newest first."""
    try:
        folders = sorted(tasks_folder(home).iterdir(), reverse=True)
    except FileNotFoundError:
        return []
    return [Task(folder) for folder in folders if (folder / "request.json").exists()]


def task_named(home: Path, name: str) -> Task | None:
    """The task of this name; a name is not a path and cannot lead elsewhere."""
    return next((task for task in tasks_in(home) if task.path.name == name), None)


def unfinished(home: Path) -> list[Task]:
    """What is still to be drawn, oldest first."""
    return [task for task in reversed(tasks_in(home)) if not task.state().is_over]


def tend(home: Path) -> None:
    """Start a drawer where something is to be drawn and none lives. Cheap: a page may call it at each look."""
    if drawer_lives(home) or not unfinished(home):
        return
    start_drawer(home)


def start_drawer(home: Path) -> None:
    """Start the process that draws. A second one finds the lock taken and ends."""
    process = start_detached(drawer_command(home), home / "drawings" / "drawer.log")
    write_record(_drawer_file(home), asdict(identity_of(process.pid)))
    # Collects the process when it ends: in a studio that runs for days they would stay behind as zombies.
    Thread(target=process.wait, daemon=True).start()


def drawer_command(home: Path) -> list[str]:
    """The command line of the process that draws for HOME."""
    return [sys.executable, "-m", DRAWER, str(home.resolve())]


def drawer_lives(home: Path) -> bool:
    """Whether a process draws for HOME."""
    identity = read_identity(_drawer_file(home))
    return identity is not None and is_alive(identity)


def announce_drawer(home: Path) -> None:
    """Write HOME/drawings/drawer.json: this process draws."""
    write_record(_drawer_file(home), asdict(identity_of()))


def training_now(home: Path) -> RunFolder | None:
    """The run that trains on this machine now: nothing may slow it."""
    return next(iter(live_runs(home / "runs")), None)


def tasks_folder(home: Path) -> Path:
    return home / "drawings" / "tasks"


def _drawer_file(home: Path) -> Path:
    return home / "drawings" / "drawer.json"


def _forget_old(folder: Path) -> None:
    """Remove the records of old tasks: the files that a task has, and nothing else."""
    for task in [Task(path) for path in sorted(folder.iterdir(), reverse=True)][KEPT:]:
        if not task.state().is_over:
            continue
        for name in ("request.json", "state.json", "cancel"):
            (task.path / name).unlink(missing_ok=True)
        try:
            task.path.rmdir()
        except OSError:
            continue
