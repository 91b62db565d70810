"""The window: what the bar says, what every page keeps to, and what a visit asks for."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gradio.blocks import BlockContext

from gui.activity import activity_of
from gui.studio import Studio
from gui.window import PAGES, build
from tests.gui.boxes import type_into, value_of
from tests.gui.written_runs import Course, end, write_run
from trainer.contract.control import send
from trainer.runs.folder import RunFolder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def test_nothing_runs_without_runs(tmp_path: Path) -> None:
    """Without runs, or without a folder for them, nothing runs."""
    assert activity_of(tmp_path / "runs").name == ""


def test_the_bar_names_what_runs_with_the_time_left(tmp_path: Path) -> None:
    """A living run stands in the bar with its share and its time; runs that are over or lost do not."""
    write_run(tmp_path, name="gone")
    over = write_run(tmp_path, name="over", pid=os.getpid())
    end(over, "completed", 1240)
    run = write_run(tmp_path, Course(1240, 3200, seconds=0.77), pid=os.getpid())
    now = activity_of(tmp_path)
    assert (now.name, now.folder, now.state, now.percent) == ("harbour-print", run.path.name, "running", 38)
    assert now.left == "25 min left"
    send(run.control_file, "stop")
    assert activity_of(tmp_path).state == "stopping"
    end(run, "stopped", 1240)
    assert activity_of(tmp_path).name == ""


def test_a_run_that_loads_has_no_share_yet(tmp_path: Path) -> None:
    """Before the plan is known there is neither a share nor a time, and none is made up."""
    run = write_run(tmp_path, pid=os.getpid())
    run.events_file.unlink()
    now = activity_of(tmp_path)
    assert (now.state, now.percent, now.left) == ("running", None, "")


def test_no_event_tells_its_progress_to_containers(tmp_path: Path) -> None:
    """Gradio tells progress to all that a container holds: no event may have one as the place for it."""
    for event in build(Studio(home=tmp_path)).fns.values():
        places = event.outputs if event.show_progress_on is None else event.show_progress_on
        assert not any(isinstance(place, BlockContext) and place.children for place in places), event.name


def test_no_event_is_public(tmp_path: Path) -> None:
    """What the page does is not offered as an API."""
    events = [event for event in build(Studio(home=tmp_path)).fns.values() if event.fn is not None]
    assert events and all(event.api_visibility == "private" for event in events)


@pytest.fixture
def running(studio_home: Path, tmp_path: Path) -> Iterator[RunFolder]:
    """A run that looks alive to the studio: its process is this very test."""
    written = write_run(tmp_path, name="<i>harbour</i>", pid=os.getpid())
    # Moved there as a whole: a folder that is still being written would look like a run that waits.
    run = RunFolder(written.path.rename(studio_home / "runs" / written.path.name))
    yield run
    end(run, "stopped", 1240)


@pytest.mark.browser
def test_one_click_in_the_bar_leads_to_the_run(page: "Page", running: RunFolder) -> None:
    """The bar shows the run as text, its bar has a role and numbers, and one click opens the run."""
    now = page.locator("button.at-now")
    now.wait_for()
    assert "<i>harbour</i>" in now.inner_text() and "38 %, 25 min left" in now.inner_text()
    assert now.get_by_role("progressbar").get_attribute("aria-valuenow") == "38"
    now.click()
    page.wait_for_function("document.getElementById('at-tab-runs-button').ariaSelected === 'true'")
    page.locator(".at-runs-page", has_text="<i>harbour</i>").wait_for()
    page.get_by_role("tab", name="Training").click()
    page.locator("#at-start", has_text="Add to queue").wait_for()
    assert "Waits behind <i>harbour</i>" in page.locator(".at-start-card").inner_text()


@pytest.mark.browser
def test_a_visit_asks_no_other_host_and_nothing_scrolls_sideways(browser: "Browser", studio_url: str) -> None:
    """At 390 pixels every page fits in width, and the browser asks nobody but the studio."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{studio_url}?__theme=dark")
    for _, title in PAGES:
        page.get_by_role("tab", name=title).click()
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        assert page.get_by_role("tab", name=title).get_attribute("aria-selected") == "true"
    page.get_by_role("tab", name="Training").click()
    page.locator("#at-start:not([disabled])").wait_for()
    start, preset = page.locator("#at-start").bounding_box(), page.locator("#at-preset").bounding_box()
    assert start is not None and preset is not None and start["y"] < preset["y"]
    assert start["height"] >= 44
    context.close()
    assert not [url for url in asked if not url.startswith((studio_url, "data:", "blob:"))]


@pytest.mark.browser
def test_typing_goes_on_while_the_page_asks_for_news(page: "Page") -> None:
    """Polling every two seconds leaves the text, the place and the cursor alone."""
    page.get_by_role("tab", name="Training").click()
    page.locator("#at-start:not([disabled])").wait_for()
    type_into(page, "sample_prompts", "a star")
    field = page.locator("#at-sample_prompts textarea")
    field.press("Home")
    for letter in "one two ":
        field.press(letter)
        page.wait_for_timeout(400)
    assert value_of(page, "sample_prompts") == "one two a star"
    assert page.evaluate("document.activeElement.selectionStart") == len("one two ")
