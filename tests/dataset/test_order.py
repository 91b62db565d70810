"""Order, cuts, flips and captions are functions of (seed, epoch, index): who makes them, and when, changes nothing."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.datasets import SHAPES, bucketed, datasets, make_entries
from trainer.contract.config import CaptionSection, ImageSection, TrainingConfig
from trainer.dataset.batches import Batches, Purpose, Use, rng
from trainer.dataset.captions import Entry, caption_for
from trainer.dataset.placement import Placement, placement

Made = tuple[int, int, str, Placement, str]
"""Epoch, index, picture, cut and caption of one use."""

CAPTIONS = CaptionSection(shuffle_caption=True, keep_tokens=1, caption_dropout_rate=0.2, ucg=0.1)
CUTS = {"random_crop": True, "flip_aug": True, "face_crop_aug_range": "2,4"}


def make(epoch: int, use: Use, images: ImageSection, seed: int) -> Made:
    """What a worker makes of one use, pixels apart."""
    cut = placement(use.entry.picture, use.bucket, images, rng(seed, epoch, use.index, Purpose.PIXELS))
    caption = caption_for(use.entry, CAPTIONS, rng(seed, epoch, use.index, Purpose.CAPTION))
    return epoch, use.index, str(use.entry.picture.path), cut, caption


def sequence(entries: list[Entry], images: ImageSection, seed: int, epochs: int) -> list[list[Made]]:
    """All batches of some epochs, made one after the other."""
    batches = Batches(entries, images, 3, seed)
    return [
        [make(epoch, use, images, seed) for use in batch] for epoch in range(epochs) for batch in batches.epoch(epoch)
    ]


def captioned(entries: list[Entry]) -> list[Entry]:
    return [Entry(e.picture, f"sks, {e.caption}, grass, sky", e.repeats, e.regularization, e.folder) for e in entries]


def with_cuts(images: ImageSection) -> ImageSection:
    return ImageSection(enable_bucket=images.enable_bucket, **CUTS)


@settings(max_examples=60, deadline=None)
@given(datasets, bucketed, st.integers(0, 2**32 - 1), st.sampled_from([(1, 0), (1, 1), (1, 4), (2, 0), (2, 1), (2, 4)]))
def test_workers_and_processes_change_nothing(
    entries: list[Entry], images: ImageSection, seed: int, dealt: tuple[int, int]
) -> None:
    """Processes take turns at the batches, their workers take turns at those, and each makes its own in its own
    order, from entries of its own: put together in order it is what one process without workers makes."""
    processes, workers = dealt
    images, entries = with_cuts(images), captioned(entries)
    alone = sequence(entries, images, seed, 2)
    made: dict[tuple[int, int], list[Made]] = {}
    for process in range(processes):
        for worker in range(max(1, workers)):
            # A worker has its own copy of everything and has never seen the uses of the others.
            batches = Batches(list(entries), images, 3, seed)
            for epoch in (1, 0):
                own = list(enumerate(batches.epoch(epoch)))[process::processes][worker :: max(1, workers)]
                for number, batch in reversed(own):
                    made[epoch, number] = [make(epoch, use, images, seed) for use in reversed(batch)][::-1]
    assert [made[key] for key in sorted(made)] == alone


@settings(max_examples=60, deadline=None)
@given(datasets, bucketed, st.integers(0, 2**32 - 1), st.data())
def test_resuming_at_a_step_gives_the_rest(
    entries: list[Entry], images: ImageSection, seed: int, data: st.DataObject
) -> None:
    """Begun at batch k, in whatever epoch it lies, the sequence is the rest of the one that was not interrupted."""
    images, entries = with_cuts(images), captioned(entries)
    whole = sequence(entries, images, seed, 3)
    batches = Batches(entries, images, 3, seed)
    k = data.draw(st.integers(0, len(whole) - 1))
    epoch, place = divmod(k, batches.per_epoch)
    resumed = [
        [make(number, use, images, seed) for use in batch]
        for number in range(epoch, 3)
        for batch in islice(batches.epoch(number), place if number == epoch else 0, None)
    ]
    assert resumed == whole[k:]


def test_real_worker_processes_make_the_same() -> None:
    """Fresh interpreters, with their own hash seeds and memory, compute what this one computes."""
    entries = captioned(make_entries([(n % len(SHAPES), 1 + n % 3) for n in range(12)], [(0, 1), (2, 2)]))
    images = ImageSection(enable_bucket=True, **CUTS)
    expected = sequence(entries, images, 5, 2)
    workers = 2
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(sequence, [entries] * workers, [images] * workers, [5] * workers, [2] * workers))
    assert results == [expected] * workers


@settings(max_examples=40, deadline=None)
@given(datasets, st.integers(64, 2048).map(lambda side: side // 64 * 64), st.integers(0, 1000))
def test_buckets_of_ones_own_size_lose_no_image(entries: list[Entry], side: int, seed: int) -> None:
    """With bucket_no_upscale, too, each image comes as often as its repeats and no batch mixes sizes."""
    images = TrainingConfig.from_flat(
        {"enable_bucket": True, "bucket_no_upscale": True, "resolution": str(side)}
    ).images
    batches = Batches(entries, images, 3, seed)
    for epoch in range(2):
        order = batches.epoch(epoch)
        assert len(order) == batches.per_epoch
        assert all(len({use.bucket for use in batch}) == 1 for batch in order)
        uses = sum(1 for batch in order for use in batch if not use.entry.regularization)
        assert uses == sum(entry.repeats for entry in entries if not entry.regularization)
