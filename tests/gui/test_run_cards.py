"""The cards below a run's head: checkpoints, warnings, samples, log."""

import re
import time
from pathlib import Path

import pytest

from gui import run_cards
from gui.crash_card import crash_card
from gui.monitor import Monitor
from gui.run_list import list_head, newest_live, rows_of, run_list
from gui.run_on_page import RunOnPage
from tests.gui.written_runs import OPTIONS, PROMPTS, Course, end, write_run
from trainer.contract.events import EventWriter, Sampled, Warned
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.status import State, Status

NASTY = "<img src=x onerror=alert(1)>"


def page_of(run: RunFolder, state: State = "running", detail: str = "Runs.") -> RunOnPage:
    return RunOnPage(run, Status(state, detail, since=time.time()), Monitor(run.events_file).look())


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run at step 1,240 of 3,200 with a save and a state at 960."""
    return write_run(tmp_path_factory.mktemp("runs"), Course(), learning_rate=3e-6)


def test_checkpoints_name_what_is_written_and_what_comes(run: RunFolder) -> None:
    """The model first, then its state, with sizes; the next save with the time until then (680 steps at 0.77 s)."""
    said = text(run_cards.checkpoints(page_of(run)))
    assert re.search(r"Epoch 6, step 1,920 in about 9 min Epoch 3, step 960 2\.0 GB, written .* and read back", said)
    assert "State to resume, step 960 5.9 GB" in said
    assert run_cards.checkpoints(page_of(run)).count('data-act="try"') == 1, "a model can be tried, a state cannot"
    assert "1,920" not in text(run_cards.checkpoints(page_of(run, "stopped")))


def test_a_save_that_is_gone_says_so(tmp_path: Path) -> None:
    """A model that somebody has moved away is not called whole."""
    run = write_run(tmp_path, Course(steps=1000))
    (run.path / "epoch-000003.safetensors").unlink()
    html = run_cards.checkpoints(page_of(run))
    assert "no longer there" in text(html) and 'data-act="try"' not in html


def test_a_warning_that_repeats_stands_once(tmp_path: Path) -> None:
    """Two equal warnings are one row with their number, another one is a row of its own."""
    run = write_run(tmp_path, Course(steps=20, sample_every=0))
    writer = EventWriter(run.events_file)
    for step, message in ((5, "the loss was not finite"), (9, "the loss was not finite"), (11, "look here")):
        writer.write(Warned(code="c", message=message, step=step))
    writer.close()
    said = text(run_cards.warnings(page_of(run).view))
    assert (
        said.count("the loss was not finite") == 1 and "2 times, last at step 9" in said and "look here Step 11" in said
    )
    assert run_cards.warnings(page_of(write_run(tmp_path, Course(steps=20, sample_every=0))).view) == ""


def test_settings_show_what_differs(run: RunFolder) -> None:
    """Data, model and seed, and every option that is not at its default, in the words of the form."""
    said = text(run_cards.settings(page_of(run)))
    assert "Data prints, 128 images" in said and "Model sd15-base.safetensors" in said and "Seed 42" in said
    assert "Learning rate 3e-06" in said or "Learning rate 3e-6" in said
    assert "Schedule Cosine" in said and "Batch size 4" in said
    # OPTIONS without folders, model, name and prompts, and with the learning rate.
    shown = len(OPTIONS) - 5 + 1
    assert f"{shown} settings differ from the defaults" in said


def test_samples_are_a_row_for_a_prompt_and_a_column_for_a_step(run: RunFolder) -> None:
    """Step 0 comes first and is framed; each picture has its prompt and step as its text."""
    html = run_cards.samples(page_of(run))
    assert text(html).startswith("Step 0, before Step 320 Step 640 Step 960")
    assert html.count('class="at-samples-first"') == len(PROMPTS)
    assert f'alt="{PROMPTS[1]}, at step 640"' in html and f'alt="{PROMPTS[0]}, before training"' in html
    assert html.count('<img src="./thumbnail?path=') == 4 * len(PROMPTS)


def test_of_many_steps_the_first_and_the_latest_are_shown() -> None:
    """Five columns: the first and the latest four, or five that are spread over the run from end to end."""
    steps = list(range(0, 1100, 100))
    assert run_cards.chosen_steps(steps, whole=False) == [0, 700, 800, 900, 1000]
    assert run_cards.chosen_steps(steps, whole=True) == [0, 200, 500, 800, 1000]
    assert run_cards.chosen_steps([0, 10], whole=False) == [0, 10]


def test_a_sample_outside_the_run_is_not_shown(tmp_path: Path) -> None:
    """An events file that somebody gave away cannot make the page ask for other files."""
    run = write_run(tmp_path, Course(steps=5, sample_every=0))
    writer = EventWriter(run.events_file)
    for path in ("../../secret.png", "/etc/secret.png"):
        writer.write(Sampled(step=len(path), index=0, prompt="p", seed=1, path=path))
    writer.close()
    html = run_cards.samples(page_of(run))
    assert "secret" not in html and html.count("not in the run") == 2


def test_the_log_is_searched_without_regard_to_case(tmp_path: Path) -> None:
    """Only lines that hold the words stay; a search without a hit says so; what a bar overwrote is gone."""
    log = tmp_path / "log.txt"
    log.write_text("Loading\rLoading 50 %\rLoading done\nstep 1\nStep 2\n\nend\n", encoding="utf-8")
    assert run_cards.log_lines(log) == ("Loading done", "step 1", "Step 2", "end")
    assert text(run_cards.log(log, "STEP")) == "step 1 Step 2"
    assert text(run_cards.log(log, "gone")) == "No line of the log holds “gone”."
    assert text(run_cards.log(tmp_path / "none.txt")) == "Nothing has been written yet."
    assert "data-follow" in run_cards.log(log) and "data-follow" not in run_cards.log(log, follow=False)


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    """Of some MB the last 64 KB are read, from the first whole line on, and the last 400 lines are shown."""
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {number:07d}\n" for number in range(200_000)), encoding="utf-8")
    lines = run_cards.log_lines(log)
    assert lines[-1] == "line 0199999" and 4000 < len(lines) < 6000 and lines[0].startswith("line 0")
    assert len(run_cards.log(log).splitlines()) == 400


def test_no_text_from_outside_becomes_html(tmp_path: Path) -> None:
    """Prompts, warnings, log lines, names, causes and paths with markup in them stay text on every card."""
    run = write_run(
        tmp_path, Course(steps=20, sample_every=0), name=NASTY, output_dir=f"/out/{NASTY}", log_prefix=NASTY
    )
    writer = EventWriter(run.events_file)
    writer.write(Sampled(step=0, index=0, prompt=NASTY, seed=1, path="samples/a.png"))
    writer.write(Sampled(step=0, index=1, prompt='"><script>alert(1)</script>', seed=1, path='samples/"><b>.png'))
    writer.write(Warned(code="c", message=NASTY))
    writer.close()
    run.log_file.write_text(f"{NASTY}\n", encoding="utf-8")
    shown = page_of(run, "crashed", NASTY)
    rows = rows_of([run])
    parts = [
        crash_card(shown),
        run_cards.checkpoints(shown),
        run_cards.warnings(shown.view),
        run_cards.settings(shown),
        run_cards.samples(shown),
        run_cards.log(run.log_file),
        run_cards.log(run.log_file, NASTY + "x"),
        run_list(rows, ""),
        list_head(rows),
    ]
    for html in parts:
        assert "<img src=x" not in html and "<script" not in html and '"><b>' not in html
    assert sum("&lt;img" in html for html in parts) >= 6


def test_the_list_says_what_became_of_each_run(tmp_path: Path) -> None:
    """Newest first, each with its state, what happened and its loss; chips count the states and filter."""
    now = time.time()
    done = write_run(tmp_path, Course(steps=200, total=200, epoch_steps=20, until=now - 9000), name="done")
    end(done, "completed", 200, at=now - 9000)
    lost = write_run(tmp_path, Course(steps=1100, until=now - 600), name="gone")
    rows = {row.name: row for row in rows_of(list_runs(tmp_path))}
    assert rows["done"].state == "finished" and rows["done"].happened == "200 steps in 3 min"
    assert (
        rows["gone"].state == "lost"
        and "1100" in rows["gone"].happened.replace(",", "")
        and rows["gone"].fraction is None
    )
    assert newest_live(list_runs(tmp_path)) is None
    html = run_list(list(rows.values()), "lost")
    assert "Why gone" in html and "Open done" not in html
    assert text(html).startswith("All 2 Finished 1 Lost 1") and f'data-run="{lost.path.name}"' in html


def test_no_runs_yet_is_a_fact_and_a_way_on() -> None:
    """An empty page says what is missing and has one filled button."""
    html = run_list([], "")
    assert "Nothing has been trained here" in html and html.count("<button") == 1 and 'data-act="new"' in html
