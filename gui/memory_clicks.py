"""What the clicks on the memory card do, and how it is kept up to date while something is measured.

Comes in: the card's component and the studio's bench. Goes out: events of the window; nothing waits for the measuring.
"""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.activity import ahead_of
from gui.bench import Bench
from gui.frame import Frame
from gui.memory_card import fitting, memory_card
from gui.review import review
from gui.studio import Studio

LOOK_EVERY_S = 1.0


def wire_memory(studio: Studio, frame: Frame, card: gr.HTML, bench: Bench) -> None:
    """Tie the card to the form, to the bench, and to the run that a measurement would disturb."""
    form = studio.form
    beat, shown = gr.Timer(LOOK_EVERY_S, active=False), gr.State("")
    inputs = {*form.inputs, frame.ahead, shown}

    def draw(data: Mapping[Component, Any]) -> dict[Component, Any]:
        standing = bench.standing
        found = review(form.values(data), studio.home)
        html = memory_card(found, standing, ahead_of(found.looked_at, data[frame.ahead]))
        news = {card: html, shown: html} if html != data[shown] else {}
        return news | {beat: gr.Timer(active=standing.running)}

    def click(data: dict[Component, Any], event: gr.EventData) -> dict[Component, Any]:
        act = event._data["act"]
        if act == "fit":
            return form.put(fitting(bench.standing)) | {frame.asked: data[frame.asked] + 1}
        if act == "cancel":
            bench.cancel()
        elif act == "measure":
            found = review(form.values(data), studio.home, fresh=True)
            if found.job is None:
                return {frame.asked: data[frame.asked] + 1}
            if not ahead_of(found.looked_at, data[frame.ahead]):
                bench.start(found.job)
        return draw(data)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    looks = [frame.revision.change, frame.ahead.change, beat.tick]
    gr.on(looks, draw, inputs=inputs, outputs=[card, shown, beat], trigger_mode="always_last", **quiet)
    card.click(
        click,
        inputs={*inputs, frame.asked},
        outputs=[card, shown, beat, *form.components, frame.asked],
        trigger_mode="once",
        **quiet,
    )
