"""The real studio as a process of its own, for tests that look at it from outside."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = Path("/usr/bin/chromium")
UP_S = 60


@contextmanager
def studio(home: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start `app.py --home HOME FLAGS` on a free port; gives its address and process, and ends it."""
    log = home / f"studio-{time.time_ns()}.log"
    command = [sys.executable, "app.py", "--home", str(home), "--port", "0", "--no-browser", *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield address_of(process, log), process
    finally:
        process.terminate()
        process.wait(10)


def address_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a studio prints when it is up."""
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        told = re.search(r"Atelier is at (http://\S+)", log.read_text(encoding="utf-8", errors="replace"))
        if told:
            return told[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"the studio did not come up:\n{log.read_text(encoding='utf-8', errors='replace')}")
