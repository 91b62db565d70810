"""The Try it page in a real browser, with a real process that draws."""

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from gui.saved_pictures import drawn_file
from gui.studio import Studio
from tests.gui.written_runs import Course, end, write_run
from tests.studio_process import ROOT
from trainer.contract.events import EventWriter, Saved
from trainer.contract.identity import read_identity
from trainer.demo.place import demo_folder
from trainer.drawing.tasks import _drawer_file
from trainer.runs.folder import RunFolder
from trainer.runs.processes import end_tree

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PICTURES = ROOT / "tests" / "output"
NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def run(studio_home: Path, runs: Path) -> Iterator[RunFolder]:
    """A finished run that started from the demo's model and saved it again, alone in the studio."""
    shutil.rmtree(studio_home / "drawings", ignore_errors=True)
    model = demo_folder(studio_home) / "model"
    own = write_run(
        runs,
        Course(steps=3, sample_every=0),
        name=NASTY,
        pretrained_model_name_or_path=str(model),
        sample_prompts="a sks star --s 3",
    )
    saved = shutil.copytree(model, own.path / "models" / "epoch-000001")
    writer = EventWriter(own.events_file)
    writer.write(Saved(kind="model", step=3, epoch=1, path=str(saved), size_bytes=15_000_000))
    writer.close()
    end(own, "completed", 3)
    yield own
    drawer = read_identity(_drawer_file(studio_home))
    if drawer is not None:
        end_tree(drawer)
    shutil.rmtree(studio_home / "drawings", ignore_errors=True)


def fill(page: "Page", steps: str = "3") -> None:
    """A small picture of a few steps, alone."""
    page.get_by_label("number input for Steps").fill(steps)
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Beside it, the same before training").uncheck()


def drawn(page: "Page", card: str, count: int) -> None:
    """So many pictures are there and can be seen."""
    page.wait_for_function(
        "([card, count]) => "
        "[...document.querySelectorAll(card + ' img')].filter((image) => image.naturalWidth).length === count",
        arg=[card, count],
        timeout=90_000,
    )


def test_a_checkpoint_is_tried(run: RunFolder, page: "Page", studio_url: str) -> None:
    """From the run's page to a picture beside the one before training; a reload shows it; text is text everywhere."""
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("button", name=NASTY).first.click()
    page.locator(".at-save").get_by_role("button", name="Try it").click()
    checkpoint = page.get_by_label("Checkpoint", exact=True)
    page.wait_for_function("document.querySelector('.at-try-page input')?.value.includes('epoch 1, step 3')")
    assert checkpoint.input_value() == f"{NASTY} · epoch 1, step 3"
    page.get_by_text("Stable Diffusion 1.x, predicts noise").wait_for()
    page.get_by_label("Prompt", exact=True).fill("")
    page.locator("#at-draw").click()
    page.get_by_text("There is no prompt.").wait_for()

    page.get_by_label("Prompt", exact=True).fill(f"{NASTY} star")
    fill(page)
    page.get_by_label("Beside it, the same before training").check()
    page.locator("#at-draw").click()
    drawn(page, ".at-try-result", 2)
    page.get_by_text("There is no prompt.").wait_for(state="detached")
    assert page.locator(".at-try-result h2").inner_text() == f"{NASTY} star"
    page.get_by_text("Before training, seed 5").wait_for()
    files = sorted((run.path / "drawings").glob("*seed-5-*.png"))
    assert [file.name.partition("-seed")[0] for file in files] == ["before-training", "epoch-1-step-3"]
    link = page.get_by_role("link", name="Save picture").last
    with Image.open(io.BytesIO(page.request.get(f"{studio_url}/{link.get_attribute('href')}").body())) as picture:
        assert picture.text["parameters"].startswith(f"{NASTY} star\nSteps: 3, Sampler: DDIM, CFG scale: 7.5, Seed: 5,")

    page.reload()
    page.get_by_role("tab", name="Try it").click()
    drawn(page, ".at-try-result", 2)
    assert page.get_by_label("Prompt", exact=True).input_value() == f"{NASTY} star"
    page.get_by_role("button", name="Add prompt to the samples").click()
    page.get_by_text("Added.").wait_for()
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=PICTURES / f"try-it-{width}.png", full_page=True)
    assert page.locator("img[src='x']").count() == 0
    page.get_by_role("tab", name="Training").click()
    assert page.locator("#at-sample_prompts textarea").input_value().endswith(f"\n{NASTY} star")


def test_a_grid_and_a_run_in_between(run: RunFolder, page: "Page", studio_home: Path, studio_url: str) -> None:
    """Checkpoints x prompts come as one PNG; while a run trains it is left alone unless asked; a cancel is heard."""
    page.get_by_role("tab", name="Try it").click()
    page.wait_for_function("document.querySelector('.at-try-page input')?.value.includes('epoch 1, step 3')")
    fill(page)
    paths = page.get_by_label("Checkpoints", exact=True)
    for name in ("epoch 1, step 3", "model"):
        paths.fill(name)
        page.get_by_role("option", name=name).first.click()
    page.get_by_label("Prompts, one a line").fill(f"{NASTY}\na star --s 2 --d 8")
    page.locator("#at-draw-grid").click()
    drawn(page, ".at-try-grid", 4)
    link = page.get_by_role("link", name="Save as one PNG")
    with Image.open(io.BytesIO(page.request.get(f"{studio_url}/{link.get_attribute('href')}").body())) as sheet:
        assert f"{NASTY} (seed 5)\na star (seed 8)" == sheet.text["prompts"]
    page.screenshot(path=PICTURES / "try-it-grid-1280.png", full_page=True)

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as trainer:
        other = write_run(studio_home / "runs", Course(steps=3), name="harbour", pid=trainer.pid)
        page.get_by_label("Prompt", exact=True).fill("a blue star")
        page.locator("#at-draw").click()
        page.get_by_text("harbour is training.").wait_for(timeout=60_000)
        page.get_by_role("button", name="Draw now, slowly").click()
        drawn(page, ".at-try-result", 1)
        page.get_by_label("Prompt", exact=True).fill("a red star")
        page.locator("#at-draw").click()
        page.get_by_text("harbour is training.").wait_for(timeout=60_000)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Called off.").wait_for()
        trainer.kill()
    end(other, "stopped", 3)


def test_only_drawings_are_handed_out(tmp_path: Path) -> None:
    """The route for saving gives PNGs of drawings folders, wherever links lead, and nothing else."""
    studio = Studio(home=tmp_path / "home")
    folder = studio.runs / "one" / "drawings"
    folder.mkdir(parents=True)
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"no")
    for file in (folder / "a.png", folder / "a.txt", folder.parent / "b.png"):
        file.write_bytes(b"x")
    (folder / "link.png").symlink_to(secret)
    assert drawn_file(studio, str(folder / "a.png")) == folder / "a.png"
    outside = [folder.parent / "b.png", folder / "link.png", folder / "../../../../secret.png", secret]
    refused = [folder / "a.txt", *outside]
    assert [drawn_file(studio, str(path)) for path in [*refused, "", "\0.png", folder / "none.png"]] == [None] * 8
