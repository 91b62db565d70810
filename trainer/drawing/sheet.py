"""All pictures of a request in one PNG: a column for each checkpoint, a row for each prompt, with their labels.

A request and the files of its pictures go in; one file goes out. What each row shows stands in the PNG as text too: the
font that comes with Pillow has only Latin letters. No torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from trainer.contract.prompts import Prompt
from trainer.dataset.png import write_png
from trainer.dataset.preview import wrapped
from trainer.drawing.request import Request, drawings_folder

LARGEST = 512
"""Longer side of a picture on the sheet, in pixels."""

GAP, LEFT = 16, 200
"""Pixels between pictures, and for the prompts beside them."""

LETTER, LINES = 15, 10
GROUND, TEXT, BLANK = "#ffffff", "#1d1f22", "#efefec"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet_file(request: Request, home: Path) -> Path:
    """Where the sheet of a request lies: with the run of its last checkpoint."""
    asked = json.dumps([[c.path for c in request.checkpoints], [asdict(p) for p in request.prompts]])
    name = f"sheet-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.png"
    return drawings_folder(request.checkpoints[-1], home) / name


def write_sheet(path: Path, request: Request, pictures: Mapping[str, str]) -> None:
    """Draw the sheet. `pictures` names the files by "checkpoint-prompt"; what was not drawn stays blank."""
    columns = [checkpoint.label for checkpoint in request.checkpoints]
    rows = [row_label(prompt.text, prompt.seed) for prompt in request.prompts]
    sheet = draw_table(columns, rows, _cell(request.prompts), pictures)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, sheet, {"checkpoints": "\n".join(columns), "prompts": "\n".join(rows)})


def draw_table(
    columns: Sequence[str],
    rows: Sequence[str],
    box: tuple[int, int],
    pictures: Mapping[str, str | Path],
    *,
    enlarged: bool = False,
) -> Image.Image:
    """Pictures in boxes of one size, under the labels of their columns and beside those of their rows.

    `pictures` names the files by "column-row". Small ones stay as they are, or with `enlarged` they fill their box.
    """
    font = ImageFont.load_default(LETTER)
    width, height = box
    heads = [wrapped(label, font, width, LINES) for label in columns]
    top = 2 * GAP + max(map(len, heads)) * (LETTER + 5)
    left = 2 * GAP + LEFT
    sheet = Image.new("RGB", (left + len(heads) * (width + GAP), top + len(rows) * (height + GAP)), GROUND)
    pen = ImageDraw.Draw(sheet)
    for c, lines in enumerate(heads):
        _write(pen, (left + c * (width + GAP), GAP), lines, font)
    for r, label in enumerate(rows):
        y = top + r * (height + GAP)
        _write(pen, (GAP, y), wrapped(label, font, LEFT, max(1, height // (LETTER + 5))), font)
        for c in range(len(heads)):
            x = left + c * (width + GAP)
            pen.rectangle((x, y, x + width - 1, y + height - 1), fill=BLANK)
            _paste(sheet, (x, y), box, pictures.get(f"{c}-{r}"), enlarged)
    return sheet


def row_label(prompt: str, seed: int | None) -> str:
    """What a row shows: the prompt, and the seed that all its pictures share."""
    return f"{prompt} (seed {seed})"


def _cell(prompts: tuple[Prompt, ...]) -> tuple[int, int]:
    """Width and height of the box that the largest picture is shrunk into."""
    sides = [(prompt.width or LARGEST, prompt.height or LARGEST) for prompt in prompts]
    width, height = max(side[0] for side in sides), max(side[1] for side in sides)
    shrunk = min(1.0, LARGEST / max(width, height))
    return round(width * shrunk), round(height * shrunk)


def _paste(
    sheet: Image.Image, corner: tuple[int, int], box: tuple[int, int], file: str | Path | None, enlarged: bool
) -> None:
    if file is None:
        return
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            shown = ImageOps.contain(picture, box, Image.Resampling.LANCZOS) if enlarged else picture
            shown.thumbnail(box, Image.Resampling.LANCZOS)
            sheet.paste(shown.convert("RGB"), corner)
    except OSError:
        return  # removed meanwhile: blank


def _write(pen: ImageDraw.ImageDraw, corner: tuple[int, int], lines: list[str], font: Font) -> None:
    for number, line in enumerate(lines):
        pen.text((corner[0], corner[1] + number * (LETTER + 5)), line, fill=TEXT, font=font)
