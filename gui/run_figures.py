"""The six key figures of a run as HTML.

Comes in: a `RunOnPage`. Goes out: a row of figures, each with what it is and a remark; texts from outside are escaped.
"""

from html import escape

from gui.figures import clock, count, duration, gigabytes, loss_text, percent, spread
from gui.monitor import RunView
from gui.pace import FIRST
from gui.run_on_page import RunOnPage, taken
from trainer.runs.card import look_at_card
from trainer.runs.lane import card_of


def figures(shown: RunOnPage) -> str:
    """Step, time, speed, loss, card memory, computer memory; nothing before the run has begun."""
    view = shown.view
    if view.started is None:
        return ""
    return "".join((_step_figure(view), _time_figure(shown), _speed_figure(view), _loss_figure(view), *_memory(shown)))


def _figure(what: str, value: str, beside: str = "", remark: str = "", below: str = "") -> str:
    """One key figure; `below` is HTML of our own, the rest is text."""
    small = f" <small>{escape(beside)}</small>" if beside else ""
    return (
        f'<div class="at-figure"><span class="at-figure-what">{escape(what)}</span>'
        f'<span class="at-figure-value">{escape(value)}{small}</span>'
        f'<span class="at-figure-remark">{escape(remark)}</span>{below}</div>'
    )


def _step_figure(view: RunView) -> str:
    if view.total is None:
        return _figure("Step", count(view.step), "", "the plan is not counted yet" if not view.finished else "")
    save = f", next save at {count(view.next_save)}" if view.next_save and not view.finished else ""
    return _figure("Step", count(view.step), f"of {count(view.total)}", f"{percent(view.fraction)}{save}")


def _time_figure(shown: RunOnPage) -> str:
    view = shown.view
    if not shown.is_live:
        return _figure("Time taken", duration(taken(shown)) if view.started else "none")
    if view.left is None:
        return _figure("Time left", "not known yet", "", f"shown after {FIRST} steps")
    done = f"done about {clock(view.last_time + view.left.seconds)}"
    return _figure("Time left", duration(view.left.seconds), spread(view.left.low, view.left.high), done)


def _speed_figure(view: RunView) -> str:
    speed = view.images_per_second
    if speed is None:
        return _figure("Speed", "not known yet")
    if speed < 0.1:
        return _figure("Speed", duration(1 / speed), "", "an image")
    return _figure(
        "Speed",
        f"{speed:.0f}" if speed >= 100 else f"{speed:.1f}" if speed >= 1 else f"{speed:.2f}",
        "",
        "images a second",
    )


def _loss_figure(view: RunView) -> str:
    if view.smoothed is None:
        return _figure("Loss", "not known yet")
    first = f", {loss_text(view.first_loss)} at first" if view.first_loss is not None else ""
    return _figure("Loss", loss_text(view.smoothed), "", f"smoothed{first}")


def _memory(shown: RunOnPage) -> tuple[str, str]:
    view = shown.view
    started = view.started
    device = started.device if started else ""
    if view.vram_gib is None:
        card = _figure("Card memory", "none used", "", f"runs on {device}" if device else "")
    else:
        now = _card_now(shown) if shown.is_live else _most(view.finished and view.finished.vram_peak_gib)
        remark = ", ".join(filter(None, (device, now)))
        card = _meter("Card memory", view.vram_gib, started.vram_total_gib if started else None, remark)
    if view.ram_gib is None:
        return card, _figure("Computer memory", "not known yet")
    most = _most(view.finished and view.finished.ram_peak_gib)
    return card, _meter("Computer memory", view.ram_gib, started.ram_total_gib if started else None, most)


def _card_now(shown: RunOnPage) -> str:
    """How busy and how warm the run's card is."""
    card = look_at_card(card_of(shown.run))
    if card is None:
        return ""
    busy = f"{card.load} % busy" if card.load is not None else ""
    return ", ".join(filter(None, (busy, f"{card.celsius} °C" if card.celsius is not None else "")))


def _most(gib: float | None) -> str:
    """The peak of a run that is over."""
    return f"at most {gigabytes(gib)} GB" if gib is not None else ""


def _meter(what: str, gib: float, total: float | None, remark: str) -> str:
    if not total:
        return _figure(what, gigabytes(gib), "GB", remark)
    share = 100 * min(1.0, gib / total)
    bar = f'<div class="at-meter"><i style="width:{share:.1f}%"></i></div>'
    return _figure(what, gigabytes(gib), f"of {gigabytes(total)} GB", remark, bar)
