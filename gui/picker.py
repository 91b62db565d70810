"""Choosing a folder or a file on the machine that the studio runs on, in the page: a far browser has no dialog for it.

One panel serves all path boxes of a page. Comes in: clicks with paths, each held against the folders that the studio
may list. Goes out: the chosen path, into the box that the panel was opened for. Nothing is read but names.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.frame import Frame
from gui.marks import NOTE_SCRIPT, message
from gui.studio import Studio
from trainer.contract.config import OPTIONS
from trainer.contract.options import Look
from trainer.dataset.listing import list_folder
from trainer.dataset.wording import counted, shown

ROWS = 500
"""Names drawn of one folder; the others can be typed into the box."""

ENDINGS: dict[Look, tuple[str, ...]] = {
    "model": (".safetensors", ".ckpt"),
    "file": (".safetensors", ".ckpt", ".pt", ".bin"),
}
"""The files that can be chosen for an option, by its kind of box; none where only folders can."""

_MODEL_FOLDER = ("model_index.json", "unet")
_VAE_FOLDER = ("model_index.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

_SCRIPT = (
    NOTE_SCRIPT
    + """
element.addEventListener('keydown', (event) => { if (event.key === 'Escape') trigger('click', {act: 'close'}); });
"""
)
FOCUS = """() => { setTimeout(() => {
  const panel = document.querySelector('.at-picker');
  (panel?.querySelector('.at-picker-rows button') ?? panel?.querySelector('[data-act]'))?.focus();
}, 60); }"""


@dataclass(frozen=True, slots=True)
class Place:
    """One folder as the panel shows it."""

    path: Path
    folders: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    """Folders that lead out of what the studio may list; they are shown and cannot be entered."""
    files: tuple[str, ...] = ()
    images: int = 0
    usable: bool = True
    """Whether the folder itself can be chosen."""
    note: str = ""
    """What keeps the folder from being listed."""


@dataclass(frozen=True)
class Picker:
    """The panel of one page: `opens` ties a button to a path box."""

    studio: Studio
    panel: gr.Column
    view: gr.HTML
    at: gr.State
    """The option whose box is to be filled, and the folder that is shown."""

    def opens(self, button: gr.Button, name: str) -> None:
        """Let `button` open the panel for the box of an option, which must be drawn already."""
        box = self.studio.form.boxes[name].component
        button.click(
            lambda value: self.opened(name, value),
            inputs=[box],
            outputs=[self.at, self.view, self.panel],
            show_progress="hidden",
            api_visibility="private",
        ).then(None, js=FOCUS)

    def opened(self, name: str, value: str | None) -> tuple[dict[str, str], str, dict[str, Any]]:
        """Updates of `at`, `view` and `panel` that show the folder nearest to what stands in the box."""
        path = start_at(self.studio, value)
        return {"name": name, "folder": str(path)}, draw(self.studio, look(self.studio, path, name), name), _shown(True)


def build_picker(studio: Studio) -> Picker:
    """Make the panel, closed, in the open Blocks context."""
    with gr.Column(visible=False, elem_classes=["at-card", "at-picker-card"]) as panel:
        view = gr.HTML("", js_on_load=_SCRIPT, apply_default_css=False, elem_classes=["at-picker"])
    return Picker(studio, panel, view, gr.State({"name": "", "folder": ""}))


def wire_picker(picker: Picker, frame: Frame, names: tuple[str, ...]) -> None:
    """Follow clicks in the panel; `names` are the options whose boxes this panel fills, all drawn by now."""
    boxes = {name: picker.studio.form.boxes[name].component for name in names}

    def follow(event: gr.EventData, at: Mapping[str, str], asked: int) -> dict[Component, Any]:
        name = at["name"]
        if name not in boxes:
            return {picker.panel: _shown(False)}
        chosen = answer(picker.studio, event._data or {}, at)
        if chosen is None:
            return {picker.panel: _shown(False)}
        if isinstance(chosen, Place):
            held = {"name": name, "folder": str(chosen.path)}
            return {picker.at: held, picker.view: draw(picker.studio, chosen, name)}
        filled = picker.studio.form.put({name: str(chosen)})
        return {**filled, picker.panel: _shown(False), frame.asked: asked + 1}

    picker.view.click(
        follow,
        inputs=[picker.at, frame.asked],
        outputs=[picker.at, picker.view, picker.panel, frame.asked, *boxes.values()],
        show_progress="hidden",
        api_visibility="private",
    )


def answer(studio: Studio, clicked: Mapping[str, str], at: Mapping[str, str]) -> Place | Path | None:
    """What a click leads to: a folder to show, a path to put into the box, or None for a closed panel."""
    act, name = clicked.get("act"), at["name"]
    path = Path(clicked.get("to") or at["folder"])
    if act == "close":
        return None
    here = look(studio, Path(at["folder"]), name)
    if act == "use" and here.usable and studio.allows(here.path):
        return here.path
    if act == "choose" and path.name in here.files and path.parent == here.path and studio.allows(path):
        return path
    return look(studio, path, name) if act == "enter" else here


def look(studio: Studio, path: Path, name: str) -> Place:
    """The folder `path` as it can be shown for an option; a folder outside the roots shows nothing but a note."""
    if not studio.allows(path):
        message = f"{shown(path)} lies outside the folders that this studio may list. Start it with --root to add one."
        return Place(path, usable=False, note=message)
    listing = list_folder(path)
    if listing.fault is not None:
        faults = {"missing": "is not there", "not_a_folder": "is no folder", "unreadable": "may not be read"}
        return Place(path, usable=False, note=f"{shown(path)} {faults[listing.fault]}.")
    kind = OPTIONS[name].shown.look
    inside = [folder for folder in listing.folders if studio.allows(path / folder)]
    outside = [folder for folder in listing.folders if folder not in inside]
    usable = True
    if kind in ENDINGS:
        wanted = _MODEL_FOLDER if kind == "model" else _VAE_FOLDER
        usable = any((path / child).exists() for child in wanted)
    files = _files(path, ENDINGS.get(kind, ()))
    return Place(path, tuple(inside), tuple(outside), files, len(listing.images), usable)


def start_at(studio: Studio, value: str | None) -> Path:
    """Where the panel opens: the folder that stands in the box or the nearest one above it, else the first root."""
    text = (value or "").strip()
    if text:
        path = Path(os.path.abspath(studio.home / Path(text).expanduser()))
        while path != path.parent:
            if studio.allows(path) and path.is_dir():
                return path
            path = path.parent
    return places(studio)[0]


def places(studio: Studio) -> list[Path]:
    """The folders that the studio may list, each once; the person's own come before the studio's."""
    found: list[Path] = []
    for root in (*studio.roots, studio.home):
        path = Path(os.path.realpath(root.expanduser()))
        if path.is_dir() and path not in found:
            found.append(path)
    return found or [studio.home]


def draw(studio: Studio, place: Place, name: str) -> str:
    """The panel's HTML."""
    option = OPTIONS[name]
    what = "model" if option.shown.look == "model" else "file" if option.shown.look == "file" else "folder"
    head = (
        f'<div class="at-card-title"><h2>{escape(f"Choose the {what}: {option.shown.label}")}</h2>'
        '<button type="button" class="at-link" data-act="close">Close</button></div>'
    )
    roots = "".join(_button("enter", root, shown(root), "at-chip") for root in places(studio))
    above = place.path.parent
    up = _button("enter", above, "Up", "at-button") if above != place.path and studio.allows(above) else ""
    words = f"Use this {'folder' if what == 'folder' else what}"
    use = f'<button type="button" class="at-button at-primary" data-act="use">{words}</button>' if place.usable else ""
    aside = counted(place.images, "image") if place.images and what == "folder" else ""
    bar = (
        f'<div class="at-picker-bar">{up}<code>{escape(shown(place.path))}</code>'
        f'<span class="at-aside">{aside}</span>{use}</div>'
    )
    if place.note:
        return f'{head}<div class="at-chips">{roots}</div>{bar}{message("warning", place.note)}'
    return f'{head}<div class="at-chips">{roots}</div>{bar}<ul class="at-picker-rows">{_rows(place, what)}</ul>'


def _rows(place: Place, what: str) -> str:
    rows = [f"<li>{_button('choose', place.path / name, name, 'at-file')}</li>" for name in place.files]
    rows += [f"<li>{_button('enter', place.path / name, name, 'at-folder')}</li>" for name in place.folders]
    rows += [
        f'<li class="at-outside"><span>{escape(name)}</span><span class="at-aside">leads outside</span></li>'
        for name in place.outside
    ]
    if not rows:
        words = "No folders in here." if what == "folder" else f"No folders and no {what} that can be used in here."
        return f'<li class="at-outside">{words}</li>'
    more = len(rows) - ROWS
    left = f'<li class="at-outside">and {more:,} more: type the path into the box</li>' if more > 0 else ""
    return "".join(rows[:ROWS]) + left


def _files(path: Path, endings: tuple[str, ...]) -> tuple[str, ...]:
    if not endings:
        return ()
    with os.scandir(path) as entries:
        names = [
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and os.path.splitext(entry.name)[1].lower() in endings and entry.is_file()
        ]
    return tuple(sorted(names))


# Not data-path: Gradio takes a "path" in what a page sends for one of its own uploads.
def _button(act: str, path: Path, text: str, kind: str) -> str:
    return (
        f'<button type="button" class="{kind}" data-act="{act}" data-to="{escape(str(path))}">{escape(text)}</button>'
    )


def _shown(visible: bool) -> dict[str, Any]:
    return gr.update(visible=visible)
