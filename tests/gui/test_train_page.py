"""The training page in a browser: problems at their boxes, mends, presets, search, and the start."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gui.boxes import type_into, value_of
from trainer.contract.job import Job, read_job
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.order import hold
from trainer.runs.status import status_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def training(page: "Page") -> Iterator["Page"]:
    """The training page with the demo's preset in it, looked through."""
    page.get_by_role("tab", name="Training").click()
    page.locator("#at-start:not([disabled])").wait_for()
    yield page


def summary(page: "Page") -> str:
    return page.locator(".at-summary").first.inner_text()


def box(page: "Page", name: str) -> "Page":
    return page.locator(f"#at-box-{name}")  # type: ignore[return-value]


def test_a_problem_stands_at_its_boxes_and_one_click_mends_it(training: "Page") -> None:
    """Two options that exclude each other: both boxes red, Start waits, one click mends, Start is back."""
    training.get_by_role("radio", name="All").check()
    training.get_by_label("Random crop").check()
    mend = training.get_by_role("button", name="Turn off random crop")
    mend.wait_for()
    assert "1 thing to mend before Start" in summary(training)
    assert training.locator("#at-start").is_disabled()
    assert "Waits for 1 thing to mend" in training.locator(".at-start-card").inner_text()
    for name in ("random_crop", "cache_latents"):
        assert box(training, name).locator(".at-bad").count() == 1
        assert box(training, name).locator("input").get_attribute("aria-invalid") == "true"
    mend.click()
    training.locator("#at-start:not([disabled])").wait_for()
    assert not training.get_by_label("Random crop").is_checked()
    assert "Nothing to mend" in summary(training)
    assert box(training, "cache_latents").locator("input").get_attribute("aria-invalid") == "false"


def test_a_word_in_a_number_box_is_told_and_the_default_comes_back(training: "Page") -> None:
    """Text in a number box is named under that box, stays as typed, and one click puts the default back."""
    type_into(training, "learning_rate", "<b>fast</b>")
    problem = box(training, "learning_rate").locator(".at-problem-error")
    problem.wait_for()
    assert "“<b>fast</b>”" in problem.inner_text()
    assert value_of(training, "learning_rate") == "<b>fast</b>"
    training.get_by_role("button", name="default 2e-6").click()
    problem.wait_for(state="detached")
    assert value_of(training, "learning_rate") == "2e-6"


def test_deleting_and_pasting_are_seen_like_typing(training: "Page") -> None:
    """The form is looked through after Backspace too, which is no key press for Gradio."""
    field = training.locator("#at-train_batch_size input")
    field.press("End")
    field.press("Backspace")
    box(training, "train_batch_size").locator(".at-problem-error").wait_for()
    field.press("3")
    box(training, "train_batch_size").locator(".at-problem-error").wait_for(state="detached")
    training.locator(".at-sum", has_text="in batches of 3").wait_for()


def test_a_link_leads_to_the_box_on_another_page(training: "Page") -> None:
    """The summary's link opens the page and the group where the box stands, and puts the cursor into it."""
    training.get_by_label("Search options").fill("resolution")
    training.locator(".at-elsewhere [data-goto=resolution]").click()
    training.wait_for_function("document.activeElement.closest('.at-box')?.id === 'at-box-resolution'")
    assert training.get_by_role("tab", name="Dataset").get_attribute("aria-selected") == "true"


def test_search_and_views_show_what_they_say(training: "Page") -> None:
    """A search shows only what fits; Changed shows what differs from the defaults and counts it."""
    assert box(training, "max_grad_norm").is_hidden()
    training.get_by_label("Search options").fill("clip gradients")
    box(training, "max_grad_norm").wait_for()
    box(training, "learning_rate").wait_for(state="hidden")
    training.get_by_label("Search options").fill("")
    box(training, "learning_rate").wait_for()
    training.get_by_role("radio", name="Changed").check()
    box(training, "gradient_checkpointing").wait_for(state="hidden")
    shown = training.locator(".at-groups .at-box:visible").count()
    assert training.get_by_role("radio", name=f"Changed {shown}").count() == 1


def test_a_group_opens_and_closes(training: "Page") -> None:
    """A group without basic options is closed at first; its head opens it and says so to a screen reader."""
    head = training.get_by_role("button", name="Logging")
    assert head.get_attribute("aria-expanded") == "false" and box(training, "logging_dir").is_hidden()
    head.click()
    assert head.get_attribute("aria-expanded") == "true" and box(training, "logging_dir").is_visible()
    type_into(training, "logging_dir", "logs")
    training.locator("#at-group-logging .at-aside", has_text="1 changed").wait_for()
    assert head.get_attribute("aria-expanded") == "true"


def choose_preset(page: "Page", name: str) -> None:
    page.locator("#at-preset input").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_a_preset_starts_from_the_defaults_and_can_be_undone(training: "Page") -> None:
    """Loading lays a preset over the defaults, whatever stood there; Undo load brings back what did."""
    type_into(training, "train_batch_size", "7")
    training.locator(".at-differs", has_text="1 box differs from it").first.wait_for()
    choose_preset(training, "sd15-dreambooth")
    training.get_by_role("button", name="Undo load").wait_for()
    training.wait_for_function("document.querySelector('#at-train_batch_size input').value !== '7'")
    assert value_of(training, "sample_prompts") == ""
    training.locator(".at-summary li").first.wait_for()
    assert "to mend before Start" in summary(training)
    training.get_by_role("button", name="Undo load").click()
    training.wait_for_function("document.querySelector('#at-train_batch_size input').value === '7'")
    training.wait_for_function("document.querySelector('#at-preset input').value === 'demo'")
    assert "a sks star" in value_of(training, "sample_prompts")


def test_a_preset_of_ones_own_is_saved_and_deleted(training: "Page", studio_home: Path) -> None:
    """Save as writes a file with what differs; Delete moves it away; a name that is none is refused in words."""
    type_into(training, "train_batch_size", "3")
    training.get_by_role("button", name="Save as").click()
    training.get_by_label("Name", exact=True).last.fill("../evil")
    training.get_by_role("button", name="Save preset").click()
    training.get_by_text("Give the preset a name of letters").wait_for()
    training.get_by_label("Name", exact=True).last.fill("mine <b>")
    training.get_by_role("button", name="Save preset").click()
    training.get_by_text("Give the preset a name of letters").wait_for()
    training.get_by_label("Name", exact=True).last.fill("mine")
    training.get_by_role("button", name="Save preset").click()
    training.get_by_text("Saved as mine.").wait_for()
    path = studio_home / "presets" / "user" / "mine.json"
    assert '"train_batch_size": 3' in path.read_text(encoding="utf-8")
    assert training.locator("#at-preset input").input_value() == "mine (yours)"
    training.get_by_role("button", name="Delete").click()
    training.get_by_text("mine is deleted").wait_for()
    assert not path.exists() and (path.parent / "deleted" / "mine.json").exists()


def test_a_preset_from_elsewhere_is_imported_and_can_be_undone(
    training: "Page", studio_home: Path, tmp_path: Path
) -> None:
    """Its values stand in the boxes and among one's presets; what is not the same is told; Undo load takes it back."""
    file = tmp_path / "cats of 2023.json"
    record = {"max_resolution": "640,640", "epoch": "7", "lr_warmup": "5", "seed": "1234", "<img src=x>": "<b>"}
    file.write_text(json.dumps(record), encoding="utf-8")
    type_into(training, "train_batch_size", "7")
    training.locator(".at-differs", has_text="1 box differs from it").first.wait_for()
    training.locator("#at-import").locator("xpath=..").locator("input[type=file]").set_input_files(file)
    training.get_by_text("From kohya_ss: 2 taken as they are, 2 in another form, 1 not known here.").wait_for()
    training.locator(".at-told dt", has_text="<img src=x>").wait_for()
    training.wait_for_function("document.querySelector('#at-max_train_epochs input').value === '7'")
    shown = {name: value_of(training, name) for name in ("seed", "resolution", "train_batch_size", "lr_warmup_steps")}
    assert shown == {"seed": "1234", "resolution": "640", "train_batch_size": "1", "lr_warmup_steps": "0.05"}
    assert training.locator("#at-preset input").input_value() == "cats of 2023 (yours)"
    assert (studio_home / "presets" / "user" / "cats of 2023.json").exists()
    training.get_by_role("button", name="Undo load").click()
    training.wait_for_function("document.querySelector('#at-train_batch_size input').value === '7'")
    training.locator(".at-told").wait_for(state="detached")


def test_a_preset_for_something_else_leaves_the_form_alone(training: "Page", tmp_path: Path) -> None:
    """A LoRA's is refused in one sentence; what stands in the boxes stays."""
    file = tmp_path / "lora.json"
    file.write_text(json.dumps({"LoRA_type": "Standard", "max_resolution": "512,512", "seed": 4}), encoding="utf-8")
    training.locator("#at-import").locator("xpath=..").locator("input[type=file]").set_input_files(file)
    training.get_by_text("trains a LoRA or an embedding; this studio trains whole models.").wait_for()
    assert value_of(training, "seed") == "23"


def test_what_was_typed_survives_a_reload(training: "Page") -> None:
    """A reload brings back every box as it stood, also one with a value that cannot be used."""
    type_into(training, "train_batch_size", "5")
    type_into(training, "lr_warmup_steps", "a few")
    box(training, "lr_warmup_steps").locator(".at-problem-error").wait_for()
    training.reload()
    training.get_by_role("tab", name="Training").click()
    box(training, "lr_warmup_steps").locator(".at-problem-error").wait_for()
    assert (value_of(training, "train_batch_size"), value_of(training, "lr_warmup_steps")) == ("5", "a few")
    assert training.locator("#at-preset input").input_value() == "demo"


def test_the_command_line_is_copied_as_text(training: "Page") -> None:
    """What people typed stands in the command line as text, never as HTML."""
    type_into(training, "sample_prompts", "<img src=x onerror=alert(1)> --s 2")
    training.locator(".at-command", has_text="onerror=alert(1)").wait_for()
    assert training.locator(".at-command img").count() == 0


@pytest.mark.slow
def test_a_double_click_on_start_makes_one_run(training: "Page", studio_home: Path) -> None:
    """Start asks for the run as it stands in the form, once, and leads to it."""
    before = list_runs(studio_home / "runs")
    type_into(training, "max_train_epochs", "")
    type_into(training, "max_train_steps", "2")
    type_into(training, "lr_warmup_steps", "0")
    type_into(training, "sample_prompts", "a sks star --s 1 --l 1")
    training.locator(".at-sum", has_text="2 steps").wait_for()
    training.locator("#at-start:not([disabled])").dblclick()
    training.wait_for_function("document.getElementById('at-tab-runs-button').ariaSelected === 'true'")
    training.locator(".at-bar-now .at-now-name").wait_for()
    (run,) = [run for run in list_runs(studio_home / "runs") if run not in before]
    job = read_job(run.job_file)
    assert isinstance(job, Job) and job.config.length.max_train_steps == 2
    deadline = time.monotonic() + 120
    while not status_of(run).is_over and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status_of(run).state == "finished"
    training.get_by_text("Demo loaded", exact=True).wait_for()


def test_several_values_are_as_many_runs(training: "Page", runs: Path) -> None:
    """Two learning rates by two seeds: the button counts four runs, and four wait, each with its own values."""
    hold(RunFolder(runs / "one that crashed"))
    assert "differ" not in training.locator(".at-differs").first.inner_text()
    card = training.locator(".at-sweep-form")
    for label, option, values in (
        ("Option", "Learning rate (learning_rate)", "1e-4, 1e-3"),
        ("And option", "Seed (seed)", "1"),
    ):
        card.get_by_label(label, exact=True).click()
        training.get_by_role("option", name=option, exact=True).click()
        card.get_by_label("Its values" if label == "Option" else "Its values too", exact=True).fill(values)
    card.get_by_text("Seed needs two values or more").wait_for()
    assert training.locator("#at-sweep-add").is_disabled()
    card.get_by_label("Its values too", exact=True).fill("1, 2")
    training.get_by_role("button", name="Add 4 runs to the queue").click()
    training.locator(".at-sweep-card").wait_for()
    assert training.locator(".at-sweep td button").count() == 4
    jobs = [read_job(run.job_file) for run in list_runs(runs)]
    told = {(job.config.rate.learning_rate, job.config.length.seed) for job in jobs if isinstance(job, Job)}
    assert told == {(1e-4, 1), (1e-4, 2), (1e-3, 1), (1e-3, 2)} and len(jobs) == 4
