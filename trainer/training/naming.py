"""The names of what a run writes: models in its output folder, states beside them or in its run folder.

`output_name` takes the place of the words that the first programs of this kind used: last, epoch, at.
"""

from trainer.contract.saves import SaveSection

RAW = "-raw"
"""Behind the name of a model: the weights themselves, beside their average."""

STATE = "-state"
"""Behind the name of a model: the state that belongs to it."""


def last_name(saves: SaveSection) -> str:
    """The name of the model at the end of the run, without its ending."""
    return saves.output_name or "last"


def epoch_name(saves: SaveSection, epoch: int) -> str:
    """The name of the model after `epoch` (from 1) epochs."""
    return f"{saves.output_name or 'epoch'}-{epoch:06d}"


def step_name(saves: SaveSection, step: int) -> str:
    """The name of the model after `step` steps: one of every so many, or one that was asked for in between."""
    return f"{saves.output_name or 'at'}-step{step:08d}"


def state_name(step: int) -> str:
    """The name of a state in RUN/state."""
    return f"step-{step:08d}"
