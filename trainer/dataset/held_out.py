"""Images held out of training, to measure on them what the others have taught.

Which ones are held out is a function of their names and sizes alone: the page counts the same ones as the trainer, a
resumed run keeps them, and runs with different seeds can be compared.
"""

import hashlib
from collections.abc import Sequence

from trainer.contract.problems import Mend, Problem
from trainer.dataset.captions import Entry


def hold_out(entries: Sequence[Entry], share: float) -> tuple[Entry, ...]:
    """The training images held out, in their order: the share rounded, but at least one; none where none would be left.

    Regularization images are never held out.
    """
    images = [entry for entry in entries if not entry.regularization]
    number = max(1, round(share * len(images)))
    if share == 0 or number >= len(images):
        return ()
    chosen = {id(entry) for entry in sorted(images, key=number_of)[:number]}
    return tuple(entry for entry in images if id(entry) in chosen)


def number_of(entry: Entry) -> int:
    """A number that stands for an image, 64 bits of a digest: its place among the others, the seed of its noise.

    Where the folder lies does not count, so that data may be moved.
    """
    named = f"{entry.folder.name}/{entry.picture.name}/{entry.picture.size_bytes}"
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big")


def too_few_problems(entries: Sequence[Entry], share: float) -> list[Problem]:
    """A share is to be held out, but nothing would be left to train on."""
    images = sum(not entry.regularization for entry in entries)
    if share == 0 or images == 0 or hold_out(entries, share):
        return []
    noun = "is one image" if images == 1 else f"are {images} images"
    message = f"There {noun}: with a share of {share:g} held out, none would be left to train on."
    mend = Mend("Hold none out", {"validation_split": 0.0})
    return [Problem("disk.nothing_left", message, ("validation_split", "train_data_dir"), mends=(mend,))]
