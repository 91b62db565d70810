"""How a run ended: exit.json, and the judgement that leads to it.

Comes in: the exit code of the trainer (None where nobody could see it), the last events and the wishes. Goes out: an
`Ending` with a cause in plain words. exit.json is the last file that is written into a run's folder.
"""

import json
import os
import signal as signals
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import get_args

from trainer.contract.events import Finished, Result, Started, Stepped, decode
from trainer.contract.records import read_record, write_record
from trainer.runs.folder import RunFolder

STARVED = "while the system ended processes because its memory was full"
"""What the cause says of a run that the memory killer took; trainer/runs/crash.py knows it by this."""

_TAIL_BYTES = 64 * 1024
"""The last step lies in here: after it come at most samples and saves, some 300 bytes each."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What exit.json holds. Of `code` and `signal` at most one is known; `cause` is empty where all went as asked."""

    code: int | None
    signal: int | None
    result: Result | None
    cause: str
    ended: float


@dataclass(frozen=True, slots=True)
class LastWords:
    """What the events say at last: the newest step (0 before the first) and when it was made, and the result."""

    step: int = 0
    stepped: float = 0.0
    finished: Finished | None = None


def record_exit(
    run: RunFolder, code: int | None, result: Result | None, cause: str, *, signal: int | None = None
) -> None:
    """Write exit.json, unless it is there already: the first to see the end knows best. Raises OSError."""
    record_ending(run, Ending(code, signal, result, cause, time.time()))


def record_ending(run: RunFolder, ending: Ending) -> None:
    """The same for an ending that was judged."""
    if not run.exit_file.exists():
        write_record(run.exit_file, asdict(ending))


def read_ending(path: Path) -> Ending | None:
    """What an exit.json says, or None where there is none."""
    record = read_record(path)
    if record is None:
        return None
    result = record.get("result")
    return Ending(
        _whole(record.get("code")),
        _whole(record.get("signal")),
        result if result in get_args(Result) else None,
        str(record.get("cause") or ""),
        float(record.get("ended") or 0),
    )


def judge(run: RunFolder, code: int | None, *, demanded: bool = False, starved: bool = False) -> Ending:
    """The ending of a run whose processes are gone.

    `code` is the trainer's: negative for a signal (as subprocess tells it), None where nobody could see it.
    `demanded` says that its end was asked for at any price (the second click on Stop): then dying is being stopped.
    `starved` says that the system's memory killer was at work meanwhile.
    """
    words = last_words(run.events_file)
    result = words.finished.result if words.finished else None
    signal = -code if code is not None and code < 0 else None
    place = f"at step {words.step}" if words.step else "before the first step"
    died = _death(code, place) + (f", {STARVED}" if starved and signal == signals.SIGKILL else "")
    if result == "failed":
        cause = words.finished.message or died
    elif result is not None:
        cause = "" if code in (0, None) else f"all was done; then its process was lost: {died}"
    elif demanded and _is_killing(code):
        result, cause = "stopped", f"ended at once {place}, as asked"
    else:
        cause = died
    return Ending(None if signal else code, signal, result, cause, time.time())


def _is_killing(code: int | None) -> bool:
    """Whether this is the code of a process that was ended from outside: 15 is what psutil ends with on Windows."""
    return code is None or code < 0 or (os.name == "nt" and code == signals.SIGTERM)


def _death(code: int | None, place: str) -> str:
    """What became of a process that did not say a last word."""
    if code is None:
        return f"gone without a word {place}: nobody was there to see how it ended"
    if code < 0:
        return f"killed by signal {-code} {place}"
    if code == 2:
        return "refused before it began (code 2): log.txt says why"
    if code == 0:
        return f"ended {place} without saying that it was done"
    # Windows tells crashes by codes such as 0xC0000005 (access violation), which people look up in this form.
    return f"ended with code {code if code < 0x8000_0000 else hex(code)} {place}"


def last_words(events_file: Path) -> LastWords:
    """The newest step and, where the trainer said so, how it finished. An older process's end does not count."""
    try:
        stat = events_file.stat()
        return _read_last_words(events_file, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return LastWords()


def is_paused(run: RunFolder) -> bool:
    """Whether the trainer's last word was that it pauses: then the run is to go on from its own state."""
    finished = last_words(run.events_file).finished
    return finished is not None and finished.result == "paused"


@lru_cache(maxsize=1024)
def _read_last_words(events_file: Path, size: int, modified: int) -> LastWords:
    """`modified` only tells the cache when the file is another one."""
    del modified
    words = _scan(events_file, max(0, size - _TAIL_BYTES))
    return words if words.step or size <= _TAIL_BYTES else _scan(events_file, 0)


def _scan(events_file: Path, start: int) -> LastWords:
    step, stepped, finished = 0, 0.0, None
    with events_file.open("rb") as file:
        file.seek(start)
        for line in file:
            # The first line may be the end of one and the last a torn one: neither parses.
            try:
                event = decode(json.loads(line))
            except (ValueError, AttributeError):
                continue
            match event:
                case Stepped():
                    step, stepped = event.step, event.time
                case Started():
                    step, finished = event.resumed_step, None
                case Finished():
                    step, finished = event.step, event
    return LastWords(step, stepped, finished)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
