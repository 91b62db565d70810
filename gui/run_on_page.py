"""One run as a page knows it: its folder, what it is now, what has happened, and what follows from these.

Comes in: a run folder's files. Goes out: a `RunOnPage` and the facts that several cards of the page say.
"""

import json
from dataclasses import dataclass

from gui.monitor import RunView
from trainer.contract.events import Saved
from trainer.runs.folder import RunFolder
from trainer.runs.following import newest_state
from trainer.runs.status import Status


@dataclass(frozen=True, slots=True, eq=False)
class RunOnPage:
    """One run: its folder, what it is now, what has happened, and whether it has prompts to draw samples of."""

    run: RunFolder
    status: Status
    view: RunView
    can_sample: bool = False

    @property
    def is_live(self) -> bool:
        return self.status.state in ("running", "stopping")

    @property
    def started(self) -> float:
        """When its process began, or when it was asked for."""
        return self.view.started.time if self.view.started else self.run.created

    @property
    def last_save(self) -> Saved | None:
        return self.view.saves[-1] if self.view.saves else None


def taken(shown: RunOnPage) -> float:
    """Seconds from the start of the process to its last event, or to its end."""
    end = shown.view.finished.time if shown.view.finished else shown.view.last_time
    return max(0.0, end - shown.started)


def epoch_of(view: RunView, step: int) -> int:
    """The epoch (from 1) in which a step lies; 0 is before training."""
    plan = view.planned
    if plan is None or plan.steps_per_epoch < 1:
        return view.epoch
    return min(plan.epochs, -(-step // plan.steps_per_epoch))


def pending(shown: RunOnPage) -> list[str]:
    """What was asked of the trainer and is not done yet: told by the files, so every browser sees it."""
    if shown.status.state != "running" or shown.view.started is None:
        return []
    asked = _last_wishes(shown.run)
    saved = max((s.time for s in shown.view.saves), default=0.0)
    drawn = max((s.time for s in shown.view.samples), default=0.0)
    since = shown.view.started.time
    rows = (("save", saved, "Saves after this step."), ("sample", drawn, "Draws samples after this step."))
    return [words for wish, done, words in rows if asked.get(wish, 0.0) > max(done, since)]


def _last_wishes(run: RunFolder) -> dict[str, float]:
    """When each wish was sent last. A person sends a few a run, so the file is read whole."""
    try:
        lines = run.control_file.read_bytes().splitlines()
    except OSError:
        return {}
    sent: dict[str, float] = {}
    for line in lines:
        try:
            record = json.loads(line)
            sent[str(record["wish"])] = float(record["time"])
        except (ValueError, KeyError, TypeError):
            continue
    return sent


def can_go_on(shown: RunOnPage) -> Saved | None:
    """The newest state on disk from which an ended run can go on, or None."""
    if shown.status.state not in ("stopped", "crashed", "lost"):
        return None
    return newest_state(shown.view.saves)
