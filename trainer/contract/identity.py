"""Which process it is: a pid alone is not enough, the system hands it out again.

Comes in: a pid. Goes out: an `Identity` that no other process will ever have, kept as JSON (launch.json, process.json)
and compared with what the operating system says now.
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from trainer.contract.records import read_record, write_record


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its pid, when it was created (seconds since 1970), and in which start of the machine.

    `ticks` is the creation time in clock ticks since the machine was started, where the system tells it (Linux): there
    `create_time` is computed from the wall clock and moves when somebody sets it. `boot_id` is empty where the system
    has none (Windows, macOS keep the creation time itself, so nothing moves).
    """

    pid: int
    create_time: float
    boot_id: str = ""
    ticks: int | None = None


def identity_of(pid: int | None = None) -> Identity:
    """The identity of a process, by default this one. Raises psutil.NoSuchProcess."""
    process = psutil.Process(pid)
    state = _linux_state(process.pid)
    return Identity(process.pid, process.create_time(), _boot_id(), state[1] if state else None)


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs. A process that ended and waits to be collected (zombie) does not."""
    if not is_of_this_boot(identity):
        return False
    if identity.ticks is not None:
        state = _linux_state(identity.pid)
        return state is not None and state[0] not in "ZX" and state[1] == identity.ticks
    try:
        process = psutil.Process(identity.pid)
        # One second: the coarsest clock that a supported system keeps creation times with.
        return abs(process.create_time() - identity.create_time) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_of_this_boot(identity: Identity) -> bool:
    """Whether the machine was not started anew since that process. Where the system has no boot id, True."""
    return identity.boot_id == _boot_id()


def write_identity(path: Path, pid: int | None = None) -> Identity:
    """Write who a process is, by default this one, and return it. Raises OSError, psutil.NoSuchProcess."""
    identity = identity_of(pid)
    write_record(path, asdict(identity))
    return identity


def read_identity(path: Path) -> Identity | None:
    """The identity in a file, or None where there is none. Other keys in the file are passed over."""
    record = read_record(path)
    if record is None:
        return None
    try:
        ticks = record.get("ticks")
        return Identity(
            int(record["pid"]),
            float(record["create_time"]),
            str(record["boot_id"]),
            None if ticks is None else int(ticks),
        )
    except (KeyError, TypeError, ValueError):
        return None


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _linux_state(pid: int) -> tuple[str, int] | None:
    """State letter and creation time in ticks: fields 3 and 22 of /proc/PID/stat (man 5 proc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses is free text and may hold spaces and parentheses itself.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])
