"""How much of the computer's memory is free and how much there is, within what a container allows.

Nothing comes in; bytes go out. In a container the system tells of the whole machine, and the limit stands in a file.
"""

from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")


def free_and_total(groups: Path = _GROUPS) -> tuple[int, int]:
    """(free, total) in bytes: what programs can still get without swapping, and the most there is."""
    machine = psutil.virtual_memory()
    limit = _number(groups / "memory.max")
    used = _number(groups / "memory.current")
    if limit is None or used is None or limit >= machine.total:
        return machine.available, machine.total
    # Files that were read count as used, but make room at once when somebody needs it.
    return max(0, min(machine.available, limit - used + _cached(groups / "memory.stat"))), limit


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max": no limit
        return None


def _cached(file: Path) -> int:
    try:
        rows = (line.split() for line in file.read_text(encoding="ascii").splitlines())
        return next((int(row[1]) for row in rows if row and row[0] == "inactive_file"), 0)
    except (OSError, ValueError, IndexError):
        return 0
