"""The training page: preset, what is to mend, the form by groups, and at the right Start, the sum, the command line.

All boxes that no other page draws stand here. Any change of any box of any page ends in `look`: it reviews the form,
draws what is new and counts `frame.revision` up. The form is kept in the browser, so a reload loses nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.activity import ahead_of
from gui.bench import Bench, bench_of
from gui.drawn import Look, drawing
from gui.form import Form, mend_of
from gui.frame import Frame
from gui.groups import HEAD_SCRIPT, HEAD_TEMPLATE, Group, groups_left, head_of
from gui.marks import NOTE_SCRIPT, message, page_title
from gui.memory_clicks import wire_memory
from gui.preset_card import PresetCard, build_preset_card, first_preset, wire_preset_card
from gui.review import Review, review
from gui.start_card import COPY_SCRIPT, CURVE_TEMPLATE, begin
from gui.studio import Studio
from gui.sweep_form import SweepForm, build_sweep_form, wire_sweep_form
from trainer.contract.config import OPTIONS
from trainer.runs.folder import RunFolder

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_HTML: dict[str, Any] = {"apply_default_css": False}

GOTO_SCRIPT = """
const lead = (name, tries, skipped) => {
  const box = document.getElementById('at-box-' + name), panel = box?.closest('[role=tabpanel]');
  box?.closest('.at-group')?.classList.remove('at-closed');
  const tour = box?.checkVisibility() ? null : panel?.querySelector('.at-tour-on [data-act=skip]');
  if (!panel?.checkVisibility() || tour) {
    const skips = !skipped && tour?.checkVisibility();
    if (skips) tour.click();
    if (tries) setTimeout(() => lead(name, tries - 1, skipped || skips), 50);
    return;
  }
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  box.scrollIntoView({block: 'center', behavior: calm ? 'auto' : 'smooth'});
  box.querySelector('input, textarea')?.focus({preventScroll: true});
};
element.addEventListener('click', (event) => {
  const link = event.target.closest('[data-goto]');
  if (!link) return;
  document.getElementById(`at-tab-${link.dataset.page}-button`)?.click();
  lead(link.dataset.goto, 200, false);
});
"""
"""A click on data-goto leads to the box of that option, on whichever page and in whichever group it stands.

Where the tour stands in place of it, the tour is skipped: who asks for a box wants to set it.
"""


LOOK_SOON = """() => {
  clearTimeout(window.atLookSoon);
  window.atLookSoon = setTimeout(() => document.getElementById('at-look')?.click(), 120);
}"""
"""A preset changes thirty boxes at once, and each would send all values by itself; the answers would overtake each
other. So the boxes only press a hidden button, once, when they have come to rest. (A textbox's `input` event will not
do: it comes from key presses, and not from Backspace, pasting or dropping.)"""


@dataclass(frozen=True)
class TrainPage:
    """The parts of the page that `look` draws."""

    preset: PresetCard
    groups: tuple[Group, ...]
    heads: Mapping[str, gr.HTML]
    parts: Mapping[str, gr.HTML]
    words: gr.Textbox
    view: gr.Radio
    start: gr.Button
    memory: gr.HTML
    bench: Bench
    sweep: SweepForm
    drawn: gr.State
    """What this browser was sent last, by name: only what is new is sent again."""
    kept: gr.BrowserState


def build(studio: Studio, frame: Frame) -> Callable[[], None]:
    """Draw the page, with every option that has no box yet; the returned function ties all boxes of all pages."""
    groups = tuple(groups_left(studio.form))
    parts: dict[str, gr.HTML] = {}
    with gr.Column(elem_classes=["at-page", "at-train"]):
        parts["style"] = gr.HTML("", html_template="<style>${value}</style>", elem_classes=["at-nothing"], **_HTML)
        parts["title"] = gr.HTML(page_title("Training"), **_HTML)
        with gr.Row(elem_classes=["at-columns"]):
            with gr.Column(scale=7, elem_classes=["at-main"]):
                preset = build_preset_card(studio)
                parts["summary"] = gr.HTML("", js_on_load=GOTO_SCRIPT, elem_classes=["at-summary"], **_HTML)
                with gr.Row(elem_classes=["at-finder"]):
                    words = gr.Textbox(
                        show_label=False,
                        label="Search options",
                        placeholder=f"Search {len(OPTIONS)} options",
                        container=False,
                        interactive=True,
                        elem_classes=["at-search"],
                    )
                    view = gr.Radio(
                        _views(0), value="basic", show_label=False, label="Options in view", interactive=True,
                        container=False, elem_classes=["at-segments"],
                    )  # fmt: skip
                parts["elsewhere"] = gr.HTML("", js_on_load=GOTO_SCRIPT, elem_classes=["at-elsewhere"], **_HTML)
                with gr.Column(elem_classes=["at-card", "at-groups"]):
                    heads = {group.section: _draw_group(studio.form, group, parts) for group in groups}
            with gr.Column(scale=3, min_width=260, elem_classes=["at-side"]):
                with gr.Column(elem_classes=["at-card", "at-start-card"]):
                    start = gr.Button("Start", variant="primary", interactive=False, elem_id="at-start")
                    parts["waits"] = gr.HTML("", elem_classes=["at-waits"], **_HTML)
                    parts["sum"] = gr.HTML("", **_HTML)
                with gr.Column(elem_classes=["at-card", "at-memory-card"]):
                    memory = gr.HTML("", js_on_load=NOTE_SCRIPT, **_HTML)
                sweep = build_sweep_form()
                with gr.Column(elem_classes=["at-card"]):
                    parts["command"] = gr.HTML("", js_on_load=COPY_SCRIPT, **_HTML)
    # One home, one form: two studios of one person keep theirs apart.
    key = f"atelier-form-{blake2b(str(studio.home).encode(), digest_size=6).hexdigest()}"
    kept = gr.BrowserState(None, storage_key=key, secret="atelier", render=False)
    page = TrainPage(
        preset, groups, heads, parts, words, view, start, memory, bench_of(studio.home), sweep, gr.State({}), kept
    )
    return lambda: _wire(studio, frame, page)


def _draw_group(form: Form, group: Group, parts: dict[str, gr.HTML]) -> gr.HTML:
    """One section: its head, its boxes, and the curve under the learning rate."""
    classes = ["at-group"] if group.basic else ["at-group", "at-closed"]
    plain = [name for name in group.names if OPTIONS[name].kind != "switch"]
    switches = [name for name in group.names if OPTIONS[name].kind == "switch"]
    with gr.Column(elem_classes=classes, elem_id=f"at-group-{group.section}"):
        head = gr.HTML(
            value=head_of(group, {}, ()),
            html_template=HEAD_TEMPLATE,
            js_on_load=HEAD_SCRIPT,
            elem_classes=["at-group-head"],
            **_HTML,
        )
        with gr.Column(elem_classes=["at-group-body"]):
            # A lone switch takes a cell beside the boxes; more of them get rows of two.
            beside = switches if plain and len(switches) == 1 else []
            if plain:
                with gr.Row(elem_classes=["at-boxes"]):
                    for name in (*plain, *beside):
                        form.draw(name)
            if switches and not beside:
                with gr.Row(elem_classes=["at-boxes", "at-switches"]):
                    for name in switches:
                        form.draw(name)
            if group.section == "rate":
                parts["curve"] = gr.HTML({"path": "", "said": ""}, html_template=CURVE_TEMPLATE, **_HTML)
    return head


def _wire(studio: Studio, frame: Frame, page: TrainPage) -> None:
    # Outside the tabs: what stands on a page that nobody has opened yet keeps nothing.
    page.kept.render()
    form, card = studio.form, page.preset
    drawables = [page.view, page.start, card.differs, *page.parts.values(), *page.heads.values()]
    drawables += [box.note for box in form.boxes.values()]

    def read(data: Mapping[Component, Any]) -> Look:
        values = form.values(data)
        found = review(values, studio.home)
        view = data[page.view] or "basic"
        ahead = ahead_of(found.looked_at, data[frame.ahead])
        return Look(found, values, data[page.words] or "", view, ahead, data[card.choice])

    def look(data: dict[Component, Any]) -> dict[Component, Any]:
        seen, before = read(data), data[page.drawn]
        now = drawing(studio, page.groups, seen) | {"seen": seen.key}
        updates = _news(now, before, page)
        if before.get("seen") != seen.key:
            updates[frame.revision] = data[frame.revision] + 1
            updates[page.kept] = {"values": dict(seen.values), "preset": seen.preset}
        return updates

    def first(kept: Mapping[str, Any] | None, asked: int) -> dict[Component, Any]:
        if isinstance(kept, dict) and set(kept.get("values", {})) <= set(OPTIONS):
            key, values = kept.get("preset") or "", kept["values"]
        else:
            key, values = first_preset(studio)
        # A fresh page has been sent nothing yet.
        return form.fill(values) | card.show(key) | {page.drawn: {}, frame.asked: asked + 1}

    wire_preset_card(card, frame.asked)
    frame.window.load(
        first,
        inputs=[page.kept, frame.asked],
        outputs=[*form.components, *card.shown, page.drawn, frame.asked],
        **_QUIET,
    )
    changes = [part.change for part in (*form.components, page.words, page.view)]
    gr.on(changes, None, js=LOOK_SOON, **_QUIET)
    gr.on(
        [frame.look.click, frame.asked.change, frame.ahead.change],
        look,
        inputs={*form.inputs, card.choice, page.words, page.view, page.drawn, frame.revision, frame.ahead},
        outputs=[*drawables, page.drawn, frame.revision, page.kept],
        **_QUIET,
        trigger_mode="always_last",
    )
    _wire_notes(studio, frame)
    _wire_start(studio, frame, page)
    wire_memory(studio, frame, page.memory, page.bench)
    wire_sweep_form(studio, frame, page.sweep)


def _wire_notes(studio: Studio, frame: Frame) -> None:
    form = studio.form

    def follow(data: dict[Component, Any], event: gr.EventData) -> dict[Component, Any]:
        """A mend, or the way back to a default, clicked in any note of any page."""
        clicked, asked = event._data, {frame.asked: data[frame.asked] + 1}
        if clicked["act"] == "default":
            return form.put({clicked["name"]: OPTIONS[clicked["name"]].default}) | asked
        found = review(form.values(data), studio.home)
        mend = mend_of(found.problems, clicked["key"], int(clicked["mend"]))
        return form.put(mend.values) | asked if mend is not None else gr.skip()

    gr.on(
        [box.note.click for box in form.boxes.values()],
        follow,
        inputs={*form.inputs, frame.asked},
        outputs=[*form.components, frame.asked],
        **_QUIET,
    )


def _wire_start(studio: Studio, frame: Frame, page: TrainPage) -> None:
    form = studio.form

    def start(data: dict[Component, Any]) -> dict[Component, Any]:
        begun = begin(studio, form.values(data))
        if isinstance(begun, RunFolder):
            return {frame.tabs: gr.Tabs(selected="runs"), frame.shown_run: begun.path.name}
        if isinstance(begun, Review):
            # Something changed on the disk since the last look: have the form looked through again.
            return {frame.asked: data[frame.asked] + 1}
        return {page.parts["waits"]: message("bad", "Nothing started.", begun)}

    page.start.click(
        start,
        inputs={*form.inputs, frame.asked},
        outputs=[frame.tabs, frame.shown_run, frame.asked, page.parts["waits"]],
        # A second click while the first one is under way is dropped: one click, one run.
        trigger_mode="once",
        **_QUIET,
    )


def _news(now: Mapping[str, Any], before: Mapping[str, Any], page: TrainPage) -> dict[Component, Any]:
    """Updates for what differs from what the browser has, and the note of what it will have."""
    updates: dict[Component, Any] = {}
    for name, value in now.items():
        if before.get(name) == value:
            continue
        kind, _, rest = name.partition("/")
        match kind:
            case "part":
                updates[page.parts[rest]] = value
            case "head":
                updates[page.heads[rest]] = value
            case "note":
                updates[_note_of(page, rest)] = value
            case "views":
                updates[page.view] = gr.update(choices=_views(value))
            case "start":
                updates[page.start] = gr.update(**value)
            case "differs":
                updates[page.preset.differs] = value
    return updates | {page.drawn: {**before, **now}}


def _note_of(page: TrainPage, name: str) -> gr.HTML:
    return page.preset.studio.form.boxes[name].note


def _views(changed: int) -> list[tuple[str, str]]:
    return [("Basic", "basic"), ("All", "all"), (f"Changed {changed}", "changed")]
