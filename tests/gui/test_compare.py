"""Runs side by side: what differs, the losses, the samples, and the way there from the list."""

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gui.compare import MOST, Comparison, compare
from gui.monitor import Monitors, RunView
from gui.pages.runs import SEPARATOR, look, runs_named
from gui.plots import compare_plot
from gui.run_on_page import RunOnPage
from gui.studio import Studio
from tests.gui.written_runs import Course, end, write_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

NASTY = "<img src=x onerror=alert(1)>"


def write_three(runs: Path) -> list[str]:
    """Three runs of one job, the second with other rates, the third under a hostile name: their folders' names."""
    first = write_run(runs, Course(steps=3200), seed=7)
    end(first, "completed", 3200)
    other = write_run(runs, Course(steps=1240), learning_rate=4e-6, lr_scheduler="constant", seed=7)
    end(other, "stopped", 1240)
    third = write_run(runs, Course(steps=2000), name=NASTY, train_data_dir="/data/other", seed=7)
    end(third, "stopped", 2000)
    return [run.path.name for run in (first, other, third)]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[RunOnPage]:
    studio = Studio(home=tmp_path_factory.mktemp("compared"))
    names = write_three(studio.runs)
    monitors = Monitors()
    return [look(monitors, run) for run in runs_named(studio, SEPARATOR.join(names))]


def rows_of(html: str) -> dict[str, list[str]]:
    """The table "What differs": its rows, by what stands in front."""
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    plain = [(what, re.findall(r"<td>(.*?)</td>", cells)) for what, cells in found]
    return {what: [unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in cells] for what, cells in plain}


def test_only_what_differs_is_listed(shown: list[RunOnPage]) -> None:
    """The table holds the options in which the runs differ, each run's value in its column, and the results."""
    html = compare(shown[:2], Comparison())
    rows = rows_of(html)
    assert rows.pop("Learning rate") == ["2e-6", "4e-6"]
    assert rows.pop("Schedule") == ["Cosine", "Constant"]
    assert rows.pop("State") == ["Finished", "Stopped"]
    assert rows.pop("Steps") == ["3,200", "1,240 of 3,200"]
    at_common = rows.pop("Loss at step 1,240")
    assert at_common[1] == rows["Loss, smoothed"][1] and at_common[0] != rows["Loss, smoothed"][0]
    assert rows.keys() == {"Loss, smoothed", "Time", "Card memory"}
    assert "Same images, same model, same seed. 2 options differ." in html
    assert "Images" in rows_of(compare(shown, Comparison())) and "Same model, same seed." in compare(
        shown, Comparison()
    )


def test_losses_lie_in_one_picture(shown: list[RunOnPage]) -> None:
    """Each run has a line of its own kind, over the steps of the longest one; a run without steps has no picture."""
    plot = compare_plot(tuple(run.view for run in shown))
    assert plot is not None and [kind for kind, _ in plot.lines] == ["strong", "second", "third"]
    ends = [float(path.rsplit("L", 1)[1].split(",")[0]) for _, path in plot.lines]
    assert ends == pytest.approx([1000, 1000 * 1240 / 3200, 1000 * 2000 / 3200], abs=0.2)
    assert plot.x_ticks[-1].text == "3,200"
    assert compare_plot((shown[0].view, RunView())) is None


def test_samples_are_of_the_same_step(shown: list[RunOnPage]) -> None:
    """The pictures of all runs are of one step that all have reached, the latest unless another is chosen."""
    latest, chosen = compare(shown, Comparison()), compare(shown, Comparison(step=320))
    assert "step-00000960-" in latest and "step-00001280-" not in latest and latest.count("before training") == 2
    assert "step-00000320-" in chosen and "step-00000960-" not in chosen
    assert compare(shown, Comparison(step=77)) == latest


def test_texts_from_outside_stay_text(shown: list[RunOnPage]) -> None:
    """A name with markup in it is shown as it is written."""
    html = compare(shown, Comparison())
    assert NASTY not in html and "&lt;img src=x onerror=alert(1)&gt;" in html


def test_address_names_runs_that_are_there(tmp_path: Path) -> None:
    """Of an address, runs that are gone, named twice, or outside the folder of runs are left out; four are enough."""
    studio = Studio(home=tmp_path)
    names = [write_run(studio.runs, Course(steps=2, sample_every=0)).path.name for _ in range(MOST)]
    found = runs_named(studio, SEPARATOR.join([names[0], "../x", names[0], "gone"]))
    assert [run.path.name for run in found] == names[:1]
    assert len(runs_named(studio, SEPARATOR.join([*names, names[0]]))) == MOST
    assert runs_named(studio, "") == []


@pytest.mark.browser
def test_ticked_runs_are_compared(studio_home: Path, page: "Page") -> None:
    """Two ticks in the list lead to the comparison; its address opens it again, and Runs leads back."""
    names = write_three(studio_home / "runs")
    page.get_by_role("tab", name="Runs").click()
    # Rows that are still coming in would move under the mouse.
    page.locator(f'input[data-tick="{names[2]}"]').wait_for()
    page.locator(f'input[data-tick="{names[0]}"]').check()
    assert page.get_by_role("button", name="Compare").count() == 0
    page.locator(f'input[data-tick="{names[2]}"]').check()
    page.get_by_role("button", name="Compare 2 runs").click()
    page.get_by_role("heading", name=f"harbour-print and {NASTY}").wait_for()
    page.get_by_role("button", name="640").click()
    page.wait_for_function(
        "document.querySelector('.at-samples-compared img').src && "
        "document.querySelectorAll('.at-samples-compared img[alt$=\"at step 640\"]').length === 4"
    )
    page.get_by_role("button", name="Log", exact=True).click()
    page.locator('[data-value="Log"][aria-pressed="true"]').wait_for()
    assert SEPARATOR in page.evaluate("new URL(location.href).searchParams.get('run')")
    page.reload()
    page.get_by_role("heading", name=f"harbour-print and {NASTY}").wait_for()
    page.get_by_role("button", name="Runs", exact=True).click()
    page.locator(f'input[data-tick="{names[1]}"]').wait_for()
