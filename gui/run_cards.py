"""The cards of a run's page below its head, as HTML: checkpoints, warnings, settings, samples, log.

Comes in: a `RunOnPage`, and for the settings its job. Goes out: HTML with every text from outside escaped; an empty
text where a card has nothing to say.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from gui.figures import clock, count, counted, duration, size
from gui.form import written
from gui.marks import card_title, mark, message
from gui.monitor import RunView
from gui.run_head import button
from gui.run_on_page import RunOnPage, epoch_of
from gui.thumbnails import thumbnail_url
from trainer.contract.config import DEFAULTS, OPTIONS
from trainer.contract.events import Sampled, Saved
from trainer.contract.job import read_options
from trainer.runs.following import exists

LOG_BYTES = 64 * 1024
"""The end of log.txt that is read: some 600 lines."""

LINES_SHOWN = 400
COLUMNS = 5
"""Samples side by side: step 0 and four others fit at 1280."""

_SHOWN = 5
"""Saves and warnings that are shown at once; the others are folded away."""
_PLAIN = ("train_data_dir", "pretrained_model_name_or_path", "output_name", "output_dir", "sample_prompts", "resume")
"""Options that the card names by themselves, or the samples show."""


def card(title: str, body: str, aside: str = "", look: str = "") -> str:
    """A card of a template; `body` is HTML."""
    return f'<section class="at-card at-inner-card {look}">{card_title(title, aside)}{body}</section>'


def checkpoints(shown: RunOnPage) -> str:
    """What was written and read back, newest first, and when the next one comes."""
    view = shown.view
    # Of one step the model first: it is what people came for.
    rows = [_saved_row(saved) for saved in sorted(view.saves, key=lambda s: (-s.step, s.kind == "state"))]
    upcoming = _upcoming(shown)
    if not rows and not upcoming:
        return ""
    older = "".join(rows[_SHOWN:])
    more = f"<details><summary>{count(len(rows) - _SHOWN)} older</summary>{older}</details>" if older else ""
    return card("Checkpoints", f'<div class="at-saves">{upcoming}{"".join(rows[:_SHOWN])}</div>{more}')


def _saved_row(saved: Saved) -> str:
    step = count(saved.step)
    title = f"Epoch {count(saved.epoch)}, step {step}" if saved.kind == "model" else f"State to resume, step {step}"
    below = f"{size(saved.size_bytes)}, written {clock(saved.time)} and read back"
    there = exists(saved.path)
    if not there:
        below = f"{size(saved.size_bytes)}, written {clock(saved.time)}, no longer there"
    tried = saved.kind == "model" and there
    act = f'<button type="button" class="at-button" data-act="try" data-to="{escape(saved.path)}">Try it</button>'
    return (
        f'<div class="at-save"><strong>{title}</strong><span class="at-muted">{below}</span>'
        f'{act if tried else ""}<span class="at-place">{escape(saved.path)}</span></div>'
    )


def _upcoming(shown: RunOnPage) -> str:
    view, step = shown.view, shown.view.next_save
    if step is None or shown.status.state != "running":
        return ""
    when = f"in about {duration(view.left.until(step - view.step))}" if view.left else "not written yet"
    return (
        f'<div class="at-save at-muted"><span>Epoch {count(epoch_of(view, step))}, step {count(step)}</span>'
        f"<span>{when}</span></div>"
    )


def warnings(view: RunView) -> str:
    """What is to be looked at, newest first; the same words only once, with how often they came."""
    if not view.warnings:
        return ""
    times: dict[str, list[int | None]] = {}
    for warned in view.warnings:
        times.setdefault(warned.message, []).append(warned.step)
    rows = []
    for words, steps in reversed(times.items()):
        step = f"Step {count(steps[-1])}" if steps[-1] is not None else ""
        often = f"{counted(len(steps), 'time')}, last at s{step[1:]}" if len(steps) > 1 and step else step
        rows.append(
            f'<div class="at-message at-message-warning">{mark("warning")}<span>{escape(words)} '
            f'<span class="at-muted">{often}</span></span></div>'
        )
    older = "".join(rows[_SHOWN:])
    more = f"<details><summary>{count(len(rows) - _SHOWN)} more</summary>{older}</details>" if older else ""
    return card("Warnings", "".join(rows[:_SHOWN]) + more)


def settings(shown: RunOnPage) -> str:
    """What the run learns from what, and the options that differ from their defaults."""
    options = job_options(shown.run.job_file)
    if options is None:
        return card("This run", message("warning", "job.json cannot be read.", "The settings are not known."))
    changed = {name: value for name, value in options.items() if name in OPTIONS and value != DEFAULTS[name]}
    plan, started = shown.view.planned, shown.view.started
    rows = [("Data", _data(changed.get("train_data_dir"), plan.images if plan else None))]
    rows.append(("Model", Path(str(changed.get("pretrained_model_name_or_path") or "none")).name))
    if started:
        rows.append(("Seed", str(started.seed)))
    others = [
        (OPTIONS[name].shown.label, value_text(name, value)) for name, value in changed.items() if name not in _PLAIN
    ]
    facts = "".join(f"<dt>{escape(what)}</dt><dd>{escape(text)}</dd>" for what, text in rows)
    listed = "".join(f"<dt>{escape(what)}</dt><dd>{escape(text)}</dd>" for what, text in others)
    differ = f"{counted(len(others), 'setting')} {'differs' if len(others) == 1 else 'differ'} from the defaults"
    more = f"<details><summary>{differ}</summary><dl>{listed}</dl></details>" if others else ""
    board = button("board", "Open TensorBoard") if options.get("logging_dir") else ""
    folder = f'<p class="at-place">{escape(str(shown.run.path))}</p>'
    return card("This run", f"<dl>{facts}</dl>{more}{folder}{board}")


def job_options(job_file: Path) -> dict[str, object] | None:
    """The options in job.json as they were asked for, or None where it cannot be read."""
    try:
        return _job_options(job_file, job_file.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _job_options(job_file: Path, modified: int) -> dict[str, object] | None:
    """`modified` only tells the cache when the file is another one."""
    del modified
    return read_options(job_file)


def _data(folder: object, images: int | None) -> str:
    name = Path(str(folder)).name if folder else "no folder"
    return f"{name}, {counted(images, 'image')}" if images is not None else name


def value_text(name: str, value: object) -> str:
    """The value of an option in words."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    return OPTIONS[name].shown.words.get(str(value), written(value))


def samples(shown: RunOnPage, *, whole: bool = False) -> str:
    """The pictures, a row for each prompt, a column for each step; step 0, before training, comes first.

    Of more steps than fit, the latest are shown, or with `whole` some evenly spread over the run.
    """
    pictures = shown.view.samples
    if not pictures:
        return ""
    grid: dict[int, dict[int, Sampled]] = {}
    for picture in pictures:
        grid.setdefault(picture.index, {})[picture.step] = picture
    steps = chosen_steps(sorted({picture.step for picture in pictures}), whole=whole)
    heads = "".join(f"<span>{'Step 0, before' if step == 0 else f'Step {count(step)}'}</span>" for step in steps)
    rows = "".join(_sample_row(shown.run.path, grid[index], steps) for index in sorted(grid))
    top = f'<div class="at-samples-head"><span></span>{heads}</div>'
    return f'<div class="at-samples" style="--at-columns:{len(steps)}">{top}{rows}</div>'


def chosen_steps(steps: Sequence[int], *, whole: bool, most: int = COLUMNS) -> list[int]:
    """At most `most` of the steps, the first always among them: the latest, or evenly spread with the latest last."""
    if len(steps) <= most:
        return list(steps)
    if not whole:
        return [steps[0], *steps[-(most - 1) :]]
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


def _sample_row(folder: Path, pictures: dict[int, Sampled], steps: Sequence[int]) -> str:
    prompt = next(iter(pictures.values())).prompt
    cells = "".join(picture(folder, pictures.get(step), prompt) for step in steps)
    return f'<div class="at-samples-row"><span class="at-samples-prompt">{escape(prompt)}</span>{cells}</div>'


def picture(folder: Path, sampled: Sampled | None, prompt: str) -> str:
    """A sample of the run in `folder`, small, with a link to it in full; or that it was not drawn."""
    if sampled is None:
        return '<span class="at-samples-none at-muted">not drawn</span>'
    path = folder / sampled.path
    # Nothing outside the run's own folder: events.jsonl is a file that somebody may have given away.
    if not os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep):
        return '<span class="at-samples-none at-muted">not in the run\'s folder</span>'
    when = "before training" if sampled.step == 0 else f"at step {count(sampled.step)}"
    return (
        f'<a href="{escape(thumbnail_url(path, 1024))}" target="_blank" rel="noopener" '
        f'class="{"at-samples-first" if sampled.step == 0 else ""}">'
        f'<img src="{escape(thumbnail_url(path, 512))}" alt="{escape(prompt)}, {when}" loading="lazy"></a>'
    )


def log(log_file: Path, search: str | None = None, *, follow: bool = True) -> str:
    """The end of log.txt; with `search` only the lines that hold it, in any letter case."""
    lines = log_lines(log_file)
    wanted = (search or "").strip().casefold()
    found = [line for line in lines if wanted in line.casefold()] if wanted else lines
    if not found:
        words = f"No line of the log holds “{wanted}”." if wanted else "Nothing has been written yet."
        return f'<p class="at-muted">{escape(words)}</p>'
    text = "\n".join(escape(line) for line in found[-LINES_SHOWN:])
    return (
        f'<pre class="at-log at-log-long" tabindex="0" aria-label="Log"{" data-follow" if follow else ""}>{text}</pre>'
    )


def log_lines(log_file: Path) -> tuple[str, ...]:
    """The last lines of the log as people see them: of what a progress bar wrote over itself, the last."""
    try:
        stat = log_file.stat()
    except OSError:
        return ()
    return _log_lines(log_file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _log_lines(log_file: Path, size_bytes: int, modified: int) -> tuple[str, ...]:
    """`modified` only tells the cache when the file is another one."""
    del modified
    with log_file.open("rb") as file:
        file.seek(max(0, size_bytes - LOG_BYTES))
        text = file.read(LOG_BYTES).decode(errors="replace")
    lines = text.split("\n")
    if size_bytes > LOG_BYTES:
        del lines[0]  # it began before what was read
    return tuple(line.rstrip("\r").rpartition("\r")[2] for line in lines if line.strip())
