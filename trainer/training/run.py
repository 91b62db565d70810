"""A run from its first event to its last: `train_job(job, run)`, called in each process of `accelerate launch`.

A job and a run folder come in; process.json, events.jsonl, samples and states in the folder, models in the output
folder go out, and how it ended. Torch and the networks' libraries are imported only inside.
"""

import os
from pathlib import Path

from trainer.contract.events import Result
from trainer.contract.identity import write_identity
from trainer.contract.job import Job
from trainer.training.outcome import Refused

__all__ = ["Refused", "train_job"]


def train_job(job: Job, run: Path, *, rehearsed: bool = False) -> Result:
    """Train a job. The main process's `run` counts. Raises `Refused` with all problems, and what else goes wrong.

    With `rehearsed` it learns two steps of the largest batch and notes what memory they took in measured.json.
    """
    if os.environ.get("RANK", "0") == "0":
        # First of all: whoever watches the folder wants to know which process to look at.
        write_identity(run / "process.json")

    # Late: importing the libraries takes seconds, and bitsandbytes must be hidden from them before.
    from trainer.training.optimizer import hide_bitsandbytes  # noqa: PLC0415

    if not job.config.rate.needs_bitsandbytes:
        hide_bitsandbytes()

    from trainer.training.rehearsal import rehearse  # noqa: PLC0415
    from trainer.training.session import learn_and_close, train_session  # noqa: PLC0415

    return train_session(job, run, rehearse if rehearsed else learn_and_close)
