"""What held the memory when a run ran out of it, as HTML.

Comes in: a `RunOnPage` and the line of the log that tells. Goes out: a card; empty where the run has told no figures.
"""

import re
from collections.abc import Sequence

from gui.figures import count
from gui.marks import card_title
from gui.memory_card import memory_bar
from gui.run_on_page import RunOnPage
from trainer.runs.crash import Crash

_FIGURES = {
    "total": r"total capacity of ([\d.]+) ([GM])iB",
    "free": r"of which ([\d.]+) ([GM])iB is free",
    "asked": r"Tried to allocate ([\d.]+) ([GM])iB",
}
"""What PyTorch says when a card is full."""


def crash_memory(shown: RunOnPage, crash: Crash) -> str:
    """The memory at the end: this run, other programs, what was free, what was asked for."""
    view = shown.view
    if view.started is None or crash.code not in ("card_memory", "host_memory"):
        return ""
    on_card = crash.code == "card_memory"
    rows, total = _card(shown, crash.evidence) if on_card else _host(shown)
    if not rows or total is None:
        return ""
    what = "Card memory" if on_card else "Computer memory"
    title = card_title(f"{what} at step {count(view.step)}")
    return (
        f'<section class="at-card at-inner-card at-crash-memory">{title}'
        f'<div class="at-memory">{memory_bar(rows, total, over=True)}</div></section>'
    )


def _card(shown: RunOnPage, evidence: str) -> tuple[Sequence[tuple[str, str, float]], float | None]:
    view, finished = shown.view, shown.view.finished
    assert view.started is not None
    told = {name: _gib(pattern, evidence) for name, pattern in _FIGURES.items()}
    total = told["total"] or view.started.vram_total_gib
    own = (finished.vram_peak_gib if finished is not None else None) or view.vram_gib
    if own is None or total is None:
        return (), None
    rows = [("need", "This run", own)]
    if told["free"] is not None:
        rows += [("others", "Other programs", max(0.0, total - told["free"] - own)), ("left", "Free", told["free"])]
    if told["asked"] is not None:
        rows.append(("none", "Asked for, more", told["asked"]))
    return rows, total


def _host(shown: RunOnPage) -> tuple[Sequence[tuple[str, str, float]], float | None]:
    view, finished = shown.view, shown.view.finished
    assert view.started is not None
    own = (finished.ram_peak_gib if finished is not None else None) or view.ram_gib
    return ([] if own is None else [("need", "The trainer alone", own)]), view.started.ram_total_gib


def _gib(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return None if found is None else float(found[1]) / (1 if found[2] == "G" else 1024)
