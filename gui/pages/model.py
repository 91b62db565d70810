"""The Model page: what training starts from, what that means for the job, and what will be written.

The boxes of the model and of its saves stand here. A click on a model puts its path into the box; the facts are read
from tables of contents, so that a list of large files is drawn at once and nothing in a file is run.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.frame import Frame
from gui.marks import NOTE_SCRIPT, card_title, page_title
from gui.model_cards import (
    FIELD,
    draw_facts,
    draw_list,
    draw_meaning,
    draw_vae,
    draw_written,
    needed_values,
)
from gui.picker import Picker, build_picker, wire_picker
from gui.review import Review, review
from gui.studio import Studio
from trainer.demo.place import demo_folder
from trainer.model.inspect import ModelFacts, list_models

PATH_BOXES = (FIELD, "vae", "output_dir")


@dataclass(frozen=True)
class _Parts:
    models: gr.HTML
    facts: gr.HTML
    meaning: gr.HTML
    vae: gr.HTML
    written: gr.HTML
    picker: Picker

    @property
    def drawn(self) -> list[gr.HTML]:
        return [self.models, self.facts, self.meaning, self.vae, self.written]


def build(studio: Studio, frame: Frame) -> Callable[[], None]:
    """Draw the page; the returned function ties it to the form once all pages are drawn."""
    form = studio.form
    clicked: dict[str, Any] = {"js_on_load": NOTE_SCRIPT, "apply_default_css": False}
    with gr.Column(elem_classes=["at-page", "at-model-page"]):
        with gr.Row(elem_classes=["at-page-head"]):
            about = "What you start from, and what is written at the end."
            gr.HTML(page_title("Model", about), apply_default_css=False)
            with gr.Row(elem_classes=["at-page-actions"]):
                browse = gr.Button("Browse", scale=0, elem_id="at-browse-model")
        picker = build_picker(studio)
        with gr.Row(elem_classes=["at-columns"]):
            with gr.Column(scale=7, elem_classes=["at-main"]):
                with gr.Column(elem_classes=["at-card", "at-models-card"]):
                    models = gr.HTML("", **clicked)
                    form.draw(FIELD, label="Or a path, or a hub name")
                with gr.Column(elem_classes=["at-card"]):
                    vae = gr.HTML("", **clicked)
                    with gr.Row(elem_classes=["at-with-button"]):
                        form.draw("vae")
                        browse_vae = gr.Button("Browse", scale=0, min_width=90)
                browse_output, written = _written_card(studio)
            with gr.Column(scale=5, min_width=300, elem_classes=["at-main", "at-model-side"]):
                with gr.Column(elem_classes=["at-card"]):
                    facts = gr.HTML("", apply_default_css=False)
                with gr.Column(elem_classes=["at-card"]):
                    meaning = gr.HTML("", **clicked)
                    form.draw("v2")
                    form.draw("v_parameterization")
    for button, name in ((browse, FIELD), (browse_vae, "vae"), (browse_output, "output_dir")):
        picker.opens(button, name)
    return partial(_wire, studio, frame, _Parts(models, facts, meaning, vae, written, picker))


def _written_card(studio: Studio) -> tuple[gr.Button, gr.HTML]:
    with gr.Column(elem_classes=["at-card"]):
        gr.HTML(card_title("What is written"), apply_default_css=False)
        with gr.Row(elem_classes=["at-boxes", "at-two"]):
            studio.form.draw("output_name")
            with gr.Row(elem_classes=["at-with-button"]):
                studio.form.draw("output_dir")
                browse = gr.Button("Browse", scale=0, min_width=90)
            for name in ("save_model_as", "save_precision", "use_safetensors"):
                studio.form.draw(name)
        written = gr.HTML("", apply_default_css=False)
    return browse, written


def _wire(studio: Studio, frame: Frame, parts: _Parts) -> None:
    form = studio.form

    def look(data: Mapping[Component, Any]) -> Review:
        return review(form.values(data), studio.home)

    def show(data: Mapping[Component, Any]) -> list[str]:
        found = look(data)
        current = found.looked_at.model.pretrained_model_name_or_path
        folders = folders_of(studio, current)
        return [
            draw_list(models_in(folders), folders, current, demo_folder(studio.home) / "model"),
            draw_facts(found),
            draw_meaning(found),
            draw_vae(found),
            draw_written(found),
        ]

    def choose(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any] | Any:
        to = str((event._data or {}).get("to", ""))
        listed = models_in(folders_of(studio, look(data).looked_at.model.pretrained_model_name_or_path))
        if not any(str(facts.path) == to for facts in listed):
            return gr.skip()
        return {**form.put({FIELD: to}), frame.asked: data[frame.asked] + 1}

    def set_needed(data: Mapping[Component, Any]) -> dict[Component, Any] | Any:
        values = needed_values(look(data))
        return {**form.put(values), frame.asked: data[frame.asked] + 1} if values else gr.skip()

    def choose_vae(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any]:
        if (event._data or {}).get("act") == "own":
            return {**form.put({"vae": None}), frame.asked: data[frame.asked] + 1}
        opened = parts.picker.opened("vae", data[form.boxes["vae"].component])
        return dict(zip((parts.picker.at, parts.picker.view, parts.picker.panel), opened, strict=True))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    asking = form.inputs | {frame.asked}
    boxes = [*form.components, frame.asked]
    picker = [parts.picker.at, parts.picker.view, parts.picker.panel]
    frame.revision.change(show, inputs=form.inputs, outputs=parts.drawn, trigger_mode="always_last", **quiet)
    parts.models.click(choose, inputs=asking, outputs=boxes, **quiet)
    parts.meaning.click(set_needed, inputs=asking, outputs=boxes, **quiet)
    parts.vae.click(choose_vae, inputs=asking, outputs=[*boxes, *picker], **quiet)
    wire_picker(parts.picker, frame, PATH_BOXES)


def folders_of(studio: Studio, current: str | None) -> list[Path]:
    """Where models are looked for: models/ and the demo in the studio's home, and beside the chosen one."""
    folders = [studio.home / "models", demo_folder(studio.home)]
    if current is not None:
        folders.append(Path(current).expanduser().absolute().parent)
    found: list[Path] = []
    for folder in folders:
        if folder.is_dir() and folder not in found and studio.allows(folder):
            found.append(folder)
    return found


def models_in(folders: list[Path]) -> list[ModelFacts]:
    """The models of several folders, each folder read again only when something in it has changed."""
    return [facts for folder in folders for facts in _models(folder, _signature(folder))]


@lru_cache(maxsize=16)
def _models(folder: Path, signature: int) -> tuple[ModelFacts, ...]:
    return tuple(list_models(folder))


def _signature(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            stats = [(entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in entries]
    except OSError:
        return 0
    return hash(tuple(sorted(stats)))
