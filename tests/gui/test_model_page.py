"""The Model page: what the model is, what it means for the job, and what will be written."""

import json
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gui.model_cards import (
    draw_facts,
    draw_list,
    draw_meaning,
    draw_vae,
    draw_written,
    needed_values,
    settings_of,
)
from gui.pages.model import folders_of, models_in
from gui.review import Review, review
from gui.studio import Studio
from tests.gui.boxes import type_into, value_of, wait_for_form

if TYPE_CHECKING:
    from playwright.sync_api import Page

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY = FIXTURES / "training" / "models"


def write_table(path: Path, family: str) -> Path:
    """A .safetensors file with the table of contents of a real model and a hole in place of its weights."""
    lines = (FIXTURES / "model" / f"keys-{family}.txt").read_text(encoding="utf-8").splitlines()
    header, place = {}, 0
    for line in lines:
        name, _, text = line.partition(" ")
        shape = [] if text == "-" else [int(side) for side in text.split("x")]
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + place)
    return path


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A home with a 1.x file, a 2.x file with its yaml, and two folders in models/."""
    models = tmp_path / "models"
    models.mkdir()
    write_table(models / "base.safetensors", "v1")
    write_table(models / "big-v.safetensors", "v2")
    (models / "big-v.yaml").write_text("target: ldm.models.diffusion.ddpm\n  parameterization: v\n")
    (models / "notes.txt").write_text("no model")
    for name in ("tiny-sd1", "tiny-sd2v"):
        shutil.copytree(TINY / name, models / name)
    return Studio(home=tmp_path)


def looked(studio: Studio, model: str, **values: object) -> Review:
    return review({"pretrained_model_name_or_path": str(studio.home / "models" / model)} | values, studio.home)


def test_the_list_holds_models_only(studio: Studio) -> None:
    """models/ and the folder of the chosen model are listed, each model once with what it is and its size."""
    folders = folders_of(studio, str(studio.home / "models" / "base.safetensors"))
    assert folders == [studio.home / "models"]
    found = models_in(folders)
    assert [facts.path.name for facts in found] == ["base.safetensors", "big-v.safetensors", "tiny-sd1", "tiny-sd2v"]
    html = draw_list(found, folders, str(found[1].path), studio.home / "demo" / "model")
    assert html.count('aria-checked="true"') == 1 and "Stable Diffusion 2.x, predicts v" in html
    assert "2.1 GB" in html and "2.6 GB" in html


def test_a_folder_outside_is_not_listed(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A model typed from outside the roots can be used, but its neighbours are not shown."""
    other = tmp_path_factory.mktemp("other")
    assert folders_of(studio, str(other / "x.safetensors")) == [studio.home / "models"]


def test_a_new_model_appears(studio: Studio) -> None:
    """The list is remembered until something in the folder changes."""
    folders = [studio.home / "models"]
    assert len(models_in(folders)) == 4
    write_table(folders[0] / "new.safetensors", "v1")
    assert len(models_in(folders)) == 5


def test_facts_say_how_they_are_known(studio: Studio) -> None:
    """The sentence, and every fact of the card, come from the file and the yaml beside it."""
    html = draw_facts(looked(studio, "big-v.safetensors"))
    for part in (
        "A Stable Diffusion 2.x model that predicts <b>v</b>. It is at home at 768 pixels.",
        "text width 1024",
        "<dd>big-v.yaml</dd>",
        "OpenCLIP H, 23 layers",
        "<dt>EMA weights</dt><dd>none</dd>",
        "fp16, 1,2",
        "yes, .safetensors holds no code",
    ):
        assert part in html, part
    assert "does not say what it predicts" in draw_facts(looked(studio, "base.safetensors"))


def test_what_cannot_be_trained_says_why(studio: Studio) -> None:
    """A missing file, a damaged one and a name that is a tag give a sentence, and nothing of it is markup."""
    (studio.home / "models" / "broken.safetensors").write_bytes(b"\xff" * 100)
    assert "at-message-bad" in draw_facts(looked(studio, "gone.safetensors"))
    assert "cannot be read" in draw_facts(looked(studio, "broken.safetensors"))
    assert "<img src=x" not in draw_facts(looked(studio, "<img src=x onerror=alert(1)>.ckpt"))
    assert "No model yet" in draw_facts(review({}, studio.home))


def test_one_click_sets_all_that_does_not_fit(studio: Studio) -> None:
    """A 2.x v model in a form with defaults needs three settings; after the click all fit."""
    before = looked(studio, "big-v.safetensors")
    assert [(row.name, row.fits) for row in settings_of(before)] == [
        ("v2", False),
        ("v_parameterization", False),
        ("resolution", False),
    ]
    html = draw_meaning(before)
    assert "at-meaning-bad" in html and "2 settings do not fit" in html and ">Set all<" in html
    values = needed_values(before)
    assert values == {"v2": True, "v_parameterization": True, "resolution": "768,768"}
    after = looked(studio, "big-v.safetensors", **values)
    assert needed_values(after) == {} and "All settings fit" in draw_meaning(after)
    assert not any("disk.model" in problem.code for problem in after.problems)


def test_a_size_alone_is_no_fault(studio: Studio) -> None:
    """Another resolution than the model's own is amber and can be set, and does not count as unfit."""
    html = draw_meaning(looked(studio, "base.safetensors", resolution="640,640"))
    assert "at-meaning-bad" not in html and "at-message-warning" in html and ">Set resolution<" in html


def test_v_on_a_noise_model_is_no_noise(studio: Studio) -> None:
    """The flag on a model that predicts noise is a warning, as the gate says, and can be cleared."""
    seen = looked(studio, "tiny-sd1", v_parameterization=True, v2=False)
    assert "at-meaning-bad" not in draw_meaning(seen) and needed_values(seen)["v_parameterization"] is False


def test_what_is_written_is_named_with_its_size(studio: Studio) -> None:
    """Name, ending, size in the chosen precision, the yaml of 2.x, the room, and no markup from the name."""
    values = {"output_dir": str(studio.home / "out"), "output_name": "a&b", "save_precision": "fp16"}
    html = draw_written(looked(studio, "big-v.safetensors", **values))
    assert "<strong>a&amp;b.safetensors</strong> (2.6 GB) and <strong>a&amp;b.yaml</strong>" in html
    assert "free." in html
    assert "yaml" not in draw_written(looked(studio, "base.safetensors", **values))
    assert "the folder <strong>" in draw_written(looked(studio, "tiny-sd1", **values))
    assert "5.2 GB" in draw_written(looked(studio, "big-v.safetensors", **(values | {"save_precision": None})))


def test_the_vae_in_use_is_marked(studio: Studio) -> None:
    """The one in the model with its weights, or another file."""
    assert "83.7 M weights" in draw_vae(looked(studio, "base.safetensors"))
    own, other = (draw_vae(looked(studio, "base.safetensors", vae=vae)) for vae in (None, "x.safetensors"))
    assert own.index('aria-checked="true"') < own.index('data-act="own"') < other.index('aria-checked="true"')


@pytest.mark.browser
def test_choosing_a_model_and_mending_the_job(page: "Page", studio_home: Path) -> None:
    """A click on a row puts the model into the box and shows its facts; one more click makes the job fit it."""
    target = studio_home / "models" / "tiny-sd2v"
    shutil.copytree(TINY / "tiny-sd2v", target, dirs_exist_ok=True)
    wait_for_form(page)
    page.get_by_role("tab", name="Model").click()
    # Any look through the form lists the folder anew.
    type_into(page, "output_name", "harbour")
    page.locator(".at-message-info strong", has_text="harbour.safetensors").wait_for()
    page.locator(".at-model", has_text="tiny-sd2v").click()
    page.locator(".at-said", has_text="Stable Diffusion 2.x model that predicts v").wait_for()
    assert value_of(page, "pretrained_model_name_or_path") == str(target)
    page.locator(".at-meaning-bad [data-act=needed]").click()
    page.locator(".at-meaning .at-message-good").wait_for()
    assert page.locator("#at-v2 input").is_checked() and page.locator("#at-v_parameterization input").is_checked()
    page.locator(".at-model", has_text="Demo model").click()
    page.locator(".at-said", has_text="Stable Diffusion 1.x").wait_for()
