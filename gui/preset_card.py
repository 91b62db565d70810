"""The preset card: load, import, save, delete, undo a load, and how far the form has moved from what was loaded.

Comes in: the files in presets/, the studio's own presets, and files of other studios. Goes out: filled boxes. Loading
always starts from the defaults; what stood in the boxes before is kept, for Undo load, until the next one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.form import differing
from gui.review import review
from gui.studio import Studio
from trainer.contract.foreign.reading import Note
from trainer.contract.job import absolute_paths, check_values
from trainer.contract.presets import Preset, delete_preset, import_preset, list_presets, save_preset
from trainer.contract.problems import Problem, errors_of
from trainer.dataset.wording import counted

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class PresetCard:
    """The card's components. `loaded` is the key of the preset in the form, `before` what stood there before it."""

    studio: Studio
    choice: gr.Dropdown
    about: gr.HTML
    differs: gr.HTML
    undo: gr.Button
    delete: gr.Button
    bring: gr.UploadButton
    save: gr.Button
    naming: gr.Column
    name: gr.Textbox
    line: gr.Textbox
    keep: gr.Button
    leave: gr.Button
    loaded: gr.State
    before: gr.State

    @property
    def shown(self) -> list[Component]:
        """What changes with the chosen preset."""
        return [self.choice, self.about, self.delete, self.undo, self.loaded, self.before]

    def show(self, key: str, said: str = "", before: Any = None, notes: Sequence[Note] = ()) -> dict[Component, Any]:
        """Updates that show a preset as the chosen one; `said` stands in place of its own line, `notes` below it."""
        preset = presets_of(self.studio).get(key)
        return {
            self.choice: gr.update(choices=choices_of(self.studio), value=key if preset else None),
            self.about: _line(said or (preset.about if preset else "Choose what to start from.")) + _told(notes),
            self.delete: gr.update(visible=preset is not None and preset.own),
            self.undo: gr.update(visible=before is not None),
            self.loaded: key,
            self.before: before,
        }


def build_preset_card(studio: Studio) -> PresetCard:
    """Draw the card in the open Blocks context."""
    with gr.Column(elem_classes=["at-card", "at-preset"]):
        with gr.Row(elem_classes=["at-preset-row"]):
            with gr.Column(elem_classes=["at-box"], min_width=200):
                choice = gr.Dropdown(
                    choices_of(studio), value=None, label="Preset", interactive=True, elem_id="at-preset"
                )
                differs = gr.HTML("", apply_default_css=False, elem_classes=["at-differs"])
            with gr.Row(elem_classes=["at-preset-buttons"]):
                bring = gr.UploadButton("Import", file_types=[".json", ".toml"], min_width=0, elem_id="at-import")
                save = gr.Button("Save as", min_width=0)
                delete = gr.Button("Delete", min_width=0, visible=False)
                undo = gr.Button("Undo load", min_width=0, visible=False, elem_classes=["at-plain"])
        about = gr.HTML(_line(""), apply_default_css=False)
        with gr.Column(visible=False) as naming, gr.Row(elem_classes=["at-preset-row"]):
            with gr.Column(elem_classes=["at-box"], min_width=120):
                name = gr.Textbox(label="Name", max_length=80, interactive=True)
            with gr.Column(elem_classes=["at-box"], min_width=160):
                line = gr.Textbox(label="What it is for", max_length=200, interactive=True)
            with gr.Row(elem_classes=["at-preset-buttons"]):
                keep = gr.Button("Save preset", min_width=0)
                leave = gr.Button("Leave it", min_width=0, elem_classes=["at-plain"])
    loaded, before = gr.State(""), gr.State(None)
    return PresetCard(
        studio, choice, about, differs, undo, delete, bring, save, naming, name, line, keep, leave, loaded, before
    )


def wire_preset_card(card: PresetCard, asked: gr.State) -> None:
    """Tie the buttons; every box must be drawn by now. What fills boxes counts `asked` up."""
    form = card.studio.form

    def load(data: dict[Component, Any]) -> dict[Component, Any]:
        preset = presets_of(card.studio).get(data[card.choice])
        if preset is None:
            return card.show("", "This preset is not there any more. Choose another.") | {asked: data[asked] + 1}
        return fill(data, preset)

    def take_in(data: dict[Component, Any]) -> dict[Component, Any]:
        preset = import_preset(Path(data[card.bring]), card.studio.own_presets, card.studio.home)
        if isinstance(preset, list):
            return {card.about: _line(" ".join(problem.message for problem in preset))}
        return fill(data, preset)

    def fill(data: dict[Component, Any], preset: Preset) -> dict[Component, Any]:
        said = " ".join([preset.about, *preset_flaws(preset.values)]).strip()
        before = {"values": form.values(data), "preset": data[card.loaded]}
        shown = card.show(key_of(preset), said, before, preset.notes)
        return form.fill(preset.values) | shown | {asked: data[asked] + 1}

    def undo(before: Mapping[str, Any] | None, count: int) -> dict[Component, Any]:
        before = before or {"values": {}, "preset": ""}
        said = "What stood here before is back."
        return form.fill(before["values"]) | card.show(before["preset"], said) | {asked: count + 1}

    def save(data: dict[Component, Any]) -> dict[Component, Any]:
        found = review(form.values(data), card.studio.home)
        if found.config is None:
            return {card.about: _line("Some values cannot be read yet. Mend them, then save.")}
        saved = save_preset(card.studio.own_presets, data[card.name], found.config.changed(), data[card.line])
        if isinstance(saved, Problem):
            return {card.about: _line(saved.message)}
        said = f"Saved as {saved.name}."
        return card.show(key_of(saved), said) | {card.naming: gr.update(visible=False), asked: data[asked] + 1}

    def delete(key: str, count: int) -> dict[Component, Any]:
        preset = presets_of(card.studio).get(key)
        if preset is None or not preset.own:
            return card.show(key)
        delete_preset(preset)
        said = f"{preset.name} is deleted; it lies in {preset.path.parent / 'deleted'}."
        return card.show("", said) | {asked: count + 1}

    boxes = form.components
    fills = [*boxes, *card.shown, asked]
    card.choice.select(load, inputs={*boxes, card.choice, card.loaded, asked}, outputs=fills, **_QUIET)
    card.bring.upload(take_in, inputs={*boxes, card.bring, card.loaded, asked}, outputs=fills, **_QUIET)
    card.undo.click(undo, inputs=[card.before, asked], outputs=fills, **_QUIET)
    card.delete.click(delete, inputs=[card.choice, asked], outputs=[*card.shown, asked], **_QUIET)
    card.save.click(lambda: gr.update(visible=True), outputs=[card.naming], **_QUIET)
    card.leave.click(lambda: gr.update(visible=False), outputs=[card.naming], **_QUIET)
    given = {*boxes, card.name, card.line, asked}
    card.keep.click(save, inputs=given, outputs=[*card.shown, card.naming, asked], **_QUIET)


def presets_of(studio: Studio) -> dict[str, Preset]:
    """All presets by key; an own one may bear the name of a shipped one."""
    presets = list_presets(studio.shipped_presets, studio.own_presets, studio.home)
    return {key_of(preset): preset for preset in presets}


def preset_flaws(values: Mapping[str, Any]) -> list[str]:
    """What of a preset's values cannot be read, one sentence each."""
    return [problem.message for problem in errors_of(check_values(values)[1]) if problem.code.startswith("value.")]


def key_of(preset: Preset) -> str:
    """What the list of presets calls one by."""
    return f"{'own' if preset.own else 'shipped'}/{preset.name}"


def choices_of(studio: Studio) -> list[tuple[str, str]]:
    """(shown, key) of every preset."""
    return [(f"{p.name} (yours)" if p.own else p.name, key) for key, p in presets_of(studio).items()]


def first_preset(studio: Studio) -> tuple[str, Mapping[str, Any]]:
    """Key and values of what a first visit starts with: the studio's choice, one's own before a shipped one."""
    presets = presets_of(studio)
    for key in (f"own/{studio.first_preset}", f"shipped/{studio.first_preset}"):
        if key in presets:
            return key, presets[key].values
    return "", {}


def differs_line(studio: Studio, key: str | None, values: Mapping[str, Any]) -> str:
    """ "7 boxes differ from it", empty where none does or nothing was loaded."""
    preset = presets_of(studio).get(key or "")
    if preset is None:
        return ""
    # A path of the demo is relative until the demo is made, and means the same.
    number = len(differing(*(absolute_paths(given, studio.home) for given in (values, preset.values))))
    if not number:
        return ""
    return f"{counted(number, 'box', 'boxes')} {'differs' if number == 1 else 'differ'} from it"


def _told(notes: Sequence[Note]) -> str:
    """What of another studio's preset is not simply in the boxes, key by key."""
    if not notes:
        return ""
    rows = "".join(f"<dt><code>{escape(note.key)}</code></dt><dd>{escape(note.said)}</dd>" for note in notes)
    listed = f"{counted(len(notes), 'setting')} of it that {'is' if len(notes) == 1 else 'are'} not the same here"
    return f'<details class="at-told" open><summary>{listed}</summary><dl>{rows}</dl></details>'


def _line(text: str) -> str:
    return f'<p class="at-aside">{escape(text)}</p>'
