"""Trained models on disk: their format, and what is written into them.

Networks (or their average) come in, a model in the output folder goes out. Only the main process writes; the others
wait for it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from trainer.contract.config import TrainingConfig
from trainer.contract.events import Phase, Saved, Warned
from trainer.model.load import Networks
from trainer.model.save import save_model
from trainer.model.saved_size import form_of, source_form
from trainer.training.ema import AsUsed, Average
from trainer.training.engine import Engine
from trainer.training.naming import RAW
from trainer.training.shelf import Shelf


class Saver:
    """Writes models of one run."""

    def __init__(
        self,
        networks: Networks,
        config: TrainingConfig,
        average: Average | None,
        as_used: AsUsed,
        shelf: Shelf,
        engine: Engine,
    ) -> None:
        assert config.saves.output_dir is not None, "a job that trains has an output folder: a rule says so before"
        self.folder: Path = config.saves.output_dir
        self._networks = networks
        self._config = config
        self._average = average
        self._as_used = as_used
        self._shelf = shelf
        self._engine = engine
        self._form = form_of(config.saves, source_form(networks.facts))
        if config.saves.save_ema_keys and self._form not in ("safetensors", "ckpt"):
            message = (
                "A Diffusers folder is written, as training started from one, and has no place for EMA keys. "
                "Choose a single file as format to have them."
            )
            shelf.events.write(Warned(code="ema_keys", message=message))
        self._record: dict[str, str] = {}
        self.saved_at: int | None = None
        """The step at which the last model was written."""

    def describe(self, record: Mapping[str, str]) -> None:
        """Note what goes into the metadata of every model of this run."""
        self._record = dict(record)

    def save(self, name: str, epoch: int, step: int) -> None:
        """Write the model under `name`, with the averaged weights where there is an average. Raises OSError.

        With `save_raw` the weights that were averaged are written as well, under the name with -raw behind it.
        """
        self._shelf.events.write(Phase(name="saving"))
        self.saved_at = step
        if self._engine.main:
            with self._as_used():
                self._write(name, epoch, step, self._unet_average())
            if self._average is not None and self._config.saves.save_raw:
                self._write(name + RAW, epoch, step, None)
        self._engine.wait()

    def _write(self, name: str, epoch: int, step: int, ema: dict[str, Tensor] | None) -> None:
        """Write the networks as they are now."""
        averaged = self._average is not None and not name.endswith(RAW)
        told = {"modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"), "atelier.averaged": str(averaged)}
        written = save_model(
            self._networks,
            self.folder / name,
            form=self._form,
            precision=self._config.saves.save_precision,
            ema=ema,
            metadata=self._record | told,
            epoch=epoch,
            step=step,
        )
        model = next(path for path in written if path.suffix != ".yaml")
        beside = [str(path) for path in written if path != model]
        saved = Saved(kind="model", step=step, epoch=epoch, path=str(model), size_bytes=size_of(model), beside=beside)
        self._shelf.add(saved)

    def _unet_average(self) -> dict[str, Tensor] | None:
        """The U-Net's average under its own names, where it is to be written a second time as `model_ema.*`.

        Where the U-Net is not trained, its average is the U-Net.
        """
        if self._average is None or not self._config.saves.save_ema_keys:
            return None
        return {
            name: self._average.values.get(f"unet.{name}", weight)
            for name, weight in self._networks.unet.state_dict().items()
        }


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
