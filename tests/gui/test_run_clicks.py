"""What the buttons of a run do."""

from dataclasses import replace
from pathlib import Path

import pytest

from gui import run_clicks
from gui.monitor import Monitors
from gui.pages import runs as page
from gui.studio import Studio
from tests.gui.written_runs import OPTIONS, Course, end, write_run
from trainer.contract.events import EventWriter, Finished
from trainer.contract.job import Job, read_job
from trainer.runs.folder import RunFolder, list_runs, new_run
from trainer.runs.order import read_order
from trainer.runs.queue import queued_runs


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "a\\b", "C:\\x", "a\0b", "no such run"])
def test_only_the_name_of_a_run_is_a_run(tmp_path: Path, name: str) -> None:
    """A name from an address or a click cannot lead out of the folder of runs."""
    studio = Studio(home=tmp_path / "home")
    write_run(studio.runs, Course(steps=2, sample_every=0))
    (tmp_path / "home" / "other").mkdir()
    (tmp_path / "home" / "other" / "job.json").write_text("{}")
    assert page.run_named(studio, name) is None


def test_a_run_is_found_by_its_folder(tmp_path: Path) -> None:
    """The name of a run's folder finds the run."""
    studio = Studio(home=tmp_path)
    run = write_run(studio.runs, Course(steps=2, sample_every=0))
    assert page.run_named(studio, run.path.name) == run


def test_going_on_starts_a_new_run_from_the_newest_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on makes a new job with the old settings that resumes the state, and leaves the old run as it is."""
    started: list[RunFolder] = []
    # The runner would load a model; that it starts what waits is its own test's business.
    monkeypatch.setattr(run_clicks, "start_run", started.append)
    studio = Studio(home=tmp_path)
    old = write_run(studio.runs, Course(steps=1000), learning_rate=3e-6)
    end(old, "stopped", 1000)
    before = old.job_file.read_bytes()
    new = run_clicks.do(studio, page.look(Monitors(), old), "go_on")
    assert started == [new] and new in list_runs(studio.runs) and old.job_file.read_bytes() == before
    job = read_job(new.job_file)
    assert isinstance(job, Job) and job.config.saves.resume == old.state / "step-00000960"
    assert job.config.rate.learning_rate == 3e-6
    assert job.config.length.train_batch_size == OPTIONS["train_batch_size"]


def test_going_on_without_a_state_says_so(tmp_path: Path) -> None:
    """Where the state has been deleted since the page was drawn, the click says so and makes no run."""
    studio = Studio(home=tmp_path)
    old = write_run(studio.runs, Course(steps=1000, with_states=False))
    end(old, "stopped", 1000)
    with pytest.raises(RuntimeError, match="no state to go on from"):
        run_clicks.do(studio, page.look(Monitors(), old), "go_on")
    assert len(list_runs(studio.runs)) == 1


def test_queue_is_arranged_by_clicks(tmp_path: Path) -> None:
    """Earlier, later and out act on the run that the click names, and what a crash does is switched there and back."""
    studio = Studio(home=tmp_path)
    job = read_job(write_run(studio.runs, Course(steps=2, sample_every=0)).job_file)
    assert isinstance(job, Job)
    one, two, three = (new_run(studio.runs, replace(job, name=name)) for name in ("one", "two", "three"))
    run_clicks.do(studio, page.look(Monitors(), three), "earlier")
    run_clicks.do(studio, page.look(Monitors(), one), "later")
    assert queued_runs(studio.runs) == [three, one, two]
    run_clicks.do(studio, page.look(Monitors(), one), "unqueue")
    assert queued_runs(studio.runs) == [three, two]
    run_clicks.tend_queue(studio, "goes_on")
    assert not read_order(studio.runs).goes_on
    run_clicks.tend_queue(studio, "goes_on")
    assert read_order(studio.runs).goes_on


def test_pausing_and_going_on_stay_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause sends its wish; Go on takes a paused run up again and makes no new one."""
    taken_up: list[RunFolder] = []
    # The runner would load a model; that it starts what goes on is its own test's business.
    monkeypatch.setattr(run_clicks, "continue_run", taken_up.append)
    studio = Studio(home=tmp_path)
    run = write_run(studio.runs, Course(steps=1000))
    run_clicks.do(studio, page.look(Monitors(), run), "pause")
    assert '"pause"' in run.control_file.read_text()
    writer = EventWriter(run.events_file)
    writer.write(Finished(result="paused", step=1000))
    writer.close()
    shown = page.look(Monitors(), run)
    assert shown.status.state == "paused" and run_clicks.do(studio, shown, "go_on") is None
    assert taken_up == [run] and list_runs(studio.runs) == [run]
