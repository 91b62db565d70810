"""Why a run ended by itself: a cause in plain words, the line that proves it, and what mends it.

Comes in: a run's folder and its status. Goes out: a `Crash`. What the trainer itself said counts first, then the end of
the log, then the signal or code that its process ended with.
"""

import re
import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.contract.config import OPTIONS, TrainingConfig
from trainer.contract.events import Finished
from trainer.contract.job import Job, read_job
from trainer.runs.crash_kinds import BY_CODE, Kind, sign_in
from trainer.runs.ending import STARVED, last_words
from trainer.runs.folder import RunFolder
from trainer.runs.status import Status
from trainer.runs.ways import Way

LOG_BYTES = 32 * 1024
"""The end of the log that is searched: a traceback with its surroundings has 2 to 10 kB."""

_REFUSALS = (
    ("disk.model", "refused.model"),
    ("disk.vae", "refused.model"),
    ("model.", "refused.model"),
    ("disk.resume", "refused.resume"),
    ("machine.bitsandbytes", "bitsandbytes_broken"),
    ("machine.", "refused.machine"),
    ("disk.image_", "bad_image"),
    ("disk.output", "refused.output"),
    ("disk.target", "refused.output"),
    ("disk.no_room", "refused.output"),
    ("disk.", "refused.data"),
    ("rule.", "refused"),
    ("value.", "refused"),
)
"""Codes of problems by their beginning, and the kind of crash that they are; the first that fits counts."""

_KILLS = {"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"}
_WINDOWS_CLOSED = 0xC000_013A
"""STATUS_CONTROL_C_EXIT: Ctrl+C, or the console window was closed."""
_WINDOWS_FAULTS = 0xC000_0000
"""From here on an exit code is an NTSTATUS that says how the process fell, such as 0xC0000005 (access violation)."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Why a run ended by itself. `evidence` is empty where nothing was said; of `ways` the gentlest come first."""

    code: str
    title: str
    about: str
    evidence: str
    ways: tuple[Way, ...]


def diagnose(run: RunFolder, status: Status) -> Crash | None:
    """Why a run crashed or was lost; None for a run in any other state."""
    if status.state not in ("crashed", "lost"):
        return None
    try:
        stamp = run.log_file.stat().st_mtime_ns
    except OSError:
        stamp = 0
    return _diagnose(run, status, stamp)


@lru_cache(maxsize=64)
def _diagnose(run: RunFolder, status: Status, stamp: int) -> Crash:
    """`stamp` only tells the cache when the log is another one."""
    del stamp
    finished = last_words(run.events_file).finished
    kind, evidence = _kind_of(run, status, finished)
    mends = finished.mends if finished is not None and finished.result == "failed" else []
    job = read_job(run.job_file)
    ways = _said(mends) or (ways_for(kind, job.config) if isinstance(job, Job) else [])
    return Crash(kind.code, kind.title, _about(kind, evidence), evidence, tuple(ways))


def _kind_of(run: RunFolder, status: Status, finished: Finished | None) -> tuple[Kind, str]:
    if finished is not None and finished.result == "failed":
        known = _told(finished.code)
        log = end_of_log(run)
        if known is not None:
            found = sign_in(log)
            # The line of the log has the figures, the trainer's own words the advice.
            return known, found[1] if found is not None and found[0] is known else finished.message
        return sign_in(finished.message) or sign_in(log) or (BY_CODE["unknown"], finished.message or _last_line(log))
    if STARVED in status.cause:
        return BY_CODE["host_memory"], status.cause
    if status.state == "lost":
        return BY_CODE["no_power" if "went off" in status.cause else "gone"], status.cause
    log = end_of_log(run)
    if status.signal is None and status.cause and status.exit_code is None:
        return sign_in(status.cause) or (BY_CODE["unknown"], status.cause)
    ended = _by_end(status)
    # A process that was killed leaves no sign of its own in the log: what stands there was survived.
    if ended is not None and ended.code == "killed":
        return ended, status.cause
    return sign_in(log) or (ended or BY_CODE["unknown"], status.cause if ended else _last_line(log) or status.cause)


def _told(code: str) -> Kind | None:
    if code in BY_CODE:
        return BY_CODE[code]
    return next((BY_CODE[kind] for begin, kind in _REFUSALS if code.startswith(begin)), None)


def _by_end(status: Status) -> Kind | None:
    """What the signal or the exit code alone tells."""
    if status.signal is not None:
        try:
            name = signals.Signals(status.signal).name
        except ValueError:
            name = ""
        return BY_CODE["killed" if name in _KILLS else "fault"]
    code = (status.exit_code or 0) & 0xFFFF_FFFF
    if code == _WINDOWS_CLOSED:
        return BY_CODE["interrupted"]
    return BY_CODE["fault"] if code >= _WINDOWS_FAULTS else None


def _about(kind: Kind, evidence: str) -> str:
    """What happened in a sentence or two, with the figures that the evidence has."""
    asked = re.search(r"Tried to allocate ([\d.]+) ([GM]iB)", evidence)
    free = re.search(r"of which ([\d.]+) ([GM]iB) is free", evidence)
    if kind.code == "card_memory" and asked and free:
        first = f"A step asked for {_size(asked)} more, and {_size(free)} were free."
        return f"{first} Other programs that draw on the card take part of it, too."
    return kind.about


def _size(found: re.Match[str]) -> str:
    number = float(found[1]) * (1024**3 if found[2] == "GiB" else 1024**2)
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.0f} MB"


def _said(mends: list[dict[str, Any]]) -> list[Way]:
    """The clicks that the trainer offered when it refused, where they set options that are known here."""
    ways = []
    for mend in mends:
        label, values = mend.get("label"), mend.get("values")
        if isinstance(label, str) and isinstance(values, dict) and values and values.keys() <= OPTIONS.keys():
            ways.append(Way(label, _as_words(values), values))
    return ways


def _as_words(values: Mapping[str, Any]) -> str:
    """What a click sets, such as "Mixed precision: bf16"."""
    spoken = {True: "on", False: "off", None: "none"}
    rows = [
        f"{OPTIONS[name].shown.label}: {spoken[value] if value is None or isinstance(value, bool) else value}"
        for name, value in values.items()
    ]
    return "; ".join(rows)


def ways_for(kind: Kind, config: TrainingConfig) -> list[Way]:
    """What may mend this kind of crash and is not set already."""
    now = config.flat()
    return [way for way in kind.ways(config) if any(now[name] != value for name, value in way.values.items())]


def end_of_log(run: RunFolder) -> str:
    """The last `LOG_BYTES` of the log; empty where there is none."""
    try:
        with run.log_file.open("rb") as file:
            file.seek(max(0, run.log_file.stat().st_size - LOG_BYTES))
            return file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _last_line(log: str) -> str:
    """The last line of the last traceback, else of the log."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return (named or lines or [""])[-1]
