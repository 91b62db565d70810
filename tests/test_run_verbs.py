"""The verbs that look after runs, on a queue that stands still so that nothing starts."""

import json
from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.contract.events import EventWriter, Saved, Stepped, Validated
from trainer.runs.ending import record_exit
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.order import hold
from trainer.runs.queue import queued_runs
from trainer.runs.status import status_of


@pytest.fixture
def held(home: Path) -> Path:
    """The home of a studio whose queue stands still since a run crashed."""
    (home / "runs").mkdir()
    hold(RunFolder(home / "runs" / "harbour"))
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


def test_a_crash_is_shown_with_what_mends_it(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show` says why a run ended by itself and which words start it again; --json has the same for programs."""
    run = crashed_run(held, capsys)
    assert main(["show", run.path.name, "--home", str(held)]) == 0
    told = capsys.readouterr().out
    assert "The graphics card ran out of memory." in told and "CUDA out of memory." in told
    assert f"resume {run.path.name} --gradient_checkpointing True" in told
    assert f"train --job {run.job_file} --unetonly True" in told
    assert main(["show", run.path.name, "--json", "--home", str(held)]) == 0
    crash = json.loads(capsys.readouterr().out)["crash"]
    assert crash["code"] == "card_memory" and {"gradient_checkpointing": True} in [w["values"] for w in crash["ways"]]


def test_a_state_does_not_survive_every_change(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`resume` with an option that a run cannot change under way says so, and makes no run."""
    run = crashed_run(held, capsys)
    assert main(["resume", run.path.name, "--train_batch_size", "2", "--home", str(held)]) == 2
    assert "with another train_batch_size" in capsys.readouterr().err
    assert list_runs(held / "runs") == [run]


def crashed_run(held: Path, capsys: pytest.CaptureFixture[str]) -> RunFolder:
    """A run with a state that the card's memory ended."""
    assert main(["queue", "--preset", "demo", "--home", str(held)]) == 0
    (run,) = queued_runs(held / "runs")
    state = run.state / "step-00000005"
    state.mkdir(parents=True)
    writer = EventWriter(run.events_file)
    writer.write(Saved(kind="state", step=5, epoch=1, path=str(state), size_bytes=1))
    writer.close()
    run.log_file.write_text("torch.OutOfMemoryError: CUDA out of memory.\n", encoding="utf-8")
    record_exit(run, 1, None, "ended with code 1 at step 5")
    capsys.readouterr()
    return run


def test_folder_of_a_presets_name_is_no_preset(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a folder `demo` stands in the current folder, as in the program's own, the shipped preset is meant."""
    monkeypatch.chdir(held)
    assert (held / "demo").is_dir()
    assert main(["queue", "--preset", "demo", "--home", str(held)]) == 0


def test_a_sweep_waits_and_is_listed(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`sweep` with two options lets each combination wait; without words it lists them with the losses they have."""
    there = ["--home", str(held)]
    assert main(["sweep", "learning_rate=1e-4,1e-3", "train-batch-size=2,4", "--preset", "demo", *there]) == 0
    waiting = queued_runs(held / "runs")
    assert [run.name for run in waiting] == ["demo-1e-4-2", "demo-1e-4-4", "demo-1e-3-2", "demo-1e-3-4"]
    writer = EventWriter(waiting[1].events_file)
    for step in (1, 2):
        writer.write(Stepped(step=step, epoch=1, loss=step / 4, learning_rate={"unet": 1e-4}))
    writer.close()
    capsys.readouterr()
    assert main(["sweep", *there]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "demo, learning rate × batch size" and len(told) == 5
    assert told[2].split() == ["learning_rate", "1e-4,", "train_batch_size", "4", "queued", "loss", "0.3750"]
    writer = EventWriter(waiting[1].events_file)
    writer.write(Validated(step=2, epoch=1, loss=0.125, images=1))
    writer.close()
    assert main(["sweep", "--json", *there]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["runs"][1]["loss"] == 0.125 and found["runs"][1]["of"] == "validation loss"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lerning_rate=1,2", "--preset", "demo"], "Did you mean learning_rate?"),
        (["learning_rate", "--preset", "demo"], "needs two values or more"),
        (["learning_rate=1e-4,many", "--preset", "demo"], "many"),
        (["learning_rate=1e-4,1e-3", "--preset", "demo", "--train_data_dir", "/none"], "/none"),
        (["--preset", "demo"], "Choose one option or two"),
    ],
)
def test_a_sweep_that_cannot_be_is_said(
    words: list[str], said: str, held: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option, value or job gives a sentence and code 2, and no run is made."""
    assert main(["sweep", *words, "--home", str(held)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert list_runs(held / "runs") == []
