"""Which batches each step and each process learns."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.datasets import bucketed, datasets
from tests.training.conftest import draw_pictures
from trainer.contract.config import CaptionSection, DataSection, ImageSection, LengthSection, TrainingConfig
from trainer.dataset.batches import Batches
from trainer.dataset.captions import Entry, entries_of
from trainer.dataset.plan import make_plan
from trainer.dataset.scan import scan
from trainer.training.feed import BatchMaker, Feed, Group, Share, worker_count

EPOCHS = 2


def make_feed(entries: list[Entry], images: ImageSection, batch: int, share: Share, workers: int = 0) -> Feed:
    """A feed without pixels, unless there are workers to make them."""
    captions = CaptionSection(shuffle_caption=True, ucg=0.3)
    maker = BatchMaker(images, captions, 5, with_pixels=workers >= 0 and images.flip_aug)
    return Feed(Batches(entries, images, batch, 5), maker, share, max(0, workers))


def first(feed: Feed, count: int, start: int = 0) -> list[Group]:
    """The first groups from a step on."""
    groups = feed.groups(start)
    return [next(groups) for _ in range(count)]


@given(datasets, bucketed, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_every_use_is_learnt_once_an_epoch(
    entries: list[Entry], images: ImageSection, batch: int, gathered: int, processes: int
) -> None:
    """Over all processes and the steps of an epoch, each use of the plan comes once; fillers count for nothing."""
    feeds = [make_feed(entries, images, batch, Share(gathered, processes, rank)) for rank in range(processes)]
    batches = Batches(entries, images, batch, 5)
    for epoch in range(EPOCHS):
        steps = feeds[0].steps_per_epoch
        dealt = [first(feed, steps, epoch * steps) for feed in feeds]
        learnt = [b.uses for groups in dealt for group in groups for b in group.batches if b.counts]
        assert sorted(learnt, key=repr) == sorted(batches.epoch(epoch), key=repr)
        for groups in zip(*dealt, strict=True):
            assert all(1 <= len(group.batches) <= gathered for group in groups), "each process has its part in a step"
            assert {group.present for group in groups} == {sum(b.counts for g in groups for b in g.batches)}
            images_shown = sum(len(b.uses) for g in groups for b in g.batches if b.counts)
            assert {group.images for group in groups} == {images_shown}
        assert [group.ends_epoch for group in dealt[0]] == [False] * (steps - 1) + [True]


@given(datasets, bucketed, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_plan_counts_the_steps_that_are_fed(
    entries: list[Entry], images: ImageSection, batch: int, gathered: int, processes: int, epochs: int
) -> None:
    """Whatever the buckets, regularization, gathered batches and processes: the last step of the last epoch that is
    fed to any process is the last one of the plan."""
    length = LengthSection(
        max_train_epochs=epochs,
        max_train_steps=None,
        train_batch_size=batch,
        gradient_accumulation_steps=gathered,
    )
    plan = make_plan(TrainingConfig(images=images, length=length), entries, processes)
    for rank in range(processes):
        feed = make_feed(entries, images, batch, Share(gathered, processes, rank))
        ends = [step.ends_epoch for step in islice(feed.steps(0), plan.total_steps)]
        assert ends[-1] and sum(ends) == plan.epochs == epochs


@given(datasets, st.integers(1, 3), st.integers(0, 12))
@settings(max_examples=20, deadline=None)
def test_feed_goes_on_in_the_middle(entries: list[Entry], gathered: int, start: int) -> None:
    """A feed that starts at step k gives what one that started at 0 gives from there on."""
    images = ImageSection(enable_bucket=True)
    feed = make_feed(entries, images, 2, Share(gathered))
    assert first(feed, 4, start) == first(feed, start + 4)[start:]


@pytest.mark.parametrize("workers", [1, 3])
def test_number_of_workers_changes_nothing(workers: int, tmp_path: Path) -> None:
    """Batches made in worker processes equal those made in this one: captions, crops, flips and colours."""
    draw_pictures(tmp_path / "4_a, b, c", [(80, 64), (64, 100), (70, 70)])
    entries, problems = entries_of(scan(DataSection(train_data_dir=tmp_path)), DataSection(train_data_dir=tmp_path))
    assert not problems
    images = ImageSection(resolution="64", flip_aug=True, color_aug=True, random_crop=True)
    alone, helped = (first(make_feed(entries, images, 2, Share(2), number), 9) for number in (0, workers))
    for one, other in zip(alone, helped, strict=True):
        for ours, theirs in zip(one.batches, other.batches, strict=True):
            assert (ours.uses, ours.captions) == (theirs.uses, theirs.captions)
            assert ours.pixels_BHWC is not None and ours.pixels_BHWC.dtype == torch.uint8
            assert torch.equal(ours.pixels_BHWC, theirs.pixels_BHWC)
    assert len({batch.captions[0] for group in alone for batch in group.batches}) > 2, "captions are shuffled"


def test_worker_count_is_as_asked() -> None:
    """A number that was given holds, zero too; without one there are none beside a cache."""
    assert worker_count(0, cached=False) == 0
    assert worker_count(7, cached=True) == 7
    assert worker_count(None, cached=True) == 0
    assert 0 <= worker_count(None, cached=False) <= 4
