"""The queue as HTML: what waits, in which order, and whether it goes on after a crash.

Comes in: the folder of all runs. Goes out: a card, empty where nothing waits; texts from outside are escaped, buttons
carry data-act, which gui/pages/runs.py turns into changes of the queue.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from gui.figures import ago, duration
from gui.marks import mark
from gui.monitor import glance
from trainer.runs.folder import RunFolder
from trainer.runs.lane import lane_of
from trainer.runs.order import held_by, read_order
from trainer.runs.queue import live_runs, queued_runs


def queue_card(home: Path) -> str:
    """The card under the list of runs."""
    waiting = queued_runs(home)
    if not waiting:
        return ""
    lanes = {lane_of(run) for run in waiting}
    several = len(lanes.union(map(lane_of, live_runs(home)))) > 1
    lists = "".join(
        _lane(home, lane, [run for run in waiting if lane_of(run) == lane], named=several) for lane in sorted(lanes)
    )
    checked = "checked" if read_order(home).goes_on else ""
    return (
        '<section class="at-card at-inner-card at-queue" aria-label="Queue"><div class="at-card-title"><h2>Queue</h2>'
        f'<label class="at-check"><input type="checkbox" data-act="goes_on" {checked}>Go on after a crash</label></div>'
        f"{lists}"
        '<p class="at-small">Each waiting run keeps the settings it had when you added it.</p></section>'
    )


def _lane(home: Path, lane: str, waiting: Sequence[RunFolder], *, named: bool) -> str:
    """What waits for one card, under its number where there are several."""
    title = f"<h3>Card {escape(lane)}</h3>" if named else ""
    rows = "".join(_row(home, waiting, place) for place in range(len(waiting)))
    return f'{title}{_held(home, lane)}<ol class="at-waiting">{rows}</ol>'


def _held(home: Path, lane: str) -> str:
    """That a crash holds the lane, and the way on."""
    crashed = held_by(home, lane)
    if crashed is None:
        return ""
    name = escape(crashed.name)
    return (
        f'<div class="at-message at-message-warning">{mark("warning")}<div><strong>The queue stands still.</strong> '
        f'{name} crashed, and you asked it to wait then.<div class="at-mends"><button type="button" class="at-button" '
        'data-act="release">Go on with the queue</button></div></div></div>'
    )


def _row(home: Path, waiting: Sequence[RunFolder], place: int) -> str:
    run = waiting[place]
    name, folder = escape(run.name), escape(run.path.name)
    acts = (
        ("earlier", "up", f"Let {name} start earlier", place == 0),
        ("later", "down", f"Let {name} start later", place == len(waiting) - 1),
        ("unqueue", "out", f"Take {name} out of the queue", False),
    )
    buttons = "".join(
        f'<button type="button" class="at-arrow-button" data-act="{act}" data-run="{folder}" aria-label="{words}" '
        f'title="{words}"{" disabled" if useless else ""}>{mark(drawn)}</button>'
        for act, drawn, words, useless in acts
    )
    return (
        f'<li><span class="at-place-number">{place + 1}</span><div><button type="button" class="at-link at-run-name" '
        f'data-act="open" data-run="{folder}">{name}</button>'
        f'<span class="at-muted">{escape(_when(home, run, first=place == 0))}</span></div>'
        f'<span class="at-arrows">{buttons}</span></li>'
    )


def _when(home: Path, run: RunFolder, *, first: bool) -> str:
    """When it was asked for; of the first also when it starts, where that is known."""
    asked = f"asked for {ago(run.created)}"
    lane = lane_of(run)
    live = live_runs(home, lane) if first and held_by(home, lane) is None else []
    left = glance(live[0].events_file).left if live else None
    return f"{asked}, starts in about {duration(left.seconds)}" if left else asked
