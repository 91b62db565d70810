"""What a run's prompts drew before training and at the end, in one picture: a row for each prompt.

The folder of a run that drew samples goes in; before-after.png in it goes out. No torch.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from trainer.contract.events import EventReader, Sampled
from trainer.dataset.png import write_png
from trainer.drawing.sheet import LARGEST, draw_table, row_label
from trainer.runs.folder import RunFolder

SMALLEST = 256
"""Pixels across. Smaller pictures, as small models draw them, are enlarged so that they can be looked at."""

Size = tuple[int, int]


def write_before_after(run: RunFolder) -> Path | None:
    """Draw the picture and say where it lies; None where nothing is there from before or from after. Raises OSError.

    After is the last step that left a picture. What is missing beside others stays blank.
    """
    events = EventReader(run.events_file).read()
    told = {(event.step, event.index): event for event in events if isinstance(event, Sampled)}
    sizes = {place: size for place, event in told.items() if (size := _size(run, event)) is not None}
    steps = sorted({step for step, _ in sizes})
    if len(steps) < 2 or steps[0] != 0:
        return None
    ends = (0, steps[-1])
    columns = ("Before training", f"After {ends[1]:,} {'step' if ends[1] == 1 else 'steps'}")
    labels = {index: row_label(event.prompt, event.seed) for (step, index), event in told.items() if step in ends}
    rows = [labels[index] for index in sorted(labels)]
    files = {
        f"{c}-{r}": run.path / told[step, index].path
        for c, step in enumerate(ends)
        for r, index in enumerate(sorted(labels))
        if (step, index) in sizes
    }
    box = _box([size for (step, _), size in sizes.items() if step in ends])
    path = run.path / "before-after.png"
    sheet = draw_table(columns, rows, box, files, enlarged=True)
    write_png(path, sheet, {"columns": "\n".join(columns), "prompts": "\n".join(rows)})
    return path


def _size(run: RunFolder, sampled: Sampled) -> Size | None:
    """Width and height of a sample; None where it is gone, no picture, or not in the run's own folder."""
    path = run.path / sampled.path
    if not path.resolve().is_relative_to(run.path.resolve()):
        return None
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.size
    except OSError:
        return None


def _box(sizes: Sequence[Size]) -> Size:
    """Width and height of a box that each of these pictures fills from side to side."""
    width = min(LARGEST, max(SMALLEST, min(width for width, _ in sizes)))
    return width, max(round(height * width / across) for across, height in sizes)
