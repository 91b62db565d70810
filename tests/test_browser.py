"""The whole way in a real browser: demo loaded, Start, steps counted, reload, Stop; and a picture of every page."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.studio_process import ROOT, studio
from tests.waiting import wait_for
from trainer.contract.events import EventReader, Saved, Stepped
from trainer.contract.job import Job, read_job
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.runner import end_run, stop_run
from trainer.runs.status import status_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
PICTURES = ROOT / "tests" / "output"
PAGES = ("Dataset", "Captions", "Model", "Training", "Runs", "Try it")


@pytest.fixture
def look(browser: "Browser") -> Iterator[Callable]:
    """Open the studio in a fresh profile; at the end no page may have said anything on the console."""
    told: list[str] = []
    contexts = []

    def open_page(url: str, width: int = 1280, theme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda m: told.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda failure: told.append(str(failure)))
        page.goto(f"{url}?__theme={theme}")
        page.wait_for_selector(".at-tabs")
        return page

    yield open_page
    for context in contexts:
        context.close()
    # A page left in mid-request, or whose studio is killed, lets the browser say so; that is no fault of the page.
    left = ("AbortError", "Failed to fetch", "net::ERR_", "Connection errored out", "NetworkError", "network error")
    assert not [line for line in told if not any(word in line for word in left)], told


@pytest.fixture(autouse=True)
def no_run_outlives_its_test(home: Path) -> Iterator[None]:
    """A try that failed in mid-run must not take the processor from the next one."""
    yield
    for run in list_runs(home / "runs"):
        end_run(run)


def steps_of(run: RunFolder) -> int:
    steps = [event.step for event in EventReader(run.events_file).read() if isinstance(event, Stepped)]
    return steps[-1] if steps else 0


def shown_step(page) -> int:
    """The step that the live page shows now, 0 where it shows none yet."""
    found = re.search(r"\bStep\s+([\d,]+)\s+of\s+[\d,]+", page.locator("body").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def seconds_to_see(page, step: int) -> float:
    """How long a page that was just opened takes to show a run beyond this step."""
    began = time.monotonic()
    page.get_by_text("Running").first.wait_for()
    page.get_by_role("tab", name="Runs").click()
    wait_for(lambda: shown_step(page) > step)
    return time.monotonic() - began


@pytest.mark.slow
def test_from_start_to_stop(home: Path, look: Callable) -> None:
    """A newcomer loads the demo, presses Start, sees steps, reloads, presses Stop, and can go on from the state."""
    with studio(home, "--preset", "demo") as (url, _):
        page = look(url)
        page.get_by_role("tab", name="Training").click()
        page.locator("#at-max_train_epochs input").fill("400")
        start = page.locator("#at-start")
        page.wait_for_function("!document.querySelector('#at-start').disabled")
        page.wait_for_function("document.body.innerText.includes('8,000 steps')")
        start.click()
        wait_for(lambda: list_runs(home / "runs"))
        (run,) = list_runs(home / "runs")
        wait_for(lambda: shown_step(page) > 0, 120)
        before = shown_step(page)
        wait_for(lambda: shown_step(page) > before)
        job = read_job(run.job_file)
        assert isinstance(job, Job) and job.config.length.max_train_epochs == 400
        page.wait_for_timeout(1500)
        page.screenshot(path=PICTURES / "live-run-1280.png", full_page=True)

        page.reload()
        page.wait_for_selector(".at-tabs")
        page.get_by_role("tab", name="Runs").click()
        # Not behind by more than the machine takes to draw it, and never ahead.
        trained = steps_of(run)
        wait_for(lambda: shown_step(page) >= trained, 10)
        assert shown_step(page) <= steps_of(run)

        page.get_by_role("button", name="Finish step and save").click()
        wait_for(lambda: status_of(run).state == "stopped", 60)
        page.get_by_text("Stopped").first.wait_for()
        (state,) = [e for e in EventReader(run.events_file).read() if isinstance(e, Saved) and e.kind == "state"]
        assert Path(state.path).is_dir() and state.step == steps_of(run)
        page.screenshot(path=PICTURES / "stopped-1280.png", full_page=True)


@pytest.mark.slow
def test_a_new_studio_shows_a_running_run_at_once(home: Path, look: Callable) -> None:
    """kill -9 on the studio in mid-run: the run goes on, and a new studio shows it at its step within 3 s."""
    with studio(home, "--preset", "demo") as (url, process):
        page = look(url)
        page.get_by_role("tab", name="Training").click()
        page.locator("#at-max_train_epochs input").fill("400")
        page.locator("#at-train_batch_size input").fill("1")
        page.wait_for_function("document.body.innerText.includes('64,000 steps')")
        page.wait_for_function("!document.querySelector('#at-start').disabled")
        page.locator("#at-start").click()
        wait_for(lambda: list_runs(home / "runs"))
        (run,) = list_runs(home / "runs")
        wait_for(lambda: steps_of(run) > 2, 120)
        page.goto("about:blank")
        process.kill()
        process.wait(10)
    try:
        killed_at = steps_of(run)
        wait_for(lambda: steps_of(run) > killed_at + 2)
        with studio(home) as (url, _):
            # The best of a few: the run itself wants all of the processor meanwhile.
            assert any(seconds_to_see(look(url), killed_at) < 3 for _ in range(6))
            assert status_of(run).state == "running"
    finally:
        stop_run(run, save=False)
        wait_for(lambda: status_of(run).is_over)


@pytest.mark.slow
def test_every_page_has_its_picture(home: Path, look: Callable) -> None:
    """Every page is drawn at 1280 and 390, in light and dark, and never scrolls sideways."""
    with studio(home, "--preset", "demo") as (url, _):
        for width in (1280, 390):
            for theme in ("light", "dark"):
                page = look(url, width, theme)
                for name in PAGES:
                    page.get_by_role("tab", name=name).click()
                    page.wait_for_timeout(1200)
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                    file = f"{name.lower().replace(' ', '-')}-{theme}-{width}.png"
                    page.screenshot(path=PICTURES / file, full_page=True)


@pytest.mark.slow
def test_bad_values_stand_on_their_boxes(home: Path, look: Callable) -> None:
    """Words in a number box, a missing model and an empty folder are said at once, each under its box; Start waits."""
    empty = home / "nothing in here"
    empty.mkdir()
    with studio(home, "--preset", "demo", "--root", str(home)) as (url, _):
        page = look(url)
        page.get_by_role("tab", name="Training").click()
        page.wait_for_function("!document.querySelector('#at-start').disabled")
        page.locator("#at-train_batch_size input").fill("four")
        page.get_by_role("tab", name="Model").click()
        page.locator("#at-pretrained_model_name_or_path input").fill(str(home / "none.safetensors"))
        page.get_by_role("tab", name="Dataset").click()
        page.locator("#at-train_data_dir input").fill(str(empty))
        page.get_by_role("tab", name="Training").click()
        page.wait_for_function("document.querySelector('#at-start').disabled")
        page.get_by_text("Waits for 3 things to mend").wait_for()
        for option in ("train_batch_size", "pretrained_model_name_or_path", "train_data_dir"):
            note = page.locator(f"#at-box-{option} .at-problem-error")
            assert note.count() == 1, option
        assert page.locator("#at-box-train_batch_size .at-problem-error").inner_text() == (
            "Batch size needs a whole number, not “four”."
        )
