"""All pictures in one PNG, each in its place."""

from pathlib import Path

from PIL import Image

from trainer.contract.prompts import Prompt
from trainer.drawing.checkpoints import Checkpoint
from trainer.drawing.request import Request
from trainer.drawing.sheet import GAP, LEFT, sheet_file, write_sheet


def test_the_sheet_has_every_picture_in_its_place(tmp_path: Path) -> None:
    """A column a checkpoint, a row a prompt, labels as text too; what is missing or gone stays blank."""
    checkpoints = tuple(Checkpoint(f"/m{n}", f"dogs · epoch {n}", str(tmp_path)) for n in range(2))
    prompts = tuple(Prompt(text, "", 64, 32, 6) for text in ("a dog", "a cat <b>", "two\nlines " * 40))
    request = Request(checkpoints, prompts)
    pictures = {}
    for c, p in request.cells[:-1]:
        path = tmp_path / f"{c}-{p}.png"
        Image.new("RGB", (64, 32), (200 * c, 100 * p, 50)).save(path)
        pictures[f"{c}-{p}"] = str(path)
    (tmp_path / "0-1.png").unlink()
    path = sheet_file(request, tmp_path)
    write_sheet(path, request, pictures)
    with Image.open(path) as sheet:
        top = sheet.height - 3 * (32 + GAP)
        assert sheet.width == 2 * GAP + LEFT + 2 * (64 + GAP) and top > 0
        seen = {
            f"{c}-{p}": sheet.getpixel((2 * GAP + LEFT + c * (64 + GAP) + 5, top + p * (32 + GAP) + 5))
            for c, p in request.cells
        }
        assert sheet.text["checkpoints"].splitlines() == ["dogs · epoch 0", "dogs · epoch 1"]
        assert "a cat <b> (seed 6)" in sheet.text["prompts"].splitlines()
        labels = sheet.crop((0, 0, GAP + LEFT, sheet.height)).getcolors(100_000)
    blank = (239, 239, 236)
    expected = {f"{c}-{p}": (200 * c, 100 * p, 50) for c, p in request.cells}
    assert seen == expected | {"0-1": blank, "1-2": blank}
    assert labels is not None and len(labels) > 2, "something is written"


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    """Pictures of 1024 stand at 512, tall ones beside wide ones in boxes of one size."""
    request = Request((Checkpoint("/m", "m"),), (Prompt("a", "", 1024, 512, 1), Prompt("b", "", 512, 1024, 1)))
    path = tmp_path / "x.png"
    write_sheet(path, request, {})
    with Image.open(path) as sheet:
        assert sheet.width == 2 * GAP + LEFT + 512 + GAP and sheet.height > 2 * (512 + GAP)
