"""A lock that the operating system holds for a process and lets go when the process ends, however it ends."""

import os
from pathlib import Path
from typing import BinaryIO

if os.name == "nt":
    import msvcrt
else:
    import fcntl


def take_lock(path: Path) -> BinaryIO | None:
    """The open file that holds the lock (closing it lets go), or None where another process has it. Raises OSError."""
    file = path.open("ab")
    try:
        if os.name == "nt":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        # What a held lock looks like: the first on Linux and macOS, the second on Windows.
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file
