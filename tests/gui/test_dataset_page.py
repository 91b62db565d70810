"""The Dataset page: cuts, findings, buckets, and the whole way from an empty form to a plan in the browser."""

import os
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from gui.dataset_cards import draw_buckets, draw_folders, draw_plan
from gui.gallery import CHIPS, PAGE, Shot, chosen, draw_gallery, name_of, shots
from gui.pages.dataset import SHOWING, clicked_on
from gui.review import Review, review
from gui.studio import Studio
from tests.gui.boxes import type_into, value_of, wait_for_form

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Windows allows no < in a name.
TAG = "x&lt;b onclick=y" if os.name == "nt" else "x<img src=x onerror=alert(1)>"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Images in three shapes, one of them small, one without caption, one called like a tag."""
    folder = tmp_path / "images" / "10_sks hill"
    folder.mkdir(parents=True)
    sizes = {"wide": (1024, 512), "square": (512, 512), "small": (128, 128), TAG: (512, 640)}
    for number, (name, size) in enumerate(sizes.items()):
        Image.new("RGB", size, (40 * number, 90, 120)).save(folder / f"{name}.png")
    (folder / "wide.txt").write_text("a <b>wide</b> hill")
    (folder / "square.txt").write_text("")
    return Studio(home=tmp_path)


def looked(studio: Studio, **values: object) -> Review:
    given = {"train_data_dir": str(studio.home / "images"), "caption_extension": ".txt", "resolution": "512,512"}
    return review(given | values, studio.home)


def found(studio: Studio, **values: object) -> dict[str, Shot]:
    seen = looked(studio, **values)
    assert seen.report is not None
    return {shot.entry.picture.path.stem: shot for shot in shots(seen.report.entries, seen.looked_at.images)}


def test_the_cut_is_the_trainers(studio: Studio) -> None:
    """A 2:1 image in a square bucket keeps its middle half; a square one is kept whole; both are drawn so."""
    seen = found(studio)
    wide = seen["wide"]
    assert (wide.left, wide.top, wide.width, wide.height) == pytest.approx((0.25, 0, 0.5, 1))
    assert wide.cut == pytest.approx(0.5) and wide.enlarged == pytest.approx(1)
    assert seen["square"].cut == 0
    assert seen["small"].enlarged == pytest.approx(4)
    html = draw_gallery(studio, list(seen.values()), "all", "", PAGE)
    assert "left:25.00%;top:0.00%;width:50.00%;height:100.00%" in html and "50 % cut" in html
    assert "nothing cut" in html and "Enlarged 4.0 times" in html


def test_a_random_cut_says_that_it_varies(studio: Studio) -> None:
    """With random crop one possible cut is drawn, the same at each look, and called one of many."""
    first, second = found(studio, random_crop=True)["wide"], found(studio, random_crop=True)["wide"]
    assert first == second and first.varies and not found(studio, random_crop=True)["square"].varies


def test_chips_count_what_they_show(studio: Studio) -> None:
    """Each chip shows the images that it counts, and none that does not belong behind it."""
    by_name = found(studio, enable_bucket=True)
    seen = list(by_name.values())
    bucket = name_of(by_name["wide"].bucket)
    html = draw_gallery(studio, seen, "all", bucket, PAGE)
    for name in CHIPS:
        number = len(chosen(seen, name, bucket))
        drawn = re.search(rf'data-chip="{name}">[^<]+<span>(\d+)<', html)
        assert number == (int(drawn[1]) if drawn else 0), name
    assert [shot.entry.picture.path.stem for shot in chosen(seen, "bucket", bucket)] == ["wide"]
    assert len(chosen(seen, "all", "")) == 4
    assert [shot.entry.picture.path.stem for shot in chosen(seen, "words", "")] == ["square"]
    assert [shot.entry.picture.path.stem for shot in chosen(seen, "small", "")] == ["small"]


def test_regularization_images_have_a_chip_of_their_own(studio: Studio) -> None:
    """They are not counted among the images to learn."""
    other = studio.home / "reg" / "1_hill"
    other.mkdir(parents=True)
    Image.new("RGB", (512, 512)).save(other / "r.png")
    seen = list(found(studio, reg_data_dir=str(studio.home / "reg")).values())
    assert len(chosen(seen, "all", "")) == 4 and len(chosen(seen, "reg", "")) == 1


def test_names_stay_text(studio: Studio) -> None:
    """A file called like a tag and a caption with markup are drawn as text in every card."""
    seen = looked(studio)
    assert seen.report is not None
    drawn = shots(seen.report.entries, seen.looked_at.images)
    html = draw_gallery(studio, drawn, "all", "", PAGE) + draw_folders(seen, drawn) + draw_plan(seen)
    assert "<img src=x" not in html and "<b>wide" not in html
    assert f"{escape(TAG)}.png" in html


def test_folders_show_what_was_read(studio: Studio) -> None:
    """The table tells repeats, images, captions and uses of each folder, and what is to look at."""
    seen = looked(studio)
    assert seen.report is not None
    html = draw_folders(seen, shots(seen.report.entries, seen.looked_at.images))
    for label, value in (("Repeats", "10"), ("Images", "4"), ("Captions", "2"), ("An epoch", "40")):
        assert f'data-label="{label}" class="at-number">{value}<' in html
    assert "1 without caption, 1 small" in html and "sks hill" in html


def test_findings_carry_their_mends(studio: Studio) -> None:
    """A warning is a row with its mend as a button that names the problem."""
    seen = looked(studio, caption_extension=".caption")
    html = draw_folders(seen, [])
    assert 'data-act="mend" data-key="disk.captions_of_other_ending/0" data-mend="0">Switch to .txt<' in html
    assert "at-is-warn" in html and "at-is-bad" not in html


def test_plan_and_buckets_add_up(studio: Studio) -> None:
    """The plan shows images times repeats and steps; the buckets' rows hold all images."""
    seen = looked(studio, enable_bucket=True, max_train_epochs=2, max_train_steps=None)
    plan = draw_plan(seen)
    assert "4 × 10" in plan and "40 an epoch" in plan and "80 steps" in plan and "80 images seen" in plan
    assert seen.plan is not None and sum(row.images for row in seen.plan.buckets) == 4
    html = draw_buckets(seen, "512 × 512")
    assert html.count('data-act="bucket"') == len(seen.plan.buckets) and html.count('aria-pressed="true"') == 1


def test_without_images_nothing_is_promised(studio: Studio) -> None:
    """An empty form and an empty folder give cards without figures."""
    for seen in (review({}, studio.home), looked(studio, train_data_dir=str(studio.home / "gone"))):
        assert draw_folders(seen, []) == "" and "at-figure" not in draw_plan(seen)
        assert "at-bucket" not in draw_buckets(seen, "")


def test_clicks_lead_on() -> None:
    """A bucket filters, a second click on it shows all again; an unknown chip changes nothing; more adds a page."""
    one = clicked_on({"act": "bucket", "bucket": "512 × 512"}, SHOWING)
    assert (one["chip"], one["bucket"]) == ("bucket", "512 × 512")
    assert clicked_on({"act": "bucket", "bucket": "512 × 512"}, one)["chip"] == "all"
    assert clicked_on({"act": "more"}, SHOWING)["number"] == 2 * PAGE
    assert clicked_on({"act": "chip", "chip": "<x>"}, SHOWING) == SHOWING


@pytest.mark.browser
def test_from_a_folder_to_a_plan(page: "Page", studio_home: Path) -> None:
    """Choose a folder in the page: the plan, the folders, the gallery with pictures and a filter by bucket follow."""
    folder = studio_home / "dataset page" / "3_hill"
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate([(256, 128), (128, 256), (128, 128)]):
        Image.new("RGB", size, (90, 40 * number, 120)).save(folder / f"{TAG if number == 2 else number}.png")
    wait_for_form(page)
    type_into(page, "train_data_dir", str(studio_home))
    page.locator(".at-page-actions button", has_text="Choose folder").click()
    page.locator(".at-picker-rows button", has_text="dataset page").click()
    page.locator(".at-picker code", has_text="dataset page").wait_for()
    page.locator(".at-picker [data-act=use]").click()
    page.locator(".at-dataset .at-figure", has_text="3 × 3").wait_for()
    assert value_of(page, "train_data_dir") == str(folder.parent)
    type_into(page, "resolution", "512")
    page.locator("#at-enable_bucket input").check()
    page.locator("button.at-bucket").nth(2).wait_for()
    page.locator("button.at-bucket").first.click()
    page.locator('.at-chip[data-chip="bucket"][aria-pressed="true"]').wait_for()
    assert page.locator(".at-shot").count() == 1
    page.locator('.at-chip[data-chip="all"]').click()
    page.wait_for_function("document.querySelectorAll('.at-shot').length === 3")
    page.locator(".at-shot").first.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.at-shot img')].every((one) => one.naturalWidth > 0)")
    assert page.locator("img[onerror]").count() == 0
    assert TAG in " ".join(page.locator(".at-shot").all_inner_texts())


@pytest.mark.browser
def test_a_wrong_folder_is_mended_with_one_click(page: "Page", studio_home: Path) -> None:
    """The inner numbered folder is refused beside what was read, and the mend puts the one above it into the box."""
    wait_for_form(page)
    type_into(page, "train_data_dir", str(studio_home / "images" / "10_sks star"))
    mend = page.locator(".at-findings .at-mends button", has_text="Use ")
    mend.wait_for()
    mend.click()
    page.locator(".at-row strong", has_text="10_sks star").wait_for()
    assert value_of(page, "train_data_dir") == str(studio_home / "images")


@pytest.mark.browser
def test_phone_and_dark_fit(page: "Page", studio_home: Path) -> None:
    """Nothing scrolls sideways at 390 pixels, on any of the three pages."""
    page.set_viewport_size({"width": 390, "height": 800})
    wait_for_form(page)
    type_into(page, "train_data_dir", str(studio_home / "images"))
    page.locator(".at-row strong", has_text="10_sks star").wait_for()
    for name in ("Captions", "Model", "Dataset"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
