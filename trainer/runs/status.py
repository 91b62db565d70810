"""What a run is now, derived from its files and the operating system, never from a stored word.

Comes in: a run's folder. Goes out: a `Status`. exit.json comes first, then a living process, then what the events say.
Cheap enough to ask for each run of a list each second: what cannot change any more is remembered.
"""

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from trainer.contract.control import Wish
from trainer.contract.identity import is_of_this_boot, read_identity
from trainer.runs.ending import Ending, judge, last_words, read_ending
from trainer.runs.folder import RunFolder
from trainer.runs.lane import lane_of
from trainer.runs.order import held_by
from trainer.runs.queue import is_attended, is_just_claimed, is_live, is_queued, runner_lives

State = Literal["queued", "running", "stopping", "paused", "stopped", "finished", "crashed", "lost"]

_JUST_ASKED_S = 10.0
"""So long after the click a run counts as queued although its runner is not up yet; a runner needs about 1 s."""

_HEARD_S = 5.0
"""A step that is under way when a pause is wished for is done within this, or it shows as running a little longer."""

_STOPS: dict[Wish, str] = {
    "stop": "finishes its step and saves",
    "pause": "finishes its step and leaves the card",
    "stop_without_saving": "finishes its step and ends without saving",
}


@dataclass(frozen=True, slots=True)
class Status:
    """`detail` is one sentence for people; `cause` says why it ended, empty where it ended as asked.

    `since` is when this state began, seconds since 1970. Where nobody saw the end, `exit_code` and `signal` are None.
    """

    state: State
    detail: str
    exit_code: int | None = None
    signal: int | None = None
    cause: str = ""
    since: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether this run will change no more."""
        return self.state in ("stopped", "finished", "crashed", "lost")


def status_of(run: RunFolder) -> Status:
    """What the run is at this moment."""
    ended = _ended_status(run)
    if ended is not None:
        return ended
    if is_queued(run):
        return _waiting_status(run)
    # Asked in this order: a run that ends between two looks is seen as running once more, never as lost.
    attended = is_attended(run)
    if is_live(run) or attended or is_just_claimed(run):
        return _ended_status(run) or _live_status(run)
    return _ended_status(run) or _lost_status(run)


def _ended_status(run: RunFolder) -> Status | None:
    try:
        return _status_of_exit(run, run.exit_file.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _status_of_exit(run: RunFolder, modified: int) -> Status | None:
    """`modified` only tells the cache when the file is another one."""
    del modified
    ending = read_ending(run.exit_file)
    return None if ending is None else _over(run, ending)


def _over(run: RunFolder, ending: Ending) -> Status:
    step = last_words(run.events_file).step
    state: State = {"completed": "finished", "stopped": "stopped"}.get(ending.result or "", "crashed")
    if state == "finished":
        detail = f"All {step:,} steps are done." if step != 1 else "Its one step is done."
    elif state == "stopped" and not ending.cause:
        detail = f"Stopped as asked at step {step:,}." if step else "Stopped as asked before the first step."
    else:
        detail = ending.cause[:1].upper() + ending.cause[1:].rstrip(".") + "."
    return Status(state, detail, ending.code, ending.signal, ending.cause, ending.ended)


def _waiting_status(run: RunFolder) -> Status:
    asked = run.created
    home, lane = run.path.parent, lane_of(run)
    holder = held_by(home, lane)
    if holder is not None:
        return Status("queued", f"Waits: the queue stands still since {holder.name} crashed.", since=asked)
    if runner_lives(home, lane):
        return Status("queued", "Waits for its turn.", since=asked)
    if time.time() - asked < _JUST_ASKED_S:
        return Status("queued", "Starts.", since=asked)
    cause = "no runner works through the queue"
    return Status(
        "lost", "It waits, but no runner works through the queue. Start the queue again.", None, None, cause, asked
    )


def _live_status(run: RunFolder) -> Status:
    identity = read_identity(run.launch_file) or read_identity(run.process_file)
    begun = identity.create_time if identity else run.created
    stop = last_stop(run, begun)
    if stop is not None and not _is_passed_over(run, *stop):
        return Status("stopping", f"It {_STOPS[stop[0]]}.", since=stop[1])
    return Status("running", "Runs." if run.process_file.exists() else "Starts.", since=begun)


def _is_passed_over(run: RunFolder, wish: Wish, sent: float) -> bool:
    """Whether the trainer makes steps although it was to pause: it could not write its state, and warned of that."""
    return wish == "pause" and last_words(run.events_file).stepped > sent + _HEARD_S


def last_stop(run: RunFolder, begun: float) -> tuple[Wish, float] | None:
    """The newest wish to stop since `begun` and when it was sent, or None. Older ones were for an older process."""
    try:
        lines = run.control_file.read_bytes().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = json.loads(line)
            wish, sent = record["wish"], float(record["time"])
        except (ValueError, KeyError, TypeError):
            continue
        if wish in _STOPS and sent >= begun:
            return wish, sent
    return None


def _lost_status(run: RunFolder) -> Status:
    """No process and no exit.json: the trainer's own last word counts, and without one nobody knows."""
    words = last_words(run.events_file)
    if words.finished is not None and words.finished.result == "paused":
        return Status("paused", f"Paused at step {words.step:,}.", since=words.finished.time)
    if words.finished is not None:
        ending = judge(run, None)
        return _over(run, Ending(None, None, ending.result, ending.cause, words.finished.time))
    place = f"at step {words.step}" if words.step else "before the first step"
    identity = read_identity(run.process_file) or read_identity(run.launch_file)
    if identity is not None and not is_of_this_boot(identity):
        cause, detail = f"the computer went off {place}", f"The computer went off {place}."
    else:
        cause, detail = f"gone {place}", f"Its process is gone {place}, and nobody was there to see why."
    return Status("lost", f"{detail} Start it again, or go on from its last state.", cause=cause, since=_last_sign(run))


def _last_sign(run: RunFolder) -> float:
    """When a lost run was last heard of."""
    for file in (run.events_file, run.log_file, run.launch_file):
        try:
            return file.stat().st_mtime
        except OSError:
            continue
    return run.created
