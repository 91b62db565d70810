"""The Runs page in a real browser."""

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.gui.written_runs import Course, end, write_run
from tests.studio_process import ROOT
from tests.waiting import wait_for
from trainer.contract.events import EventWriter, Saved, Stepped
from trainer.runs.folder import RunFolder
from trainer.runs.status import status_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PICTURES = ROOT / "tests" / "output"
NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def running(runs: Path) -> Iterator[RunFolder]:
    """A run at step 1,240 of 3,200 whose trainer is a process that only sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    # Collected as soon as it ends, as by the runner that would have started it.
    collector = Thread(target=process.wait, daemon=True)
    collector.start()
    # The wishes and the events of the run must lie behind the start of its process.
    yield write_run(runs, Course(until=time.time() + 1), pid=process.pid)
    process.kill()
    collector.join(10)


def open_runs(page: "Page") -> None:
    page.get_by_role("tab", name="Runs").click()


def go_on(run: RunFolder, first: int, last: int) -> None:
    writer = EventWriter(run.events_file)
    for step in range(first, last + 1):
        writer.write(Stepped(step=step, epoch=4, loss=0.11, learning_rate={"unet": 1e-6}, images_per_second=5.2))
    writer.close()


def wishes(run: RunFolder) -> list[str]:
    if not run.control_file.exists():
        return []
    return [json.loads(line)["wish"] for line in run.control_file.read_text().splitlines()]


def widest(page: "Page") -> int:
    return page.evaluate("document.documentElement.scrollWidth")


def test_a_running_run_is_shown_and_survives_a_reload(running: RunFolder, page: "Page", browser: "Browser") -> None:
    """Opening Runs shows the run that runs, at its step; new steps, a reload and a second browser show the same."""
    open_runs(page)
    page.get_by_text("1,240 of 3,200").wait_for()
    page.get_by_text("Training, epoch 4 of 10").wait_for()
    assert page.get_by_role("img", name="Loss by step. Smoothed loss").count() == 1
    page.wait_for_function("[...document.querySelectorAll('.at-samples img')].some((i) => i.naturalWidth > 0)")
    go_on(running, 1241, 1300)
    page.get_by_text("1,300 of 3,200").wait_for()
    # A page of its own: Gradio writes into the console when a reload cuts off its stream, which `page` forbids.
    other = browser.new_page()
    other.goto(page.url)
    other.get_by_text("1,300 of 3,200").wait_for()
    other.reload()
    other.get_by_text("1,300 of 3,200").wait_for()
    assert other.get_by_role("tab", name="Runs").get_attribute("aria-selected") == "true"
    other.close()
    assert widest(page) == 1280


SHOWN = """() => JSON.stringify([
  [...document.querySelectorAll('.at-plot path')].map((line) => line.getAttribute('d')),
  document.querySelector('.at-progress')?.getAttribute('aria-valuenow'),
  document.querySelector('.at-run-title')?.textContent,
])"""
"""Every curve of the page, its bar and its title."""


def test_three_browsers_show_the_same(running: RunFolder, page: "Page", browser: "Browser") -> None:
    """Three browsers, one that came late and one that was reloaded, end with the same curves to the last digit."""
    open_runs(page)
    page.get_by_text("1,240 of 3,200").wait_for()
    others = [browser.new_context(viewport={"width": 1280, "height": 900}).new_page() for _ in range(2)]
    try:
        others[0].goto(f"{page.url.split('?')[0]}?run={running.path.name}")
        others[0].get_by_text("1,240 of 3,200").wait_for()
        go_on(running, 1241, 1270)
        for view in (page, others[0]):
            view.get_by_text("1,270 of 3,200").wait_for()
        others[1].goto(f"{page.url.split('?')[0]}?run={running.path.name}")
        others[0].reload()
        go_on(running, 1271, 1300)
        for view in (page, *others):
            view.get_by_text("1,300 of 3,200").wait_for()
        first = page.evaluate(SHOWN)
        assert len(json.loads(first)[0]) >= 3
        for view in others:
            # The parts of a page come one after another, within a beat.
            view.wait_for_function(f"(shown) => ({SHOWN})() === shown", arg=first)
    finally:
        for view in others:
            view.context.close()


FASTER = """
const now = Date.now.bind(Date), began = now(), every = window.setInterval;
Date.now = () => began + 8 * (now() - began);
window.setInterval = (task, wait, ...more) => every(task, wait / 8, ...more);
"""
"""Time runs eight times as fast in the page."""


@pytest.mark.slow
def test_watching_does_not_grow_the_page(running: RunFolder, page: "Page") -> None:
    """Hundreds of looks at a run that goes on leave heap, nodes and listeners as they were after the first ones."""
    looks: list[str] = []
    page.on("request", lambda request: looks.append(request.url) if "/queue/join" in request.url else None)
    page.add_init_script(FASTER)
    page.reload()
    open_runs(page)
    page.get_by_text("1,240 of 3,200").wait_for()
    inner = page.context.new_cdp_session(page)
    inner.send("Performance.enable")
    steps = itertools.count(1241)

    def watch(more: int) -> dict[str, float]:
        enough, deadline = len(looks) + more, time.monotonic() + 240
        while len(looks) < enough:
            assert time.monotonic() < deadline, f"{enough - len(looks)} looks are missing"
            step = next(steps)
            go_on(running, step, step)
            page.wait_for_timeout(100)
        inner.send("HeapProfiler.collectGarbage")
        return {row["name"]: row["value"] for row in inner.send("Performance.getMetrics")["metrics"]}

    early, late = watch(20), watch(80)
    grown = {name: late[name] - early[name] for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners", "Documents")}
    # A leak of one row a look would be 80 times 5 nodes and more.
    assert grown["JSHeapUsedSize"] < 1.5e6 and grown["Nodes"] < 200, grown
    assert grown["JSEventListeners"] <= 0 and grown["Documents"] <= 0, grown


def test_wishes_reach_the_trainer_and_are_told(running: RunFolder, page: "Page") -> None:
    """Save now writes the wish and is told until something is saved; Finish stops, a second click ends."""
    open_runs(page)
    page.get_by_role("button", name="Save now").click()
    page.get_by_text("Saves after this step.").wait_for()
    writer = EventWriter(running.events_file)
    writer.write(Saved(time=time.time() + 2, kind="model", step=1241, epoch=3, path=str(running.path), size_bytes=9))
    writer.close()
    page.get_by_text("Saves after this step.").wait_for(state="detached")
    page.get_by_role("button", name="Sample now").click()
    page.get_by_text("Draws samples after this step.").wait_for()
    page.get_by_role("button", name="Finish step and save").click()
    page.get_by_role("button", name="End it at once").wait_for()
    assert wishes(running) == ["save", "sample", "stop"] and status_of(running).state == "stopping"
    page.get_by_role("button", name="End it at once").click()
    page.locator(".at-run-title .at-state-stopped").wait_for()
    assert status_of(running).state == "stopped"


def test_queue_is_arranged_and_let_go_on(runs: Path, page: "Page") -> None:
    """The queue shows what waits in its order; arrows move a run, a held queue says whose crash it waits for."""
    names = ("one", NASTY, "three")
    # No job that can be read: as soon as the queue goes on, each of them ends at once.
    for number, name in enumerate(names):
        folder = runs / f"20260101-00000{number}-run"
        folder.mkdir()
        (folder / "job.json").write_text(json.dumps({"schema": 99, "name": name, "options": {}}))
    (runs / "held.json").write_text('{"run": "20251231-000000-harbour"}')
    open_runs(page)
    waiting = page.locator(".at-waiting .at-run-name")
    waiting.nth(2).wait_for()
    assert waiting.all_inner_texts() == list(names)
    page.get_by_role("button", name="Let three start earlier").click()
    page.wait_for_function("document.querySelectorAll('.at-waiting .at-run-name')[1]?.innerText === 'three'")
    assert waiting.all_inner_texts() == ["one", "three", NASTY]
    assert page.get_by_role("button", name="Let one start earlier").is_disabled()
    page.get_by_label("Go on after a crash").uncheck()
    order = runs / "queue.json"
    wait_for(lambda: order.exists() and '"goes_on": false' in order.read_text(), 30)
    page.get_by_label("Go on after a crash").check()
    wait_for(lambda: '"goes_on": true' in order.read_text(), 30)
    page.get_by_role("button", name="Take one out of the queue").click()
    page.wait_for_function("document.querySelectorAll('.at-waiting li').length === 2")
    assert page.get_by_text("20251231-000000-harbour crashed, and you asked it to wait then.").count() == 1
    page.screenshot(path=PICTURES / "queue-1280.png", full_page=True)
    page.get_by_role("button", name="Go on with the queue").click()
    page.locator(".at-queue").wait_for(state="detached")
    page.get_by_role("button", name=re.compile("^Crashed")).wait_for()


def test_stop_without_saving_asks_once(running: RunFolder, page: "Page") -> None:
    """The question stands in the page with what is lost, the safe answer has the focus, and keeping sends nothing."""
    open_runs(page)
    page.get_by_role("button", name="Stop without saving").click()
    page.get_by_text("280 steps since the last save are lost, about 4 min. The save of step 960 stays.").wait_for()
    page.wait_for_function("document.activeElement.dataset.act === 'keep'")
    page.keyboard.press("Enter")
    page.get_by_role("alertdialog").wait_for(state="detached")
    assert wishes(running) == []
    page.get_by_role("button", name="Stop without saving").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Stop without saving").click()
    page.get_by_role("button", name="End it at once").wait_for()
    assert wishes(running) == ["stop_without_saving"]


def test_switches_and_search_outlive_the_polling(running: RunFolder, page: "Page") -> None:
    """The closer look, the log axis and a typed search stay while new steps arrive each second."""
    open_runs(page)
    page.get_by_text("1,240 of 3,200").wait_for()
    page.get_by_role("radio", name="Last 500").check()
    page.locator(".at-plot-loss").get_by_text("740", exact=True).wait_for()
    page.get_by_role("radio", name="Log", exact=True).check()
    page.get_by_placeholder("Search the log").fill("step 1,220")
    page.wait_for_function("document.querySelectorAll('.at-log-long')[0]?.textContent.trim().split('\\n').length === 1")
    go_on(running, 1241, 1260)
    page.locator(".at-plot-loss").get_by_text("760", exact=True).wait_for()
    assert page.get_by_placeholder("Search the log").input_value() == "step 1,220"
    assert page.get_by_role("radio", name="Log", exact=True).is_checked()
    assert "step 1,220" in page.locator(".at-log-long").inner_text()


def test_the_list_opens_runs_and_shows_text_as_text(runs: Path, page: "Page") -> None:
    """With nothing running the list stands; a crashed run opens with its cause; markup in names and logs stays text."""
    done = write_run(runs, Course(steps=60, total=60, epoch_steps=20, save_every=60), name="done")
    end(done, "completed", 60)
    crashed = write_run(runs, Course(steps=60, sample_every=0), name=NASTY)
    end(crashed, "failed", 60, f"out of card memory {NASTY}", code=1)
    crashed.log_file.write_text(f"Traceback\n{NASTY}\n", encoding="utf-8")
    open_runs(page)
    page.get_by_role("button", name="Open done").wait_for()
    page.get_by_role("button", name=f"Why {NASTY}").click()
    page.get_by_role("heading", name="The trainer ended by itself").wait_for()
    assert page.locator("img[src='x']").count() == 0 and NASTY in page.locator(".at-evidence").inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy report").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert NASTY in page.evaluate("navigator.clipboard.readText()")
    page.get_by_role("button", name="Runs", exact=True).click()
    page.get_by_role("button", name="Finished 1").click()
    page.get_by_role("button", name=f"Why {NASTY}").wait_for(state="detached")
    page.get_by_role("button", name="Open done").click()
    page.get_by_text("60 of 60").wait_for()
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert widest(page) == width


def test_edit_as_new_fills_the_form(runs: Path, page: "Page") -> None:
    """Edit as new leads to Training with the settings of the run in the boxes."""
    end(write_run(runs, Course(steps=20, total=20, sample_every=0), name="old", learning_rate=7e-6), "completed", 20)
    open_runs(page)
    page.get_by_role("button", name="Open old").click()
    page.get_by_role("button", name="Edit as new").click()
    rate = page.locator("#at-learning_rate").locator("input, textarea").first
    rate.wait_for()
    assert rate.input_value() == "7e-6"


def test_no_runs_lead_to_training(runs: Path, page: "Page") -> None:
    """Where nothing was trained the page says so, and its button opens Training."""
    open_runs(page)
    page.get_by_text("Nothing has been trained here").wait_for()
    page.get_by_role("button", name="Go to Training").click()
    page.wait_for_function("document.querySelector('[role=tab][aria-selected=true]').textContent.trim() === 'Training'")
