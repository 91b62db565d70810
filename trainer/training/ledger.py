"""The book of the run: every step's figures, told as events and curves once they have arrived from the device.

On a GPU a step's figures are read when the next step is already under way, so that the card never waits for us; on a
CPU they are there at once.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.contract.control import WISHES, Wish
from trainer.contract.events import Event, Stepped, Warned
from trainer.training.board import Board
from trainer.training.engine import Engine
from trainer.training.feed import Group
from trainer.training.hardware import memory_gib
from trainer.training.learner import Learnt, Taken

SMOOTHING = 0.9
"""How much of the shown speed is that of the steps before."""

IMAGES_NAMED = 5


class Writer(Protocol):
    """What events are written to."""

    def write(self, event: Event) -> None:
        """Tell one event."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """A step whose figures have arrived."""

    step: int
    finite: bool
    wishes: frozenset[Wish]


@dataclass(slots=True)
class EpochLoss:
    """The mean loss of an epoch so far."""

    total: float = 0.0
    count: int = 0

    def add(self, loss: float) -> None:
        """Take in one step's loss."""
        self.total += loss
        self.count += 1


@dataclass(slots=True)
class _Note:
    """A step whose figures may still be on their way."""

    step: int
    group: Group
    rates: dict[str, float]
    taken: Taken
    figures: Tensor
    arrived: torch.cuda.Event | None


class Ledger:
    """Keeps figures until they have arrived, then tells them. Every process keeps one; only the main one's is heard."""

    def __init__(self, events: Writer, board: Board, engine: Engine) -> None:
        self._events = events
        self._board = board
        self._engine = engine
        self._waiting: _Note | None = None
        self._speed: float | None = None
        self._clock = time.monotonic()
        self.epoch_loss = EpochLoss()
        self.bad_in_a_row = 0
        self.suspects: list[str] = []

    def note(self, step: int, group: Group, rates: dict[str, float], taken: Taken) -> list[Reading]:
        """Write down step number `step` (from 1); returns the readings that have arrived, oldest first."""
        figures, arrived = taken.figures.detach(), None
        if figures.is_cuda:
            on_host = torch.empty(figures.shape, dtype=figures.dtype, pin_memory=True)
            on_host.copy_(figures, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
            figures = on_host
        note = _Note(step, group, rates, taken, figures, arrived)
        if arrived is None:
            return [self._tell(note)]
        readings = self.settle()
        self._waiting = note
        return readings

    def settle(self) -> list[Reading]:
        """Wait for what is on its way. Called before anything that is told must come after it."""
        note, self._waiting = self._waiting, None
        return [] if note is None else [self._tell(note)]

    def restart_clock(self) -> None:
        """Leave the time since the last step out of the speed: something else than training took it."""
        self._clock = time.monotonic()

    def flush(self) -> None:
        """Write out the curves so far: a run that goes on from here begins behind them."""
        self._board.flush()

    def close(self) -> None:
        """Write out the curves."""
        self._board.close()

    def _tell(self, note: _Note) -> Reading:
        if note.arrived is not None:
            note.arrived.synchronize()
        loss, norm, applied, *flags = note.figures.tolist()
        finite = applied > 0
        self._tell_retries(note)
        if not finite:
            self._tell_bad(note, loss)
        self.bad_in_a_row = 0 if finite else self.bad_in_a_row + 1
        shown = loss if finite else None
        vram, ram = memory_gib(self._engine.device)
        speed = self._images_per_second(note.group.images)
        self._events.write(
            Stepped(
                step=note.step,
                epoch=note.group.epoch + 1,
                loss=shown,
                learning_rate=note.rates,
                grad_norm=norm if math.isfinite(norm) else None,
                images_per_second=speed,
                vram_gib=vram,
                ram_gib=ram,
            )
        )
        curves = {"loss": shown, "grad_norm": norm if math.isfinite(norm) else None}
        self._board.add(curves | {f"lr/{name}": rate for name, rate in note.rates.items()}, note.step)
        if shown is not None:
            self.epoch_loss.add(shown)
        if note.group.ends_epoch:
            if self.epoch_loss.count:
                self._board.add({"epoch_loss": self.epoch_loss.total / self.epoch_loss.count}, note.step)
            self.epoch_loss = EpochLoss()
        wishes = frozenset(wish for wish, flag in zip(WISHES, flags, strict=True) if flag > 0)
        return Reading(note.step, finite, wishes)

    def _images_per_second(self, images: int) -> float:
        now = time.monotonic()
        speed = images / max(1e-9, now - self._clock)
        self._clock = now
        # A mean of durations, not of speeds: one slow step weighs as much as it lasted.
        self._speed = speed if self._speed is None else 1 / (SMOOTHING / self._speed + (1 - SMOOTHING) / speed)
        return self._speed

    def _tell_retries(self, note: _Note) -> None:
        if note.taken.retries:
            message = (
                f"Step {note.step} overflowed in fp16 and was done again with the scale {note.taken.scale:g}. "
                "A few of these at the start are ordinary."
            )
            self._events.write(Warned(code="fp16_overflow", message=message, step=note.step))

    def _tell_bad(self, note: _Note, loss: float) -> None:
        """All processes come here together, since loss and gradients are those of all of them."""
        self.suspects = self._engine.gather(suspects(note.taken.learnt))
        what = "gradients are" if math.isfinite(loss) else "loss is"
        named = ", ".join(self.suspects[:IMAGES_NAMED])
        more = f" and {len(self.suspects) - IMAGES_NAMED} more" if len(self.suspects) > IMAGES_NAMED else ""
        message = f"Step {note.step} was left out: its {what} not finite ({named}{more}). The weights are untouched."
        self._events.write(Warned(code="not_finite", message=message, step=note.step))


def suspects(learnt: Sequence[Learnt]) -> list[str]:
    """The images of a step whose error is not finite, with their timesteps; all of them where each error is finite."""
    named = [
        (f"{use.entry.picture.path.name} at timestep {timestep}", math.isfinite(error))
        for batch in learnt
        for use, timestep, error in zip(batch.uses, batch.timesteps.tolist(), batch.error_B.tolist(), strict=True)
    ]
    return [name for name, fine in named if not fine] or [name for name, _ in named]
