"""Processes that outlive whoever started them, and how to end one with all its children.

Comes in: a command, or an `Identity`. Goes out: a process in a session (Windows: process group) of its own, or none.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from trainer.contract.identity import Identity, identity_of, is_alive

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder: `-m trainer` is found from here."""

_GRACE_S = 5.0
"""How long a process that was asked to end may take before it is ended by force."""


def start_detached(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """Start a process that no closed terminal, browser or studio takes along; its output is appended to a file.

    It reads no input, and its output goes to a file and never to a pipe, which would break with its reader. Raises
    OSError where it cannot be started.
    """
    with output.open("ab") as file:
        if sys.platform != "win32":
            return _start(command, file.fileno(), start_new_session=True)
        # Without a console of its own a Python process has each of its children open a visible one. Breaking away
        # keeps it alive where the terminal ends all that was started in it; some terminals forbid that.
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        try:
            return _start(command, file.fileno(), creationflags=flags | subprocess.CREATE_BREAKAWAY_FROM_JOB)
        except PermissionError:
            return _start(command, file.fileno(), creationflags=flags)


def _start(command: Sequence[str], output: int, **how: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=_environment(os.environ), **how
    )


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a person reads in log.txt should be there at once, and in UTF-8 on Windows too."""
    paths = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **inherited,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def end_tree(*roots: Identity, grace_s: float = _GRACE_S) -> None:
    """End these processes and all their children: politely first, after `grace_s` seconds by force.

    A process that ended already, or whose pid another one has now, is left alone. Windows knows no polite way that
    reaches a process without a window, so there it is by force at once.
    """
    processes = _tree(roots)
    for process in processes:
        _signal(process, psutil.Process.terminate)
    _, left = psutil.wait_procs(processes, timeout=grace_s)
    # A process may have started another one while it was asked to end.
    left = {*left, *_tree(roots)}
    for process in left:
        _signal(process, psutil.Process.kill)
    psutil.wait_procs(left, timeout=grace_s)


def wait_until_gone(identity: Identity, pause_s: float = 0.5) -> None:
    """Wait for a process that is no child of this one."""
    while is_alive(identity):
        time.sleep(pause_s)


def find_process(*words: str) -> Identity | None:
    """A living process of this machine whose command line holds these words side by side, or None."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(tuple(command[i : i + len(words)]) == words for i in range(len(command))):
            try:
                return identity_of(process.pid)
            except psutil.NoSuchProcess:
                continue
    return None


def _tree(roots: Sequence[Identity]) -> list[psutil.Process]:
    """The processes and their children, each once, children first."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        if not is_alive(root):
            continue
        try:
            process = psutil.Process(root.pid)
            for member in [*reversed(process.children(recursive=True)), process]:
                found.setdefault(member.pid, member)
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def _signal(process: psutil.Process, how: Callable[[psutil.Process], None]) -> None:
    # Between the look and the signal it may have ended by itself.
    with suppress(psutil.NoSuchProcess):
        how(process)
