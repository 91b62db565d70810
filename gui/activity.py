"""What runs now, for the bar of every page and for the Start button: one small look at the folder of runs.

Comes in: the folder of all runs. Goes out: an `Activity`, equal to the last one where nothing has changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gui.figures import duration
from gui.marks import ESC
from gui.monitor import glance
from trainer.contract.config import TrainingConfig
from trainer.runs.folder import list_runs
from trainer.runs.lane import lane_for, lane_of
from trainer.runs.status import status_of

BAR_TEMPLATE = f"""${{(() => {{ {ESC}
if (!value.name) return '<span class="at-now"><span class="at-idle">Nothing running</span>'
 + '<span class="at-idle-demo">Demo loaded</span></span>';
const known = value.percent !== null;
const bar = known ? `<span class="at-now-bar" role="progressbar" aria-label="Steps done" aria-valuemin="0"
 aria-valuemax="100" aria-valuenow="${{value.percent}}"><i style="width:${{value.percent}}%"></i></span>` : '';
const more = [known ? value.percent + ' %' : '', value.left].filter(Boolean).join(', ');
return `<button type="button" class="at-now" data-act="show" data-run="${{esc(value.folder)}}" title="Show this run">
<span class="at-state at-state-${{value.state}}">${{value.mark}}${{value.word}}</span>
<span class="at-now-name">${{esc(value.name)}}</span>${{bar}}<span class="at-now-more">${{esc(more)}}</span></button>`;
}})()}}"""
"""Draws an `Activity` with the mark and the word of its state. Where nothing runs the style sheet chooses what is said:
whether the demo is loaded is the form's matter, and the same look at the runs serves every browser."""


@dataclass(frozen=True, slots=True)
class Activity:
    """The run that lives now, else the first one that waits; an empty name where there is neither."""

    name: str = ""
    folder: str = ""
    state: str = ""
    percent: int | None = None
    """Share of the steps that are done; None where the plan is not known yet."""
    left: str = ""
    waiting: int = 0
    """Runs that wait for their turn."""
    ahead: tuple[tuple[str, str], ...] = ()
    """Of each lane that is in use its number, and the name of the run that a new one would wait for."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ahead_of(config: TrainingConfig, ahead: Iterable[Sequence[str]]) -> str:
    """The name of the run that a job would wait for, or an empty text. `ahead` is that of an `Activity`."""
    lane = lane_for(config.hardware.gpu_ids)
    return next((name for number, name in ahead if number == lane), "")


def activity_of(runs: Path) -> Activity:
    """What runs now in this folder of runs."""
    live: Activity | None = None
    queued: list[Activity] = []
    ahead: dict[str, str] = {}
    waiting_ahead: dict[str, str] = {}
    for run in reversed(list_runs(runs)):
        if run.exit_file.exists():
            continue
        state = status_of(run).state
        if state == "queued":
            queued.append(Activity(run.name, run.path.name, state, left="waits for its turn"))
            waiting_ahead.setdefault(lane_of(run), run.name)
        elif state in ("running", "stopping"):
            ahead.setdefault(lane_of(run), run.name)
            if live is not None:
                continue
            view = glance(run.events_file)
            percent = int(100 * view.fraction) if view.total else None
            left = f"{duration(view.left.seconds)} left" if view.left is not None else ""
            live = Activity(run.name, run.path.name, state, percent, left)
    lanes = tuple(sorted((waiting_ahead | ahead).items()))
    if live is not None:
        return replace(live, waiting=len(queued), ahead=lanes)
    return replace(queued[0], ahead=lanes) if queued else Activity()
