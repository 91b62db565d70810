"""The cards of the Try it page as HTML: the newest picture beside the one before training, and the grid.

Comes in: a `Task` with its request and state. Goes out: HTML with every text from outside escaped; buttons carry
data-act, which gui/pages/try_it.py understands.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from gui.figures import count, counted, duration
from gui.marks import card_title, message
from gui.run_head import button
from gui.saved_pictures import picture_url
from gui.thumbnails import thumbnail_url
from trainer.contract.problems import Problem
from trainer.contract.prompts import Prompt
from trainer.drawing.request import Request
from trainer.drawing.tasks import State, Task


@dataclass(frozen=True, slots=True)
class Shown:
    """A task as the page shows it."""

    task: Task
    request: Request
    state: State


def newest(tasks: list[Task], *, grid: bool) -> Shown | None:
    """The newest task that is a grid, or that is none."""
    for task in tasks:
        request = task.request()
        if request is not None and request.grid == grid:
            return Shown(task, request, task.state())
    return None


def result(shown: Shown | None) -> str:
    """The card of the newest picture, or of several seeds."""
    if shown is None:
        return (
            f"{card_title('The picture')}"
            '<p class="at-muted">Nothing has been drawn yet. Choose a checkpoint, write a prompt, and draw.</p>'
        )
    request, state = shown.request, shown.state
    took = f"{state.seconds:.1f} s" if state.phase == "done" and state.seconds < 60 else duration(state.seconds)
    title = card_title(_shortened(request.prompts[0].text), took if state.phase == "done" else "")
    cells = "".join(_figure(shown, c, p) for c, p in request.cells)
    look = "at-drawn" if len(request.cells) < 3 else "at-drawn at-drawn-several"
    actions = button("add", "Add prompt to the samples") if state.phase == "done" else ""
    return f'{title}{_standing(shown)}<div class="{look}">{cells}</div><div class="at-drawn-acts">{actions}</div>'


def grid(shown: Shown | None) -> str:
    """The pictures of a grid: a row for each prompt, a column for each checkpoint."""
    if shown is None:
        return ""
    request, state = shown.request, shown.state
    labels = [(_capital(one.short), one.run_name) for one in request.checkpoints]
    heads = "".join(f"<span><b>{escape(moment)}</b><small>{escape(run)}</small></span>" for moment, run in labels)
    rows = "".join(
        f'<div class="at-samples-row"><span class="at-samples-prompt">{escape(prompt.text)}</span>'
        + "".join(_picture(shown, c, p) for c in range(len(request.checkpoints)))
        + "</div>"
        for p, prompt in enumerate(request.prompts)
    )
    said = f"{counted(len(request.prompts), 'prompt')}, {counted(len(labels), 'checkpoint')}, {_seeds(request)}"
    done = f". {counted(len(state.pictures), 'picture')} in {duration(state.seconds)}." if state.is_over else "."
    save = _save(state.sheet, "Save as one PNG", "at-button") if state.sheet else ""
    return (
        f'<div class="at-grid-head"><p class="at-muted">{escape(said + done)}</p>{save}</div>{_standing(shown)}'
        f'<div class="at-samples at-samples-compared at-grid" style="--at-columns:{len(labels)}">'
        f'<div class="at-samples-head"><span></span>{heads}</div>{rows}</div>'
    )


def findings(problems: list[Problem]) -> str:
    """What keeps a picture from being drawn."""
    return "".join(
        f'<div class="at-problem at-problem-error" role="alert">{escape(problem.message)}</div>' for problem in problems
    )


def _standing(shown: Shown) -> str:
    """What happens now, or why nothing came."""
    state, name = shown.state, escape(shown.task.path.name)
    cancel = f'<button type="button" class="at-button" data-act="cancel" data-task="{name}">Cancel</button>'
    match state.phase:
        case "done":
            return ""
        case "cancelled":
            return message("info", "Called off.", "Pictures that were done are kept.")
        case "failed":
            return message("bad", "This could not be drawn.", state.message)
        case "waiting" if state.message:
            now = f'<button type="button" class="at-button" data-act="cpu" data-task="{name}">Draw now, slowly</button>'
            text = (
                "So that it is not slowed, drawing waits for its end. Or draw now on the processor, with what the run "
                "leaves of it."
            )
            box = message("warning", f"{state.message} is training.", text)
            return f'{box}<div class="at-drawn-acts">{now}{cancel}</div>'
        case "waiting":
            return f'<p class="at-muted" role="status">Waits for its turn.</p><div class="at-drawn-acts">{cancel}</div>'
    return f'{_progress(shown)}<div class="at-drawn-acts">{cancel}</div>'


def _progress(shown: Shown) -> str:
    request, state = shown.request, shown.state
    steps = [prompt.steps for _ in request.checkpoints for prompt in request.prompts]
    done = len(state.pictures) * sum(steps) / len(steps) + state.step
    part = min(100, int(100 * done / sum(steps)))
    place = f"Picture {len(state.pictures) + 1} of {len(steps)}: " if len(steps) > 1 else ""
    checkpoint = request.checkpoints[state.checkpoint].short
    now = f"loads {checkpoint}" if state.phase == "loading" else f"step {count(state.step)} of {count(state.steps)}"
    words = f"{place}{now}"
    return (
        f'<p class="at-muted">{escape(_capital(words))}</p><div class="at-progress at-progress-drawn" '
        f'role="progressbar" aria-label="Steps drawn" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{part}">'
        f'<i class="at-progress-done" style="width:{part}%"></i></div>'
    )


def _figure(shown: Shown, c: int, p: int) -> str:
    """A picture with what it is under it."""
    checkpoint, prompt = shown.request.checkpoints[c], shown.request.prompts[p]
    path = shown.state.pictures.get(f"{c}-{p}")
    seed = f"seed {prompt.seed}"
    what = f"{_capital(checkpoint.short)}, {seed}"
    acts = ""
    if path is not None:
        use = f'<button type="button" class="at-link" data-act="seed" data-seed="{prompt.seed}">Use this seed</button>'
        acts = f'<span class="at-drawn-links">{use}{_save(path, "Save picture", "at-link")}</span>'
    return f"<figure>{_picture(shown, c, p)}<figcaption><span>{escape(what)}</span>{acts}</figcaption></figure>"


def _picture(shown: Shown, c: int, p: int) -> str:
    prompt, checkpoint = shown.request.prompts[p], shown.request.checkpoints[c]
    path = shown.state.pictures.get(f"{c}-{p}")
    if path is None:
        words = "not drawn" if shown.state.is_over else ""
        return f'<span class="at-drawn-none" style="{_shape(prompt)}">{words}</span>'
    return (
        f'<a href="{escape(thumbnail_url(Path(path), 1024))}" target="_blank" rel="noopener">'
        f'<img src="{escape(thumbnail_url(Path(path), 1024))}" style="{_shape(prompt)}" '
        f'alt="{escape(prompt.text)}, {escape(checkpoint.short)}" loading="lazy"></a>'
    )


def _shape(prompt: Prompt) -> str:
    return f"aspect-ratio:{prompt.width or 1}/{prompt.height or 1}"


def _save(path: str, words: str, look: str) -> str:
    return f'<a class="{look}" href="{escape(picture_url(Path(path)))}" download>{words}</a>'


def _seeds(request: Request) -> str:
    seeds = sorted({prompt.seed or 0 for prompt in request.prompts})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} and others"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shortened(text: str) -> str:
    return text if len(text) <= 140 else f"{text[:139]}…"
