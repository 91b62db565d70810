"""Where a run takes place and whom it talks to: what all its parts are put together with."""

from dataclasses import dataclass
from pathlib import Path

from trainer.contract.events import Warned
from trainer.training.engine import Engine
from trainer.training.ledger import Writer
from trainer.training.wishes import Wishes


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a run takes place and whom it talks to."""

    engine: Engine
    events: Writer
    wishes: Wishes
    run: Path
    seed: int

    def warn(self, code: str, message: str) -> None:
        """Tell something to look at."""
        self.events.write(Warned(code=code, message=message))
