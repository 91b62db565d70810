"""What a job needs, measured in a process of its own that the page starts, watches and can cancel.

Comes in: a `Job`. Goes out: how the measuring stands, and what was found, as `python -m trainer probe --json` tells it.
One measurement at a time in a studio, whoever looks at it; a studio that ends takes it along.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import psutil

from trainer.contract.cli import flags_of
from trainer.contract.identity import identity_of
from trainer.contract.job import Job
from trainer.runs.measure import clear_leftovers
from trainer.runs.processes import ROOT, end_tree

PROBE = (sys.executable, "-m", "trainer", "probe")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a measurement stands: `said` is its last sentence, `found` what came out, `trouble` why nothing did."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """All options of the job that is or was measured."""
    running: bool = False
    said: str = ""
    found: Mapping[str, Any] | None = None
    trouble: str = ""
    ended: float = 0.0


class Bench:
    """The one measurement of a studio."""

    def __init__(self, home: Path, command: tuple[str, ...] = PROBE) -> None:
        self._home = home
        self._command = command
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._standing = Standing()

    @property
    def standing(self) -> Standing:
        """How it stands now."""
        return self._standing

    def start(self, job: Job, *words: str) -> None:
        """Measure a job, unless one is being measured. Raises OSError where no process can be started."""
        with self._lock:
            if self._standing.running:
                return
            command = [*self._command, "--home", str(self._home), "--json", *words, *flags_of(job.config.changed())]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                encoding="utf-8", errors="replace", env=None, start_new_session=True,
            )  # fmt: skip
            self._standing = Standing(job.config.flat(), running=True, said="Starts")
            Thread(target=self._listen, args=(self._process,), name="bench", daemon=True).start()

    def cancel(self) -> None:
        """End the measurement, its processes and what they wrote; what was found before is forgotten."""
        with self._lock:
            process, self._process = self._process, None
            if process is None or process.poll() is not None:
                return
            self._standing = Standing()
            try:
                end_tree(identity_of(process.pid))
            except psutil.NoSuchProcess:
                return
            process.wait()
            clear_leftovers(self._home)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None and process.stderr is not None
        answer: list[str] = []
        reader = Thread(target=lambda: answer.append(process.stdout.read()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        last = ""
        for line in process.stderr:
            if line.strip():
                last = line.strip()
                self._note(process, said=last)
        process.wait()
        reader.join()
        found, trouble = _read(answer[0], last)
        self._note(process, running=False, found=found, trouble=trouble, ended=time.time())

    def _note(self, process: subprocess.Popen[str], **what: Any) -> None:
        """Take down what a process told, unless it was cancelled meanwhile."""
        with self._lock:
            if process is self._process:
                self._standing = replace(self._standing, **what)


@cache
def bench_of(home: Path) -> Bench:
    """The bench of the studio in this folder: the same for every page and every browser."""
    return Bench(home)


def _read(answer: str, last: str) -> tuple[Mapping[str, Any] | None, str]:
    """What was found, or why nothing was."""
    try:
        told = json.loads(answer)
    except ValueError:
        return None, last or "The measuring ended without a word."
    if isinstance(told, dict) and "measured" in told:
        return told, ""
    return None, " ".join(str(problem["message"]) for problem in told)
