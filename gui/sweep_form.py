"""Several values at once: the card of the training page that puts a run for each combination into the queue.

Comes in: the form, and up to two options with their values. Goes out: runs that wait, or what is to mend.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.frame import Frame
from gui.marks import card_title, message
from gui.review import review
from gui.studio import Studio
from trainer.contract.config import OPTIONS
from trainer.contract.problems import Problem
from trainer.runs.runner import start_run
from trainer.runs.sweep import (
    MOST_AXES,
    Axis,
    ask_for,
    can_be_swept,
    jobs_of,
    read_axis,
    run_count,
    shape_problems,
    sweep_name,
)

_HTML: dict[str, Any] = {"apply_default_css": False}
_ABOUT = '<p class="at-aside">One run for each value, or for each combination of two options, all into the queue.</p>'


@dataclass(frozen=True)
class SweepForm:
    """The boxes: options, their values, the button, and what is to say."""

    options: tuple[gr.Dropdown, ...]
    values: tuple[gr.Textbox, ...]
    add: gr.Button
    said: gr.HTML


def build_sweep_form() -> SweepForm:
    """Draw the card in the open Blocks context."""
    choices = [(f"{option.shown.label} ({name})", name) for name, option in OPTIONS.items() if can_be_swept(option)]
    options, values = [], []
    with gr.Column(elem_classes=["at-card", "at-sweep-form"]):
        gr.HTML(card_title("Try several values") + _ABOUT, **_HTML)
        for number in range(1, MOST_AXES + 1):
            word = "Option" if number == 1 else "And option"
            with gr.Column(elem_classes=["at-box"]):
                options.append(gr.Dropdown([("None", ""), *choices], value="", label=word, interactive=True))
            with gr.Column(elem_classes=["at-box"]):
                hint = "such as 1e-6, 2e-6, 4e-6" if number == 1 else ""
                label = "Its values" if number == 1 else "Its values too"
                values.append(gr.Textbox(label=label, placeholder=hint, max_lines=1, max_length=400, interactive=True))
        add = gr.Button("Add to queue", interactive=False, elem_id="at-sweep-add")
        said = gr.HTML("", **_HTML)
    return SweepForm(tuple(options), tuple(values), add, said)


def axes_of(options: tuple[str, ...], values: tuple[str, ...]) -> list[Axis] | list[Problem]:
    """The axes that are chosen, or what is wrong with them."""
    read = [read_axis(option, text or "") for option, text in zip(options, values, strict=True) if option]
    problems = [axis for axis in read if isinstance(axis, Problem)]
    axes = [axis for axis in read if isinstance(axis, Axis)]
    return problems or shape_problems(axes) or axes


def wire_sweep_form(studio: Studio, frame: Frame, sweep: SweepForm) -> None:
    """Tie the card; every box of the form must be drawn by now."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    boxes = [*sweep.options, *sweep.values]

    def read(data: Mapping[Component, Any]) -> list[Axis] | list[Problem]:
        chosen = tuple(data[box] or "" for box in sweep.options)
        return axes_of(chosen, tuple(data[box] or "" for box in sweep.values))

    def count(data: dict[Component, Any]) -> dict[Component, Any]:
        found = read(data)
        if axes := [axis for axis in found if isinstance(axis, Axis)]:
            return {
                sweep.add: gr.update(value=f"Add {run_count(axes)} runs to the queue", interactive=True),
                sweep.said: "",
            }
        asked = any(data[box] for box in sweep.options) and any(data[box] for box in sweep.values)
        words = message("warning", "Not yet.", found[0].message) if asked else ""
        return {sweep.add: gr.update(value="Add to queue", interactive=False), sweep.said: words}

    def add(data: dict[Component, Any]) -> dict[Component, Any]:
        found = review(studio.form.values(data), studio.home, fresh=True)
        axes = read(data)
        if found.job is None or not all(isinstance(axis, Axis) for axis in axes):
            words = "Mend what the form says first, then add the runs."
            return {sweep.said: message("bad", "Nothing was added.", words), frame.asked: data[frame.asked] + 1}
        jobs = jobs_of(studio.form.values(data), axes, studio.home)
        if isinstance(jobs, list):
            return {sweep.said: message("bad", "Nothing was added.", " ".join(problem.message for problem in jobs))}
        try:
            runs = ask_for(studio.runs, axes, jobs, sweep_name(found.job.name, axes))
            start_run(runs[0])
        except (OSError, RuntimeError) as reason:
            return {sweep.said: message("bad", "Not all could be done.", f"{reason}")}
        return {frame.tabs: gr.Tabs(selected="runs"), frame.shown_run: "", sweep.said: ""}

    gr.on([box.change for box in boxes], count, inputs=set(boxes), outputs=[sweep.add, sweep.said], **quiet)
    sweep.add.click(
        add,
        inputs={*studio.form.inputs, *boxes, frame.asked},
        outputs=[frame.tabs, frame.shown_run, frame.asked, sweep.said],
        # A second click while the first one is under way is dropped: one click, one sweep.
        trigger_mode="once",
        **quiet,
    )
