"""The loop. The page to read first: what happens from the first step to the last, in order.

A `Training` with all its parts comes in, how it ended goes out. One process or many, DreamBooth or captions, 1.x or
2.x, with a card or without: this is the only loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.config import RateSection, SampleSection, SaveSection
from trainer.contract.control import Wish
from trainer.contract.events import Phase, Result
from trainer.contract.schedule import rate_at
from trainer.dataset.plan import Plan
from trainer.training.ema import Average
from trainer.training.feed import Feed, Group
from trainer.training.keeper import Keeper
from trainer.training.learner import Learner
from trainer.training.ledger import Ledger, Reading, Writer
from trainer.training.outcome import Diverged
from trainer.training.sampling import Sampler
from trainer.training.saving import Saver, epoch_name, last_name, step_name
from trainer.training.wishes import Wishes

MOST_BAD_STEPS = 3
"""After so many steps in a row without finite numbers the run ends: more of the same would not mend it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of the job that the loop itself acts on."""

    rate: RateSection
    saves: SaveSection
    samples: SampleSection
    text_encoder_stops_at: int | None
    """The step at which a text encoder that is trained until then is frozen."""
    averaged: bool
    """Whether an average follows the weights: it must not follow a bad step, so every step's figures are awaited."""


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
    saver: Saver
    keeper: Keeper
    events: Writer
    wishes: Wishes
    run: Path


def learn(training: Training) -> Result:
    """Train to the last step of the plan, or until somebody wants the run to end. Raises `Diverged`."""
    step, plan = training.first_step, training.plan
    if training.asked.samples.sample_at_first and step == 0:
        training.sampler.draw(0, training.run, training.events)
    go_on(training, step)

    for group in training.feed.groups(step):
        rates = training.learner.set_rate(rate_at(training.asked.rate, step, plan.total_steps))
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
        wishes = {wish for reading in readings for wish in reading.wishes}
        if "stop_without_saving" in wishes:
            training.ledger.settle()
            return "stopped"
        paused = pause(training, step, group, wishes)
        if "stop" in wishes:
            stop(training, step, group)
            return "stopped"
        if paused:
            go_on(training, step)

    finish(training, step, group)
    return "completed"


def follow(average: Average | None, readings: Sequence[Reading]) -> None:
    """Take the new weights into the average where the step was a good one."""
    if average is not None and readings[-1].finite:
        average.follow()


def pause(training: Training, step: int, group: Group, wishes: set[Wish]) -> bool:
    """Between two steps: save and sample what is due or wished. Returns whether anything was.

    A model that is due is written before a stop as well: the resumed run would not write it.
    """
    saves, samples = training.asked.saves, training.asked.samples
    epoch = group.epoch + 1
    save = group.ends_epoch and saves.save_every_n_epochs is not None and epoch % saves.save_every_n_epochs == 0
    sample = (
        "sample" in wishes
        or (samples.sample_every_n_steps is not None and step % samples.sample_every_n_steps == 0)
        or (
            group.ends_epoch
            and samples.sample_every_n_epochs is not None
            and epoch % samples.sample_every_n_epochs == 0
        )
    )
    if not (save or sample or "save" in wishes):
        return False
    training.ledger.settle()
    if save:
        save_model_and_state(training, epoch_name(saves, epoch), step, epoch)
    if "save" in wishes:
        save_model_and_state(training, step_name(saves, step), step, epoch)
    if sample and "stop" not in wishes:
        training.sampler.draw(step, training.run, training.events)
    return True


def save_model_and_state(training: Training, name: str, step: int, epoch: int) -> None:
    """The model first: should the disk be full, it is the one that counts."""
    training.saver.save(name, epoch, step)
    if training.asked.saves.save_state:
        training.keeper.keep(training.saver.folder / f"{name}-state", step, training.ledger, training.events)


def go_on(training: Training, step: int) -> None:
    """Say that training goes on, and leave what lay between out of its speed."""
    training.events.write(Phase(name="training", done=step, total=training.plan.total_steps, unit="steps"))
    training.ledger.restart_clock()


def stop(training: Training, step: int, group: Group) -> None:
    """Stopped as asked: the state first, since the system may not leave time for more, then the model."""
    training.ledger.settle()
    training.keeper.keep_in_run(training.run, step, training.ledger, training.events)
    if training.saver.saved_at != step:
        training.saver.save(step_name(training.asked.saves, step), group.epoch + 1, step)


def finish(training: Training, step: int, group: Group) -> None:
    """All steps are done: last samples, last model, last state."""
    training.ledger.settle()
    training.sampler.draw(step, training.run, training.events)
    save_model_and_state(training, last_name(training.asked.saves), step, group.epoch + 1)


def give_up(training: Training, step: int) -> None:
    """Keep the last good state and end: the weights are those from before the bad steps."""
    bad, suspects = training.ledger.bad_in_a_row, training.ledger.suspects
    # On a GPU one more step may be under way: a good one has moved the weights, a bad one has not.
    training.ledger.settle()
    good = step - training.ledger.bad_in_a_row
    frozen_at = training.asked.text_encoder_stops_at
    if frozen_at is not None and step >= frozen_at:
        good = max(good, frozen_at)
    folder = training.keeper.keep_in_run(training.run, good, training.ledger, training.events)
    raise Diverged(
        f"Loss or gradients were not finite {bad} steps in a row, up to step {step} "
        f"({', '.join(suspects[:3])}). None of it reached the weights; "
        f"the last good state is {folder}. Lower the learning rate, use bf16 or no mixed precision in place of fp16, "
        "or take these images out."
    )
