"""Data sets without files, for counting and ordering."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

from trainer.contract.config import ImageSection
from trainer.dataset.captions import Entry
from trainer.dataset.scan import Picture

SHAPES = [(512, 512), (640, 448), (448, 640), (400, 800), (900, 300), (300, 900), (1000, 1001)]


def make_entries(train: Sequence[tuple[int, int]], reg: Sequence[tuple[int, int]] = ()) -> list[Entry]:
    """(shape number, repeats) for each image."""
    return [
        Entry(Picture(Path(f"{kind}/{n}.png"), *SHAPES[shape]), str(n), repeats, kind == "reg", Path(kind))
        for kind, rows in (("train", train), ("reg", reg))
        for n, (shape, repeats) in enumerate(rows)
    ]


images_of = st.lists(st.tuples(st.integers(0, len(SHAPES) - 1), st.integers(1, 4)), min_size=1, max_size=20)
datasets = st.builds(make_entries, images_of, st.one_of(st.just([]), images_of))
bucketed = st.sampled_from([ImageSection(enable_bucket=True), ImageSection()])
