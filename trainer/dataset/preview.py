"""What the trainer would see, for `debug_dataset`: a contact sheet and a list of the first batches.

Batches come in; batches.png and batches.json in a folder go out. Pixels and captions are made by the same functions
and random numbers as in training, so the sheet shows the very crops, flips and shuffled captions of the run.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainer.contract.config import TrainingConfig
from trainer.dataset.batches import Batches, Purpose, Use, rng
from trainer.dataset.captions import caption_for
from trainer.dataset.masks import CELL as CELL_OF_LATENT
from trainer.dataset.masks import Masks
from trainer.dataset.pixels import pixels
from trainer.dataset.placement import placement

SHEET_BATCHES = 12
CELL, GAP, LINES = 192, 12, 3
"""Pixels of a picture's box, between boxes, and lines of caption under each."""
LETTER = 12
COLUMNS = 8
DARK = 0.25
"""How bright the parts are that a mask leaves out."""


def write_preview(folder: Path, batches: Batches, config: TrainingConfig, seed: int) -> tuple[Path, Path]:
    """Write the first batches of the first epoch; returns the paths of the sheet and of the list."""
    folder.mkdir(parents=True, exist_ok=True)
    first = batches.epoch(0)[:SHEET_BATCHES]
    records = [
        {"batch": number, "uses": [use_record(use, config, seed) for use in batch]}
        for number, batch in enumerate(first)
    ]
    listing = folder / "batches.json"
    listing.write_text(json.dumps({"epoch": 0, "batches": records}, ensure_ascii=False, indent=1), encoding="utf-8")
    sheet = folder / "batches.png"
    contact_sheet(first, config, seed).save(sheet)
    return sheet, listing


def use_record(use: Use, config: TrainingConfig, seed: int) -> dict[str, Any]:
    """One use of the first epoch as JSON-ready data: file, bucket, cut, caption as learnt, weight of its loss."""
    place = placement(use.entry.picture, use.bucket, config.images, rng(seed, 0, use.index, Purpose.PIXELS))
    return {
        "path": str(use.entry.picture.path),
        "size": [use.entry.picture.width, use.entry.picture.height],
        "bucket": list(use.bucket),
        "index": use.index,
        **asdict(place),
        "caption": caption_for(use.entry, config.captions, rng(seed, 0, use.index, Purpose.CAPTION)),
        "regularization": use.entry.regularization,
        "loss_weight": config.length.prior_loss_weight if use.entry.regularization else 1.0,
        "mask": None if use.entry.mask is None else str(use.entry.mask.path),
    }


def contact_sheet(batches: Sequence[Sequence[Use]], config: TrainingConfig, seed: int) -> Image.Image:
    """One or more rows for each batch of the first epoch: the pictures as they are learnt, each over its caption."""
    # Pillow's own font lies in the package but lacks letters beyond Latin and the sign ×; the list has the full text.
    font = ImageFont.load_default(LETTER)
    rows = [batch[start : start + COLUMNS] for batch in batches for start in range(0, len(batch), COLUMNS)]
    columns = max(map(len, rows), default=1)
    height = CELL + (LINES + 1) * (LETTER + 4) + GAP
    sheet = Image.new("RGB", (GAP + columns * (CELL + GAP), GAP + max(1, len(rows)) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, use in enumerate(row):
            corner = GAP + x * (CELL + GAP), GAP + y * height
            seen = Image.fromarray(as_learnt(use, config, seed))
            seen.thumbnail((CELL, CELL))
            sheet.paste(seen, corner)
            caption = caption_for(use.entry, config.captions, rng(seed, 0, use.index, Purpose.CAPTION))
            kind = ", regularization" if use.entry.regularization else ""
            lines = [f"{use.bucket[0]} x {use.bucket[1]}{kind}", *wrapped(caption or "(no caption)", font, CELL, LINES)]
            for line, text in enumerate(lines):
                draw.text((corner[0], corner[1] + CELL + 2 + line * (LETTER + 4)), text, fill="black", font=font)
    return sheet


def as_learnt(use: Use, config: TrainingConfig, seed: int) -> np.ndarray:
    """The pixels of a use of the first epoch, uint8 [H, W, 3]; what a mask leaves out is dark."""
    seen = pixels(use.entry, use.bucket, config.images, rng(seed, 0, use.index, Purpose.PIXELS))
    if config.loss.mask_source is None:
        return seen
    mask = Masks(config.loss.mask_source, config.images).of(use, rng(seed, 0, use.index, Purpose.PIXELS))
    light = DARK + (1 - DARK) * mask.repeat(CELL_OF_LATENT, axis=0).repeat(CELL_OF_LATENT, axis=1)
    return (seen * light[..., None]).round().astype(np.uint8)


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int) -> list[str]:
    """The text in at most so many lines of `width` pixels, cut with an ellipsis."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < most:
        length = len(rest)
        while length > 1 and font.getlength(rest[:length]) > width:
            length -= 1
        if length < len(rest) and (space := rest.rfind(" ", 0, length + 1)) > 0:
            length = space
        lines.append(rest[:length])
        rest = rest[length:].lstrip()
    if rest:
        lines[-1] = lines[-1][:-1] + "…"
    return lines
