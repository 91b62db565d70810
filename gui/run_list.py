"""The list of runs as HTML: state, what happened, loss, when it began.

Comes in: the folders of all runs. Goes out: the page's head, the chips that filter, and a row for each run; texts from
outside are escaped, buttons carry data-act.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from gui.compare import MOST
from gui.figures import ago, count, counted, duration, loss_text
from gui.marks import STATE_WORDS, state_mark
from gui.monitor import RunView, glance
from gui.run_on_page import RunOnPage, taken
from trainer.runs.folder import RunFolder
from trainer.runs.status import Status, status_of

TICK_SCRIPT = """
// A list can be there, and ticked, a moment before this script is.
const ticked = new Set([...element.querySelectorAll('[data-tick]:checked')].map((box) => box.dataset.tick));
const put = (thing, name, value) => { if (thing[name] !== value) thing[name] = value; };
const tick = () => {
  for (const box of element.querySelectorAll('[data-tick]')) put(box, 'checked', ticked.has(box.dataset.tick));
  const button = element.querySelector('[data-act=compare]');
  if (!button) return;
  put(button, 'hidden', ticked.size < 2);
  put(button, 'disabled', ticked.size > MOST);
  put(button, 'textContent', ticked.size > MOST ? 'At most MOST runs' : `Compare ${ticked.size} runs`);
  put(button.dataset, 'runs', [...ticked].join('|'));
};
element.addEventListener('change', (event) => {
  const run = event.target.dataset.tick;
  if (!run) return;
  if (event.target.checked) ticked.add(run); else ticked.delete(run);
  tick();
});
new MutationObserver(tick).observe(element, {childList: true, subtree: true, attributes: true});
tick();
""".replace("MOST", str(MOST))
"""Ticks are the browser's own business, and survive that the list is drawn anew under them."""

_ORDER = ("running", "stopping", "paused", "queued", "finished", "stopped", "crashed", "lost")


@dataclass(frozen=True, slots=True)
class Row:
    """One run of the list, ready to draw."""

    folder: str
    name: str
    state: str
    happened: str
    fraction: float | None
    loss: str
    began: str


def rows_of(runs: Sequence[RunFolder]) -> list[Row]:
    """A row for each run, in the given order."""
    return [row_of(run, status_of(run), glance(run.events_file)) for run in runs]


def row_of(run: RunFolder, status: Status, view: RunView) -> Row:
    """One run in a line; the bar only while it runs and knows how far it is."""
    live = status.state in ("running", "stopping")
    return Row(
        run.path.name,
        run.name,
        status.state,
        _happened(RunOnPage(run, status, view)),
        view.fraction if live and view.total else None,
        loss_text(view.smoothed) if view.smoothed is not None else "",
        ago(view.started.time if view.started else run.created),
    )


def _happened(shown: RunOnPage) -> str:
    view, status = shown.view, shown.status
    if status.state == "finished":
        return f"{counted(view.step, 'step')} in {duration(taken(shown))}"
    if status.state == "running" and view.step:
        total = f" of {count(view.total)}" if view.total else ""
        left = f", {duration(view.left.seconds)} left" if view.left else ""
        return f"Step {count(view.step)}{total}{left}"
    return status.detail.rstrip(".")


def newest_live(runs: Sequence[RunFolder]) -> RunFolder | None:
    """The newest run that lives, of runs that are sorted newest first."""
    return next((run for run in runs if status_of(run).state in ("running", "stopping")), None)


def list_head(rows: Sequence[Row]) -> str:
    """Title and sum, with the way to a new run at the right."""
    live = sum(row.state in ("running", "stopping") for row in rows)
    waiting = sum(row.state == "queued" for row in rows)
    parts = [f"{count(live)} running" if live else "", f"{count(waiting)} queued" if waiting else ""]
    now = ", ".join(part for part in parts if part) or "Nothing running"
    return (
        '<div class="at-runs-head"><div class="at-page-title"><h1>Runs</h1><p class="at-page-about">'
        f"{now}. Runs go on when this page or the studio is closed.</p></div>"
        + ('<button type="button" class="at-button" data-act="new">New run</button>' if rows else "")
        + "</div>"
    )


def run_list(rows: Sequence[Row], chosen: str) -> str:
    """Chips and table; with no run at all, what to do for a first one."""
    if not rows:
        return (
            '<div class="at-empty"><strong>Nothing has been trained here</strong>'
            "<p>A run appears the moment you press Start.</p>"
            '<div class="at-empty-acts"><button type="button" class="at-button at-button-filled" data-act="new">'
            "Go to Training</button></div></div>"
        )
    shown = [row for row in rows if chosen in ("", row.state)] or list(rows)
    body = "".join(_row(row) for row in shown)
    return (
        f'{_chips(rows, chosen)}<div class="at-card at-inner-card"><table class="at-runs"><thead><tr><th>Run</th>'
        '<th>State</th><th>What happened</th><th class="at-right">Loss</th><th>Started</th><th></th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _chips(rows: Sequence[Row], chosen: str) -> str:
    counts = Counter(row.state for row in rows)
    chips = [("", "All", len(rows))]
    chips += [(state, STATE_WORDS[state], counts[state]) for state in _ORDER if counts[state]]
    chosen = chosen if counts[chosen] else ""
    return (
        '<div class="at-chips" role="group" aria-label="Filter by state">'
        + "".join(
            f'<button type="button" class="at-chip" data-act="filter" data-state="{state}" '
            f'aria-pressed="{str(state == chosen).lower()}">{word} <span>{count(number)}</span></button>'
            for state, word, number in chips
        )
        + '<button type="button" class="at-button at-button-filled" data-act="compare" hidden>Compare</button></div>'
    )


def _row(row: Row) -> str:
    bar = ""
    if row.fraction is not None:
        share = int(100 * row.fraction)
        bar = (
            f'<div class="at-progress at-progress-small" role="progressbar" aria-label="Steps of {escape(row.name)}" '
            f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share}">'
            f'<i class="at-progress-done" style="width:{share}%"></i></div>'
        )
    tick = f'<input type="checkbox" data-tick="{escape(row.folder)}" aria-label="Compare {escape(row.name)}">'
    word = "Why" if row.state in ("crashed", "lost") else "Open"
    return (
        f'<tr><th scope="row"><label class="at-check">{tick}{escape(row.name)}</label></th>'
        f"<td>{state_mark(row.state)}</td>"
        f'<td class="at-happened">{escape(row.happened)}{bar}</td><td class="at-right">{row.loss}</td>'
        f'<td class="at-began">{row.began}</td>'
        f'<td class="at-right"><button type="button" class="at-button" data-act="open" data-run="{escape(row.folder)}" '
        f'aria-label="{word} {escape(row.name)}">{word}</button></td></tr>'
    )
