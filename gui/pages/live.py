"""One run, live or past: the components of its page, and what each of them shows.

Comes in: a `RunOnPage` and what this browser has chosen (range and axis of the chart, search). Goes out: a value for
each part. Nothing is kept here: gui/pages/runs.py asks once a second and sends what has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr
from gradio.components import Component

from gui import run_cards, run_head
from gui.bench import bench_of
from gui.crash_card import crash_card
from gui.figures import count, loss_text, rate_text
from gui.marks import STATE_WORDS, card_title, mark
from gui.monitor import SMOOTHING, Curve
from gui.plots import draw, gradient_plot, loss_plot, rate_plot
from gui.run_head import button
from gui.run_on_page import RunOnPage

ACT_SCRIPT = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) trigger('click', {...button.dataset});
  const copy = event.target.closest('[data-copy]');
  if (copy) navigator.clipboard.writeText(element.querySelector(copy.dataset.copy).textContent)
    .then(() => { copy.textContent = copy.dataset.done; });
});
let asked = null, end = null;
const settle = () => {
  const safe = element.querySelector('[data-focus]');
  if (safe && safe !== asked) safe.focus();
  asked = safe;
  const log = element.querySelector('[data-follow]');
  const text = log ? log.textContent : null;
  if (log && !log.clientHeight) return;  // not in view yet: it has no end to scroll to
  if (log && text !== end) log.scrollTop = log.scrollHeight;
  end = text;
};
new MutationObserver(settle).observe(element, {childList: true, subtree: true, characterData: true, attributes: true});
new ResizeObserver(settle).observe(element);
"""
"""Clicks reach Python with their data- attributes; a safe answer that appears is focused, a followed log scrolls."""

WHOLE, LAST = "Whole run", "Last 500"
LINEAR, LOG = "Linear", "Log"
LATEST, SPREAD = "Latest", "Whole run"


@dataclass(frozen=True, slots=True)
class Choices:
    """What this browser has chosen on the page."""

    span: str = WHOLE
    axis: str = LINEAR
    strip: str = LATEST
    search: str = ""
    follow: bool = True
    asking: bool = False


@dataclass(frozen=True)
class LivePage:
    """The components of the page, in the order of the page."""

    crumbs: gr.HTML
    head: gr.HTML
    ending: gr.HTML
    span: gr.Radio
    axis: gr.Radio
    loss: gr.HTML
    details: gr.HTML
    checkpoints: gr.HTML
    warnings: gr.HTML
    settings: gr.HTML
    strip: gr.Radio
    samples: gr.HTML
    search: gr.Textbox
    follow: gr.Checkbox
    log: gr.HTML
    spoken: gr.HTML

    @property
    def choices(self) -> list[Component]:
        """The components that a browser chooses with, in the order of `Choices`."""
        return [self.span, self.axis, self.strip, self.search, self.follow]

    @property
    def parts_components(self) -> list[Component]:
        """The parts that `parts` fills."""
        cards = [self.ending, self.loss, self.details, self.checkpoints, self.warnings, self.settings, self.samples]
        return [self.crumbs, self.head, *cards, self.log, self.spoken]

    def parts(self, shown: RunOnPage, choices: Choices) -> dict[Component, str]:
        """The HTML of every part."""
        return {
            self.crumbs: _crumbs(shown),
            self.head: run_head.head(shown, asking=choices.asking),
            self.ending: crash_card(shown, bench_of(shown.run.path.parents[1]).standing),
            self.loss: _loss(shown, choices),
            self.details: _details(shown),
            self.checkpoints: run_cards.checkpoints(shown),
            self.warnings: run_cards.warnings(shown.view),
            self.settings: run_cards.settings(shown),
            self.samples: run_cards.samples(shown, whole=choices.strip == SPREAD),
            self.log: run_cards.log(shown.run.log_file, choices.search, follow=choices.follow),
            self.spoken: _spoken(shown),
        }


def part(*, script: str | None = None, look: str = "") -> gr.HTML:
    """A part of a page that is filled later: what it gets is HTML, and it takes no room while it is empty."""
    classes = ["at-part", look] if look else ["at-part"]
    return gr.HTML(value="", js_on_load=script, apply_default_css=False, elem_classes=classes)


def build_live() -> LivePage:
    """Make the components in the open Blocks context."""
    crumbs = part(script=ACT_SCRIPT)
    head = part(script=ACT_SCRIPT)
    ending = part(script=ACT_SCRIPT)
    with gr.Row(elem_classes=["at-columns", "at-live"]):
        with gr.Column(scale=5, elem_classes=["at-main"]), gr.Column(elem_classes=["at-card"]):
            span, axis = _titled("Loss", [WHOLE, LAST], "Steps shown", [LINEAR, LOG], "Axis of the loss")
            loss = part()
            details = part()
        with gr.Column(scale=2, min_width=260, elem_classes=["at-side"]):
            checkpoints, warnings, settings = part(script=ACT_SCRIPT), part(), part(script=ACT_SCRIPT)
    with gr.Column(elem_classes=["at-card", "at-samples-card"]):
        (strip,) = _titled("Samples", [LATEST, SPREAD], "Which samples")
        samples = part()
    with gr.Column(elem_classes=["at-card"]):
        with gr.Row(elem_classes=["at-titled"]):
            gr.HTML(card_title("Log"), apply_default_css=False)
            search = gr.Textbox(
                value="",
                show_label=False,
                label="Search the log",
                placeholder="Search the log",
                container=False,
                elem_classes=["at-search", "at-log-search"],
                scale=0,
                min_width=200,
            )
            follow = gr.Checkbox(
                True, label="Follow", container=False, scale=0, min_width=80, elem_classes=["at-follow"]
            )
        log = part(script=ACT_SCRIPT)
    spoken = part(look="at-spoken")
    return LivePage(
        crumbs, head, ending, span, axis, loss, details, checkpoints, warnings, settings, strip, samples,
        search, follow, log, spoken,
    )  # fmt: skip


def _titled(title: str, *segments: list[str] | str) -> list[gr.Radio]:
    """A card's heading with switches at its right: their choices and what a screen reader calls them, in turn."""
    with gr.Row(elem_classes=["at-titled"]):
        gr.HTML(card_title(title), apply_default_css=False)
        return [
            gr.Radio(
                choices=choices,
                value=choices[0],
                label=name,
                show_label=False,
                container=False,
                elem_classes=["at-switch"],
                scale=0,
                min_width=60,
                interactive=True,
            )
            for choices, name in zip(segments[::2], segments[1::2], strict=True)
        ]


def _crumbs(shown: RunOnPage) -> str:
    name = escape(shown.run.name)
    back = button("list", "Runs", look="at-link")
    return f'<nav class="at-crumbs" aria-label="Where you are">{back} / {name}</nav>'


def _loss(shown: RunOnPage, choices: Choices) -> str:
    plot = loss_plot(shown.view, last_only=choices.span == LAST, log=choices.axis == LOG)
    if plot is None:
        return '<p class="at-muted">The curve begins with the second step.</p>'
    kinds = {mark.kind for mark in plot.marks}
    saved = f"<span>{mark('save', 14)}saved</span>" if "save" in kinds else ""
    drawn = f"<span>{mark('sample', 14)}samples</span>" if "sample" in kinds else ""
    measured = any(kind == "second" for kind, _ in plot.lines)
    held_out = '<span><i class="at-key-second"></i>images held out</span>' if measured else ""
    return (
        f'{draw(plot, "loss")}<div class="at-legend"><span><i class="at-key-strong"></i>smoothed</span>'
        f'<span><i class="at-key-faint"></i>each step</span>{held_out}{saved}{drawn}'
        f'<span class="at-legend-end">Smoothing {SMOOTHING}</span></div>'
    )


def _details(shown: RunOnPage) -> str:
    """Learning rate and gradient norm side by side, each with its figure of now."""
    rates, gradients = rate_plot(shown.view), gradient_plot(shown.view)
    cells = []
    if rates is not None:
        now = ", ".join(_rate(name, curve.last) for name, curve in _named_rates(shown))
        cells.append(f'<div><h3>Learning rate <span class="at-muted">{now}</span></h3>{draw(rates, "small")}</div>')
    if gradients is not None and shown.view.grad_norm is not None and shown.view.grad_norm.last is not None:
        now = f"{shown.view.grad_norm.last:.2g} now"
        cells.append(f'<div><h3>Gradient norm <span class="at-muted">{now}</span></h3>{draw(gradients, "small")}</div>')
    return f'<div class="at-plots">{"".join(cells)}</div>' if cells else ""


def _named_rates(shown: RunOnPage) -> Sequence[tuple[str, Curve]]:
    """The rates by group, or one without a name where all groups have the same."""
    rates = shown.view.rates
    equal = len({curve.last for _, curve in rates}) == 1
    return [("", rates[0][1])] if equal else rates


def _rate(name: str, value: float | None) -> str:
    words = {"": "now", "unet": "U-Net", "text_encoder": "text encoder"}
    return f"{rate_text(value or 0.0)} {escape(words.get(name, name))}"


def _spoken(shown: RunOnPage) -> str:
    """What a screen reader is told when it changes: the state, the last save. Figures of each second are not here."""
    saved = shown.last_save
    told = f" Saved step {count(saved.step)}." if saved else ""
    first = f" Loss now {loss_text(shown.view.smoothed)}." if shown.status.is_over and shown.view.smoothed else ""
    return f'<p role="status" aria-live="polite">{STATE_WORDS[shown.status.state]}.{told}{first}</p>'
