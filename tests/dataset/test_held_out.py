"""Which images are held out of training."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.datasets import datasets
from trainer.dataset.captions import Entry
from trainer.dataset.check import check_dataset
from trainer.dataset.held_out import hold_out, number_of
from trainer.dataset.scan import Picture


@settings(max_examples=100, deadline=None)
@given(datasets, st.floats(0, 0.9))
def test_the_share_is_held_out(entries: list[Entry], share: float) -> None:
    """So many of the training images as the share says, at least one, never a regularization image, never all."""
    images = [entry for entry in entries if not entry.regularization]
    held = hold_out(entries, share)
    assert all(entry in images for entry in held)
    number = max(1, round(share * len(images)))
    assert len(held) == (0 if share == 0 or number >= len(images) else number)


def test_the_same_ones_wherever_the_folder_lies(tmp_path: Path, make_tree: Callable, make_config: Callable) -> None:
    """Moved data, another order and another seed hold the same images out; a new image changes at most one place."""
    make_tree(tmp_path, {f"img/1_x/{n}.png": (64, 64 + n) for n in range(20)})
    config = make_config(train_data_dir=tmp_path / "img", validation_split=0.25, max_train_epochs=1)
    report = check_dataset(config)
    held = {entry.picture.name for entry in report.held_out}
    assert len(held) == 5 and len(report.trained) == 15 and len(report.entries) == 20
    assert report.plan is not None and (report.plan.images, report.plan.held_out) == (15, 5)
    (tmp_path / "img").rename(tmp_path / "moved")
    moved = check_dataset(make_config(train_data_dir=tmp_path / "moved", validation_split=0.25, seed=3))
    assert {entry.picture.name for entry in moved.held_out} == held
    assert {entry.picture.name for entry in hold_out(moved.entries[::-1], 0.25)} == held
    one = moved.entries[0]
    more = [*moved.entries, replace(one, picture=Picture(one.picture.path.with_name("new.png"), 64, 64))]
    assert len({entry.picture.name for entry in hold_out(more, 0.25)} - held) <= 1
    assert len({number_of(entry) for entry in more}) == 21


def test_one_image_cannot_be_held_out(tmp_path: Path, make_tree: Callable, make_config: Callable) -> None:
    """Where none would be left to train on, that is said on the option, with its mend."""
    make_tree(tmp_path, {"img/1_x/a.png": (64, 64)})
    report = check_dataset(make_config(train_data_dir=tmp_path / "img", validation_split=0.5))
    (problem,) = [found for found in report.problems if found.code == "disk.nothing_left"]
    assert "validation_split" in problem.fields and problem.severity == "error"
    assert problem.mends[0].values == {"validation_split": 0.0}
