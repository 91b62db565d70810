"""The real TensorBoard, started by a click over what a run has logged."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from gui import tensorboard
from gui.run_clicks import board_link
from tests.gui.written_runs import Course, write_run


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    yield
    tensorboard.close_boards()


def test_a_click_opens_it_over_the_folder_of_the_run(tmp_path: Path) -> None:
    """It answers on 127.0.0.1 with the run's curves; a second click finds the same one; it ends with the studio."""
    logs = tmp_path / "Jörg's logs"
    writer = SummaryWriter(str(logs / "harbour"))
    writer.add_scalar("loss", 0.5, 1)
    writer.close()
    run = write_run(tmp_path / "runs", Course(steps=2, sample_every=0), logging_dir=str(logs))
    html = board_link(run)
    (address,) = set(re.findall(r'href="(http://127\.0\.0\.1:\d+/)"', html))
    with urllib.request.urlopen(f"{address}data/environment", timeout=60) as answer:
        assert json.load(answer)["data_location"] == str(logs)
    assert board_link(run) == html
    tensorboard.close_boards()
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)


def test_nothing_logged_is_said(tmp_path: Path) -> None:
    """A run without a folder, or with one that is gone, says so and starts nothing."""
    for options in ({}, {"logging_dir": str(tmp_path / "gone")}):
        run = write_run(tmp_path / "runs", Course(steps=2, sample_every=0), **options)
        with pytest.raises(RuntimeError, match="not logged anything"):
            board_link(run)
    assert not tensorboard._boards
