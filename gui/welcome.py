"""The welcome on the Dataset page: the tour over the demo for who comes first, and what its buttons do.

Comes in: the form and the runs. Goes out: the tour in place of the page's usual content, only while the form holds the
demo and this browser has not skipped it. Start is that of the Training page; other buttons press those of other pages.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.demo_runs import is_of_demo, newest_finished, newest_run
from gui.frame import Frame
from gui.machine import machine_line
from gui.review import Review, review
from gui.start_card import begin
from gui.studio import Studio
from gui.tour import Tour, demo_in, demo_values
from gui.tour_steps import UNDER_WAY
from gui.welcome_cards import STEPS, draw_foot, draw_welcome
from trainer.runs.folder import RunFolder

_UNKNOWN = '<span class="at-tour-unknown"></span>'
"""Until the form has been looked through nobody knows which of the two to show: neither is."""

_SHOWN, _SKIPPED = "shown", "skipped"
"""What the browser keeps. In words: Gradio 6.31 does not store a value that is false, so nothing would take it back."""

_SCRIPT = """
const press = (id, tries) => {
  const part = document.getElementById(id), inside = part?.querySelector('input');
  const away = document.querySelector(`[role=tabpanel]:has(#${id})`)?.checkVisibility() === false;
  if (!part || away) {
    if (tries) setTimeout(() => press(id, tries - 1), 50);
  } else if (inside) {
    part.scrollIntoView({block: 'center'});
    inside.focus();
  } else part.click();
};
let to = null, asked = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const {act, page, press: part} = button.dataset;
  if (page) document.getElementById(`at-tab-${page}-button`)?.click();
  if (part) press(part, 60);
  if (act === 'step') to = button.dataset.to;
  if (act) trigger('click', {...button.dataset});
});
new MutationObserver(() => {
  const title = element.querySelector('h2[data-place]'), safe = element.querySelector('[data-focus]');
  if (to && title?.dataset.place === to) { to = null; title.focus(); }
  if (safe && safe !== asked) safe.focus();
  asked = safe;
}).observe(element, {childList: true, subtree: true, attributes: true});
let looked = true, beaten = 0;
setInterval(() => {
  const looks = !document.hidden && element.getClientRects().length > 0, now = Date.now();
  const due = !looked || (element.querySelector('[data-live]') && now - beaten >= 2000);
  if (looks && due && element.querySelector('.at-tour-on')) {
    beaten = now;
    trigger('beat');
  }
  looked = looks;
}, 250);
"""
"""Clicks reach Python with their data- attributes; data-page and data-press press a tab and a part on it. A step that a
click leads to takes the focus. While a run is under way, and whenever the tour comes back into view, it is drawn anew.
"""


@dataclass(frozen=True)
class Welcome:
    """The two parts of the page: the tour above its usual content, and the way back to it below."""

    tour: gr.HTML
    foot: gr.HTML


def build_tour() -> gr.HTML:
    """Make the tour's part in the open Blocks context."""
    return gr.HTML(_UNKNOWN, js_on_load=_SCRIPT, apply_default_css=False, elem_classes=["at-welcome"])


def build_foot() -> gr.HTML:
    """Make the part at the end of the page."""
    return gr.HTML("", js_on_load=_SCRIPT, apply_default_css=False, elem_classes=["at-tour-foot"])


def wire_welcome(studio: Studio, frame: Frame, welcome: Welcome) -> None:
    """Tie both parts; every box must be drawn by now."""
    form = studio.form
    kept = gr.BrowserState(_SHOWN, storage_key="atelier-tour", secret="atelier")
    shown = gr.State(Tour())

    def drawn(now: Tour) -> dict[Component, Any]:
        """Updates for what this browser has not been sent yet."""
        html = {welcome.tour: draw_welcome(studio, now), welcome.foot: draw_foot(now)}
        digest = blake2b("".join(html.values()).encode(errors="replace"), digest_size=16).hexdigest()
        return {shown: replace(now, drawn=digest)} | (html if digest != now.drawn else {})

    def show(data: Mapping[Component, Any]) -> dict[Component, Any]:
        found = review(form.values(data), studio.home)
        return drawn(looked(studio, found, replace(data[shown], skipped=data[kept] == _SKIPPED)))

    def follow(event: gr.EventData, data: Mapping[Component, Any]) -> dict[Component, Any]:
        clicked, now = event._data or {}, replace(data[shown], told="", asking=False)
        match clicked.get("act"):
            case "step":
                return drawn(replace(now, step=step_in(clicked)))
            case "check":
                return drawn(replace(now, machine=machine_line(studio.home), checked=time.strftime("%H:%M:%S")))
            case "skip":
                return drawn(replace(now, skipped=True)) | {kept: _SKIPPED}
            case "tour" if now.demo is None:
                return drawn(replace(now, asking=True))
            case "tour":
                return drawn(replace(now, skipped=False)) | {kept: _SHOWN}
            case "demo":
                filled = form.fill(demo_values(studio)) | {frame.asked: data[frame.asked] + 1}
                return drawn(replace(now, skipped=False)) | {kept: _SHOWN} | filled
            case "show":
                return {frame.tabs: gr.Tabs(selected="runs"), frame.shown_run: clicked.get("run", "")}
            case "try":
                return {frame.tabs: gr.Tabs(selected="try_it"), frame.tried: clicked.get("to", "")}
            case "start":
                return start(now, data)
        return drawn(now)

    def start(now: Tour, data: Mapping[Component, Any]) -> dict[Component, Any]:
        begun = begin(studio, form.values(data))
        if isinstance(begun, RunFolder):
            return drawn(now) | {frame.tabs: gr.Tabs(selected="runs"), frame.shown_run: begun.path.name}
        if isinstance(begun, Review):
            # Something changed on the disk since the last look: have the form looked through again.
            return drawn(looked(studio, begun, now)) | {frame.asked: data[frame.asked] + 1}
        return drawn(replace(now, told=begun))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    # One after another: a look that began before a click would otherwise put back what was shown before it.
    one = {**quiet, "concurrency_limit": 1, "concurrency_id": "welcome"}
    parts = [shown, welcome.tour, welcome.foot]
    seen = form.inputs | {shown, kept}
    frame.revision.change(show, inputs=seen, outputs=parts, **one)
    welcome.tour.beat(drawn, inputs=[shown], outputs=parts, **one)
    others = [kept, frame.tabs, frame.shown_run, frame.tried, frame.asked, *form.components]
    gr.on(
        [welcome.tour.click, welcome.foot.click],
        follow,
        inputs=seen | {frame.asked},
        outputs=[*parts, *others],
        # A second click while the first one is under way is dropped: one click, one run.
        trigger_mode="once",
        **one,
    )


def looked(studio: Studio, found: Review, tour: Tour) -> Tour:
    """The tour after the form was looked through. At first it opens at the step that the demo's runs have come to."""
    demo = demo_in(studio, found) if is_of_demo(found.values, studio.home) else None
    step, machine = tour.step, tour.machine
    if demo is not None:
        step, machine = step or _first_step(studio), machine or machine_line(studio.home)
    return replace(tour, demo=demo, step=step, machine=machine, asking=tour.asking and demo is None)


def step_in(clicked: Mapping[str, str]) -> int:
    """The step that a click leads to: one that there is, whatever was sent."""
    wanted = clicked.get("to", "")
    return int(wanted) if wanted in [str(place) for place in range(1, len(STEPS) + 1)] else 1


def _first_step(studio: Studio) -> int:
    newest = newest_run(studio)
    if newest is not None and newest.status.state in UNDER_WAY:
        return 2
    return 3 if newest_finished(studio) is not None else 1
