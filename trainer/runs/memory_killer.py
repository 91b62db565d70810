"""Whether the system's memory killer has been at work: Linux counts its victims since the start of the computer."""

from pathlib import Path

_COUNTERS = Path("/proc/vmstat")


def killed_so_far() -> int:
    """Processes that the kernel has ended because memory ran out; 0 where the system does not count them."""
    try:
        rows = (line.split() for line in _COUNTERS.read_text(encoding="ascii").splitlines())
        return next((int(count) for name, count in rows if name == "oom_kill"), 0)
    except (OSError, ValueError):
        return 0
