"""The top of a run's page as HTML: name, state, phase, controls, bar, six figures, and the question before a stop.

Comes in: a `RunOnPage`. Goes out: HTML with every text from outside escaped; buttons
carry data-act, which gui/pages/live.py turns into wishes.
"""

from html import escape

from gui.figures import clock, count, counted, duration
from gui.marks import mark, state_mark
from gui.monitor import RunView
from gui.run_figures import figures
from gui.run_on_page import RunOnPage, can_go_on, epoch_of, pending, taken
from trainer.contract.events import Phase

_PHASES = {
    "loading": "Loading the model",
    "scanning": "Looking through the images",
    "caching": "Caching latents",
    "training": "Training",
    "sampling": "Drawing samples",
    "saving": "Saving",
    "validating": "Measuring the images held out",
}
_MOST_TICKS = 60
"""More epochs than this would make the bar a comb."""


def head(shown: RunOnPage, *, asking: bool) -> str:
    """The card: title and controls, bar, figures; with `asking`, the question before a stop without saving."""
    return (
        '<section class="at-run-head" aria-label="This run">'
        f'<div class="at-run-title"><h1>{escape(shown.run.name)} {state_mark(shown.status.state)}</h1>'
        f"<p>{escape(phase_line(shown))}</p>{_closing(shown)}</div>"
        f'<div class="at-run-controls" role="group" aria-label="Controls">{_controls(shown)}</div>'
        f"{_question(shown) if asking and shown.status.state == 'running' else ''}"
        f'<div class="at-run-bar">{_bar(shown)}</div>'
        f'<div class="at-figures at-run-figures">{figures(shown)}</div></section>'
    )


def phase_line(shown: RunOnPage) -> str:
    """What it does now, or how it ended, in one sentence."""
    view, status = shown.view, shown.status
    if status.state == "queued":
        return f"{status.detail} Its settings are fixed."
    if status.state == "stopping":
        return status.detail
    if status.state == "running":
        return f"{_phase(view)}, since {clock(shown.started)}." if view.started else "Starting."
    ended = clock(status.since)
    if status.state == "finished":
        return f"All {counted(view.step, 'step')} done at {ended}, in {duration(taken(shown))}."
    if status.state in ("stopped", "paused"):
        return f"{status.detail.rstrip('.')}, {ended}."
    return f"Ended at {ended}." if status.state == "crashed" else f"Last heard of at {ended}."


def _phase(view: RunView) -> str:
    phase = view.phase
    if phase is None or phase.name == "training":
        if view.planned and view.step:
            return f"Training, epoch {count(epoch_of(view, view.step))} of {count(view.planned.epochs)}"
        return "Training"
    at = f" at step {count(view.step)}" if phase.name in ("sampling", "saving", "validating") else ""
    return _PHASES[phase.name] + at + _counted(phase)


def _counted(phase: Phase) -> str:
    if phase.total is None or phase.done is None:
        return ""
    return f", {count(phase.done)} of {count(phase.total)} {phase.unit}".rstrip()


def _closing(shown: RunOnPage) -> str:
    asked = pending(shown)
    lines = ["You can close this page."] if shown.status.state in ("queued", "running", "stopping") else []
    return f"<p>{escape(' '.join([*asked, *lines]))}</p>" if asked or lines else ""


def button(act: str, words: str, drawn: str = "", look: str = "at-button") -> str:
    """A button inside a template; its click reaches Python with `act`."""
    return f'<button type="button" class="{look}" data-act="{act}">{mark(drawn) if drawn else ""}{words}</button>'


def _controls(shown: RunOnPage) -> str:
    state = shown.status.state
    if state == "queued":
        return button("unqueue", "Take out of the queue") + button("edit", "Edit as new")
    if state == "stopping":
        return button("end", "End it at once", look="at-link at-danger")
    if state == "running":
        now = button("save", "Save now", "save") if shown.view.steps_here else ""
        if now and shown.can_sample:
            now += button("sample", "Sample now", "sample")
        now += button("pause", "Pause", "paused") if now else ""
        gap = '<span class="at-run-gap"></span>' if now else ""
        finish = button("finish", "Finish step and save", "stopped")
        return f"{now}{gap}{finish}{button('ask', 'Stop without saving', look='at-link at-danger')}"
    more = button("go_on", "Go on") if state == "paused" or can_go_on(shown) else ""
    return f"{more}{button('edit', 'Edit as new')}"


def _question(shown: RunOnPage) -> str:
    view, saved = shown.view, shown.last_save
    steps = view.step - (saved.step if saved else view.step - view.steps_here)
    time = f", about {duration(view.left.until(steps))}" if view.left and steps else ""
    since = "since the last save " if saved else "since the start "
    lost = (
        f"{counted(steps, 'step')} {since}{'is' if steps == 1 else 'are'} lost{time}." if steps else "No step is lost."
    )
    kept = f" The save of step {count(saved.step)} stays." if saved else " Nothing has been saved yet." if steps else ""
    return (
        '<div class="at-question" role="alertdialog" aria-labelledby="at-question-title" '
        'aria-describedby="at-question-text"><strong id="at-question-title">Stop without saving?</strong>'
        f'<p id="at-question-text">{lost}{kept}</p><div class="at-mends">'
        '<button type="button" class="at-button" data-act="keep" data-focus>Keep running</button>'
        f"{button('stop', 'Stop without saving', look='at-link at-danger')}</div></div>"
    )


def _bar(shown: RunOnPage) -> str:
    """The bar of the steps; before the first step that of the phase; none where no total is known."""
    view = shown.view
    if view.step == 0 and shown.is_live:
        phase = view.phase
        if phase is None or not phase.total or phase.done is None:
            return ""
        words = _PHASES[phase.name]
        bar = _progress(words, phase.done, phase.total, "")
        told = f"{count(phase.done)} of {count(phase.total)} {escape(phase.unit)}".rstrip()
        return f'{bar}<div class="at-bar-ends"><span>{words}</span><span>{told}</span></div>'
    if not view.total:
        return ""
    bar = _progress("Steps", view.step, view.total, _ticks(view))
    return f'{bar}<div class="at-bar-ends"><span>0</span>{_save_marks(view)}</div>'


def _progress(name: str, done: int, total: int, inside: str) -> str:
    share = 100 * min(1.0, done / total)
    return (
        f'<div class="at-progress" role="progressbar" aria-label="{name}" aria-valuemin="0" aria-valuemax="{total}" '
        f'aria-valuenow="{done}"><i class="at-progress-done" style="width:{share:.3f}%"></i>{inside}</div>'
    )


def _ticks(view: RunView) -> str:
    assert view.total
    steps = view.epoch_steps
    if len(steps) > _MOST_TICKS:
        return ""
    return "".join(f'<i class="at-progress-tick" style="left:{100 * step / view.total:.3f}%"></i>' for step in steps)


def _save_marks(view: RunView) -> str:
    """A small mark where a model is or will be saved; the last save stands with the total at the right end."""
    assert view.planned and view.total
    drawn: list[str] = []
    last = 0.0
    for step in view.planned.save_steps:
        at = 100 * step / view.total
        if at - last >= 3 and at <= 88:
            drawn.append(f'<b style="left:{at:.2f}%" title="Saves at step {count(step)}">{mark("save", 12)}</b>')
            last = at
    end = mark("save", 12) if view.total in view.planned.save_steps else ""
    return f'{"".join(drawn)}<span class="at-bar-end">{count(view.total)} {end}</span>'
