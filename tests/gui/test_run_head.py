"""The head of a run: state, phase, bar and controls."""

import re
import time
from pathlib import Path

import pytest

from gui.monitor import Monitor
from gui.run_head import head, phase_line
from gui.run_on_page import RunOnPage, can_go_on, pending
from tests.gui.written_runs import Course, write_run
from trainer.contract.config import TrainingConfig
from trainer.contract.control import send
from trainer.contract.events import EventWriter, Phase, Saved, Started
from trainer.contract.job import Job
from trainer.runs.card import Card
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.status import State, Status

NASTY = "<img src=x onerror=alert(1)>"


def page_of(run: RunFolder, state: State = "running", detail: str = "Runs.", *, can_sample: bool = True) -> RunOnPage:
    return RunOnPage(run, Status(state, detail, since=time.time()), Monitor(run.events_file).look(), can_sample)


def acts(html: str) -> list[str]:
    return re.findall(r'data-act="(\w+)"', html)


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run at step 1,240 of 3,200, at 0.77 s a step, with a save at 960."""
    return write_run(tmp_path_factory.mktemp("runs"), Course())


def test_the_head_of_a_running_run_says_the_figures(run: RunFolder) -> None:
    """Step, share, next save, time left, speed, memory: all of them, arithmetically right."""
    html = head(page_of(run), asking=False)
    said = text(html)
    assert "1,240 of 3,200" in said and "38 %, next save at 1,920" in said
    assert "Training, epoch 4 of 10, since" in said and "You can close this page." in said
    # 1,960 steps at 0.77 s are 25 min 9 s.
    assert "Time left 25 min" in said and "done about" in said
    assert "5.2 images a second" in said and "5.6 of 8.6 GB" in said and "6.1 of 16.8 GB" in said
    assert 'role="progressbar"' in html and 'aria-valuenow="1240"' in html and 'aria-valuemax="3200"' in html
    assert html.count("at-progress-tick") == 9 and "width:38.750%" in html


def test_a_live_run_says_how_the_card_is(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load and temperature stand beside the card's name while the run lives, as far as the driver tells them."""
    monkeypatch.setattr("gui.run_figures.look_at_card", lambda number: Card(97, 71))
    assert "97 % busy, 71 °C" in text(head(page_of(run), asking=False))
    assert "busy" not in text(head(page_of(run, "finished"), asking=False))
    monkeypatch.setattr("gui.run_figures.look_at_card", lambda number: Card(None, 64))
    said = text(head(page_of(run), asking=False))
    assert ", 64 °C" in said and "busy" not in said


def test_the_controls_stand_in_their_order(run: RunFolder) -> None:
    """Save now, Sample now, Pause, Finish, Stop; no Sample without prompts; none is filled."""
    assert acts(head(page_of(run), asking=False)) == ["save", "sample", "pause", "finish", "ask"]
    assert acts(head(page_of(run, can_sample=False), asking=False)) == ["save", "pause", "finish", "ask"]
    assert acts(head(page_of(run, "stopping"), asking=False)) == ["end"]
    assert acts(head(page_of(run, "queued", "Waits."), asking=False)) == ["unqueue", "edit"]
    assert acts(head(page_of(run, "finished"), asking=False)) == ["edit"]
    assert acts(head(page_of(run, "paused"), asking=False)) == ["go_on", "edit"]
    assert "at-button-filled" not in head(page_of(run), asking=True)


def test_the_question_names_what_is_lost(run: RunFolder) -> None:
    """Stop without saving asks with the steps since the last save, their time, and what stays; safe answer first."""
    html = head(page_of(run), asking=True)
    # 280 steps at 0.77 s are 216 s.
    assert "280 steps since the last save are lost, about 4 min. The save of step 960 stays." in text(html)
    assert acts(html) == ["save", "sample", "pause", "finish", "ask", "keep", "stop"]
    assert re.search(r'data-act="keep" data-focus', html)
    assert "at-question" not in head(page_of(run, "stopping"), asking=True)


def test_without_a_save_everything_since_the_start_is_lost(tmp_path: Path) -> None:
    """A run that never saved loses all its steps, and says so."""
    html = head(page_of(write_run(tmp_path, Course(steps=40, sample_every=0))), asking=True)
    assert "40 steps since the start are lost, about 31 s. Nothing has been saved yet." in text(html)


def test_a_run_that_has_just_started_counts_what_it_does(tmp_path: Path) -> None:
    """Before the first step the bar is that of the phase; without a total there is none, and no time is made up."""
    run = new_run(tmp_path, Job("fresh", TrainingConfig()))
    writer = EventWriter(run.events_file)
    assert phase_line(page_of(run)) == "Starting." and "progressbar" not in head(page_of(run), asking=False)
    writer.write(Started(pid=1, version="1", device="cpu", seed=1))
    writer.write(Phase(name="loading"))
    assert phase_line(page_of(run)).startswith("Loading the model, since")
    assert "progressbar" not in head(page_of(run), asking=False)
    writer.write(Phase(name="caching", done=37, total=128, unit="images"))
    html = head(page_of(run), asking=False)
    assert "Caching latents, 37 of 128 images, since" in text(html) and 'aria-valuenow="37"' in html
    assert "shown after 30 steps" in text(html) and acts(html) == ["finish", "ask"]
    writer.close()


def test_a_wish_is_told_until_it_is_done(tmp_path: Path) -> None:
    """After Save now the page says that it comes after this step, until something was saved."""
    run = write_run(tmp_path, Course(steps=40, sample_every=0))
    assert pending(page_of(run)) == []
    send(run.control_file, "save")
    assert pending(page_of(run)) == ["Saves after this step."]
    writer = EventWriter(run.events_file)
    writer.write(Saved(kind="model", step=41, epoch=1, path=str(run.path / "x"), size_bytes=1))
    writer.close()
    assert pending(page_of(run)) == []


def test_go_on_is_offered_where_a_state_lies(run: RunFolder) -> None:
    """A stopped, crashed or lost run whose newest state is on disk can go on from it; a finished one has no need."""
    state = can_go_on(page_of(run, "stopped"))
    assert state is not None and state.step == 960
    assert acts(head(page_of(run, "lost"), asking=False)) == ["go_on", "edit"]
    assert can_go_on(page_of(run, "finished")) is None and can_go_on(page_of(run, "running")) is None


def test_no_state_no_going_on(tmp_path: Path) -> None:
    """Where the state folder is gone nothing is offered that would fail."""
    run = write_run(tmp_path, Course(steps=1000))
    for folder in run.state.iterdir():
        folder.rmdir()
    assert can_go_on(page_of(run, "crashed")) is None


@pytest.mark.parametrize("state", ["running", "stopping", "queued", "finished", "stopped", "crashed", "lost"])
def test_no_text_from_outside_becomes_html(tmp_path: Path, state: State) -> None:
    """A run name, a cause and a device with markup in them stay text in every state."""
    run = new_run(tmp_path, Job(NASTY, TrainingConfig()))
    writer = EventWriter(run.events_file)
    writer.write(Started(pid=1, version=NASTY, device=NASTY, seed=1))
    writer.write(Phase(name="caching", done=1, total=2, unit=NASTY))
    writer.close()
    html = head(page_of(run, state, NASTY), asking=True)
    assert "<img" not in html and "&lt;img src=x onerror=alert(1)&gt;" in html
