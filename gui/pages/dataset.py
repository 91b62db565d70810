"""The Dataset page: the folders of images, what was found in them, the buckets and cuts, and the plan they add up to.

The boxes of the data options stand here. Whenever the form was looked through, the cards are drawn from the review;
clicks choose a bucket or a chip, put a mend into the boxes, or open the picker. No file is changed. While the form
holds the demo and the tour is not skipped, that of gui/welcome.py stands in place of all this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.dataset_cards import draw_buckets, draw_folders, draw_plan
from gui.form import mend_of
from gui.frame import Frame
from gui.gallery import CHIPS, PAGE, Shot, draw_gallery, shots
from gui.marks import NOTE_SCRIPT, card_title, empty, page_title
from gui.picker import Picker, build_picker, wire_picker
from gui.review import Review, review
from gui.studio import Studio
from gui.tour import demo_values
from gui.welcome import Welcome, build_foot, build_tour, wire_welcome
from trainer.dataset.wording import shown
from trainer.demo.place import is_made

PATH_BOXES = ("train_data_dir", "reg_data_dir")
SHOWING = {"chip": "all", "bucket": "", "number": PAGE}
"""What the gallery of one browser shows at first."""

_SEGMENTS = """<div class="at-kinds" aria-hidden="true">
<span class="at-kind-off" data-want="false">DreamBooth folders</span>
<span class="at-kind-on" data-want="true">Folder with captions</span></div>"""

# The checkbox of the option stays in the page for keyboards and screen readers; the segments only click it.
_SEGMENT_SCRIPT = """
element.addEventListener('click', (event) => {
  const want = event.target.closest('[data-want]')?.dataset.want;
  const box = document.querySelector('#at-fine_tuning input');
  if (want && box && String(box.checked) !== want) box.click();
});
"""
_GALLERY_SCRIPT = (
    NOTE_SCRIPT
    + """
element.addEventListener('change', (event) => {
  if (event.target.matches('[data-crop]')) element.classList.toggle('at-no-crop', !event.target.checked);
});
"""
)


@dataclass(frozen=True)
class _Parts:
    """What the page draws again: components by what they show."""

    title: gr.HTML
    nothing: gr.Column
    demo: gr.Button
    plan_card: gr.Column
    plan: gr.HTML
    folders: gr.HTML
    buckets: gr.HTML
    gallery: gr.HTML
    scan: gr.Button
    showing: gr.State
    picker: Picker
    welcome: Welcome

    @property
    def drawn(self) -> list[Component | gr.blocks.Block]:
        return [
            *(self.title, self.nothing, self.demo, self.plan_card, self.plan),
            *(self.folders, self.buckets, self.gallery, self.showing),
        ]


def build(studio: Studio, frame: Frame) -> Callable[[], None]:
    """Draw the page; the returned function ties it to the form once all pages are drawn."""
    with gr.Column(elem_classes=["at-page", "at-dataset"]):
        tour = build_tour()
        with gr.Row(elem_classes=["at-page-head"]):
            title = gr.HTML(page_title("Dataset"), apply_default_css=False)
            with gr.Row(elem_classes=["at-page-actions"]):
                choose_other = gr.Button("Choose folder", scale=0, elem_id="at-choose-folder")
                scan = gr.Button("Scan again", scale=0, elem_classes=["at-plain-button"])
        picker = build_picker(studio)
        with gr.Column(visible=False, elem_classes=["at-card", "at-nothing-yet"]) as nothing:
            about = "Choose a folder on this computer. Your files are never changed."
            gr.HTML(empty("Which images shall it learn?", about), apply_default_css=False)
            with gr.Row(elem_classes=["at-empty-buttons"]):
                choose = gr.Button("Choose folder", variant="primary", scale=0)
                demo = gr.Button("Use the demo", scale=0, visible=False)
        with gr.Column(elem_classes=["at-card"], visible=False) as plan_card:
            plan = gr.HTML("", apply_default_css=False)
        choose_reg, folders = _folders_card(studio)
        with gr.Row(elem_classes=["at-columns", "at-sight"], visible="hidden"):
            with gr.Column(scale=1, min_width=260, elem_classes=["at-card", "at-buckets-card"]):
                buckets = gr.HTML("", js_on_load=NOTE_SCRIPT, apply_default_css=False)
                with gr.Row(elem_classes=["at-boxes", "at-two"]):
                    for name in (
                        "enable_bucket",
                        "resolution",
                        "bucket_reso_steps",
                        "min_bucket_reso",
                        "max_bucket_reso",
                    ):
                        studio.form.draw(name)
            with gr.Column(scale=2, min_width=300, elem_classes=["at-card"]):
                gallery = gr.HTML("", js_on_load=_GALLERY_SCRIPT, apply_default_css=False, elem_classes=["at-gallery"])
        welcome = Welcome(tour, build_foot())
    showing = gr.State(SHOWING)
    for button, name in ((choose_other, "train_data_dir"), (choose, "train_data_dir"), (choose_reg, "reg_data_dir")):
        picker.opens(button, name)
    parts = _Parts(title, nothing, demo, plan_card, plan, folders, buckets, gallery, scan, showing, picker, welcome)
    return partial(_wire, studio, frame, parts)


def _folders_card(studio: Studio) -> tuple[gr.Button, gr.HTML]:
    with gr.Column(elem_classes=["at-card", "at-folders-card"]):
        with gr.Row(elem_classes=["at-card-head"]):
            gr.HTML(card_title("Folders"), apply_default_css=False)
            gr.HTML(_SEGMENTS, js_on_load=_SEGMENT_SCRIPT, apply_default_css=False, elem_classes=["at-kinds-block"])
        studio.form.draw("fine_tuning")
        with gr.Row(elem_classes=["at-boxes", "at-two"]):
            studio.form.draw("train_data_dir")
            with gr.Row(elem_classes=["at-with-button"]):
                studio.form.draw("reg_data_dir")
                choose_reg = gr.Button("Choose", scale=0, min_width=90)
            studio.form.draw("caption_extension")
            studio.form.draw("dataset_repeats")
        folders = gr.HTML("", js_on_load=NOTE_SCRIPT, apply_default_css=False)
    return choose_reg, folders


def _wire(studio: Studio, frame: Frame, parts: _Parts) -> None:
    form = studio.form
    boxes = form.components

    def show(data: Mapping[Component, Any]) -> dict[Component, Any]:
        return _drawn(studio, parts, review(form.values(data), studio.home), data[parts.showing])

    def mend(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any] | Any:
        clicked = event._data or {}
        found = review(form.values(data), studio.home)
        chosen = mend_of(found.problems, clicked.get("key", ""), int(clicked.get("mend", 0)))
        return {**form.put(chosen.values), frame.asked: data[frame.asked] + 1} if chosen else gr.skip()

    def show_other(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any]:
        found = review(form.values(data), studio.home)
        showing = clicked_on(event._data or {}, data[parts.showing])
        return {
            parts.showing: showing,
            parts.gallery: _gallery(studio, _shots(found), showing),
            parts.buckets: draw_buckets(found, showing["bucket"] if showing["chip"] == "bucket" else ""),
        }

    def use_demo(asked: int) -> dict[Component, Any]:
        return {**form.fill(demo_values(studio)), frame.asked: asked + 1}

    def scan_again(data: Mapping[Component, Any]) -> int:
        review(form.values(data), studio.home, fresh=True)
        return data[frame.asked] + 1

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    seen = form.inputs | {parts.showing}
    frame.revision.change(show, inputs=seen, outputs=parts.drawn, **quiet)
    parts.folders.click(mend, inputs=form.inputs | {frame.asked}, outputs=[*boxes, frame.asked], **quiet)
    for clickable in (parts.buckets, parts.gallery):
        clickable.click(show_other, inputs=seen, outputs=[parts.showing, parts.gallery, parts.buckets], **quiet)
    parts.demo.click(use_demo, inputs=[frame.asked], outputs=[*boxes, frame.asked], **quiet)
    parts.scan.click(scan_again, inputs=form.inputs | {frame.asked}, outputs=[frame.asked], api_visibility="private")
    wire_picker(parts.picker, frame, PATH_BOXES)
    wire_welcome(studio, frame, parts.welcome)


def clicked_on(clicked: Mapping[str, str], showing: Mapping[str, Any]) -> dict[str, Any]:
    """What the gallery shows after a click on a bucket, a chip or "Show 24 more"; a second click on a bucket: all."""
    act = clicked.get("act")
    if act == "bucket":
        again = showing["chip"] == "bucket" and showing["bucket"] == clicked.get("bucket")
        return {"chip": "all" if again else "bucket", "bucket": str(clicked.get("bucket", "")), "number": PAGE}
    if act == "chip" and clicked.get("chip") in CHIPS:
        return {**showing, "chip": clicked["chip"], "number": PAGE}
    if act == "more":
        return {**showing, "number": showing["number"] + PAGE}
    return dict(showing)


def _drawn(studio: Studio, parts: _Parts, found: Review, showing: Mapping[str, Any]) -> dict[Component, Any]:
    folder = found.looked_at.data.train_data_dir
    here = found.report is not None and found.report.scan.pictures > 0
    sizes = {f"{row.size[0]} × {row.size[1]}" for row in found.plan.buckets} if found.plan else set()
    if showing["chip"] == "bucket" and showing["bucket"] not in sizes:
        showing = SHOWING
    seen = _shots(found)
    return {
        parts.title: page_title("Dataset", shown(folder) if folder else ""),
        parts.nothing: gr.update(visible=folder is None),
        parts.demo: gr.update(visible=folder is None and is_made(studio.home)),
        parts.plan_card: gr.update(visible=here),
        parts.plan: draw_plan(found),
        parts.folders: draw_folders(found, seen),
        parts.buckets: draw_buckets(found, showing["bucket"] if showing["chip"] == "bucket" else ""),
        parts.gallery: _gallery(studio, seen, showing),
        parts.showing: dict(showing),
    }


def _shots(found: Review) -> list[Shot]:
    return shots(found.report.entries, found.looked_at.images) if found.report is not None else []


def _gallery(studio: Studio, seen: Sequence[Shot], showing: Mapping[str, Any]) -> str:
    return draw_gallery(studio, seen, showing["chip"], showing["bucket"], showing["number"]) if seen else ""
