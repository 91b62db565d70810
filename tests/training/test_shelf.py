"""Which older models and states make room for newer ones."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.contract.events import Event, Removed, Saved, Warned
from trainer.contract.saves import SaveSection
from trainer.training import shelf as shelf_module
from trainer.training.naming import RAW, STATE, epoch_name, last_name, state_name, step_name
from trainer.training.shelf import Shelf, still_there


class Told(list[Event]):
    """Events in a list."""

    def write(self, event: Event) -> None:
        """Take one in."""
        self.append(event)


def put(path: Path, step: int, epoch: int = 1, beside: str | None = None) -> Saved:
    """Something that was just saved: a file, or a folder where it is a state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_text("model")
    else:
        path.mkdir(exist_ok=True)
        (path / "weights").write_text("state")
    if beside:
        path.with_name(beside).write_text("yaml")
    return Saved(
        kind="model" if path.suffix else "state",
        step=step,
        epoch=epoch,
        path=str(path),
        size_bytes=5,
        beside=[str(path.with_name(beside))] if beside else [],
    )


def left(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 30), st.integers(1, 3), st.integers(1, 5))
def test_newest_stay(
    tmp_path_factory: pytest.TempPathFactory, epochs: int, keep: int, window: int, states: int, every: int
) -> None:
    """Epoch saves by number, step saves by age, states by number; the last, the wished and the foreign always stay."""
    folder = tmp_path_factory.mktemp("out")
    saves = SaveSection(
        save_every_n_epochs=1,
        save_every_n_steps=every,
        save_last_n_epochs=keep,
        save_last_n_steps=window,
        save_last_n_states=states,
    )
    foreign = folder / "epoch-000099.safetensors"
    foreign.write_text("of another run")
    shelf = Shelf(saves, Told())
    per_epoch = every * 3 + 1
    wished: set[str] = set()
    for step in range(1, epochs * per_epoch + 1):
        if step % per_epoch == 0:
            epoch = step // per_epoch
            shelf.add(put(folder / f"{epoch_name(saves, epoch)}.safetensors", step, epoch))
        elif step % every == 0:
            shelf.add(put(folder / f"{step_name(saves, step)}.safetensors", step))
            shelf.add(put(folder / "state" / state_name(step), step))
        elif step == every + 1:
            name = f"{step_name(saves, step)}.safetensors"
            shelf.add(put(folder / name, step))
            wished.add(name)
    shelf.add(put(folder / f"{last_name(saves)}.safetensors", epochs * per_epoch, epochs))
    in_steps = [s for s in range(every, epochs * per_epoch, every) if s % per_epoch]
    assert left(folder) - {"state"} == (
        {foreign.name, "last.safetensors"}
        | wished
        | {f"{epoch_name(saves, e)}.safetensors" for e in range(max(1, epochs - keep + 1), epochs + 1)}
        | {f"{step_name(saves, s)}.safetensors" for s in in_steps if s >= in_steps[-1] - window}
    )
    assert left(folder / "state") == {state_name(s) for s in in_steps[-states:]}


def test_model_goes_with_all_that_was_written_beside_it(tmp_path: Path) -> None:
    """Raw weights, state and yaml of an old model go with it, and each is told."""
    told = Told()
    saves = SaveSection(save_every_n_epochs=1, save_last_n_epochs=1)
    shelf = Shelf(saves, told)
    for epoch in (1, 2):
        name = epoch_name(saves, epoch)
        shelf.add(put(tmp_path / f"{name}.safetensors", epoch, epoch, beside=f"{name}.yaml"))
        shelf.add(put(tmp_path / f"{name}{RAW}.safetensors", epoch, epoch))
        shelf.add(put(tmp_path / f"{name}{STATE}", epoch, epoch))
    name = epoch_name(saves, 2)
    assert left(tmp_path) == {f"{name}.safetensors", f"{name}.yaml", f"{name}{RAW}.safetensors", f"{name}{STATE}"}
    removed = [Path(event.path).name for event in told if isinstance(event, Removed)]
    name = epoch_name(saves, 1)
    assert removed == [f"{name}.safetensors", f"{name}{RAW}.safetensors", f"{name}{STATE}"]


def test_one_state_is_kept_in_the_run_and_all_beside_models(tmp_path: Path) -> None:
    """Where no number is given; and the newest is the one that was written last, whatever its step."""
    saves = SaveSection()
    shelf = Shelf(saves, Told())
    for step in (5, 10, 7):
        shelf.add(put(tmp_path / "state" / state_name(step), step))
        shelf.add(put(tmp_path / f"{step_name(saves, step)}{STATE}", step))
    assert left(tmp_path / "state") == {state_name(7)}
    assert len(left(tmp_path)) == 4


def test_shelf_goes_on_with_what_the_run_has_told(tmp_path: Path) -> None:
    """A run that goes on in its own folder knows what it wrote before."""
    saves = SaveSection()
    before = put(tmp_path / state_name(5), 5)
    shelf = Shelf(saves, Told(), [before])
    shelf.add(put(tmp_path / state_name(6), 6))
    assert left(tmp_path) == {state_name(6)}


def test_what_another_has_written_since_is_left(tmp_path: Path) -> None:
    """A file of the same name that came later, or that is gone, is not what the run's events tell of."""
    now = time.time()
    ours, gone, theirs = (put(tmp_path / f"epoch-00000{n}.safetensors", n, n) for n in (1, 2, 3))
    Path(gone.path).unlink()
    os.utime(theirs.path, (now + 60, now + 60))
    assert still_there([ours, gone, theirs, Removed(kind="model", step=2, path=gone.path)]) == [ours]


def test_what_cannot_be_deleted_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program holds open is no reason to end a run."""

    def held(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shelf_module, "delete", held)
    told = Told()
    shelf = Shelf(SaveSection(), told)
    shelf.add(put(tmp_path / state_name(5), 5))
    shelf.add(put(tmp_path / state_name(6), 6))
    (warning,) = [event for event in told if isinstance(event, Warned)]
    assert "step-00000005" in warning.message and "Permission denied" in warning.message
    assert not [event for event in told if isinstance(event, Removed)]
