"""The card of a run that ended by itself, and what its buttons start."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gui import run_clicks
from gui.bench import Bench, Standing
from gui.crash_card import crash_card
from gui.monitor import Monitor
from gui.run_on_page import RunOnPage
from gui.studio import Studio
from tests.gui.written_runs import Course, end, write_run
from trainer.contract.identity import write_identity
from trainer.contract.job import Job, read_job
from trainer.runs.folder import RunFolder, list_runs, new_run
from trainer.runs.status import status_of

OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.21 GiB. GPU 0 has a total capacity of 7.99 GiB of "
    "which 402.00 MiB is free."
)


@pytest.fixture
def crashed(tmp_path: Path) -> RunFolder:
    """A run with states that the card's memory ended at step 1,000, as the trainer writes it."""
    run = write_run(Studio(home=tmp_path).runs, Course(steps=1000))
    with run.log_file.open("a", encoding="utf-8") as log:
        log.write(f"Traceback (most recent call last):\n{OUT_OF_MEMORY}\n")
    end(run, "failed", 1000, "The card's memory is full.", code=1)
    return run


def shown(run: RunFolder) -> RunOnPage:
    return RunOnPage(run, status_of(run), Monitor(run.events_file).look())


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_card_says_cause_what_is_safe_the_line_and_the_ways(crashed: RunFolder) -> None:
    """The cause is the heading, with the figures of the log; then the state that is whole, the line, and the mends."""
    html = crash_card(shown(crashed))
    said = text(html)
    assert said.startswith("The graphics card ran out of memory Copy report A step asked for 1.3 GB more, and 0.4 GB")
    assert "Nothing before step 960 is lost." in said and OUT_OF_MEMORY in said
    titles = re.findall(r'<div class="at-way"><div><strong>([^<]+)', html)
    assert titles == [
        "Gradient checkpointing", "Cache latents", "Mixed precision bf16", "Batch of 2, 2 batches a step", "8-bit Adam",
        "Train only the U-Net", "Resolution 384", "Try again unchanged",
    ]  # fmt: skip
    rows = html.split('<div class="at-way">')[1:]
    assert ["Goes on from step 960." in row for row in rows] == [True, True, True, False, False, False, False, True]
    assert html.count("at-primary") == 1 and "at-primary" in rows[0]


@pytest.mark.parametrize(
    ("place", "resumes", "values"),
    [("0", True, {"gradient_checkpointing": True}), ("3", False, {"train_batch_size": 2}), ("7", True, {})],
)
def test_a_way_starts_a_new_run_with_its_values(
    crashed: RunFolder, monkeypatch: pytest.MonkeyPatch, place: str, resumes: bool, values: dict[str, object]
) -> None:
    """A retry has the old settings with these changed, goes on from the state where it can, and keeps the old run."""
    started: list[RunFolder] = []
    monkeypatch.setattr(run_clicks, "start_run", started.append)
    studio = Studio(home=crashed.path.parents[1])
    before = crashed.job_file.read_bytes()
    new = run_clicks.do(studio, shown(crashed), "retry", place)
    assert new is not None and started == [new] and len(list_runs(studio.runs)) == 2
    assert crashed.job_file.read_bytes() == before
    job = read_job(new.job_file)
    assert isinstance(job, Job)
    options = job.config.flat()
    assert {name: options[name] for name in values} == values
    assert job.config.saves.resume == (crashed.state / "step-00000960" if resumes else None)
    assert job.config.data.dataset_repeats == 10


@pytest.mark.parametrize("place", ["8", "", "-1", "x"])
def test_a_way_that_is_not_offered_starts_nothing(crashed: RunFolder, place: str) -> None:
    """A click of an old page, or a made-up one, says so."""
    studio = Studio(home=crashed.path.parents[1])
    with pytest.raises(RuntimeError, match="not offered"):
        run_clicks.do(studio, shown(crashed), "retry", place)
    assert len(list_runs(studio.runs)) == 1


def test_ways_are_shown_with_what_was_measured(crashed: RunFolder) -> None:
    """Each way has the memory and the time that were measured for this very run; for another run nothing is shown."""
    card = {"need_gib": 5.0, "free_gib": 7.0, "total_gib": 8.0}
    row = {"fits": True, "card": card, "host": card, "on_card": True, "complete": True, "seconds_in_all": 2100.0}
    told = [
        {**row, "way": {"values": {}}, "fits": False, "complete": False, "seconds_in_all": None},
        {**row, "way": {"values": {"gradient_checkpointing": True}}},
        {"way": {"values": {"cache_latents": True}}, "why_not": "no"},
    ]
    job = read_job(crashed.job_file)
    assert isinstance(job, Job)
    standing = Standing(job.config.flat(), found={"measured": told}, ended=1.0)
    rows = [text(row) for row in crash_card(shown(crashed), standing).split('<div class="at-way">')[1:]]
    assert "5.4 GB card memory 35 min" in rows[0] and "Not possible here" in rows[1] and "GB" not in rows[2]
    assert "more than 5.4 GB card memory, too much" in rows[-1]
    other = replace(standing, values={})
    assert 'data-act="measure">Measure them first' in crash_card(shown(crashed), other)
    assert 'data-act="cancel_measuring"' in crash_card(shown(crashed), Standing(running=True, said="As asked: learns"))


def test_what_held_the_memory_is_shown(crashed: RunFolder) -> None:
    """This run as it last told, the figures of the log's line, and what is left for other programs."""
    said = text(crash_card(shown(crashed)).rsplit("<section", 1)[1])
    own = shown(crashed).view.vram_gib
    assert own is not None
    others = 7.99 - 402 / 1024 - own
    assert "Card memory at step 1,000" in said and f"This run {own * 1.0737:.1f} GB" in said
    assert f"Other programs {others * 1.0737:.1f} GB" in said
    assert "Free 0.4 GB" in said and "Asked for, more 1.3 GB" in said


def test_ways_are_measured_on_a_click(crashed: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way of the crashed run's own job, unless a run is using the machine."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(Bench, "start", lambda bench, *what: asked.append(what))
    studio = Studio(home=crashed.path.parents[1])
    assert run_clicks.do(studio, shown(crashed), "measure") is None
    ((job, flag),) = asked
    assert isinstance(job, Job) and flag == "--every_way" and job == read_job(crashed.job_file)
    write_identity(new_run(studio.runs, job, queued=False).process_file)
    with pytest.raises(RuntimeError, match=r"is running. Measure when it is done."):
        run_clicks.do(studio, shown(crashed), "measure")


@pytest.mark.parametrize("result", ["completed", "stopped"])
def test_only_an_ending_by_itself_has_the_card(tmp_path: Path, result: str) -> None:
    """A run that is done, or stopped as asked, has no such card."""
    run = write_run(tmp_path, Course(steps=20, sample_every=0))
    end(run, result, 20)
    assert crash_card(shown(run)) == ""
