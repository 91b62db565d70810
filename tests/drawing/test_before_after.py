"""What a run drew before training and after it, in one picture."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from tests.gui.written_runs import Course, write_run
from trainer.contract.events import EventWriter, Sampled
from trainer.drawing.before_after import write_before_after
from trainer.drawing.sheet import GAP, LEFT
from trainer.runs.folder import RunFolder
from trainer.verbs import _show_before_after

BLANK = (239, 239, 236)
STEPS = (0, 5, 1200)
PROMPTS = {1: "a star", 2: "звезда, 星 🌟"}

Drawn = Callable[..., RunFolder]


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    """A run whose events tell of a picture of each prompt at each step, each of a colour of its own."""

    def new(steps: Iterable[int] = STEPS, size: tuple[int, int] = (128, 128)) -> RunFolder:
        run = write_run(tmp_path / "Jörg's runs", Course(steps=3, total=1200, sample_every=0))
        writer = EventWriter(run.events_file)
        # The second prompt first: rows go by the prompts' places, not by the order of telling.
        for step in steps:
            for index in (2, 1):
                path = f"samples/step-{step:08d}-{index}.png"
                Image.new("RGB", size, colour(step, index)).save(run.path / path)
                writer.write(Sampled(step=step, index=index, prompt=PROMPTS[index], seed=40 + index, path=path))
        writer.close()
        return run

    return new


def colour(step: int, index: int) -> tuple[int, int, int]:
    return (60 * (1 + STEPS.index(step)), 100 * index, 7)


def seen(path: Path, box: tuple[int, int] = (256, 256)) -> list[list[tuple[int, int, int]]]:
    """The colours in two opposite corners of each box, row by row: the same two where a picture fills it."""
    with Image.open(path) as sheet:
        rows = len(sheet.text["prompts"].splitlines())
        assert sheet.width == 2 * GAP + LEFT + 2 * (box[0] + GAP)
        top = sheet.height - rows * (box[1] + GAP)
        corners = ((2, 2), (box[0] - 3, box[1] - 3))
        return [
            [
                sheet.getpixel((2 * GAP + LEFT + c * (box[0] + GAP) + x, top + r * (box[1] + GAP) + y))
                for c in range(2)
                for x, y in corners
            ]
            for r in range(rows)
        ]


def row(index: int, before: int | None = 0, after: int | None = 1200) -> list[tuple[int, int, int]]:
    """What `seen` is to find in the row of a prompt."""
    return [BLANK if step is None else colour(step, index) for step in (before, before, after, after)]


def test_a_row_for_each_prompt_before_and_after(drawn: Drawn) -> None:
    """The first step and the last, enlarged, prompts in their order; labels as text too, in any letters."""
    run = drawn()
    path = write_before_after(run)
    assert path == run.path / "before-after.png"
    assert seen(path) == [row(1), row(2)]
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.text["columns"].splitlines() == ["Before training", "After 1,200 steps"]
        assert sheet.text["prompts"].splitlines() == ["a star (seed 41)", "звезда, 星 🌟 (seed 42)"]
    assert [file.name for file in run.path.glob("*.png")] == ["before-after.png"]
    assert write_before_after(run) == path, "a second time takes the place of the first"


@pytest.mark.parametrize(
    ("size", "box"),
    [((128, 128), (256, 256)), ((300, 200), (300, 200)), ((1024, 512), (512, 256)), ((64, 96), (256, 384))],
)
def test_pictures_are_large_enough_to_be_looked_at(size: tuple[int, int], box: tuple[int, int], drawn: Drawn) -> None:
    """At least 256 across, at most 512, and in their own shape."""
    path = write_before_after(drawn(size=size))
    assert path is not None and seen(path, box) == [row(1), row(2)]


def test_what_is_missing_stays_blank(drawn: Drawn) -> None:
    """A picture that is gone or damaged leaves its place empty; where a whole step is gone, the one before counts."""
    run = drawn()
    (run.samples / "step-00000000-1.png").unlink()
    (run.samples / "step-00001200-2.png").write_bytes(b"no picture")
    path = write_before_after(run)
    assert path is not None and seen(path) == [row(1, before=None), row(2, after=None)]
    (run.samples / "step-00001200-1.png").unlink()
    path = write_before_after(run)
    assert path is not None and seen(path) == [row(1, before=None, after=5), row(2, after=5)]
    with Image.open(path) as sheet:
        assert sheet.text["columns"].splitlines()[1] == "After 5 steps"


@pytest.mark.parametrize("steps", [(), (0,), (5, 1200)])
def test_without_both_there_is_no_picture(steps: tuple[int, ...], drawn: Drawn) -> None:
    """Nothing drawn, nothing from after, nothing from before."""
    run = drawn(steps)
    assert write_before_after(run) is None
    assert not list(run.path.glob("*.png"))


def test_nothing_outside_the_run_is_shown(drawn: Drawn, tmp_path: Path) -> None:
    """A picture that the events name elsewhere is not looked at; a run without events has drawn nothing."""
    run = drawn((0,))
    Image.new("RGB", (64, 64)).save(tmp_path / "private.png")
    writer = EventWriter(run.events_file)
    for path in (str(tmp_path / "private.png"), "../../private.png"):
        writer.write(Sampled(step=5, index=1, prompt="a", seed=1, path=path))
    writer.close()
    assert write_before_after(run) is None
    assert write_before_after(RunFolder(tmp_path / "none")) is None


def test_the_verb_says_where_it_lies(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with the path; where it cannot be written, where to look instead; nothing where nothing was drawn."""
    run = drawn()
    _show_before_after(run)
    assert capsys.readouterr().out == f"What it drew before and after: {run.path / 'before-after.png'}\n"
    (run.path / "before-after.png").unlink()
    (run.path / "before-after.png" / "in the way").mkdir(parents=True)
    _show_before_after(run)
    said = capsys.readouterr()
    assert not said.out and "could not be put into one picture" in said.err and str(run.samples) in said.err
    _show_before_after(drawn(()))
    assert capsys.readouterr() == ("", "")
