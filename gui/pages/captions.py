"""The Captions page: every image beside its caption in a box, how much of it is read, and the list of changes.

A box is saved as it is left: the text goes to the server, which writes it into the caption file of an image of the
scanned data set, and nowhere else. What cannot be written stays in its box and is said there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from gradio.components import Component

from gui.caption_cards import (
    CARDS_SCRIPT,
    CHIPS,
    PAGE,
    Held,
    Reading,
    draw_cards,
    draw_chips,
    draw_undo,
    is_shown,
    measure,
)
from gui.figures import count
from gui.frame import Frame
from gui.journal import CaptionChanged, CaptionUnwritable, Edit, Journal
from gui.marks import NOTE_SCRIPT, empty, page_title
from gui.review import Review, review
from gui.studio import Studio
from trainer.contract.config import TokenLength
from trainer.dataset.captions import Entry, caption_file
from trainer.model.tokenizer import Family

JOURNAL = "captions-journal.jsonl"

LONGEST = 20_000
"""Letters of a caption that are taken in; the text encoder reads some 400."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one browser looks at. `pictures` stay the same while captions are edited, so that no card jumps away."""

    chip: str = "all"
    words: str = ""
    number: int = PAGE
    pictures: tuple[str, ...] = ()
    held: Mapping[str, Held] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions of the scanned data set: entries and files by picture, and for which tokenizer they are counted."""

    entries: Mapping[str, Entry]
    files: Mapping[str, Path]
    reading: Reading
    named: bool
    """Whether a folder's name stands for a caption that is not there."""

    def holds(self, file: Path) -> bool:
        """Whether a caption file belongs to the data set."""
        return file in self.files.values()


@dataclass(frozen=True)
class _Parts:
    title: gr.HTML
    nothing: gr.Column
    page: gr.Row
    words: gr.Textbox
    chips: gr.HTML
    cards: gr.HTML
    undo: gr.HTML
    sight: gr.State

    @property
    def drawn(self) -> list[Component | gr.blocks.Block]:
        return [self.title, self.nothing, self.page, self.chips, self.cards, self.undo, self.sight]


def build(studio: Studio, frame: Frame) -> Callable[[], None]:
    """Draw the page; the returned function ties it to the form once all pages are drawn."""
    with gr.Column(elem_classes=["at-page", "at-captions-page"]):
        title = gr.HTML(page_title("Captions"), apply_default_css=False)
        with gr.Column(visible=False, elem_classes=["at-card", "at-nothing-yet"]) as nothing:
            about = "Captions are shown beside their images. Choose the folder of images first."
            gr.HTML(empty("No images yet", about), apply_default_css=False)
            with gr.Row(elem_classes=["at-empty-buttons"]):
                leave = gr.Button("Go to Dataset", variant="primary", scale=0)
        with gr.Row(elem_classes=["at-columns"], visible=False) as page:
            with gr.Column(scale=5, elem_classes=["at-main"]):
                words = gr.Textbox(
                    placeholder="Words, tags or file names",
                    show_label=False,
                    container=False,
                    elem_classes=["at-words"],
                    elem_id="at-caption-words",
                )
                chips = gr.HTML("", js_on_load=NOTE_SCRIPT, apply_default_css=False)
                cards = gr.HTML("", js_on_load=CARDS_SCRIPT, apply_default_css=False, server_functions=[count_tokens])
            with gr.Column(scale=2, min_width=260, elem_classes=["at-card", "at-captions-side"]):
                undo = gr.HTML("", js_on_load=NOTE_SCRIPT, apply_default_css=False)
        sight = gr.State(Sight())
    leave.click(lambda: gr.Tabs(selected="dataset"), outputs=[frame.tabs], api_visibility="private")
    return partial(_wire, studio, frame, _Parts(title, nothing, page, words, chips, cards, undo, sight))


def _wire(studio: Studio, frame: Frame, parts: _Parts) -> None:
    form = studio.form
    journal = Journal(studio.home / JOURNAL)
    inputs = form.inputs | {parts.sight, parts.words}

    def look(data: Mapping[Component, Any]) -> Captions | None:
        return captions_of(review(form.values(data), studio.home))

    def draw(found: Captions | None, sight: Sight) -> dict[Component, Any]:
        return _drawn(studio, parts, journal, found, sight)

    def show(data: Mapping[Component, Any]) -> dict[Component, Any]:
        found = look(data)
        return draw(found, still_looking(found, data[parts.sight]))

    def search(data: Mapping[Component, Any]) -> dict[Component, Any]:
        found = look(data)
        return draw(found, looking(found, replace(data[parts.sight], words=data[parts.words] or "", number=PAGE)))

    def choose(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any]:
        found, chip = look(data), (event._data or {}).get("chip")
        sight = replace(data[parts.sight], chip=chip if chip in CHIPS else "all", number=PAGE)
        return draw(found, looking(found, sight))

    def follow(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any] | Any:
        clicked, sight, found = event._data or {}, data[parts.sight], look(data)
        if clicked.get("act") == "more":
            return draw(found, replace(sight, number=sight.number + PAGE))
        picture = str(clicked.get("picture", ""))
        if found is None or picture not in found.entries:
            return gr.skip()
        if clicked.get("act") == "drop":
            return draw(found, replace(sight, held=_without(sight.held, picture)))
        found, sight, saved = saving(studio, journal, found, sight, clicked)
        return {**draw(found, sight), **({frame.asked: data[frame.asked] + 1} if saved else {})}

    def undo(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any] | Any:
        found, name = look(data), str((event._data or {}).get("edit", ""))
        edit = next((edit for edit in journal.open_edits() if edit.id == name), None)
        if found is None or edit is None:
            return gr.skip()
        found, sight, undone = undoing(studio, journal, found, data[parts.sight], edit)
        return {**draw(found, sight), **({frame.asked: data[frame.asked] + 1} if undone else {})}

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    frame.revision.change(show, inputs=inputs, outputs=parts.drawn, trigger_mode="always_last", **quiet)
    parts.words.change(search, inputs=inputs, outputs=parts.drawn, trigger_mode="always_last", **quiet)
    parts.chips.click(choose, inputs=inputs, outputs=parts.drawn, **quiet)
    # "multiple": a box that is left while another one is being saved must be saved as well, not dropped.
    for part, answer in ((parts.cards, follow), (parts.undo, undo)):
        part.click(
            answer,
            inputs=inputs | {frame.asked},
            outputs=[*parts.drawn, frame.asked],
            trigger_mode="multiple",
            **quiet,
        )


def captions_of(found: Review) -> Captions | None:
    """The captions that the review found; None without images. Regularization images are left out."""
    if found.report is None:
        return None
    data = found.looked_at.data
    entries = {str(entry.picture.path): entry for entry in found.report.entries if not entry.regularization}
    files = {name: caption_file(entry.picture.path, data.caption_extension) for name, entry in entries.items()}
    family: Family = found.facts.family if found.facts else "v2" if found.looked_at.model.v2 else "v1"
    reading = Reading(family, found.looked_at.captions.token_limit)
    return Captions(entries, files, reading, not data.fine_tuning) if entries else None


def looking(found: Captions | None, sight: Sight) -> Sight:
    """The sight with the pictures that its chip and words show now."""
    if found is None:
        return sight
    behind = [name for name, entry in found.entries.items() if is_shown(entry, sight.chip, sight.words, found.reading)]
    return replace(sight, pictures=tuple(behind))


def still_looking(found: Captions | None, sight: Sight) -> Sight:
    """The same pictures while their captions are edited, also where one left its chip; others for other images."""
    if found is None:
        return sight
    plain = sight.chip == "all" and not sight.words
    known = all(picture in found.entries for picture in sight.pictures)
    if sight.pictures and known and (not plain or len(sight.pictures) == len(found.entries)):
        return sight
    held = {name: one for name, one in sight.held.items() if name in found.entries}
    return looking(found, replace(sight, held=held, number=sight.number if known else PAGE))


def saving(
    studio: Studio, journal: Journal, found: Captions, sight: Sight, sent: Mapping[str, Any]
) -> tuple[Captions, Sight, bool]:
    """Save what a box sent: {picture, text, was}. Whether something was written comes last.

    Only the caption file of a scanned picture inside the studio's folders is ever written, whatever the browser asks.
    """
    picture, text = str(sent["picture"]), str(sent.get("text", ""))[:LONGEST]
    file = found.files[picture]
    if not studio.allows(file):
        message = f"{file} lies outside the folders that this studio may write to."
        return found, replace(sight, held={**sight.held, picture: Held(text, message)}), False
    try:
        edit = journal.save(file, str(sent.get("was", "")), text)
    except CaptionChanged as change:
        now = f"says “{change.now}” by now" if change.now else "is empty or gone by now"
        held = Held(text, f"Not saved: {file.name} {now}, and was changed by something else.", changed=True)
        return with_caption(found, file, change.now), replace(sight, held={**sight.held, picture: held}), False
    except CaptionUnwritable as trouble:
        held = Held(text, f"Not saved: {trouble} Your text stays here.")
        return found, replace(sight, held={**sight.held, picture: held}), False
    sight = replace(sight, held=_without(sight.held, picture), message="")
    return (with_caption(found, file, edit.new) if edit else found), sight, edit is not None


def undoing(
    studio: Studio, journal: Journal, found: Captions, sight: Sight, edit: Edit
) -> tuple[Captions, Sight, bool]:
    """Put back what an edit replaced, where its file belongs to the scanned data set."""
    if not found.holds(edit.file) or not studio.allows(edit.file):
        return found, replace(sight, message=f"{edit.file.name} does not belong to the folder that is open."), False
    try:
        journal.undo(edit)
    except CaptionChanged as change:
        message = f"{edit.file.name} was changed by something else since: “{change.now or ''}”. Nothing was undone."
        return found, replace(sight, message=message), False
    except CaptionUnwritable as trouble:
        return found, replace(sight, message=f"Nothing was undone: {trouble}"), False
    return with_caption(found, edit.file, edit.old), replace(sight, message=""), True


def with_caption(found: Captions, file: Path, text: str | None) -> Captions:
    """The captions with another text in one file; faces cut from one picture share a file, so it may be several."""
    entries = dict(found.entries)
    for name, own in found.files.items():
        if own == file:
            entry = entries[name]
            # Without a file the folder's name counts again, which the next look at the folder fills in.
            entries[name] = replace(entry, caption=text or "", captioned=text is not None)
    return replace(found, entries=entries)


def count_tokens(asked: Any) -> list[Any]:
    """[tokens, what is lost] for {text, family, limit}: asked by the page while somebody types."""
    # Gradio hands over one value, whatever the page passes; it comes from outside and may be anything.
    asked = asked if isinstance(asked, Mapping) else {}
    limit = str(asked.get("limit", ""))
    reading = Reading(
        "v2" if asked.get("family") == "v2" else "v1", int(limit if limit in get_args(TokenLength) else "75")
    )
    size = measure(str(asked.get("text", ""))[:LONGEST], reading)
    return [size.tokens, size.tail]


def _without(held: Mapping[str, Held], picture: str) -> dict[str, Held]:
    return {name: one for name, one in held.items() if name != picture}


def _drawn(
    studio: Studio, parts: _Parts, journal: Journal, found: Captions | None, sight: Sight
) -> dict[Component, Any]:
    if found is None:
        return {
            parts.title: page_title("Captions"),
            parts.nothing: gr.update(visible=True),
            parts.page: gr.update(visible=False),
            parts.sight: replace(sight, pictures=(), held={}, message=""),
        }
    entries = list(found.entries.values())
    told = sum(entry.captioned for entry in entries)
    about = (
        f"{count(len(entries))} images, {count(told)} captions. "
        "Edits are saved as you leave a box; every one can be undone."
    )
    shown: Sequence[Entry] = [found.entries[name] for name in sight.pictures[: sight.number] if name in found.entries]
    edits = [edit for edit in journal.open_edits() if found.holds(edit.file)]
    return {
        parts.title: page_title("Captions", about),
        parts.nothing: gr.update(visible=False),
        parts.page: gr.update(visible=True),
        parts.chips: draw_chips(entries, sight.chip, found.reading),
        parts.cards: draw_cards(studio, shown, sight.held, found.reading, len(sight.pictures), found.named),
        parts.undo: draw_undo(edits, sight.message),
        parts.sight: sight,
    }
