"""The contact sheet and the list of `debug_dataset`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.dataset.batches import Batches, Purpose, rng
from trainer.dataset.captions import caption_for
from trainer.dataset.check import check_dataset
from trainer.dataset.pixels import pixels
from trainer.dataset.preview import CELL, GAP, write_preview


def test_the_preview_shows_the_first_batches(tmp_path: Path, make_tree: Callable, make_config: Callable) -> None:
    """The list holds the first batches in order with the cut, flip, caption and weight of each use; the sheet shows the
    pixels of the first use in its first cell, made by the run's own functions and random numbers."""
    make_tree(
        tmp_path,
        {
            "img/2_x/a.png": (640, 448),
            "img/2_x/a.txt": "a, b, c, ünïcode 日本語, " + "long " * 60,
            "img/2_x/b.png": None,
            "reg/1_dog/r.png": None,
        },
    )
    config = make_config(
        train_data_dir=tmp_path / "img",
        reg_data_dir=tmp_path / "reg",
        enable_bucket=True,
        flip_aug=True,
        shuffle_caption=True,
        train_batch_size=3,
        resolution=256,
        min_bucket_reso=128,
    )
    entries = check_dataset(config).entries
    batches = Batches(entries, config.images, 3, seed=5)
    sheet, listing = write_preview(tmp_path / "run", batches, config.images, config.captions, 5, prior_loss_weight=0.5)
    records = json.loads(listing.read_text(encoding="utf-8"))["batches"]
    order = batches.epoch(0)
    assert len(records) == len(order)
    for record, batch in zip(records, order, strict=True):
        assert [use["path"] for use in record["uses"]] == [str(use.entry.picture.path) for use in batch]
        for shown, use in zip(record["uses"], batch, strict=True):
            assert shown["caption"] == caption_for(use.entry, config.captions, rng(5, 0, use.index, Purpose.CAPTION))
            assert shown["loss_weight"] == (0.5 if use.entry.regularization else 1.0)
            assert shown["bucket"] == list(use.bucket) and isinstance(shown["flipped"], bool)
    first = order[0][0]
    seen = Image.fromarray(pixels(first.entry, first.bucket, config.images, rng(5, 0, first.index, Purpose.PIXELS)))
    seen.thumbnail((CELL, CELL))
    with Image.open(sheet) as image:
        drawn = np.asarray(image.convert("RGB"))[GAP : GAP + seen.height, GAP : GAP + seen.width]
    assert (drawn == np.asarray(seen)).all()
