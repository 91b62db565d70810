"""The form looked through: all gates at once, and the disk asked again only when something has changed."""

import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gui.review import review
from trainer.contract.job import Job, make_job

Values = Callable[..., dict[str, object]]


def test_a_sound_form_has_a_plan_and_a_job(home: Path, demo_values: Values) -> None:
    """The demo's values leave nothing to mend and give the same job as the command line makes of them."""
    found = review(demo_values(), home)
    assert found.errors == []
    assert found.plan is not None and found.plan.total_steps == 6
    assert found.facts is not None and found.facts.family == "v1"
    job = make_job(demo_values(), home)
    assert isinstance(job, Job) and found.job is not None and found.job.config == job.config


def test_all_gates_speak_at_once(home: Path, demo_values: Values) -> None:
    """A value that cannot be read, a broken rule, a missing model and captions that are not there: all in one look."""
    found = review(
        demo_values(
            learning_rate="fast",
            random_crop=True,
            pretrained_model_name_or_path=str(home / "none.safetensors"),
            fine_tuning=True,
            train_data_dir=str(home / "demo" / "images" / "10_sks star"),
            caption_extension=".words",
        ),
        home,
    )
    gates = {problem.code.partition(".")[0] for problem in found.errors}
    fields = {name for problem in found.errors for name in problem.fields}
    assert gates == {"value", "rule", "disk"}
    assert {"learning_rate", "random_crop", "pretrained_model_name_or_path", "caption_extension"} <= fields
    assert found.job is None and found.config is None


def test_figures_stay_while_a_number_is_typed(home: Path, demo_values: Values) -> None:
    """A box that cannot be read at this moment takes neither the images nor the model from the page."""
    found = review(demo_values(seed="1e"), home)
    assert found.config is None
    assert found.facts is not None and found.report is not None and found.report.entries


def test_own_images_beside_the_demo_s_ordinary_stars_are_told(home: Path, demo_values: Values) -> None:
    """A warning at the box with one click that mends it; none with the demo's own images, or other ordinary ones."""
    own = home / "mine" / "1_cat"
    shutil.copytree(home / "demo" / "images" / "10_sks star", own)
    told = [p for p in review(demo_values(train_data_dir=str(own.parent)), home).problems if "demo" in p.code]
    (problem,) = told
    assert problem.severity == "warning" and problem.fields == ("reg_data_dir",)
    mended = demo_values(train_data_dir=str(own.parent)) | dict(problem.mends[0].values)
    for values in (mended, demo_values(), demo_values(train_data_dir=str(own.parent), reg_data_dir=str(own.parent))):
        assert not [p for p in review(values, home).problems if "demo" in p.code]


def test_a_look_without_images_and_model_names_both(tmp_path: Path) -> None:
    """An empty form says what is missing, at the boxes, and reads nothing."""
    found = review({}, tmp_path)
    fields = {name for problem in found.errors for name in problem.fields}
    assert {"pretrained_model_name_or_path", "train_data_dir", "output_dir"} <= fields
    assert found.facts is None and found.report is None and found.plan is None


def test_the_disk_is_not_read_again_for_another_learning_rate(home: Path, demo_values: Values) -> None:
    """Options that the images do not depend on leave the report as it was."""
    first = review(demo_values(), home)
    second = review(demo_values(learning_rate=1e-5), home)
    assert second.report is first.report and second.facts is first.facts


def test_a_changed_file_is_seen(home: Path, demo_values: Values) -> None:
    """A new image, a rewritten caption and another model are seen at the next look."""
    folder = home / "demo" / "images" / "10_sks star"
    images = len(review(demo_values(), home).report.entries)  # type: ignore[union-attr]
    Image.new("RGB", (128, 128), "red").save(folder / "new.png")
    found = review(demo_values(), home)
    assert found.report is not None and len(found.report.entries) == images + 1
    caption = sorted(folder.glob("*.txt"))[0]
    caption.write_text("a quite different text", encoding="utf-8")
    os.utime(caption, (1, 1))
    seen = review(demo_values(), home)
    assert seen.report is not None
    assert any(entry.caption == "a quite different text" for entry in seen.report.entries)
    shutil.rmtree(home / "demo" / "model" / "unet")
    assert any("pretrained_model_name_or_path" in p.fields for p in review(demo_values(), home).errors)


def test_a_full_disk_is_told_before_the_start(home: Path, demo_values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the planned saves do not fit, the numbers are named, with mends that would make them fit."""
    values = demo_values(max_train_steps=None, max_train_epochs=4, save_every_n_epochs=1, save_precision="float")
    sizes = review(values, home).sizes
    assert sizes is not None
    usage = namedtuple("usage", "total used free")
    needed = 4 * sizes.model + 2 * sizes.state
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2 * needed, 0, needed - 1))
    found = review(values, home)
    (problem,) = [problem for problem in found.errors if problem.code == "disk.no_room"]
    assert "4 saves and 2 states need" in problem.message and problem.fields[0] == "output_dir"
    for mend in problem.mends:
        assert review(values | dict(mend.values), home).errors == [], mend.label
    assert [mend.label for mend in problem.mends] == ["Save in fp16", "No states in between", "Only the last save"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2 * needed, 0, needed))
    assert review(values, home).errors == []


def test_what_the_disk_said_is_forgotten_when_masks_are_asked_for(home: Path, demo_values: Values) -> None:
    """Options that decide what is looked at on the disk lead to a new look, also where no file has changed."""
    (home / "no masks").mkdir()
    values = demo_values(conditioning_data_dir=str(home / "no masks"))
    assert review(values, home).errors == []
    codes = {problem.code for problem in review(values | {"masked_loss": True}, home).errors}
    assert codes == {"disk.mask_missing"}
