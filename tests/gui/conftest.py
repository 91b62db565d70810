"""The real studio as a process, and a page in headless Chromium that looks at it."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
UP_S = 60
BROKEN_OFF = ("AbortError: signal is aborted", "Connection errored out")


@pytest.fixture(scope="session")
def studio_home(made_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the studio under test: the demo, and a folder `images/10_sks star` of four small pictures."""
    home = tmp_path_factory.mktemp("home with ä space")
    shutil.copytree(made_demo / "demo", home / "demo")
    folder = home / "images" / "10_sks star"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (128, 96 + 32 * number), (40 * number, 90, 120)).save(folder / f"star-{number}.png")
        (folder / f"star-{number}.caption").write_text(f"a sks star, number {number}\n", encoding="utf-8")
    return home


@pytest.fixture(scope="session")
def studio_url(studio_home: Path) -> Iterator[str]:
    """The address of a studio that runs as a process of its own; a first visit is shown the demo's preset."""
    flags = ["--home", str(studio_home), "--port", "0", "--no-browser"]
    log = studio_home / "studio.log"
    process = start_studio(log, *flags, "--root", str(studio_home))
    try:
        yield address_of(process, log)
    finally:
        process.terminate()
        process.wait(10)


def start_studio(log: Path, *flags: str) -> subprocess.Popen[bytes]:
    """`python app.py FLAGS` with its output in `log`."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "app.py", *flags],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )


def address_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a starting studio prints."""
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        told = re.search(r"Atelier is at (http://\S+)", log.read_text(encoding="utf-8", errors="replace"))
        if told:
            return told[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"the studio did not come up:\n{log.read_text(encoding='utf-8', errors='replace')}")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A headless Chromium; tests that need it are skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


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
