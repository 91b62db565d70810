"""The plan: how many batches, steps and epochs a job has, and when it saves and samples.

Made from the config and the entries by the same code for the page, for `python -m trainer plan` and for the loop, so
that what is promised is what happens. A step is one change of the weights, whatever the number of processes.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.contract.config import TrainingConfig
from trainer.dataset.batches import Batches
from trainer.dataset.buckets import Size
from trainer.dataset.captions import Entry


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One bucket in an epoch (the first one, where regularization images vary between epochs)."""

    size: Size
    images: int
    """Files of training images in this bucket."""
    uses: int
    """Training and regularization uses in an epoch."""
    batches: int
    missing_to_fill: int
    """Uses that would fill the last batches; 0 where all are full."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that can be counted before the start. Steps and epochs are totals, also for a resumed run."""

    images: int
    """Files of training images, those held out apart."""
    held_out: int
    """Files of training images that are measured and not trained on."""
    reg_images: int
    """Files of regularization images."""
    captions_found: int
    """Training images with a caption file of their own."""
    uses_per_epoch: int
    """Images shown in an epoch, with repeats, training and regularization together."""
    reg_uses_per_epoch: int
    buckets: tuple[BucketRow, ...]
    batch_size: int
    images_per_step: int
    """Batch size x processes x gathered batches: what a full step learns from."""
    batches_per_epoch: int
    steps_per_epoch: int
    epochs: int
    """Epochs begun; the last one is cut short where the steps end before it does."""
    total_steps: int
    save_every_n_epochs: int | None
    save_every_n_steps: int | None
    save_last_n_epochs: int | None
    save_last_n_steps: int | None
    save_raw: bool
    save_state: bool
    save_last_n_states: int | None
    states_between: bool
    """Whether states are written into the run's folder every so many minutes."""
    draws_samples: bool
    """Whether there are prompts: they are drawn after the last step, whatever else is asked for."""
    sample_every_n_steps: int | None
    sample_every_n_epochs: int | None
    sample_at_first: bool

    @property
    def saves(self) -> list[tuple[int, int]]:
        """(epoch, step) of every save, epochs counted from 1: those of epochs and of steps, then the final one."""
        between = sorted({*self.epoch_saves, *self.step_saves})
        return [(-(-step // self.steps_per_epoch), step) for step in between] + [(self.epochs, self.total_steps)]

    @property
    def save_count(self) -> int:
        """How often a model is written, without listing the steps."""
        both = math.lcm(self.epoch_saves.step, self.step_saves.step)
        twice = len(range(both, self.total_steps, both)) if self.epoch_saves and self.step_saves else 0
        return len(self.epoch_saves) + len(self.step_saves) - twice + 1

    @property
    def models_on_disk(self) -> int:
        """The most models that lie in the output folder at once: an old one goes when the new one is whole."""
        epochs, steps = len(self.epoch_saves), len(self.step_saves)
        if self.save_last_n_epochs is not None:
            epochs = min(epochs, self.save_last_n_epochs + 1)
        if self.save_last_n_steps is not None:
            steps = min(steps, self.save_last_n_steps // self.step_saves.step + 2)
        return min(self.save_count, epochs + steps + 1) * (2 if self.save_raw else 1)

    @property
    def states_beside(self) -> int:
        """The most states that lie beside models at once: an old one goes when the new one is whole."""
        if not self.save_state:
            return 0
        models = self.models_on_disk // (2 if self.save_raw else 1)
        return models if self.save_last_n_states is None else min(models, self.save_last_n_states + 1)

    @property
    def states_in_run(self) -> int:
        """The most states that lie in the run's folder at once, of those written every so many minutes."""
        return (self.save_last_n_states or 1) + 1 if self.states_between else 0

    def saves_after(self, step: int) -> int:
        """How many models are written after step `step`."""
        return sum(save > step for _, save in self.saves) if step else self.save_count

    @property
    def epoch_saves(self) -> range:
        """The steps, the last one apart, after which a model is written because an epoch ends."""
        every = (self.save_every_n_epochs or 0) * self.steps_per_epoch
        return range(every, self.total_steps, every) if every else range(0)

    @property
    def step_saves(self) -> range:
        """The steps, the last one apart, after which a model is written because it is one of every so many."""
        every = self.save_every_n_steps
        return range(every, self.total_steps, every) if every else range(0)

    def samples_at(self, step: int) -> bool:
        """Whether samples are drawn after step `step`, 0 being before all steps."""
        if step == 0:
            return self.sample_at_first
        due = any(step % every == 0 for every in self._sample_intervals)
        return due or (self.draws_samples and step == self.total_steps)

    @property
    def samples(self) -> list[int]:
        """The steps after which samples are drawn, 0 being the baseline."""
        due = {step for every in self._sample_intervals for step in range(every, self.total_steps, every)}
        return [step for step in sorted({0, *due, self.total_steps}) if self.samples_at(step)]

    @property
    def _sample_intervals(self) -> list[int]:
        by_epochs = (self.sample_every_n_epochs or 0) * self.steps_per_epoch
        return [every for every in (self.sample_every_n_steps, by_epochs) if every]

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "buckets"}
        rows = [{name: getattr(row, name) for name in row.__dataclass_fields__} for row in self.buckets]
        return values | {"buckets": rows, "saves": self.saves, "samples": self.samples}


def steps_in_epoch(batches: int, world_size: int, accumulation: int) -> int:
    """ceil(batches / (processes x gathered batches)): the last step of an epoch may gather fewer."""
    return -(-batches // (world_size * accumulation))


def make_plan(config: TrainingConfig, entries: Sequence[Entry], world_size: int = 1, *, held_out: int = 0) -> Plan:
    """Count the job. `entries` are those that are trained on, `held_out` counts the others.

    At least one of them must be a training image; epochs win where steps are given too.
    """
    train = [entry for entry in entries if not entry.regularization]
    assert train, "a plan needs a training image: check_dataset says so before"
    length = config.length
    # Counts do not depend on the seed: it only decides which image of a bucket comes when.
    batches = Batches(entries, config.images, length.train_batch_size, seed=0)
    steps = steps_in_epoch(batches.per_epoch, world_size, length.gradient_accumulation_steps)
    if length.max_train_epochs is not None:
        epochs, total = length.max_train_epochs, length.max_train_epochs * steps
    else:
        assert length.max_train_steps is not None, "a job has steps or epochs: rule no_length says so before"
        epochs, total = -(-length.max_train_steps // steps), length.max_train_steps
    draws_samples = config.samples.sample_prompts is not None
    return Plan(
        images=len(train),
        held_out=held_out,
        reg_images=len(entries) - len(train),
        captions_found=sum(entry.captioned for entry in train),
        uses_per_epoch=batches.uses_per_epoch,
        reg_uses_per_epoch=batches.reg_uses_per_epoch,
        buckets=_rows(batches, entries),
        batch_size=length.train_batch_size,
        images_per_step=length.train_batch_size * world_size * length.gradient_accumulation_steps,
        batches_per_epoch=batches.per_epoch,
        steps_per_epoch=steps,
        epochs=epochs,
        total_steps=total,
        save_every_n_epochs=config.saves.save_every_n_epochs,
        save_every_n_steps=config.saves.save_every_n_steps,
        save_last_n_epochs=config.saves.save_last_n_epochs,
        save_last_n_steps=config.saves.save_last_n_steps,
        save_raw=config.saves.save_raw and config.networks.use_ema,
        save_state=config.saves.save_state,
        save_last_n_states=config.saves.save_last_n_states,
        states_between=config.saves.save_state_every_minutes > 0,
        draws_samples=draws_samples,
        sample_every_n_steps=config.samples.sample_every_n_steps if draws_samples else None,
        sample_every_n_epochs=config.samples.sample_every_n_epochs if draws_samples else None,
        sample_at_first=config.samples.sample_at_first and draws_samples,
    )


def _rows(batches: Batches, entries: Sequence[Entry]) -> tuple[BucketRow, ...]:
    files = Counter(batches.bucket_of(place) for place, entry in enumerate(entries) if not entry.regularization)
    rows = []
    for size, sizes in zip(batches.sizes, batches.batch_sizes(0), strict=True):
        if sizes:
            uses = sum(sizes)
            rows.append(BucketRow(size, files[size], uses, len(sizes), len(sizes) * batches.batch_size - uses))
    return tuple(rows)
