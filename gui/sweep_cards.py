"""The sweeps as HTML: a table of losses, the best framed, and the way to lay their curves over one another.

Comes in: the folders of all runs, and their rows in the list. Goes out: a card for each of the newest sweeps; texts
from outside are escaped, buttons carry data-act, which gui/pages/runs.py understands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from gui.compare import MOST
from gui.figures import loss_text
from gui.marks import STATE_WORDS
from gui.monitor import glance
from gui.run_list import Row
from trainer.contract.config import OPTIONS
from trainer.runs.folder import RunFolder
from trainer.runs.sweep import Axis, Sweep, sweeps_of

SHOWN = 3
"""The newest sweeps; older ones stay in the list of runs."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep, ready to draw."""

    row: Row
    loss: float | None
    validation: float | None


def sweep_cards(runs: Sequence[RunFolder], rows: Sequence[Row]) -> str:
    """A card for each of the newest sweeps among runs that are sorted newest first; nothing where there is none."""
    by_folder = {row.folder: row for row in rows}
    return "".join(_card(sweep, by_folder) for sweep in sweeps_of(runs)[:SHOWN])


def _card(sweep: Sweep, rows: Mapping[str, Row]) -> str:
    cells = {place: _cell(run, rows[run.path.name]) for place, run in sweep.runs.items()}
    measured = [cell for cell in cells.values() if cell.loss is not None]
    # One kind of figure for the whole table: a loss while training says less than one on images held out.
    validated = bool(measured) and all(cell.validation is not None for cell in measured)
    values = {place: cell.validation if validated else cell.loss for place, cell in cells.items()}
    known = {place: value for place, value in values.items() if value is not None}
    best = min(known, key=lambda place: known[place]) if len(known) > 1 else None
    what = "Validation loss" if validated else "Loss"
    return (
        '<section class="at-card at-inner-card at-sweep-card"><div class="at-card-title">'
        f"<h2>{escape(sweep.name)}</h2>{_overlay(cells, known)}</div>"
        f'<p class="at-small">{what}, lower is better.{_orientation(sweep.axes)}</p>'
        f"{_table(sweep, cells, values, best)}</section>"
    )


def _cell(run: RunFolder, row: Row) -> Cell:
    view = glance(run.events_file)
    measured = view.validation.last if view.validation is not None and len(view.validation) else None
    return Cell(row, view.smoothed, measured)


def _overlay(cells: dict[tuple[int, ...], Cell], known: dict[tuple[int, ...], float]) -> str:
    """The button that compares the runs that have a loss, or the best of them."""
    best = sorted(known, key=lambda place: known[place])[:MOST]
    if len(best) < 2:
        return ""
    names = escape("|".join(cells[place].row.folder for place in best))
    words = "Overlay the curves" if len(best) == len(known) else f"Overlay the best {MOST}"
    return f'<button type="button" class="at-button" data-act="compare" data-runs="{names}">{words}</button>'


def _orientation(axes: Sequence[Axis]) -> str:
    if len(axes) == 1:
        return ""
    rows, columns = _rows_and_columns(axes)
    return f" Rows: {escape(_label(axes[rows]))}. Columns: {escape(_label(axes[columns]))}."


def _rows_and_columns(axes: Sequence[Axis]) -> tuple[int, int]:
    """The places of the two axes: fewer columns than rows, so that a phone has room for them."""
    return (0, 1) if len(axes[0].values) >= len(axes[1].values) else (1, 0)


def _table(
    sweep: Sweep,
    cells: dict[tuple[int, ...], Cell],
    values: dict[tuple[int, ...], float | None],
    best: tuple[int, ...] | None,
) -> str:
    if len(sweep.axes) == 1:
        rows, columns, head = 0, None, ""
    else:
        rows, columns = _rows_and_columns(sweep.axes)
        head = "".join(f'<th scope="col">{escape(value)}</th>' for value in sweep.axes[columns].values)
        head = f"<thead><tr><td></td>{head}</tr></thead>"
    label = _label(sweep.axes[rows])
    body = []
    for number, value in enumerate(sweep.axes[rows].values):
        across = [()] if columns is None else [(place,) for place in range(len(sweep.axes[columns].values))]
        places = [_place(rows, number, other) for other in across]
        drawn = "".join(_drawn(cells.get(place), values.get(place), place == best) for place in places)
        body.append(f'<tr><th scope="row">{escape(label)} {escape(value)}</th>{drawn}</tr>')
    return f'<table class="at-sweep">{head}<tbody>{"".join(body)}</tbody></table>'


def _place(rows: int, number: int, other: tuple[int, ...]) -> tuple[int, ...]:
    return (number, *other) if rows == 0 else (*other, number)


def _drawn(cell: Cell | None, value: float | None, best: bool) -> str:
    """One cell: the loss and the state under it; a click opens the run."""
    if cell is None:
        return '<td class="at-sweep-gone"><span class="at-muted">deleted</span></td>'
    row = cell.row
    state = STATE_WORDS[row.state].lower()
    if row.fraction is not None:
        state = f"{state}, {100 * row.fraction:.0f} %"
    loss = loss_text(value) if value is not None else "–"
    look = ' class="at-sweep-best"' if best else ""
    words = escape(f"Open {row.name}: {loss}, {state}{', the best' if best else ''}")
    return (
        f'<td{look}><button type="button" data-act="open" data-run="{escape(row.folder)}" aria-label="{words}">'
        f"<strong>{loss}</strong><span>{state}</span></button></td>"
    )


def _label(axis: Axis) -> str:
    return OPTIONS[axis.option].shown.label if axis.option in OPTIONS else axis.option
