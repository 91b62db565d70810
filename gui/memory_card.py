"""The card of the training page that says how much memory the run needs: measured on a click, with what lets it fit.

Comes in: a `Review` of the form and how the measuring stands. Goes out: HTML; the clicks "measure", "cancel" and "fit"
come back by their data-act.
"""

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from gui.bench import Standing
from gui.figures import duration, gigabytes
from gui.marks import mark
from gui.review import Review

PLACES = {True: "card memory", False: "the computer’s memory"}


def memory_card(found: Review, standing: Standing, ahead: str) -> str:
    """How much memory the run needs, or the way to know."""
    if standing.running:
        body, state = _under_way(standing), ""
    elif standing.found is not None:
        body, state = _measured(found, standing.found, standing)
    elif standing.trouble:
        body, state = f'<p class="at-aside">{escape(standing.trouble)}</p>', _state("bad", "Not measured")
    else:
        body, state = "<p>Real steps tell how much memory this run needs, and how long it takes.</p>", ""
    button = "" if standing.running else _button(found, standing, ahead)
    return f'<div class="at-card-title"><h2>Memory</h2>{state}</div><div class="at-memory">{body}{button}</div>'


def fitting(standing: Standing) -> Mapping[str, Any]:
    """The option values with which the measured job fits; empty where none are known."""
    mend = (standing.found or {}).get("mend")
    return mend["values"] if mend else {}


def _under_way(standing: Standing) -> str:
    return (
        f'<p role="status">{escape(standing.said)}</p>'
        '<p class="at-aside">In a process of its own; you can go on here. Nothing of it stays on the disk.</p>'
        '<button type="button" class="at-button" data-act="cancel">Cancel</button>'
    )


def _button(found: Review, standing: Standing, ahead: str) -> str:
    words = "Measure again" if standing.found is not None or standing.trouble else "Measure memory"
    waits = ""
    if found.job is None:
        waits = "Can be measured when nothing is to mend."
    elif ahead:
        waits = f"{ahead} is using this machine: measure when it is done."
    held = ' disabled aria-disabled="true"' if waits else ""
    aside = f'<p class="at-aside">{escape(waits)}</p>' if waits else ""
    return f'<button type="button" class="at-button" data-act="measure"{held}>{words}</button>{aside}'


def _measured(found: Review, told: Mapping[str, Any], standing: Standing) -> tuple[str, str]:
    asked, *tried = told["measured"]
    memory = narrow(asked)
    body = _needs(asked, memory) + _bar(asked, memory)
    changed = found.config is None or found.config.flat() != standing.values
    if changed:
        body += '<p class="at-aside">Measured before boxes were changed.</p>'
    body += f'<p class="at-aside">{_aside(asked, standing)}</p>'
    if asked["fits"]:
        return body, _state("good", "It fits") if not changed else ""
    return body + _ways(tried, told["mend"], changed), _state("bad", "It does not fit") if not changed else ""


def narrow(row: Mapping[str, Any]) -> Mapping[str, float]:
    """The memory that decides: of the card or of the computer."""
    return row["card"] if row["on_card"] else row["host"]


def need_of(row: Mapping[str, Any]) -> str:
    """ "5.7 GB"; of what ran out before it was known, "more than 5.7 GB"."""
    much = _gb(narrow(row)["need_gib"])
    return much if row["complete"] else f"more than {much}"


def _needs(row: Mapping[str, Any], memory: Mapping[str, float]) -> str:
    place = PLACES[row["on_card"]]
    return (
        f"<p>Needs <strong>{need_of(row)}</strong> of {place}; {_gb(memory['free_gib'])} of "
        f"{_gb(memory['total_gib'])} are free.</p>"
    )


def memory_bar(rows: Sequence[tuple[str, str, float]], total_gib: float, *, over: bool = False) -> str:
    """A bar of all the memory there is, and under it rows of (kind, what, GiB); of the kinds "need" and "others" are
    drawn."""
    look = " at-memory-over" if over else ""
    drawn, room = "", 100.0
    # The others first: what they hold was gone before this run came.
    for kind, _, gib in sorted(rows, key=lambda row: row[0] != "others"):
        if kind in ("need", "others"):
            share = min(room, 100 * gib / max(total_gib, 1e-9))
            room -= share
            drawn = f'<i class="at-memory-{kind}{look}" style="width:{share:.1f}%"></i>{drawn}'
    cells = "".join(
        f'<dt><i class="at-memory-{kind}{look}"></i>{escape(what)}</dt><dd>{_gb(gib)}</dd>' for kind, what, gib in rows
    )
    return f'<div class="at-memory-bar" aria-hidden="true">{drawn}</div><dl class="at-sum">{cells}</dl>'


def _bar(row: Mapping[str, Any], memory: Mapping[str, float]) -> str:
    """What the run needs, what other programs hold, what is left."""
    left = memory["free_gib"] - memory["need_gib"]
    rows = [
        ("need", "This run" if row["complete"] else "This run had", memory["need_gib"]),
        ("others", "Other programs", memory["total_gib"] - memory["free_gib"]),
    ]
    if left >= 0:
        rows.append(("left", "Left at the worst moment", left))
    elif row["complete"]:
        rows.append(("left", "Missing", -left))
    return memory_bar(rows, memory["total_gib"], over=not row["fits"])


def _aside(row: Mapping[str, Any], standing: Standing) -> str:
    parts = [f"Most is needed while {row['most_while']}." if row["most_while"] else ""]
    if row["seconds_in_all"] is not None:
        parts.append(f"The run takes about {duration(row['seconds_in_all'])}.")
    parts.append(f"Measured on this machine at {time.strftime('%H:%M', time.localtime(standing.ended))}.")
    return escape(" ".join(filter(None, parts)))


def _ways(tried: list[Mapping[str, Any]], mend: Mapping[str, Any] | None, changed: bool) -> str:
    rows = "".join(
        f"<li><span>{escape(row['way']['title'])}</span><span class='at-muted'>{_figures(row)}</span></li>"
        for row in tried
    )
    if mend is None:
        words = "<p>None of these lets it fit. Close other programs, or train a smaller model.</p>"
    elif changed:
        words = ""
    else:
        words = (
            f'<p>{escape(mend["about"])}</p><button type="button" class="at-button" data-act="fit">'
            f"Use this: {escape(mend['title'])}</button>"
        )
    return f'<h3>What was tried</h3><ul class="at-memory-ways">{rows}</ul>{words}'


def _figures(row: Mapping[str, Any]) -> str:
    if "host" not in row:
        return "not possible here"
    took = f", {duration(row['seconds_in_all'])}" if row["seconds_in_all"] is not None else ""
    return f"{need_of(row)}{took}" + (
        f'</span><span class="at-memory-good">{mark("good", 14)} fits' if row["fits"] else ""
    )


def _state(kind: str, words: str) -> str:
    return f'<span class="at-memory-state at-memory-{kind}">{mark(kind)}{words}</span>'


def _gb(gib: float) -> str:
    return f"{gigabytes(gib)} GB"
