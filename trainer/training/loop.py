"""The loop. The page to read first: what happens from the first step to the last, in order.

A `Training` with all its parts comes in, how it ended goes out. One process or many, DreamBooth or captions, 1.x or
2.x, with a card or without: this is the only loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.contract.config import RateSection
from trainer.contract.control import Wish
from trainer.contract.events import Phase, Result
from trainer.contract.saves import SaveSection
from trainer.contract.schedule import rate_at, text_encoder_rate_at
from trainer.contract.validation import ValidationSection
from trainer.dataset.plan import Plan
from trainer.training.ema import Average
from trainer.training.feed import Feed, Group
from trainer.training.keeper import Keeper
from trainer.training.learner import Learner
from trainer.training.ledger import Ledger, Reading, Writer
from trainer.training.naming import STATE, epoch_name, last_name, step_name
from trainer.training.outcome import Diverged
from trainer.training.sampling import Sampler
from trainer.training.saving import Saver
from trainer.training.shelf import Shelf
from trainer.training.validation import Validator
from trainer.training.wishes import Wishes

Due = Literal["save_epoch", "save_step", "keep_state", "validate", "sample"]
"""What can be due between two steps."""

MOST_BAD_STEPS = 3
"""After so many steps in a row without finite numbers the run ends: more of the same would not mend it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of the job that the loop itself acts on."""

    rate: RateSection
    saves: SaveSection
    validation: ValidationSection
    text_encoder_stops_at: int | None
    """The step at which a text encoder that is trained until then is frozen."""
    averaged: bool
    """Whether an average follows the weights: it must not follow a bad step, so every step's figures are awaited."""
    suspects: tuple[str, ...] = ()
    """Options that may be at fault should loss or gradients stop being numbers, with what to try instead."""


@dataclass(frozen=True, slots=True)
class Training:
    """All parts of a run, put together by assemble.py."""

    asked: Asked
    plan: Plan
    first_step: int
    feed: Feed
    learner: Learner
    ledger: Ledger
    average: Average | None
    sampler: Sampler
    validator: Validator
    saver: Saver
    keeper: Keeper
    shelf: Shelf
    events: Writer
    wishes: Wishes
    run: Path


def learn(training: Training) -> Result:
    """Train to the last step of the plan, or until somebody wants the run to end. Raises `Diverged`."""
    step, plan = training.first_step, training.plan
    if plan.samples_at(step):
        training.sampler.draw(step, training.run, training.events)
    if measured_at(training.asked.validation, plan, step):
        training.validator.measure(step, step // plan.steps_per_epoch, training.events)
    go_on(training, step)

    late: set[Wish] = set()
    for group in training.feed.groups(step):
        when = (training.asked.rate, step, plan.total_steps)
        rates = training.learner.set_rate(rate_at(*when), text_encoder_rate_at(*when))
        taken = training.learner.learn(group, training.wishes.flags())
        step += 1  # The one line that counts steps.

        readings = training.ledger.note(step, group, rates, taken)
        if training.asked.averaged:
            readings += training.ledger.settle()
            follow(training.average, readings)
        if step == training.asked.text_encoder_stops_at:
            training.learner.freeze_text_encoder()
        if training.ledger.bad_in_a_row >= MOST_BAD_STEPS:
            give_up(training, step)
        if step == plan.total_steps:
            break
        wishes = late | wishes_of(readings)
        if "stop_without_saving" in wishes:
            training.ledger.settle()
            return "stopped"
        due = due_after(training.asked, plan, step, wishes)
        late = see_to(training, step, group, due)
        if "stop" in wishes:
            stop(training, step, group)
            return "stopped"
        if "pause" in wishes and leave(training, step):
            return "paused"
        if due or "pause" in wishes:
            go_on(training, step)

    finish(training, step, group)
    return "completed"


def measured_at(validation: ValidationSection, plan: Plan, step: int) -> bool:
    """Whether the images held out are measured after step `step`, 0 being before all steps.

    A run that is stopped or paused leaves at once, so what is due after its last step, measurement and samples, is made
    by the one that resumes: both together have what a run has that is never cut.
    """
    every = validation.validate_every_n_steps or plan.steps_per_epoch
    return bool(validation.validation_split) and step % every == 0


def wishes_of(readings: Sequence[Reading]) -> set[Wish]:
    """All that was wished in these steps."""
    return {wish for reading in readings for wish in reading.wishes}


def follow(average: Average | None, readings: Sequence[Reading]) -> None:
    """Take the new weights into the average where the step was a good one."""
    if average is not None and readings[-1].finite:
        average.follow()


def due_after(asked: Asked, plan: Plan, step: int, wishes: set[Wish]) -> set[Due]:
    """What is to be done between step number `step` and the next one: by the options, and by wish.

    Before a stop or a pause only models are due: the resumed run would not write them. Both write their own state.
    """
    due: set[Due] = set()
    if step in plan.epoch_saves:
        due.add("save_epoch")
    elif step in plan.step_saves:
        due.add("save_step")
    if "save" in wishes:
        due.add("save_step")
    if wishes & {"stop", "pause"}:
        return due
    if "state" in wishes:
        due.add("keep_state")
    if measured_at(asked.validation, plan, step):
        due.add("validate")
    if "sample" in wishes or plan.samples_at(step):
        due.add("sample")
    return due


def see_to(training: Training, step: int, group: Group, due: set[Due]) -> set[Wish]:
    """Between two steps: save, measure and sample what is due. Returns the wishes that were heard only now."""
    if not due:
        return set()
    late = wishes_of(training.ledger.settle())
    saves, epoch = training.asked.saves, group.epoch + 1
    if "save_epoch" in due:
        save_model_and_state(training, epoch_name(saves, epoch), step, epoch)
    if "save_step" in due:
        save_model_and_state(training, step_name(saves, step), step, epoch)
    if "validate" in due:
        training.validator.measure(step, epoch, training.events)
    if "keep_state" in due:
        if training.ledger.bad_in_a_row:
            late.add("state")  # After the next good step: a state is to stand where the weights do.
        else:
            training.keeper.keep_in_run(training.run, step, training.ledger)
    if "sample" in due:
        training.sampler.draw(step, training.run, training.events)
    return late


def save_model_and_state(training: Training, name: str, step: int, epoch: int) -> None:
    """The model first: should the disk be full, it is the one that counts."""
    training.saver.save(name, epoch, step)
    if training.asked.saves.save_state:
        training.keeper.keep(training.saver.folder / f"{name}{STATE}", step, training.ledger)


def go_on(training: Training, step: int) -> None:
    """Say that training goes on, and leave what lay between out of its speed."""
    training.events.write(Phase(name="training", done=step, total=training.plan.total_steps, unit="steps"))
    training.ledger.restart_clock()


def leave(training: Training, step: int) -> bool:
    """Write the state from which the run goes on. False where it could not be written: then nobody may leave."""
    training.ledger.settle()
    folder = training.keeper.keep_in_run(training.run, step, training.ledger)
    # Only the main process writes, and all of them leave or stay together.
    return not training.keeper.engine.any(folder is None)


def stop(training: Training, step: int, group: Group) -> None:
    """Stopped as asked: the state first, since the system may not leave time for more, then the model."""
    leave(training, step)
    if training.saver.saved_at != step:
        training.saver.save(step_name(training.asked.saves, step), group.epoch + 1, step)


def finish(training: Training, step: int, group: Group) -> None:
    """All steps are done: last samples, last model, last state. The states for a crash on the way have served."""
    training.ledger.settle()
    if training.asked.validation.validation_split:
        training.validator.measure(step, group.epoch + 1, training.events)
    training.sampler.draw(step, training.run, training.events)
    save_model_and_state(training, last_name(training.asked.saves), step, group.epoch + 1)
    training.shelf.clear_states(training.run / "state")


def give_up(training: Training, step: int) -> None:
    """Keep the last good state and end: the weights are those from before the bad steps."""
    bad, suspects = training.ledger.bad_in_a_row, training.ledger.suspects
    # On a GPU one more step may be under way: a good one has moved the weights, a bad one has not.
    training.ledger.settle()
    good = step - training.ledger.bad_in_a_row
    frozen_at = training.asked.text_encoder_stops_at
    if frozen_at is not None and step >= frozen_at:
        good = max(good, frozen_at)
    folder = training.keeper.keep_in_run(training.run, good, training.ledger)
    kept = f"The last good state is {folder}." if folder is not None else "No state could be written."
    raise Diverged(
        f"Loss or gradients were not finite {bad} steps in a row, up to step {step} "
        f"({', '.join(suspects[:3])}). None of it reached the weights. {kept} "
        f"Suspect are {', '.join(training.asked.suspects)}, and these images: change one, or take them out, and resume."
    )
