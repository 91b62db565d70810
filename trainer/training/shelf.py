"""What this run has written, and which of it makes room for newer ones: `save_last_n_epochs`, `_steps` and `_states`.

Only what the run's own events tell of is ever deleted, after the newer one was read back; never the newest of a kind,
never the last model, never one that somebody wished for, and nothing of another run or program.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainer.contract.events import Event, Removed, Saved, Warned
from trainer.contract.saves import SaveSection
from trainer.training.ledger import Writer
from trainer.training.naming import RAW, STATE, epoch_name, step_name

CLOCK_S = 2.0
"""A disk's clock (FAT counts in two seconds) may be so far ahead of the system's."""


class Shelf:
    """The models and states of one run, oldest first."""

    def __init__(self, saves: SaveSection, events: Writer, told: Iterable[Saved] = ()) -> None:
        """`told` are the saves that the run's events already tell of, where it goes on in its own folder."""
        self._saves = saves
        self.events = events
        self._kept: list[Saved] = []
        for saved in told:
            self._note(saved)

    def add(self, saved: Saved) -> None:
        """Tell of something that was just written, then delete what it is to take the place of."""
        self.events.write(saved)
        self._note(saved)
        for old in self._outdated():
            self._kept.remove(old)
            self._delete(old)

    def clear_states(self, folder: Path) -> None:
        """Delete the states in `folder`: the run is done, and there is nothing left to go on with."""
        for state in [saved for saved in self._kept if saved.kind == "state" and Path(saved.path).parent == folder]:
            self._kept.remove(state)
            self._delete(state)

    def _note(self, saved: Saved) -> None:
        # Written again after a resume, it is the newest of its kind once more.
        self._kept = [other for other in self._kept if other.path != saved.path] + [saved]

    def _outdated(self) -> list[Saved]:
        epochs = [saved for saved in self._kept if plain_name(saved) == epoch_name(self._saves, saved.epoch)]
        steps = [saved for saved in self._kept if self._is_step_save(saved)]
        models = [saved for saved in epochs if saved.kind == "model" and not Path(saved.path).stem.endswith(RAW)]
        old = _all_but(models, self._saves.save_last_n_epochs)
        if steps and self._saves.save_last_n_steps is not None:
            old += [saved for saved in steps if saved.step < steps[-1].step - self._saves.save_last_n_steps]
        # What was written beside a model goes with it.
        names = {plain_name(saved) for saved in old}
        old += [saved for saved in self._kept if plain_name(saved) in names and saved not in old]
        states = [saved for saved in self._kept if saved.kind == "state"]
        beside = [saved for saved in states if saved.path.endswith(STATE)]
        in_run = [saved for saved in states if not saved.path.endswith(STATE)]
        number = self._saves.save_last_n_states
        old += [saved for saved in _all_but(beside, number) + _all_but(in_run, number or 1) if saved not in old]
        return old

    def _is_step_save(self, saved: Saved) -> bool:
        """Whether the options asked for it: one that somebody wished for is theirs to keep."""
        every = self._saves.save_every_n_steps
        return every is not None and saved.step % every == 0 and plain_name(saved) == step_name(self._saves, saved.step)

    def _delete(self, saved: Saved) -> None:
        try:
            for path in (saved.path, *saved.beside):
                delete(Path(path))
        except OSError as trouble:
            message = f"{saved.path} is an older save that cannot be deleted ({trouble.strerror}). Delete it yourself."
            self.events.write(Warned(code="not_removed", message=message, step=saved.step))
            return
        self.events.write(Removed(kind=saved.kind, step=saved.step, path=saved.path))


def still_there(told: Iterable[Event]) -> list[Saved]:
    """Of what a run's events tell, the saves that lie on disk as they were written.

    What was changed since, by a later run of the same name perhaps, is no longer this run's to delete.
    """
    saves = {event.path: event for event in told if isinstance(event, Saved)}
    return [saved for saved in saves.values() if _is_as_told(saved)]


def _is_as_told(saved: Saved) -> bool:
    try:
        return Path(saved.path).stat().st_mtime <= saved.time + CLOCK_S
    except OSError:
        return False


def plain_name(saved: Saved) -> str:
    """The name under which a model, its raw weights and its state were saved together."""
    path = Path(saved.path)
    name = path.stem if path.suffix in (".safetensors", ".ckpt") else path.name
    return name.removesuffix(STATE).removesuffix(RAW)


def delete(path: Path) -> None:
    """Delete a file or a folder, where it is still there. A folder is renamed first: half of one is never seen."""
    if path.is_dir():
        gone = path.rename(path.with_name(f".{path.name}.gone"))
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)


def _all_but(saved: Sequence[Saved], number: int | None) -> list[Saved]:
    return [] if number is None else list(saved[:-number])
