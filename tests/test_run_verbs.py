"""The verbs that look after runs, on a queue that stands still so that nothing starts."""

import json
from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.order import hold
from trainer.runs.queue import queued_runs
from trainer.runs.status import status_of


@pytest.fixture
def held(home: Path) -> Path:
    """The home of a studio whose queue stands still since a run crashed."""
    (home / "runs").mkdir()
    hold(home / "runs", RunFolder(home / "runs" / "harbour"))
    return home


def test_jobs_wait_and_are_arranged(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`queue` with flags lets a job wait, without flags lists what waits; earlier and out arrange it."""
    there = ["--home", str(held)]
    for name in ("one", "two"):
        assert main(["queue", "--preset", "demo", "--output_name", name, *there]) == 0
    one, two = queued_runs(held / "runs")
    assert [run.name for run in (one, two)] == ["one", "two"]
    capsys.readouterr()
    assert main(["queue", "earlier", two.path.name, *there]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "The queue stands still since harbour crashed. `python -m trainer queue go_on` lets it go on.",
        f"  1  {two.path.name}",
        f"  2  {one.path.name}",
    ]
    assert main(["queue", "out", two.path.name, *there]) == 0
    capsys.readouterr()
    assert main(["queue", "--json", *there]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["one"]
    assert status_of(two).state == "stopped"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["queue", "sooner", "x"], "not “sooner”"),
        (["queue", "earlier", "nothing"], "There is no run nothing."),
        (["queue", "--preset", "demo", "--train_data_dir", "/none"], "/none"),
        (["queue", "--preset", "demo", "--lerning_rate", "1"], "Did you mean --learning_rate?"),
        (["resume", "nothing"], "There is no run nothing."),
        (["stop"], "Name one run"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], said: str, held: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong word, run or job gives a sentence and code 2, and no run is made."""
    assert main([*words, "--home", str(held)]) == 2
    assert said in capsys.readouterr().err
    assert list_runs(held / "runs") == []


def test_run_without_a_state_is_not_resumed(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`resume` of a run that waits, or that left no state, says so."""
    there = ["--home", str(held)]
    assert main(["queue", "--preset", "demo", *there]) == 0
    (run,) = queued_runs(held / "runs")
    assert main(["resume", run.path.name, *there]) == 2
    assert main(["queue", "out", run.path.name, *there]) == 0
    assert main(["resume", run.path.name, *there]) == 2
    told = capsys.readouterr().err
    assert "is queued" in told and "left no state to go on from" in told


def test_folder_of_a_presets_name_is_no_preset(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a folder `demo` stands in the current folder, as in the program's own, the shipped preset is meant."""
    monkeypatch.chdir(held)
    assert (held / "demo").is_dir()
    assert main(["queue", "--preset", "demo", "--home", str(held)]) == 0
