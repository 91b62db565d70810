"""Lanes: what the runs of one card wait for one another in. A machine without a card, or with one, has a single lane.

A lane is named after its card, as nvidia-smi counts. Comes in: a run. Goes out: the lane that it waits or runs in, and
the files by which the runner of a lane is known.
"""

import os
from functools import lru_cache
from pathlib import Path

from trainer.contract.job import read_options
from trainer.runs.folder import RunFolder


def lane_of(run: RunFolder) -> str:
    """The lane of a run that is asked for."""
    return lane_for(card_of(run))


def card_of(run: RunFolder) -> int | None:
    """The number of the card that a run asks for; None where its job does not say, or cannot be read."""
    try:
        return _card_of(run.job_file, run.job_file.stat().st_mtime_ns)
    except OSError:
        return None


def lane_for(card: int | None) -> str:
    """The lane of a card by its number (`gpu_ids` of a job); None: the first that CUDA_VISIBLE_DEVICES leaves."""
    if card is not None:
        return str(card)
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return first if first.isdecimal() else "0"


def lane_file(home: Path, name: str, lane: str) -> Path:
    """A file of one lane beside the runs; that of card 0 has the plain name."""
    stem, ending = name.split(".")
    return home / (name if lane == "0" else f"{stem}-{lane}.{ending}")


@lru_cache(maxsize=4096)
def _card_of(job_file: Path, modified: int) -> int | None:
    """`modified` only tells the cache when the file is another one."""
    del modified
    number = (read_options(job_file) or {}).get("gpu_ids")
    return number if isinstance(number, int) else None
