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
from trainer.dataset.preview import CELL, GAP, as_learnt, write_preview


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
        prior_loss_weight=0.5,
    )
    entries = check_dataset(config).entries
    batches = Batches(entries, config.images, 3, seed=5)
    sheet, listing = write_preview(tmp_path / "run", batches, config, 5)
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


def test_what_a_mask_leaves_out_is_dark(tmp_path: Path, make_tree: Callable, make_config: Callable) -> None:
    """The sheet shows masks as they are learnt: a transparent left half is dark, the right half as it is."""
    make_tree(tmp_path, {"img/1_x/a.png": (256, 256)})
    path = tmp_path / "img/1_x/a.png"
    with Image.open(path) as image:
        image.putalpha(Image.fromarray(np.repeat([0, 255], 128).astype(np.uint8)[None].repeat(256, axis=0)))
        image.save(path)
    config = make_config(train_data_dir=tmp_path / "img", resolution=256, alpha_mask=True)
    (use,) = Batches(check_dataset(config).entries, config.images, 1, seed=5).epoch(0)[0]
    plain = pixels(use.entry, use.bucket, config.images, rng(5, 0, use.index, Purpose.PIXELS))
    seen = as_learnt(use, config, 5)
    assert (seen[:, 128:] == plain[:, 128:]).all()
    assert (plain[:, :128] == 255).all() and (seen[:, :128] == 64).all()
