"""A run is a folder: where its files lie, how a new one is named, and which ones there are.

Comes in: the folder that holds all runs (HOME) and a `Job`. Goes out: a `RunFolder`. A folder without job.json is no
run.
"""

import json
import os
import re
import time
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trainer.contract.identity import write_identity
from trainer.contract.job import Job, write_job

_STAMP = "%Y%m%d-%H%M%S"
_NAME_LENGTH = 50
"""Letters of the name in the folder's name: with 4 bytes each and the time this stays below the 255 of most systems."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run. docs/architecture.md says who writes which."""

    path: Path

    @property
    def job_file(self) -> Path:
        return self.path / "job.json"

    @property
    def launch_file(self) -> Path:
        return self.path / "launch.json"

    @property
    def process_file(self) -> Path:
        return self.path / "process.json"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def control_file(self) -> Path:
        return self.path / "control.jsonl"

    @property
    def exit_file(self) -> Path:
        return self.path / "exit.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def name(self) -> str:
        """What the user calls it, from job.json; the folder's own name where that cannot be read."""
        return _name_in(self.job_file, _modified(self.job_file)) or self.path.name

    @property
    def created(self) -> float:
        """When it was asked for, seconds since 1970: from the folder's name, which copying the folder keeps."""
        try:
            return time.mktime(time.strptime(self.path.name[:15], _STAMP))
        except (ValueError, OverflowError):
            return _modified(self.job_file) / 1e9

    @property
    def asked(self) -> tuple[float, int, str]:
        """Sorts runs in the order of asking: those of one second by their job.json."""
        return self.created, _modified(self.job_file), self.path.name


def new_run(home: Path, job: Job, *, queued: bool = True, named: bool = False) -> RunFolder:
    """Make HOME/DATE-TIME-NAME with job.json in it. Raises OSError where HOME cannot be written.

    With `named` the folder is `home` itself: somebody chose its name. FileExistsError where it holds a run already.

    With `queued` the runner may take it. Without, it belongs to the calling process from the start (a run that was
    started in a terminal): launch.json says so before job.json is there, so no runner can take it in between.
    """
    home.mkdir(parents=True, exist_ok=True)
    run = RunFolder(home) if named else _free_folder(home, job.name)
    if run.job_file.exists():
        raise FileExistsError(f"{run.path} holds a run already. Choose another folder.")
    if not queued:
        write_identity(run.launch_file)
    write_job(run.job_file, job)
    return run


def _free_folder(home: Path, name: str) -> RunFolder:
    stem = f"{time.strftime(_STAMP)}-{_safe_name(name)}"
    number = 1
    while True:
        run = RunFolder(home / (stem if number == 1 else f"{stem}-{number}"))
        try:
            run.path.mkdir()
            return run
        except FileExistsError:
            number += 1


def list_runs(home: Path) -> list[RunFolder]:
    """All runs in HOME, newest first; an empty list where there is no such folder."""
    try:
        with os.scandir(home) as entries:
            folders = [RunFolder(Path(entry.path)) for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []
    runs = [run for run in folders if run.job_file.is_file()]
    return sorted(runs, key=lambda run: run.asked, reverse=True)


def _safe_name(name: str) -> str:
    """The name as part of a folder's name on every system: Windows allows the least, and no dot at the end."""
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "-", name)
    return name[:_NAME_LENGTH].strip(" .") or "run"


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4096)
def _name_in(job_file: Path, modified: int) -> str:
    """`modified` only tells the cache when the file is another one."""
    del modified
    try:
        return str(json.loads(job_file.read_bytes())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
