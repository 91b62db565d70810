"""The real studio as a process, and a page of it in the browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.studio_process import studio

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROKEN_OFF = ("AbortError: signal is aborted", "Connection errored out")


@pytest.fixture(scope="session")
def studio_home(made_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the studio under test: the demo, and a folder `images/10_sks star` of four small pictures."""
    home = tmp_path_factory.mktemp("home with ä space")
    shutil.copytree(made_demo / "demo", home / "demo")
    (home / "runs").mkdir()
    folder = home / "images" / "10_sks star"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (128, 96 + 32 * number), (40 * number, 90, 120)).save(folder / f"star-{number}.png")
        (folder / f"star-{number}.caption").write_text(f"a sks star, number {number}\n", encoding="utf-8")
    return home


@pytest.fixture
def runs(studio_home: Path) -> Iterator[Path]:
    """The studio's folder of runs, emptied before and after: other tests look at the same studio."""
    yield emptied(studio_home / "runs")
    emptied(studio_home / "runs")


def emptied(folder: Path) -> Path:
    """The folder with nothing in it. It is never away for long: some tests move a run into it as it is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def studio_url(studio_home: Path) -> Iterator[str]:
    """The address of a studio that runs as a process of its own; a first visit is shown the demo's preset."""
    with studio(studio_home, "--root", str(studio_home)) as (url, _):
        yield url


@pytest.fixture
def page(browser: "Browser", studio_url: str) -> Iterator["Page"]:
    """The studio in a fresh browser profile, 1280 wide, in light. At the end the console must hold no message."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    view = context.new_page()
    view.set_default_timeout(30_000)
    told: list[str] = []
    view.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    view.on("pageerror", lambda failure: told.append(str(failure)))
    visits: list[str] = []
    view.on("framenavigated", lambda frame: visits.append(frame.url) if frame == view.main_frame else None)
    view.goto(f"{studio_url}?__theme=light")
    view.wait_for_selector(".at-tabs")
    yield view
    context.close()
    if len(visits) > 1:
        # A page that is left breaks off what it was just asking for, and Gradio says so.
        told = [text for text in told if not any(words in text for words in BROKEN_OFF)]
    assert not told, told
