"""TensorBoard for the curves of runs: started when somebody asks for it, for this computer only, ended with the studio.

Comes in: the folder that runs log into (`logging_dir`). Goes out: an address on 127.0.0.1.
"""

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

UP_S = 60.0
"""It takes 3 to 10 s to start, more on a busy machine."""


@dataclass(frozen=True, slots=True)
class _Board:
    process: subprocess.Popen[bytes]
    address: str


_boards: dict[Path, _Board] = {}
_lock = Lock()


def open_board(folder: Path) -> str:
    """The address of a TensorBoard over `folder`; one that runs already is used again.

    Raises OSError where it cannot be started, and RuntimeError with its last line where it does not come up.
    """
    with _lock:
        board = _boards.get(folder)
        if board is None or board.process.poll() is not None:
            board = _boards[folder] = _start(folder)
        return board.address


def close_boards() -> None:
    """End all that were started here."""
    for board in _boards.values():
        board.process.communicate(timeout=10)
    _boards.clear()


def _start(folder: Path) -> _Board:
    command = [sys.executable, "-m", "gui.tensorboard", str(folder)]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=Path(__file__).parents[1]
        )
        deadline = time.monotonic() + UP_S
        while True:
            out.seek(0)
            said = out.read().decode("utf-8", "replace")
            told = re.search(r"http://127\.0\.0\.1:\d+/", said)
            if told is not None:
                return _Board(process, told[0])
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                last = (said.strip().splitlines() or ["it said nothing"])[-1]
                raise RuntimeError(f"TensorBoard did not come up: {last}")
            time.sleep(0.1)


def main(folder: str) -> None:
    """Be a TensorBoard until whoever started it closes the input, as its end does, however it comes."""
    from tensorboard import program  # noqa: PLC0415 - takes seconds, and the studio itself has no need of it

    board = program.TensorBoard()
    # The port is the system's choice: 6006, the usual one, may be another program's.
    board.configure(argv=["tensorboard", "--logdir", folder, "--host", "127.0.0.1", "--port", "0"])
    print(board.launch(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
