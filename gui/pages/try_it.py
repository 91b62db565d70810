"""The Try it page: pictures from any checkpoint, beside those before training, and a grid of checkpoints and prompts.

Comes in: what stands in the boxes. Goes out: a task in the studio's home, which a process of its own draws. The page
looks once a second while something is drawn, and shows the newest task: a reload or another browser shows the same.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.drawing_cards import findings, grid, newest, result
from gui.drawing_choices import Typed, asked, asked_grid, choices, chosen, described, first_choice, sizes
from gui.frame import Frame
from gui.marks import NOTE_SCRIPT, card_title, message, page_title
from gui.studio import Studio
from trainer.contract.problems import Problem
from trainer.contract.prompts import SAMPLERS
from trainer.drawing.checkpoints import Checkpoint
from trainer.drawing.request import Request
from trainer.drawing.tasks import ask, task_named, tasks_in, tend
from trainer.model.tokenizer import load_tokenizer

BUSY_S, CALM_S = 1, 4
"""Seconds between two looks while something is drawn, and otherwise."""

BEAT_SCRIPT = """
const page = element.closest('.at-try-page');
let asked = 0, looked = false;
const beat = () => {
  const looks = !document.hidden && page.getClientRects().length > 0, now = Date.now();
  const every = 1000 * (props.value.busy ? BUSY : CALM);
  if (looks && (!looked || now - asked >= every)) { asked = now; trigger('beat'); }
  looked = looks;
};
setInterval(beat, 200);
""".replace("BUSY", str(BUSY_S)).replace("CALM", str(CALM_S))
"""Asks for news while the page is in view; at once when it comes into view."""

SEEDS = 4


@dataclass(frozen=True)
class _Parts:
    """The components of the page."""

    pulse: gr.HTML
    checkpoint: gr.Dropdown
    about: gr.HTML
    text: gr.Textbox
    tokens: gr.HTML
    negative: gr.Textbox
    seed: gr.Textbox
    size: gr.Dropdown
    steps: gr.Slider
    scale: gr.Slider
    sampler: gr.Dropdown
    compare: gr.Checkbox
    draw: gr.Button
    several: gr.Button
    note: gr.HTML
    result: gr.HTML
    paths: gr.Dropdown
    prompts: gr.Textbox
    draw_grid: gr.Button
    grid_note: gr.HTML
    grid: gr.HTML
    seen: gr.State

    @property
    def typed(self) -> list[Component]:
        """The boxes of one picture, in the order of `Typed`."""
        boxes = [self.checkpoint, self.text, self.negative, self.seed, self.size, self.steps, self.scale]
        return [*boxes, self.sampler, self.compare]


def build(studio: Studio, frame: Frame) -> Callable[[], None]:
    """Draw the page; the returned function wires it once all pages are drawn."""
    bare: dict[str, Any] = {"apply_default_css": False}
    with gr.Column(elem_classes=["at-page", "at-try-page"]):
        about = "Draw with any checkpoint of any run. The model leaves memory after 5 idle minutes."
        gr.HTML(page_title("Try it", about), **bare)
        pulse = gr.HTML(
            {"busy": False},
            html_template="<span hidden></span>",
            js_on_load=BEAT_SCRIPT,
            elem_classes=["at-pulse"],
            **bare,
        )
        with gr.Row(elem_classes=["at-columns", "at-try"]):
            with gr.Column(scale=3, min_width=280, elem_classes=["at-card"]):
                form = _form()
            with gr.Column(scale=7, elem_classes=["at-main"]), gr.Column(elem_classes=["at-card"]):
                shown = gr.HTML("", js_on_load=NOTE_SCRIPT, elem_classes=["at-try-result"], **bare)
        with gr.Column(elem_classes=["at-card"]):
            cells = _grid_form()
    parts = _Parts(pulse, *form, shown, *cells, gr.State({}))
    return lambda: _wire(studio, frame, parts)


def _box(component: type, label: str, **how: Any) -> Any:
    return component(label=label, elem_classes=["at-box"], interactive=True, **how)


def _form() -> list[Component]:
    bare: dict[str, Any] = {"apply_default_css": False}
    checkpoint = _box(
        gr.Dropdown, "Checkpoint", choices=[], allow_custom_value=True, info="Or type the path of a model."
    )
    about = gr.HTML("", elem_classes=["at-try-about"], **bare)
    text = _box(gr.Textbox, "Prompt", lines=2, max_lines=6)
    tokens = gr.HTML("", elem_classes=["at-try-about"], **bare)
    negative = _box(gr.Textbox, "Not in the picture", lines=1, max_lines=4)
    with gr.Row(elem_classes=["at-try-pair"]):
        seed = _box(gr.Textbox, "Seed", placeholder="a new one", max_lines=1, min_width=100)
        size = _box(gr.Dropdown, "Size", choices=sizes(), value=sizes()[0], allow_custom_value=True, min_width=100)
    bar = {"min_width": 100, "buttons": []}
    with gr.Row(elem_classes=["at-try-pair"]):
        steps = _box(gr.Slider, "Steps", minimum=1, maximum=100, step=1, value=28, **bar)
        scale = _box(gr.Slider, "Guidance", minimum=1, maximum=20, step=0.5, value=7.5, **bar)
    sampler = _box(gr.Dropdown, "Sampler", choices=list(SAMPLERS), value=SAMPLERS[0])
    compare = gr.Checkbox(True, label="Beside it, the same before training", container=False, interactive=True)
    with gr.Row(elem_classes=["at-try-buttons"]):
        draw = gr.Button("Draw", variant="primary", scale=0, min_width=90, elem_id="at-draw")
        several = gr.Button(f"Draw {SEEDS} seeds", scale=0, min_width=120)
    note = gr.HTML("", elem_classes=["at-try-note"], **bare)
    return [checkpoint, about, text, tokens, negative, seed, size, steps, scale, sampler, compare, draw, several, note]


def _grid_form() -> list[Component]:
    bare: dict[str, Any] = {"apply_default_css": False}
    gr.HTML(card_title("Checkpoints × prompts"), **bare)
    with gr.Row(elem_classes=["at-try-grid-form"]):
        paths = _box(gr.Dropdown, "Checkpoints", choices=[], multiselect=True, value=[], min_width=240)
        prompts = _box(
            gr.Textbox,
            "Prompts, one a line",
            lines=3,
            max_lines=10,
            min_width=240,
            info="The rest is as in the boxes above.",
        )
    with gr.Row(elem_classes=["at-try-buttons"]):
        draw = gr.Button("Draw the grid", scale=0, min_width=120, elem_id="at-draw-grid")
    note = gr.HTML("", elem_classes=["at-try-note"], **bare)
    return [paths, prompts, draw, note, gr.HTML("", js_on_load=NOTE_SCRIPT, elem_classes=["at-try-grid"], **bare)]


def _wire(studio: Studio, frame: Frame, parts: _Parts) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    outputs = [parts.pulse, parts.result, parts.grid, parts.checkpoint, parts.paths, frame.tried, parts.seen]

    def show(tried: str, seen: dict[str, Any]) -> dict[Component, Any]:
        return _news(studio, frame, parts, tried, seen)

    def draw(*typed: Any) -> str:
        return _ask(studio, asked(studio, Typed(*typed), 1))

    def draw_several(*typed: Any) -> str:
        return _ask(studio, asked(studio, Typed(*typed), SEEDS))

    def draw_grid(paths: list[str], prompts: str, *typed: Any) -> str:
        return _ask(studio, asked_grid(studio, paths or [], prompts, Typed(*typed)))

    def act(event: gr.EventData, asked_before: int, samples: str | None) -> dict[Component, Any]:
        return _act(studio, frame, parts, dict(event._data or {}), asked_before, samples)

    look: dict[str, Any] = {"inputs": [frame.tried, parts.seen], "outputs": outputs, **quiet}
    parts.pulse.beat(show, trigger_mode="once", **look)
    for pressed, answer, inputs, note in (
        (parts.draw, draw, parts.typed, parts.note),
        (parts.several, draw_several, parts.typed, parts.note),
        (parts.draw_grid, draw_grid, [parts.paths, parts.prompts, *parts.typed], parts.grid_note),
    ):
        pressed.click(answer, inputs=inputs, outputs=[note], **quiet).then(show, **look)
    box = studio.form.boxes["sample_prompts"].component
    for part in (parts.result, parts.grid):
        part.click(act, inputs=[frame.asked, box], outputs=[parts.note, parts.seed, frame.asked, box], **quiet).then(
            show, **look
        )
    parts.checkpoint.change(
        lambda path: _about(studio, path), inputs=[parts.checkpoint], outputs=[parts.about, parts.size], **quiet
    )
    parts.text.change(_tokens, inputs=[parts.text], outputs=[parts.tokens], trigger_mode="always_last", **quiet)
    opened = [*parts.typed[:-1], parts.paths, parts.prompts, parts.seen]
    frame.window.load(lambda: _opened(studio, parts), outputs=opened, **quiet)


def _news(studio: Studio, frame: Frame, parts: _Parts, tried: str, seen: Mapping[str, Any]) -> dict[Component, Any]:
    """What differs from what this browser was shown."""
    tasks = tasks_in(studio.home)
    one, many = newest(tasks, grid=False), newest(tasks, grid=True)
    busy = any(shown is not None and not shown.state.is_over for shown in (one, many))
    if busy:
        tend(studio.home)
    offered = choices(studio)
    html = {"result": result(one), "grid": grid(many)}
    now = {name: hashlib.blake2b(text.encode(errors="replace")).hexdigest() for name, text in html.items()}
    now |= {"offered": offered, "busy": busy}
    updates: dict[Component, Any] = {}
    if now != seen:
        updates[parts.seen] = now
    if seen.get("busy") != busy:
        updates[parts.pulse] = {"busy": busy}
    for name, part in (("result", parts.result), ("grid", parts.grid)):
        if seen.get(name) != now[name]:
            updates[part] = html[name]
    if seen.get("offered") != offered or tried:
        updates[parts.checkpoint] = gr.Dropdown(choices=offered, **({"value": tried} if tried else {}))
        updates[parts.paths] = gr.Dropdown(choices=offered)
    if tried:
        updates[frame.tried] = ""
    # An event has to have an answer, also where there is no news.
    return updates or {parts.seen: gr.skip()}


def _ask(studio: Studio, request: Request | list[Problem]) -> str:
    """Have it drawn; what comes back stands under the buttons."""
    if isinstance(request, list):
        return findings(request)
    try:
        ask(studio.home, request)
    except OSError as failure:
        return message("bad", "That could not be asked for.", f"{failure}")
    return ""


def _act(
    studio: Studio, frame: Frame, parts: _Parts, data: Mapping[str, str], asked_before: int, samples: str | None
) -> dict[Component, Any]:
    """What a click in one of the cards does."""
    kind = data.get("act")
    if kind == "seed":
        return {parts.seed: data.get("seed", "")}
    if kind == "add":
        shown = newest(tasks_in(studio.home), grid=False)
        line = shown.request.prompts[0].text if shown is not None else ""
        text = "\n".join(filter(None, [(samples or "").strip(), " ".join(line.split())]))
        said = message("good", "Added.", "The prompt stands among the samples on the Training page.")
        return {**studio.form.put({"sample_prompts": text}), frame.asked: asked_before + 1, parts.note: said}
    task = task_named(studio.home, data.get("task", ""))
    if task is None or kind not in ("cancel", "cpu"):
        return {parts.note: ""}
    request = task.request()
    task.cancel()
    if kind == "cpu" and request is not None:
        beside = Request(request.checkpoints, request.prompts, True, request.grid)
        return {parts.note: _ask(studio, beside)}
    return {parts.note: ""}


def _about(studio: Studio, path: str | None) -> tuple[str, Any]:
    """What the chosen checkpoint is, and the size that suits it."""
    found = chosen(studio, path or "") if path else None
    if not isinstance(found, Checkpoint):
        return "", gr.skip()
    words, size = described(found)
    return f'<p class="at-muted">{words}</p>' if words else "", size or gr.skip()


def _tokens(text: str | None) -> str:
    number = load_tokenizer("v1").count(text or "")
    return f'<p class="at-muted">{number} of 75 tokens</p>' if number else ""


def _opened(studio: Studio, parts: _Parts) -> list[Any]:
    """What a fresh page begins with: what was drawn last, else the newest checkpoint with its run's first sample."""
    tasks = tasks_in(studio.home)
    shown, many = newest(tasks, grid=False), newest(tasks, grid=True)
    offered = choices(studio)
    lines = "\n".join(prompt.text for prompt in many.request.prompts) if many is not None else ""
    known = {path for _, path in offered}
    paths = [one.path for one in many.request.checkpoints if one.path in known] if many is not None else []
    rest = [gr.Dropdown(choices=offered, value=paths), lines, {}]
    if shown is None:
        path, text = first_choice(studio)
        return [gr.Dropdown(choices=offered, value=path or None), text, *[gr.skip()] * 6, *rest]
    prompt, checkpoint = shown.request.prompts[0], shown.request.checkpoints[-1]
    box = gr.Dropdown(choices=offered, value=checkpoint.path)
    size = f"{prompt.width} × {prompt.height}"
    settings = [str(prompt.seed), size, prompt.steps, prompt.scale, prompt.sampler]
    return [box, prompt.text, prompt.negative, *settings, *rest]
