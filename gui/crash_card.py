"""The card of a run that ended by itself, as HTML: the cause, what is safe, the line that tells, and what mends it.

Comes in: a `RunOnPage`, and how the measuring of its ways stands. Goes out: HTML with every text from outside escaped;
empty for a run in another state. A click on a way comes back with its place in `ways_of`.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from gui.bench import Standing
from gui.crash_memory import crash_memory
from gui.figures import count, duration
from gui.marks import message
from gui.memory_card import PLACES, need_of
from gui.run_on_page import RunOnPage, can_go_on
from trainer.contract.events import Saved
from trainer.contract.job import Job, read_job
from trainer.runs.crash import Crash, diagnose
from trainer.runs.following import begins_anew, exists
from trainer.runs.report import report
from trainer.runs.ways import Way

_ONCE_MORE = Way("Try again unchanged", "For when the cause lies outside of the settings and is gone.")


def ways_of(crash: Crash) -> tuple[Way, ...]:
    """The ways on the card in their order: the last is always to try once more."""
    return (*crash.ways, _ONCE_MORE)


MEMORY = ("card_memory", "host_memory")
"""Kinds of crash whose ways can be measured."""


def crash_card(shown: RunOnPage, standing: Standing | None = None) -> str:
    """Why the run ended by itself, and what to do about it."""
    crash = diagnose(shown.run, shown.status)
    if crash is None:
        return ""
    evidence = (
        f'<h3>The line that tells</h3><pre class="at-log at-evidence">{escape(crash.evidence)}</pre>'
        if crash.evidence
        else ""
    )
    state = can_go_on(shown)
    told = report(shown.run, shown.status, crash, shown.view.started, shown.view.planned)
    return (
        f'<section class="at-card at-inner-card at-ending at-ending-{shown.status.state}">'
        f'<div class="at-ending-title"><h2>{escape(crash.title)}</h2>'
        '<button type="button" class="at-button" data-copy=".at-report" data-done="Copied">Copy report</button></div>'
        f"<p>{escape(crash.about)}</p>{_safe(shown, state)}{evidence}"
        f'<pre class="at-report" hidden>{escape(told)}</pre></section>'
        f"{_mends(shown, crash, state, standing or Standing())}{crash_memory(shown, crash)}"
    )


def _safe(shown: RunOnPage, state: Saved | None) -> str:
    if state:
        step = count(state.step)
        return message(
            "good", f"Nothing before step {step} is lost.", "Its state is whole; a retry goes on from there."
        )
    saved = shown.last_save
    if saved and exists(saved.path):
        return message("good", f"The save of step {count(saved.step)} is whole.", "It can be used as a model.")
    return message("info", "Nothing had been saved yet.") if shown.view.step else ""


def _mends(shown: RunOnPage, crash: Crash, state: Saved | None, standing: Standing) -> str:
    ways = ways_of(crash)
    aside = "Gentlest first. " if len(ways) > 2 else ""
    figures, button = _measured(shown, standing) if crash.code in MEMORY else ({}, "")
    rows = "".join(
        _row(state, (place, way), figures.get(_key(way.values), ""), first=place == 0) for place, way in enumerate(ways)
    )
    return (
        '<section class="at-card at-inner-card at-ways"><div class="at-card-title"><div><h2>What may mend it</h2>'
        f'<span class="at-aside">{aside}This run is kept as it is; a retry is a new run.</span></div>{button}</div>'
        f"{rows}</section>"
    )


def _measured(shown: RunOnPage, standing: Standing) -> tuple[dict[str, str], str]:
    """The figures of each way by its values, where they were measured for this run, and the button for that."""
    button = '<button type="button" class="at-button" data-act="{}">{}</button>'
    if standing.running:
        said = f'<span class="at-aside" role="status">{escape(standing.said)}</span>'
        return {}, f'<div class="at-measuring">{said}{button.format("cancel_measuring", "Cancel")}</div>'
    # Once a second: the job is read only where a measurement stands to be compared with it.
    job = read_job(shown.run.job_file) if standing.values else None
    own = isinstance(job, Job) and job.config.flat() == standing.values
    if not own or standing.found is None:
        trouble = f'<span class="at-aside">{escape(standing.trouble)}</span>' if own else ""
        return {}, f'<div class="at-measuring">{trouble}{button.format("measure", "Measure them first")}</div>'
    told = standing.found["measured"]
    return {_key(row["way"]["values"]): _figures(row) for row in told}, button.format("measure", "Measure again")


def _key(values: Mapping[str, Any]) -> str:
    return repr(sorted(values.items()))


def _figures(row: Mapping[str, Any]) -> str:
    """Memory and time of one way."""
    if "host" not in row:
        return '<span class="at-way-figure"><b>Not possible here</b></span>'
    place = PLACES[row["on_card"]] + ("" if row["fits"] else ", too much")
    cells = f'<span class="at-way-figure"><b>{need_of(row)}</b><span class="at-muted">{place}</span></span>'
    if row["seconds_in_all"] is not None:
        took = duration(row["seconds_in_all"])
        cells += f'<span class="at-way-figure"><b>{took}</b><span class="at-muted">from the start</span></span>'
    return cells


def _row(state: Saved | None, placed: tuple[int, Way], figures: str, *, first: bool) -> str:
    place, way = placed
    begins = f"Goes on from step {count(state.step)}." if state and not begins_anew(way.values) else "Begins anew."
    look = "at-button at-primary" if first and way.values else "at-button"
    words = "Retry with this" if way.values else "Retry"
    return (
        f'<div class="at-way"><div><strong>{escape(way.title)}</strong>'
        f'<span class="at-muted">{escape(way.about)} {begins}</span></div>{figures}'
        f'<button type="button" class="{look}" data-act="retry" data-way="{place}">{words}</button></div>'
    )
