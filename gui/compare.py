"""Two to four runs side by side, as HTML: their smoothed losses, the options that differ, results, samples.

Comes in: the runs as a page knows them, and what this browser has chosen. Goes out: HTML with every text from outside
escaped; buttons carry data-act, which gui/pages/runs.py understands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from gui.figures import clock, count, counted, duration, gigabytes, loss_text
from gui.form import differing
from gui.marks import card_title, state_mark
from gui.plots import COMPARED, compare_plot, draw
from gui.run_cards import job_options, picture, value_text
from gui.run_head import button
from gui.run_on_page import RunOnPage, taken
from trainer.contract.config import OPTIONS
from trainer.contract.events import Sampled

MOST = len(COMPARED)
"""As many curves as can be told apart by colour and dash."""

_BY_THEMSELVES = ("output_name", "output_dir", "resume", "logging_dir", "log_prefix")
"""Options that name places: that they differ says nothing about the result."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What this browser has chosen: the axis of the loss, and the step whose samples are shown (None: the latest)."""

    log: bool = False
    step: int | None = None


def compare(runs: Sequence[RunOnPage], chosen: Comparison) -> str:
    """The whole page."""
    names = _names(runs)
    options = [job_options(shown.run.job_file) or {} for shown in runs]
    unlike = [
        name
        for name in OPTIONS
        if name not in _BY_THEMSELVES and any(name in differing(other, options[0]) for other in options[1:])
    ]
    title = " and ".join([", ".join(names[:-1]), names[-1]])
    back = f'<nav class="at-crumbs" aria-label="Where you are">{button("list", "Runs", look="at-link")} / Compare</nav>'
    head = (
        f'<div class="at-page-title"><h1>{escape(title)}</h1><p class="at-page-about">{_alike(unlike)}</p></div>'
        '<div class="at-columns at-compared">'
    )
    loss = f'<section class="at-card at-inner-card">{_loss_head(chosen)}{_loss(runs, names, chosen)}</section>'
    return f"{back}{head}{loss}{_table(runs, names, options, unlike)}</div>{_samples(runs, names, chosen)}"


def _names(runs: Sequence[RunOnPage]) -> list[str]:
    """What the runs are called here; of the same name, with the time at which they began."""
    names = [shown.run.name for shown in runs]
    return [
        name if names.count(name) == 1 else f"{name}, {clock(shown.started)}"
        for name, shown in zip(names, runs, strict=True)
    ]


def _alike(unlike: Sequence[str]) -> str:
    same = [
        words
        for words, name in (
            ("same images", "train_data_dir"),
            ("same model", "pretrained_model_name_or_path"),
            ("same seed", "seed"),
        )
        if name not in unlike
    ]
    said = ", ".join(same)
    differ = f"{counted(len(unlike), 'option')} {'differs' if len(unlike) == 1 else 'differ'}." if unlike else ""
    return " ".join(filter(None, [f"{said[:1].upper()}{said[1:]}." if said else "", differ or "No option differs."]))


def _loss_head(chosen: Comparison) -> str:
    switches = "".join(
        f'<button type="button" data-act="compare_axis" data-value="{word}" '
        f'aria-pressed="{str(on).lower()}">{word}</button>'
        for word, on in (("Linear", not chosen.log), ("Log", chosen.log))
    )
    return (
        '<div class="at-card-title"><h2>Loss, smoothed</h2>'
        f'<span class="at-pressed" role="group" aria-label="Axis of the loss">{switches}</span></div>'
    )


def _loss(runs: Sequence[RunOnPage], names: Sequence[str], chosen: Comparison) -> str:
    plot = compare_plot(tuple(shown.view for shown in runs), log=chosen.log)
    if plot is None:
        return '<p class="at-muted">The curves begin when each run has made two steps.</p>'
    legend = "".join(
        f'<span><i class="at-key-{kind}"></i>{escape(name)}</span>' for kind, name in zip(COMPARED, names, strict=False)
    )
    return f'{draw(plot, "loss")}<div class="at-legend">{legend}</div>'


def _table(
    runs: Sequence[RunOnPage], names: Sequence[str], options: Sequence[Mapping[str, object]], unlike: Sequence[str]
) -> str:
    rows = [
        (escape(OPTIONS[name].shown.label), [escape(_short(name, values.get(name))) for values in options])
        for name in unlike
    ]
    rows += _results(runs)
    heads = "".join(
        f'<th scope="col"><i class="at-key-{kind}"></i>{escape(name)}</th>'
        for kind, name in zip(COMPARED, names, strict=False)
    )
    body = "".join(
        f'<tr><th scope="row">{what}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for what, cells in rows
    )
    return (
        f'<section class="at-card at-inner-card">{card_title("What differs")}<table class="at-unlike">'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _short(name: str, value: object) -> str:
    """A value as it stands in a narrow column: of a path, what it leads to."""
    text = value_text(name, value)
    return Path(text).name or text if OPTIONS[name].kind == "path" or OPTIONS[name].shown.look == "model" else text


def _results(runs: Sequence[RunOnPage]) -> list[tuple[str, list[str]]]:
    """What came of it, a row each; what no run knows is left out."""
    views = [shown.view for shown in runs]
    common = min(view.step for view in views)
    rows = [
        ("State", [state_mark(shown.status.state) for shown in runs]),
        ("Steps", [count(v.step) + (f" of {count(v.total)}" if v.total and v.step < v.total else "") for v in views]),
        ("Loss, smoothed", [loss_text(v.smoothed) if v.smoothed is not None else "" for v in views]),
    ]
    if common and len({view.step for view in views}) > 1:
        rows.append((f"Loss at step {count(common)}", [_loss_at(shown, common) for shown in runs]))
    rows.append(("Time", [duration(taken(s)) + (" so far" if s.is_live else "") for s in runs]))
    rows.append(("Card memory", [f"{gigabytes(v.vram_gib)} GB" if v.vram_gib else "" for v in views]))
    return [row for row in rows if any(row[1])]


def _loss_at(shown: RunOnPage, step: int) -> str:
    smooth = shown.view.smooth
    if smooth is None or not len(smooth):
        return ""
    place = int(np.searchsorted(smooth.steps, step, side="right")) - 1
    return loss_text(float(smooth.values[place])) if place >= 0 else ""


def _samples(runs: Sequence[RunOnPage], names: Sequence[str], chosen: Comparison) -> str:
    """A row for each prompt that all have drawn: step 0 first, then each run at the same step."""
    drawn = [_by_prompt(shown) for shown in runs]
    prompts = [prompt for prompt in drawn[0] if all(prompt in other for other in drawn)]
    steps = sorted(set.intersection(*({s for p in other.values() for s in p} for other in drawn)) - {0})
    if not prompts or not steps:
        return ""
    step = chosen.step if chosen.step in steps else steps[-1]
    switches = "".join(
        f'<button type="button" data-act="compare_step" data-value="{at}" '
        f'aria-pressed="{str(at == step).lower()}">{count(at)}</button>'
        for at in steps[-6:]
    )
    before = any(0 in drawn[0][prompt] for prompt in prompts)
    heads = (["Step 0, before"] if before else []) + [f"{name}, step {count(step)}" for name in names]
    rows = "".join(
        f'<div class="at-samples-row"><span class="at-samples-prompt">{escape(prompt)}</span>'
        + (picture(runs[0].run.path, drawn[0][prompt].get(0), prompt) if before else "")
        + "".join(picture(s.run.path, d[prompt].get(step), prompt) for s, d in zip(runs, drawn, strict=True))
        + "</div>"
        for prompt in prompts
    )
    top = "".join(f"<span>{escape(head)}</span>" for head in heads)
    return (
        '<section class="at-card at-inner-card"><div class="at-card-title"><h2>Samples, side by side</h2>'
        f'<span class="at-aside">At step <span class="at-pressed" role="group" aria-label="Step of the samples">'
        f'{switches}</span></span></div><div class="at-samples at-samples-compared" style="--at-columns:{len(heads)}">'
        f'<div class="at-samples-head"><span></span>{top}</div>{rows}</div></section>'
    )


def _by_prompt(shown: RunOnPage) -> dict[str, dict[int, Sampled]]:
    """The pictures by prompt and step."""
    found: dict[str, dict[int, Sampled]] = {}
    for sampled in shown.view.samples:
        found.setdefault(sampled.prompt, {})[sampled.step] = sampled
    return found
