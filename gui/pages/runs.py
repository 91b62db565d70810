"""The Runs page: all runs in a list, or one of them live. Polled once a second, built anew whenever a browser loads.

Comes in: the run folders, and which run a browser shows. Goes out: the parts that have changed since this browser's
last look. Buttons send wishes into the run's folder; nothing here holds a run.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from gui import pulse
from gui.compare import MOST, Comparison, compare
from gui.frame import Frame
from gui.marks import message
from gui.monitor import Monitors
from gui.pages.live import ACT_SCRIPT, Choices, LivePage, build_live, part
from gui.queue_card import queue_card
from gui.run_cards import job_options
from gui.run_clicks import board_link, do, tend_queue
from gui.run_list import TICK_SCRIPT, list_head, newest_live, rows_of, run_list
from gui.run_on_page import RunOnPage
from gui.studio import Studio
from gui.sweep_cards import sweep_cards
from trainer.contract.job import differing
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.status import status_of

SEPARATOR = "|"
"""Between the folders of runs that are compared: no folder of a run has it in its name."""


@dataclass(frozen=True)
class RunsPage:
    """The components of the page."""

    frame: Frame
    pulse: gr.HTML
    told: gr.HTML
    list_head: gr.HTML
    list_body: gr.HTML
    queue: gr.HTML
    live: LivePage
    seen: gr.State
    """What this browser was shown last, by component: only what differs is sent."""
    asking: gr.State
    """Whether the question before a stop without saving is open."""
    chosen: gr.State
    """The state that the list is filtered by, empty for all."""
    words: gr.State
    """What to tell about the last click, as HTML."""
    side_by_side: gr.HTML
    comparing: gr.State
    """The `Comparison` that this browser has chosen."""


def build(studio: Studio, frame: Frame) -> Callable[[], None]:
    """Make the page in the open tab. What comes back wires it, once all pages have their boxes."""
    with gr.Column(elem_classes=["at-page", "at-runs-page"]):
        heartbeat = gr.HTML(
            value={"run": "", "step": 0, "clock": ""},
            html_template=pulse.TEMPLATE,
            js_on_load=pulse.SCRIPT,
            apply_default_css=False,
            elem_classes=["at-pulse"],
        )
        told = part()
        with gr.Column(elem_classes=["at-list-view"]):
            head = part(script=ACT_SCRIPT)
            body = part(script=ACT_SCRIPT + TICK_SCRIPT)
            queue = part(script=ACT_SCRIPT)
        with gr.Column(elem_classes=["at-compare-view"]):
            side_by_side = part(script=ACT_SCRIPT)
        # The pulse hides one of the two: for a column as an output Gradio walks through all that is in it, each second.
        with gr.Column(elem_classes=["at-run-view"]):
            live = build_live()
    page = RunsPage(
        frame, heartbeat, told, head, body, queue, live,
        gr.State({}), gr.State(False), gr.State(""), gr.State(""), side_by_side, gr.State(Comparison()),
    )  # fmt: skip
    return lambda: _wire(studio, page)


def _wire(studio: Studio, page: RunsPage) -> None:
    frame, live = page.frame, page.live
    monitors = Monitors()
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    inputs = [frame.shown_run, page.seen, page.asking, page.chosen, page.words, page.comparing]
    inputs += live.choices
    parts = [page.pulse, page.told, page.list_head, page.list_body, page.queue, page.side_by_side]
    outputs = [*parts, *live.parts_components, page.seen]

    def show(name: str, seen: dict, asking: bool, chosen: str, words: str, *more: Any) -> Any:
        comparing, *choices = more
        named = runs_named(studio, name)
        if not named:
            runs = list_runs(studio.runs)
            rows = rows_of(runs)
            html = {page.list_head: list_head(rows), page.list_body: run_list(rows, chosen)}
            html[page.queue] = f'<div class="at-below-list">{queue_card(studio.runs)}{sweep_cards(runs, rows)}</div>'
            return _news(page, seen, {"run": "", "step": 0}, html | {page.told: words})
        shown = [look(monitors, run) for run in named]
        if len(shown) > 1:
            html = {page.side_by_side: compare(shown, comparing)}
        else:
            html = live.parts(shown[0], Choices(*choices, asking=asking))
        pulse_value = {"run": SEPARATOR.join(run.path.name for run in named), "step": shown[0].view.step}
        return _news(page, seen, pulse_value, html | {page.told: words})

    def act(event: gr.EventData, name: str, comparing: Comparison) -> dict[Component, Any]:
        data = dict(event._data or {})
        chosen = _choose(studio, page, data, comparing)
        return chosen if chosen is not None else _act(studio, page, monitors, data, name)

    acted = [
        frame.shown_run,
        page.asking,
        page.chosen,
        page.words,
        page.comparing,
        frame.tabs,
        frame.asked,
        frame.tried,
        *studio.form.components,
    ]
    clicks = [
        part.click
        for part in (
            live.crumbs,
            live.head,
            live.ending,
            live.checkpoints,
            live.settings,
            page.list_head,
            page.list_body,
        )
    ]
    clicks += [page.queue.click, page.side_by_side.click]
    # One after another for all browsers: two answers for one browser could otherwise overtake each other.
    one = {**quiet, "concurrency_limit": 1, "concurrency_id": "runs-show"}
    # Gradio's own choice would drop a second click that comes while the first is still at work.
    gr.on(
        clicks,
        act,
        inputs=[frame.shown_run, page.comparing],
        outputs=acted,
        queue=False,
        trigger_mode="multiple",
        **quiet,
    ).then(show, inputs=inputs, outputs=outputs, **one)
    page.pulse.beat(show, inputs=inputs, outputs=outputs, trigger_mode="once", **one)
    again = [frame.shown_run.change, live.search.change]
    again += [radio.input for radio in (live.span, live.axis, live.strip, live.follow)]
    gr.on(again, show, inputs=inputs, outputs=outputs, trigger_mode="always_last", **one)
    _wire_opening(studio, page, quiet, lambda event: event.then(show, inputs=inputs, outputs=outputs, **one))


def _wire_opening(
    studio: Studio, page: RunsPage, quiet: Mapping[str, Any], then_show: Callable[[Dependency], Any]
) -> None:
    """What is shown first: the run in the address, else the newest that runs."""
    frame = page.frame

    def load(request: gr.Request) -> dict[Component, Any]:
        named = runs_named(studio, str(request.query_params.get("run", "")))
        live = newest_live(list_runs(studio.runs))
        runs = named or ([live] if live else [])
        # A fresh page has been shown nothing yet, whatever the session's last one was.
        shown = SEPARATOR.join(run.path.name for run in runs)
        updates: dict[Component, Any] = {page.seen: {}, frame.shown_run: shown}
        return updates | ({frame.tabs: gr.Tabs(selected="runs")} if named else {})

    def opened(event: gr.SelectData, name: str) -> Any:
        if event.value != "Runs" or name:
            return gr.skip()
        run = newest_live(list_runs(studio.runs))
        return run.path.name if run else gr.skip()

    then_show(frame.window.load(load, outputs=[page.seen, frame.shown_run, frame.tabs], **quiet))
    frame.tabs.select(opened, inputs=[frame.shown_run], outputs=[frame.shown_run], **quiet)


def run_named(studio: Studio, name: str) -> RunFolder | None:
    """The run whose folder has this name; None where there is none. A name is not a path: it cannot lead elsewhere."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        return None
    run = RunFolder(studio.runs / name)
    return run if run.job_file.is_file() else None


def runs_named(studio: Studio, names: str) -> list[RunFolder]:
    """The runs of an address: one, or several that are compared. Those that are gone are left out."""
    found = [run_named(studio, name) for name in names.split(SEPARATOR)[:MOST]]
    return [run for run in dict.fromkeys(found) if run is not None]


def look(monitors: Monitors, run: RunFolder) -> RunOnPage:
    """What the page knows of a run now."""
    # The status first: a run that ends in between is then shown with all its events at the next look.
    status = status_of(run)
    options = job_options(run.job_file) or {}
    return RunOnPage(run, status, monitors.look(run.events_file), bool(options.get("sample_prompts")))


def _news(page: RunsPage, seen: dict[int, bytes], pulse_value: dict[str, Any], html: Mapping[Component, str]) -> Any:
    """Updates for what differs from what this browser was shown; the pulse always goes."""
    digests = {part: _digest(text) for part, text in html.items()}
    fresh = {part: text for part, text in html.items() if seen.get(part._id) != digests[part]}
    updates: dict[Component, Any] = {**fresh, page.pulse: {**pulse_value, "clock": time.strftime("%H:%M:%S")}}
    if fresh:
        updates[page.seen] = seen | {part._id: digests[part] for part in fresh}
    return updates


def _digest(html: str) -> bytes:
    """Small enough to keep for each browser; equal texts have equal digests."""
    return hashlib.blake2b(html.encode(errors="replace"), digest_size=16).digest()


def _choose(
    studio: Studio, page: RunsPage, data: Mapping[str, str], comparing: Comparison
) -> dict[Component, Any] | None:
    """What a click chooses for the comparison of runs; None where it is another click."""
    match data.get("act"):
        case "compare":
            # In the order of asking, whatever the order of the ticks: the older run is what the newer is measured by.
            ticked = sorted(runs_named(studio, data.get("runs", "")), key=lambda run: run.asked)
            return {page.frame.shown_run: SEPARATOR.join(run.path.name for run in ticked)}
        case "compare_axis":
            return {page.comparing: replace(comparing, log=data.get("value") == "Log")}
        case "compare_step":
            return {page.comparing: replace(comparing, step=int(data.get("value", "0")))}
    return None


def _act(studio: Studio, page: RunsPage, monitors: Monitors, data: dict[str, str], name: str) -> dict[Component, Any]:
    """What a click does. Returns what it changes on the page."""
    frame, kind = page.frame, data.get("act", "")
    updates: dict[Component, Any] = {page.asking: kind == "ask", page.words: ""}
    if kind == "open":
        return updates | {frame.shown_run: data.get("run", "")}
    if kind == "list":
        return updates | {frame.shown_run: ""}
    if kind == "filter":
        return updates | {page.chosen: data.get("state", "")}
    if kind == "new":
        return updates | {frame.tabs: gr.Tabs(selected="train")}
    # A click in the queue names its run; on a run's own page it is the one that is shown.
    run = run_named(studio, data.get("run", name))
    if kind == "try":
        return updates | {frame.tabs: gr.Tabs(selected="try_it"), frame.tried: data.get("to", "")}
    if kind == "edit" and run is not None:
        return updates | _edit(studio, page, run)
    try:
        if kind in ("goes_on", "release"):
            tend_queue(studio, kind)
            return updates
        if kind == "board" and run is not None:
            return updates | {page.words: board_link(run)}
        following = do(studio, look(monitors, run), kind, data.get("way", "")) if run is not None else None
    except (OSError, RuntimeError) as failure:
        return updates | {page.words: message("bad", "That could not be done.", f"{failure}")}
    return updates | ({frame.shown_run: following.path.name} if following else {})


def _edit(studio: Studio, page: RunsPage, run: RunFolder) -> dict[Component, Any]:
    """The form filled with the run's settings, and the Training page."""
    options = job_options(run.job_file)
    if options is None:
        return {page.words: message("bad", "job.json cannot be read.", "The settings of this run are not known.")}
    filled = studio.form.fill(differing(options))
    # A number that was not there before has the form looked through again.
    return {page.frame.tabs: gr.Tabs(selected="train"), page.frame.asked: time.time_ns(), **filled}
