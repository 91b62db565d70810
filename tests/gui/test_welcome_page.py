"""The welcome in a real browser: a first visit, the ways to one's own, and from the pictures to a comparison."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gui.demo_runs import pairs_of
from gui.monitor import glance
from tests.gui.boxes import skip_tour, type_into, value_of
from tests.waiting import wait_for
from trainer.contract.job import Job, read_job
from trainer.runs.folder import list_runs
from trainer.runs.runner import end_run
from trainer.runs.status import status_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
NASTY = "<img src=x onerror=alert(1)>"


def test_skipping_is_remembered(page: "Page") -> None:
    """A first visit is shown the tour alone; skipped it stays away after a reload, and its link brings it back."""
    page.locator(".at-tour-on").wait_for()
    assert page.locator("#at-train_data_dir").is_hidden()
    page.wait_for_function("[...document.querySelectorAll('.at-tour-pictures img')].every((one) => one.naturalWidth)")
    assert page.locator(".at-now").inner_text() == "Demo loaded"
    page.locator(".at-tour-machine", has_text="processor core").wait_for()
    page.get_by_role("button", name="Check again").click()
    page.locator(".at-tour-machine", has_text="Checked at").wait_for()
    skip_tour(page)
    page.reload()
    page.locator(".at-dataset .at-row strong").first.wait_for()
    assert page.locator(".at-tour-on").count() == 0 and page.locator("#at-train_data_dir").is_visible()
    page.get_by_role("button", name="Show the tour").click()
    page.locator(".at-tour-on").wait_for()
    assert page.locator("#at-train_data_dir").is_hidden()
    page.reload()
    page.locator(".at-tour-on").wait_for()


def test_the_ways_to_one_s_own_open_what_is_there(page: "Page", studio_home: Path) -> None:
    """Choose folder opens the page's picker, a chosen folder ends the tour; the others open what they name."""
    page.locator("[data-press=at-browse-model]").click()
    page.locator(".at-picker h2", has_text="Choose the model").wait_for()
    page.get_by_role("tab", name="Dataset").click()
    with page.expect_file_chooser():
        page.locator("[data-press=at-import]").click()
    page.locator("#at-import").wait_for()
    page.get_by_role("tab", name="Dataset").click()
    page.locator("[data-press=at-choose-folder]").first.click()
    row = page.locator(".at-dataset .at-picker-rows button")
    row.first.wait_for()
    assert page.locator(".at-tour-on").is_visible()
    page.locator(".at-dataset .at-picker .at-chip", has_text=studio_home.name).click()
    page.locator(".at-dataset .at-picker-rows button", has_text="images").first.click()
    page.locator(".at-dataset .at-picker code", has_text="images").wait_for()
    page.locator(".at-dataset .at-picker [data-act=use]").click()
    page.locator(".at-tour-on").wait_for(state="detached")
    page.locator("#at-train_data_dir").wait_for()
    assert value_of(page, "train_data_dir") == str(studio_home / "images")
    page.locator(".at-now", has_text="Nothing running").wait_for()
    page.get_by_role("button", name="Show the tour").click()
    page.wait_for_function("document.activeElement.textContent === 'Keep what is set'")
    page.get_by_role("button", name="Keep what is set").click()
    page.get_by_role("button", name="Show the tour").click()
    page.get_by_role("button", name="Load the demo").click()
    page.locator(".at-tour-on").wait_for()


@pytest.mark.slow
def test_from_look_to_compare(page: "Page", runs: Path) -> None:
    """Next and Start begin a real run; while it goes on its step stands there, and in the end its real pictures."""
    page.locator(".at-tour-on").wait_for()
    skip_tour(page)
    page.get_by_role("tab", name="Training").click()
    for name, text in (("max_train_steps", "3"), ("max_train_epochs", ""), ("lr_warmup_steps", "0")):
        type_into(page, name, text)
    type_into(page, "sample_every_n_epochs", "1")
    type_into(page, "sample_prompts", f"a sks star {NASTY} --s 1 --l 1")
    page.locator(".at-sum", has_text="3 steps").wait_for()
    page.get_by_role("tab", name="Dataset").click()
    page.get_by_role("button", name="Show the tour").click()
    page.get_by_role("button", name="Next: train it").click()
    page.wait_for_function("document.activeElement.dataset.place === '2'")
    try:
        page.locator(".at-tour [data-act=start]").dblclick()
        page.wait_for_function("document.getElementById('at-tab-runs-button').ariaSelected === 'true'")
        (run,) = list_runs(runs)
        job = read_job(run.job_file)
        assert isinstance(job, Job) and job.config.length.max_train_steps == 3
        page.locator(".at-run-head").wait_for()
        page.get_by_role("tab", name="Dataset").click()
        page.locator(".at-tour [data-act=show]").first.wait_for()
        wait_for(lambda: status_of(run).is_over, 150)
        assert status_of(run).state == "finished"
        page.get_by_role("button", name="Next: compare").click()
        page.locator(".at-tour-pair").wait_for()
    finally:
        for left in list_runs(runs):
            end_run(left)
    (pair,) = pairs_of(glance(run.events_file))
    page.wait_for_function("[...document.querySelectorAll('.at-tour-pair img')].every((one) => one.naturalWidth > 0)")
    shown = [image.get_attribute("src") or "" for image in page.locator(".at-tour-pair img").all()]
    assert [os.path.basename(one.path) in src for one, src in zip(pair, shown, strict=True)] == [True, True]
    assert NASTY in page.locator(".at-tour-pair figcaption").inner_text()
    assert page.locator("img[onerror]").count() == 0
    page.get_by_role("button", name="Try it with your own words").click()
    page.wait_for_function("document.getElementById('at-tab-try_it-button').ariaSelected === 'true'")


def test_the_steps_fit_a_phone(page: "Page") -> None:
    """At 390 pixels no step scrolls sideways."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator(".at-tour-on").wait_for()
    for place in (1, 2, 3):
        page.locator(f".at-tour-steps [data-to='{place}']").click()
        page.locator(f"h2[data-place='{place}']").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, place
