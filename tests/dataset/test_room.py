"""Whether all that a run writes fits on its disks, counted at the moment at which the most lies there."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from trainer.contract.config import TrainingConfig
from trainer.contract.problems import Problem
from trainer.dataset import room
from trainer.dataset.captions import Entry
from trainer.dataset.plan import make_plan
from trainer.dataset.room import Places, Sizes, free_bytes, room_problems
from trainer.dataset.scan import Picture

USAGE = namedtuple("USAGE", "total used free")
SIZES = Sizes(model=2_000_000_000, state=10_000_000_000)
GB = 10**9


def problems(
    monkeypatch: pytest.MonkeyPatch, free: dict[str, int], done: int = 0, there: int = 0, **options: Any
) -> list[Problem]:
    """What is wrong with a run of ten steps of a batch, five an epoch, on disks with so many GB free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: USAGE(0, 0, free[Path(path).parts[1]] * GB))
    monkeypatch.setattr(room, "_nearest", lambda folder: folder)
    monkeypatch.setattr(room, "_device", lambda folder: list(free).index(folder.parts[1]))
    config = TrainingConfig.from_flat({"max_train_steps": None, "max_train_epochs": 2} | options)
    entries = [Entry(Picture(Path(f"{n}.png"), 512, 512), "", 1, False, Path()) for n in range(5)]
    places = Places(Path("/out"), Path("/run" if "run" in free else "/out"), done, there)
    return room_problems(config, make_plan(config, entries), SIZES, places)


CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    "the last model alone": ({"save_state_every_minutes": 0}, 2, 0),
    "a state in between, and the one that takes its place": ({}, 2, 20),
    "more states in between": ({"save_last_n_states": 3}, 2, 40),
    "models of every step": ({"save_every_n_steps": 1, "save_state_every_minutes": 0}, 20, 0),
    "states beside models": ({"save_state": True, "save_every_n_steps": 5, "save_state_every_minutes": 0}, 24, 0),
    "the newest beside models": (
        {"save_state": True, "save_every_n_steps": 1, "save_last_n_states": 2, "save_state_every_minutes": 0},
        20 + 30,
        0,
    ),
    "raw ones as well": (
        {"save_state": True, "use_ema": True, "save_raw": True, "save_state_every_minutes": 0},
        4 + 10,
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_room_is_that_of_all_that_lies_there_at_once(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one disk the sum counts, on two each by itself; a GB less is a problem, and each of its mends ends it."""
    options, output, run = CASES[case]
    for free, fits in (
        ({"out": output + run}, True),
        ({"out": output + run - 1}, False),
        ({"out": output, "run": run}, True),
        ({"out": output - 1, "run": run}, False),
        *([({"out": output, "run": run - 1}, False)] if run else []),
    ):
        found = problems(monkeypatch, free, **options)
        assert [problem.code for problem in found] == ([] if fits else ["disk.no_room"])
        for problem in found:
            for mend in problem.mends:
                # Half a model is a matter of the sizes, which the mend's values change outside of this test.
                if mend.values != {"save_precision": "fp16"}:
                    assert problems(monkeypatch, free, **options | dict(mend.values)) == [], mend.label


def test_a_run_that_goes_on_needs_room_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are written already, and states that make room for newer ones, are not counted again."""
    options = {"save_every_n_steps": 1}
    assert problems(monkeypatch, {"out": 39}, **options) != []
    assert problems(monkeypatch, {"out": 4 + 10}, done=8, there=1, **options) == []
    assert problems(monkeypatch, {"out": 4 + 9}, done=8, there=1, **options) != []


def test_message_says_what_needs_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of models and states, both figures, and the folder whose disk is too small."""
    (problem,) = problems(monkeypatch, {"out": 21}, save_every_n_steps=5)
    assert problem.message.startswith("2 saves and 2 states need 24.0 GB, but /out has only 21.0 GB free.")
    (problem,) = problems(monkeypatch, {"out": 21, "run": 19}, save_every_n_steps=5)
    assert problem.message.startswith("2 states need 20.0 GB, but /run has only 19.0 GB free.")


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """They are those of the nearest folder above it."""
    free = free_bytes(tmp_path / "new" / "deeper")
    assert free is not None and abs(free - shutil.disk_usage(tmp_path).free) < 10**9
