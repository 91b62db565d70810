"""One process's part of a run: the machine, the events, the gates, the loop, and how it ends.

Whatever goes wrong becomes the last event of the run, in words that say what to do, and is raised again for the log.
"""

import errno
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from trainer import __version__
from trainer.contract.config import TrainingConfig
from trainer.contract.events import (
    Event,
    EventWriter,
    Finished,
    NoEvents,
    Phase,
    Planned,
    Result,
    Started,
    Stepped,
    Warned,
)
from trainer.contract.identity import identity_of
from trainer.contract.job import Job
from trainer.contract.problems import Problem, errors_of
from trainer.contract.schedule import curve
from trainer.dataset.batches import Batches
from trainer.dataset.pixels import PictureUnreadable
from trainer.dataset.plan import Plan
from trainer.dataset.preview import write_preview
from trainer.training.assemble import assemble
from trainer.training.engine import Engine
from trainer.training.gates import Checked, check_start
from trainer.training.hardware import device_name, peak_memory_gib, total_memory_gib
from trainer.training.loop import learn
from trainer.training.outcome import Diverged, Refused, Stopped
from trainer.training.resuming import Start, find_start
from trainer.training.surroundings import Surroundings
from trainer.training.wishes import Wishes

TELL_EVERY_S = 0.2

Middle = Callable[[TrainingConfig, Checked, Surroundings], Result]
"""What happens between the gates and the end of the run."""


class Teller:
    """Writes events, and knows the last step that was told."""

    def __init__(self, writer: EventWriter | NoEvents) -> None:
        self._writer = writer
        self.step = 0

    def write(self, event: Event) -> None:
        """Tell one event."""
        if isinstance(event, Stepped):
            self.step = event.step
        self._writer.write(event)

    def close(self) -> None:
        """Let go of the file."""
        self._writer.close()


def train_session(job: Job, run: Path, middle: Middle) -> Result:
    """Train a job in this process. Raises `Refused`, `Diverged` and what else goes wrong, after telling it."""
    engine = Engine(job.config.hardware.mixed_precision)
    run = engine.from_main(lambda: run.absolute())
    events = Teller(EventWriter(run / "events.jsonl") if engine.main else NoEvents())
    wishes = Wishes(run if engine.main else None, job.config.saves.save_state_every_minutes)
    try:
        with wishes.heard():
            result = _train(job, run, engine, events, wishes, middle)
        events.write(Finished(result=result, step=events.step, **peaks(engine)))
        return result
    except Stopped:
        events.write(Finished(result="stopped", step=events.step, message="Stopped before the first step."))
        return "stopped"
    except Refused as refusal:
        events.write(refused(refusal, events.step))
        raise
    except BaseException as failure:
        traceback.print_exc(file=sys.stderr)
        code, message = explain(failure)
        events.write(Finished(result="failed", step=events.step, message=message, code=code, **peaks(engine)))
        raise
    finally:
        events.close()
        engine.close()


def peaks(engine: Engine) -> dict[str, Any]:
    """The most memory that this process held, as the last event tells it."""
    vram, ram = peak_memory_gib(engine.device)
    return {"vram_peak_gib": vram, "ram_peak_gib": ram}


def refused(refusal: Refused, step: int) -> Finished:
    """The last event of a run that did not begin: all that is to mend, and the clicks that mend it."""
    errors = errors_of(refusal.problems) or list(refusal.problems)
    return Finished(
        result="failed",
        step=step,
        message=" ".join(problem.message for problem in errors),
        code=errors[0].code if errors else "",
        mends=[asdict(mend) for problem in errors for mend in problem.mends],
    )


def explain(failure: BaseException) -> tuple[str, str]:
    """What went wrong, as a code of trainer/runs/crash_kinds.py, and in words that say what to do."""
    if isinstance(failure, Diverged):
        return "diverged", str(failure)
    if isinstance(failure, KeyboardInterrupt):
        return "interrupted", "Ended at once by a second Ctrl+C; nothing was saved."
    if isinstance(failure, torch.OutOfMemoryError):
        return "card_memory", (
            "The card's memory is full. Turn on gradient checkpointing and cached latents, use the 8-bit optimizer or "
            "mixed precision, or make batch or resolution smaller."
        )
    if isinstance(failure, MemoryError):
        return (
            "host_memory",
            "The computer's memory is full. Close other programs, or make batch or resolution smaller.",
        )
    if isinstance(failure, PictureUnreadable):
        # From a worker process the words come with the trace before them.
        words = (
            str(failure).strip().splitlines()[-1].removeprefix(f"{PictureUnreadable.__module__}.PictureUnreadable: ")
        )
        return "bad_image", f"{words} Mend it or take it out, then start or resume."
    words = str(failure).strip() or "no further words"
    code = _disk_code(failure) if isinstance(failure, OSError) else ""
    if isinstance(failure, OSError) and failure.filename is not None:
        words = failure.strerror or words
        return code, f"{failure.filename}: {words}. Look at the folder and its disk, then resume or start again."
    return code, f"{type(failure).__name__}: {words}"


def _disk_code(failure: OSError) -> str:
    if failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full"
    return "no_permission" if isinstance(failure, PermissionError) else ""


def _train(job: Job, run: Path, engine: Engine, events: Teller, wishes: Wishes, middle: Middle) -> Result:
    config = job.config
    start = find_start(config.saves.resume)
    resumed = start if isinstance(start, Start) else Start()
    seed = engine.from_main(lambda: choose_seed(config, resumed))
    vram, ram = total_memory_gib(engine.device)
    events.write(
        Started(
            pid=identity_of().pid,
            version=__version__,
            device=device_name(engine.device),
            seed=seed,
            processes=engine.processes,
            resumed_step=resumed.step,
            vram_total_gib=vram,
            ram_total_gib=ram,
        )
    )
    events.step = resumed.step
    checked = look(config, run, engine, events)
    warn([*job.warnings, *checked.problems], events)
    plan = checked.report.plan
    assert plan is not None, "the gates refuse a job without a plan"
    events.write(planned(config, plan))
    if config.images.debug_dataset:
        return show_batches(config, checked, run, seed, engine)
    return middle(config, checked, Surroundings(engine, events, wishes, run, seed))


def learn_and_close(config: TrainingConfig, checked: Checked, around: Surroundings) -> Result:
    """Put the run together, train, and write out the curves whatever happens."""
    training = assemble(config, checked, around)
    try:
        return learn(training)
    finally:
        training.ledger.close()


def choose_seed(config: TrainingConfig, start: Start) -> int:
    """The job's seed, else that of the state, else a new one."""
    if config.length.seed is not None:
        return config.length.seed
    return start.record.seed if start.record is not None else secrets.randbelow(2**32)


def look(config: TrainingConfig, run: Path, engine: Engine, events: Teller) -> Checked:
    """Pass the gates in the main process, for all of them. Raises `Refused`."""
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            events.write(Phase(name="scanning", done=done, total=total, unit="files"))

    def check() -> Checked:
        found = check_start(config, run, engine.processes, progress)
        if errors_of(found.problems):
            raise Refused(errors_of(found.problems))
        return found

    events.write(Phase(name="scanning"))
    return engine.from_main(check)


def warn(problems: list[Problem], events: Teller) -> None:
    """Tell the problems that do not keep the run from starting."""
    for problem in problems:
        events.write(Warned(code=problem.code, message=problem.message))


def planned(config: TrainingConfig, plan: Plan) -> Planned:
    """The plan as an event."""
    return Planned(
        images=plan.images,
        reg_images=plan.reg_images,
        batch_size=plan.batch_size,
        steps_per_epoch=plan.steps_per_epoch,
        epochs=plan.epochs,
        total_steps=plan.total_steps,
        save_steps=[step for _, step in plan.saves],
        validation_images=plan.held_out,
        learning_rates=curve(config.rate, plan.total_steps),
    )


def show_batches(config: TrainingConfig, checked: Checked, run: Path, seed: int, engine: Engine) -> Result:
    """`debug_dataset`: write what would be learnt, and learn nothing."""
    if engine.main:
        batches = Batches(checked.report.trained, config.images, config.length.train_batch_size, seed)
        write_preview(run, batches, config, seed)
    engine.wait()
    return "completed"
