"""The card of a run that ended by itself, as HTML: the cause, what is safe, the line that tells, and what mends it.

Comes in: a `RunOnPage`. Goes out: HTML with every text from outside escaped; empty for a run in another state. A click
on a way comes back with its place in `ways_of`.
"""

from html import escape

from gui.figures import count
from gui.marks import card_title, message
from gui.run_on_page import RunOnPage, can_go_on
from trainer.contract.events import Saved
from trainer.runs.crash import Crash, diagnose
from trainer.runs.following import begins_anew, exists
from trainer.runs.report import report
from trainer.runs.ways import Way

_ONCE_MORE = Way("Try again unchanged", "For when the cause lies outside of the settings and is gone.")


def ways_of(crash: Crash) -> tuple[Way, ...]:
    """The ways on the card in their order: the last is always to try once more."""
    return (*crash.ways, _ONCE_MORE)


def crash_card(shown: RunOnPage) -> str:
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
        f"{_mends(crash, state)}"
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


def _mends(crash: Crash, state: Saved | None) -> str:
    ways = ways_of(crash)
    aside = "Gentlest first. " if len(ways) > 2 else ""
    rows = "".join(_row(state, place, way, first=place == 0) for place, way in enumerate(ways))
    return (
        '<section class="at-card at-inner-card at-ways">'
        f"{card_title('What may mend it', f'{aside}This run is kept as it is; a retry is a new run.')}{rows}</section>"
    )


def _row(state: Saved | None, place: int, way: Way, *, first: bool) -> str:
    begins = f"Goes on from step {count(state.step)}." if state and not begins_anew(way.values) else "Begins anew."
    look = "at-button at-primary" if first and way.values else "at-button"
    words = "Retry with this" if way.values else "Retry"
    return (
        f'<div class="at-way"><div><strong>{escape(way.title)}</strong>'
        f'<span class="at-muted">{escape(way.about)} {begins}</span></div>'
        f'<button type="button" class="{look}" data-act="retry" data-way="{place}">{words}</button></div>'
    )
