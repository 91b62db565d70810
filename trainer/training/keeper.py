"""Writes the states of one run: into RUN/state on Stop and every so many minutes, with `save_state` beside models."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.contract.events import Phase, Saved, Warned
from trainer.training.ema import Average
from trainer.training.engine import Engine
from trainer.training.ledger import Ledger
from trainer.training.naming import state_name
from trainer.training.shelf import Shelf
from trainer.training.state import StateRecord, Tensors, write_state


@dataclass(frozen=True, slots=True)
class Keeper:
    """Knows all that a state is made of. Only the main process writes; the others wait for it."""

    record: StateRecord
    """What stays the same in all states of a run."""
    weights: Mapping[str, Tensor]
    """The trained ones by their full names."""
    average: Average | None
    optimizer: torch.optim.Optimizer
    steps_per_epoch: int
    shelf: Shelf
    engine: Engine

    def keep_in_run(self, run: Path, step: int, ledger: Ledger) -> Path | None:
        """Write RUN/state/step-XXXXXXXX; None, and a warning, where that fails: a run does not end for a state."""
        folder = run / "state" / state_name(step)
        try:
            self.keep(folder, step, ledger)
        except OSError as trouble:
            message = f"The state of step {step} could not be written ({trouble}). Look at the disk of the run."
            self.shelf.events.write(Warned(code="state_not_written", message=message, step=step))
            self.engine.wait()
            return None
        return folder

    def keep(self, folder: Path, step: int, ledger: Ledger) -> None:
        """Write a state of the weights as they are now, which are those after `step` steps. Raises OSError."""
        self.shelf.events.write(Phase(name="saving"))
        if self.engine.main:
            ledger.flush()
            epoch, position = divmod(step, self.steps_per_epoch)
            record = replace(
                self.record,
                step=step,
                epoch=epoch,
                position=position,
                average_updates=None if self.average is None else self.average.updates,
                epoch_loss=(ledger.epoch_loss.total, ledger.epoch_loss.count),
            )
            size = write_state(folder, record, Tensors(self.weights, self._average_values(), self._moments()))
            begun = epoch + (position > 0)
            self.shelf.add(Saved(kind="state", step=step, epoch=begun, path=str(folder), size_bytes=size))
        self.engine.wait()

    def _average_values(self) -> Mapping[str, Tensor] | None:
        return None if self.average is None else self.average.values

    def _moments(self) -> dict[str, Any]:
        scaler = self.engine.scaler
        return {"optimizer": self.optimizer.state_dict(), "scaler": None if scaler is None else scaler.state_dict()}
