"""Writes the states of one run: on Stop into RUN/state, with `save_state` beside each saved model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.contract.events import Phase, Saved
from trainer.training.ema import Average
from trainer.training.engine import Engine
from trainer.training.ledger import Ledger, Writer
from trainer.training.state import StateRecord, Tensors, keep_newest, state_name, write_state


class Keeper:
    """Knows all that a state is made of. Only the main process writes; the others wait for it."""

    def __init__(
        self,
        record: StateRecord,
        weights: Mapping[str, Tensor],
        average: Average | None,
        optimizer: torch.optim.Optimizer,
        steps_per_epoch: int,
        engine: Engine,
    ) -> None:
        """`record` holds what stays the same in a run; `weights` are the trained ones by their full names."""
        self._record = record
        self._weights = dict(weights)
        self._average = average
        self._optimizer = optimizer
        self._steps_per_epoch = steps_per_epoch
        self._engine = engine

    def keep_in_run(self, run: Path, step: int, ledger: Ledger, events: Writer) -> Path:
        """Write RUN/state/step-XXXXXXXX and delete the older ones there."""
        folder = run / "state" / state_name(step)
        self.keep(folder, step, ledger, events)
        if self._engine.main:
            keep_newest(folder.parent)
        return folder

    def keep(self, folder: Path, step: int, ledger: Ledger, events: Writer) -> None:
        """Write a state of the weights as they are now, which are those after `step` steps. Raises OSError."""
        events.write(Phase(name="saving"))
        if self._engine.main:
            epoch, position = divmod(step, self._steps_per_epoch)
            record = replace(
                self._record,
                step=step,
                epoch=epoch,
                position=position,
                average_updates=None if self._average is None else self._average.updates,
                epoch_loss=(ledger.epoch_loss.total, ledger.epoch_loss.count),
            )
            size = write_state(folder, record, Tensors(self._weights, self._average_values(), self._moments()))
            begun = epoch + (position > 0)
            events.write(Saved(kind="state", step=step, epoch=begun, path=str(folder), size_bytes=size))
        self._engine.wait()

    def _average_values(self) -> Mapping[str, Tensor] | None:
        return None if self._average is None else self._average.values

    def _moments(self) -> dict[str, Any]:
        scaler = self._engine.scaler
        return {"optimizer": self._optimizer.state_dict(), "scaler": None if scaler is None else scaler.state_dict()}
