"""A trainer without a model, for the tests of a run's life: accelerate launches it, it keeps the run folder's contract.

It writes process.json and real events, reads wishes once a step, and takes 0.05 s for each of max_train_steps. The
job's name says how it is to end: one that begins with "crash" exits with code 7 at step 3, "raise" raises there,
"deaf" hears no wish.
"""

import argparse
import sys
import time
from pathlib import Path

from trainer.contract.control import WishReader
from trainer.contract.events import EventWriter, Finished, Started, Stepped
from trainer.contract.identity import read_identity, write_identity
from trainer.contract.job import Job, read_job
from trainer.runs.ending import last_words

STEP_S = 0.05


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--run_dir", type=Path, required=True)
    parser.add_argument("--resume", type=Path)
    given = parser.parse_args()
    job = read_job(given.job)
    assert isinstance(job, Job), job
    me = write_identity(given.run_dir / "process.json")
    launched = read_identity(given.run_dir / "launch.json")
    wishes = WishReader(given.run_dir / "control.jsonl", since=launched.create_time if launched else me.create_time)
    events = EventWriter(given.run_dir / "events.jsonl")
    before = last_words(given.run_dir / "events.jsonl").step if given.resume == given.run_dir else 0
    events.write(Started(pid=me.pid, version="test", device="cpu", seed=0, resumed_step=before))
    print(f"trains {job.name}")
    steps = job.config.length.max_train_steps or 0
    for step in range(before + 1, steps + 1):
        time.sleep(STEP_S)
        events.write(Stepped(step=step, epoch=1, loss=1 / step, learning_rate={"unet": 1e-6}))
        if step == 3 and job.name.startswith("crash"):
            return 7
        if step == 3 and job.name.startswith("raise"):
            raise ValueError("this text stands in log.txt")
        heard = set() if job.name.startswith("deaf") else set(wishes.read())
        if heard & {"stop", "stop_without_saving", "pause"}:
            events.write(Finished(result="paused" if heard == {"pause"} else "stopped", step=step))
            return 0
    events.write(Finished(result="completed", step=steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
