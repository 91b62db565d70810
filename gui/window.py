"""The window: bar, tabs and pages in one Blocks, and what they share: the run in the bar, the first filling.

Comes in: a `Studio`. Goes out: the Blocks that app.py launches. Nothing about a run is tied to a browser: the bar
looks at the run folders every two seconds, so a reload or a second browser shows the same.
"""

import os

# Before gradio is imported: with analytics on it asks two hosts for news at every start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from collections.abc import Callable
from importlib import import_module
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import BlockContext

from gui.activity import BAR_TEMPLATE, Activity, activity_of
from gui.frame import Frame
from gui.marks import NOTE_SCRIPT, STATE_WORDS, mark
from gui.studio import Studio

TITLE = "Atelier"
PAGES = (
    ("dataset", "Dataset"),
    ("captions", "Captions"),
    ("model", "Model"),
    ("train", "Training"),
    ("runs", "Runs"),
    ("try_it", "Try it"),
)
LOOK_EVERY_S = 2.0

LOGO = (
    '<svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true"><rect width="20" height="20" rx="4" '
    'fill="var(--at-accent-fill)"/><path d="M6 15 10 5l4 10M7.4 11.8h5.2" fill="none" stroke="#fff" '
    'stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)


def build(studio: Studio) -> gr.Blocks:
    """All pages in one Blocks; what depends on the disk is read when a browser opens it."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as window:
        # The first of all parts: Gradio looks for it from the top, several times in each event.
        nowhere = gr.HTML("", elem_classes=["at-nothing"], apply_default_css=False)
        revision, asked, shown_run, ahead, tried = gr.State(0), gr.State(0), gr.State(""), gr.State(()), gr.State("")
        gr.HTML(f'<div class="at-brand">{LOGO}<span>{TITLE}</span></div>', elem_classes=["at-bar"])
        bar = gr.HTML(
            value=_drawn(Activity()),
            html_template=BAR_TEMPLATE,
            js_on_load=NOTE_SCRIPT,
            apply_default_css=False,
            elem_classes=["at-bar-now"],
        )
        look = gr.Button("Look through the form", visible="hidden", elem_id="at-look")
        wires: list[Callable[[], None] | None] = []
        with gr.Tabs(elem_classes=["at-tabs"], selected="dataset") as tabs:
            frame = Frame(window, tabs, revision, shown_run, asked, look, ahead, tried)
            for name, title in PAGES:
                studio.form.page = name
                with gr.Tab(title, id=name, elem_id=f"at-tab-{name}"):
                    wires.append(import_module(f"gui.pages.{name}").build(studio, frame))
        # What listens to all boxes of the window can only be tied when every page has drawn its own.
        for wire in wires:
            if wire is not None:
                wire()
        _wire_bar(studio, frame, bar)
    for event in window.fns.values():
        _show_progress_on(event, nowhere)
    return window


def _show_progress_on(event: BlockFunction, nowhere: gr.HTML) -> None:
    """Have a hidden progress told to one small part.

    Gradio 6.31 tells the progress of each event to every component that was an output so far, and for a container to
    all that is in it: with the tabs among them, a poll each second cost the browser a quarter of a processor core.
    """
    holds_others = any(isinstance(output, BlockContext) and output.children for output in event.outputs)
    if event.show_progress == "hidden" or holds_others:
        event.show_progress_on = [nowhere]


def _wire_bar(studio: Studio, frame: Frame, bar: gr.HTML) -> None:
    # What this browser was shown last, so that nothing is sent while nothing changes.
    shown = gr.State(None)

    def look(last: Activity | None) -> Any:
        now = activity_of(studio.runs)
        return (_drawn(now), now) if now != last else gr.skip()

    def follow(now: Activity | None, ahead: tuple) -> Any:
        return now.ahead if now is not None and now.ahead != ahead else gr.skip()

    def show(event: gr.EventData) -> tuple[Any, str]:
        return gr.Tabs(selected="runs"), str(event._data["run"])

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    look_again = gr.Timer(LOOK_EVERY_S)
    # Past the queue, which tells five times how an event stands: Gradio's part in the browser pays for each. But
    # without the queue nobody hears that a state has changed, so what follows from the bar is an event of its own.
    gr.on([look_again.tick, frame.window.load], look, inputs=[shown], outputs=[bar, shown], queue=False, **quiet)
    bar.change(follow, inputs=[shown, frame.ahead], outputs=[frame.ahead], **quiet)
    bar.click(show, outputs=[frame.tabs, frame.shown_run], **quiet)


def _drawn(now: Activity) -> dict[str, Any]:
    if not now.name:
        return now.as_dict()
    return now.as_dict() | {"mark": mark(now.state), "word": STATE_WORDS[now.state]}
