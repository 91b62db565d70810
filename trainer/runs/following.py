"""What follows a run that has ended: a job with its settings that goes on from its newest state, or begins anew.

Comes in: a run's folder and option values to lay over its own. Goes out: a `Job`, or what is to mend first.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainer.contract.events import EventReader, Saved
from trainer.contract.fixed import ANEW
from trainer.contract.job import Job, differing, make_job, read_options
from trainer.contract.problems import Problem
from trainer.runs.folder import RunFolder


def newest_state(saves: Iterable[Saved]) -> Saved | None:
    """The last state that was saved and is still there."""
    states = [saved for saved in saves if saved.kind == "state"]
    return next((saved for saved in reversed(states) if exists(saved.path)), None)


def state_of(run: RunFolder) -> Path | None:
    """The folder of the newest state that this run wrote and that is still there."""
    saves = (event for event in EventReader(run.events_file).read() if isinstance(event, Saved))
    newest = newest_state(saves)
    return Path(newest.path) if newest is not None else None


def begins_anew(values: Mapping[str, Any]) -> bool:
    """Whether a state cannot be gone on from once these options are changed."""
    return bool(ANEW & values.keys())


def job_after(run: RunFolder, values: Mapping[str, Any], state: Path | None) -> Job | list[Problem]:
    """The settings of a run with the values laid over, going on from the state; without one, from where it began."""
    before = read_options(run.job_file)
    if before is None:
        return [Problem("value.job", f"{run.job_file} cannot be read. Choose the settings on the page again.")]
    settings = differing(before)
    if begins_anew(values):
        settings.pop("resume", None)
    elif state is not None:
        settings["resume"] = str(state)
    return make_job({**settings, **values}, run.path)


def exists(path: str) -> bool:
    """Whether there is something at a path that an event names."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
