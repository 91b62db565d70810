"""The table of a sweep: which loss stands in which cell, which is the best, and what is text stays text."""

import re
from dataclasses import asdict
from itertools import product
from pathlib import Path

from gui.run_list import rows_of
from gui.sweep_cards import sweep_cards
from tests.gui.written_runs import Course, end, write_run
from trainer.contract.events import EventWriter, Stepped, Validated
from trainer.contract.records import write_record
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.sweep import FILE, Axis, Place

AXES = (Axis("train_batch_size", ("4", "8")), Axis("learning_rate", ("1e-6", "2e-6", "4e-6")))
NASTY = "<img src=x onerror=alert(1)>"


def sweep(
    runs: Path, axes: tuple[Axis, ...] = AXES, name: str = "harbour, batch × rate"
) -> dict[tuple[int, ...], RunFolder]:
    """Runs in all cells that have not begun."""
    made = {}
    for cell in product(*(range(len(axis.values)) for axis in axes)):
        run = write_run(runs, Course(steps=1, until=1), name="-".join(map(str, cell)))
        for file in (run.launch_file, run.process_file, run.events_file):
            file.unlink()
        write_record(run.path / FILE, asdict(Place(name, axes, cell)))
        made[cell] = run
    return made


def cards(home: Path) -> str:
    runs = list_runs(home)
    return sweep_cards(runs, rows_of(runs))


def tell(run: RunFolder, loss: float, validation: float | None = None) -> None:
    """The run has taken a step, and was measured."""
    writer = EventWriter(run.events_file)
    writer.write(Stepped(step=1, epoch=1, loss=loss, learning_rate={"unet": 1e-6}))
    if validation is not None:
        writer.write(Validated(step=1, epoch=1, loss=validation, images=2))
    writer.close()


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def best(html: str) -> str:
    found = re.findall(r'<td class="at-sweep-best">(.*?)</td>', html)
    assert len(found) <= 1
    return text_of(found[0]) if found else ""


def test_no_sweep_no_card(tmp_path: Path) -> None:
    """Runs that are in no sweep give nothing."""
    write_run(tmp_path, Course(steps=1))
    assert cards(tmp_path) == ""


def test_the_best_is_framed(tmp_path: Path) -> None:
    """More rows than columns, a dash where nothing is known yet, the lowest loss framed once there are two."""
    runs = sweep(tmp_path)
    html = cards(tmp_path)
    assert "Rows: Learning rate. Columns: Batch size." in html and best(html) == "" and html.count("<strong>–<") == 6
    assert "Overlay" not in html
    tell(runs[0, 1], 0.25)
    assert best(cards(tmp_path)) == ""
    tell(runs[1, 2], 0.125)
    end(runs[1, 2], "completed", 1)
    html = cards(tmp_path)
    assert best(html).startswith("0.125") and "finished" in best(html)
    rows = [text_of(row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    assert rows[0] == "4 8" and rows[2].startswith("Learning rate 2e-6 0.25") and rows[3].endswith("0.125 finished")
    compared = re.search(r'data-act="compare" data-runs="([^"]+)"', html)
    assert compared is not None and compared[1].split("|") == [runs[1, 2].path.name, runs[0, 1].path.name]


def test_validation_counts_where_all_have_it(tmp_path: Path) -> None:
    """With images held out the table is of their loss; while one run has none yet, of the loss in training."""
    runs = sweep(tmp_path, (Axis("seed", ("1", "2")),), "seeds")
    tell(runs[0,], 0.5, 0.25)
    tell(runs[1,], 0.375)
    html = cards(tmp_path)
    assert ">Loss, lower is better." in html and best(html).startswith("0.375")
    tell(runs[1,], 0.375, 0.75)
    html = cards(tmp_path)
    assert "Validation loss, lower is better." in html and best(html).startswith("0.25")


def test_a_deleted_run_leaves_its_cell(tmp_path: Path) -> None:
    """The others keep their places."""
    runs = sweep(tmp_path, (Axis("seed", ("1", "2")),), "seeds")
    runs[0,].job_file.unlink()
    html = cards(tmp_path)
    assert "deleted" in html and html.count('data-act="open"') == 1


def test_text_from_files_stays_text(tmp_path: Path) -> None:
    """Names and values of a record that somebody else wrote are escaped, an option that is not known is shown."""
    sweep(tmp_path, (Axis(NASTY, ("1", NASTY)),), NASTY)
    assert "<img" not in cards(tmp_path)
