"""The order in which waiting runs are taken, and whether the queue goes on after a crash: HOME/queue.json, held.json.

People write queue.json (the order they want, and what a crash does); the runner writes held.json when a crash stops
the queue, and people take that back. Without either file runs are taken in the order of asking, one crash or not.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.contract.records import read_record, write_record
from trainer.runs.folder import RunFolder
from trainer.runs.lane import lane_file, lane_of


@dataclass(frozen=True, slots=True)
class Order:
    """What people have said about the queue: run folders that go first, by name, and whether a crash stops it."""

    first: tuple[str, ...] = ()
    goes_on: bool = True


def read_order(home: Path) -> Order:
    """What HOME/queue.json says; the order of asking where there is none, or none that can be read."""
    record = read_record(_order_file(home)) or {}
    first = record.get("first")
    return Order(
        tuple(str(name) for name in first) if isinstance(first, list) else (), record.get("goes_on") is not False
    )


def arrange(home: Path, runs: Sequence[RunFolder]) -> None:
    """Take these waiting runs first, in this order. Raises OSError."""
    names = tuple(run.path.name for run in runs)
    write_record(_order_file(home), asdict(Order(names, read_order(home).goes_on)))


def set_goes_on(home: Path, goes_on: bool) -> None:
    """Say whether the queue goes on after a run that crashed. Raises OSError."""
    write_record(_order_file(home), asdict(Order(read_order(home).first, goes_on)))


def sort_waiting(home: Path, runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Waiting runs (given in the order of asking) in the order in which they will be taken."""
    first = {name: place for place, name in enumerate(read_order(home).first)}
    return sorted(runs, key=lambda run: first.get(run.path.name, len(first)))


def hold(crashed: RunFolder) -> None:
    """Stop the lane of a run that crashed: what waits in it goes on waiting until `release`. Raises OSError."""
    write_record(_hold_file(crashed.path.parent, lane_of(crashed)), {"run": crashed.path.name})


def release(home: Path, lane: str) -> None:
    """Let a lane go on. Raises OSError."""
    write_record(_hold_file(home, lane), {"run": None})


def held_by(home: Path, lane: str) -> RunFolder | None:
    """The run whose crash holds a lane, or None where nothing does."""
    name = (read_record(_hold_file(home, lane)) or {}).get("run")
    return RunFolder(home / name) if isinstance(name, str) and name else None


def _order_file(home: Path) -> Path:
    return home / "queue.json"


def _hold_file(home: Path, lane: str) -> Path:
    return lane_file(home, "held.json", lane)
