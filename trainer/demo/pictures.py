"""The demo's pictures, drawn here: a striped star with a face on plain grounds, and ordinary stars beside it.

Comes in: a folder. Goes out: `images/10_sks star` with twelve pictures and their captions, `reg/1_star` with eight
ordinary stars. The same seed draws the same pixels. `python -m trainer demo --make` calls this.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 128
_FINE = 4
"""Pictures are drawn four times as large and reduced, which smooths the edges."""

GROUNDS = {
    "blue": ((222, 229, 242), (182, 198, 227)),
    "green": ((228, 239, 227), (187, 211, 183)),
    "red": ((243, 226, 220), (227, 184, 172)),
    "sand": ((244, 236, 217), (224, 205, 163)),
}
_STRIPES = ((245, 180, 60), (207, 66, 44))
_PLAIN = ((64, 112, 190), (60, 150, 90), (150, 90, 170), (90, 90, 96))
_INK = (36, 38, 74)


def draw_pictures(folder: Path, *, subject: int = 12, ordinary: int = 8, seed: int = 7) -> None:
    """Write the demo's pictures and captions below `folder`; existing files of the same names are written anew."""
    rng = np.random.default_rng(seed)
    images = folder / "images" / "10_sks star"
    regular = folder / "reg" / "1_star"
    images.mkdir(parents=True, exist_ok=True)
    regular.mkdir(parents=True, exist_ok=True)
    grounds = list(GROUNDS)
    for number in range(subject):
        ground = grounds[number % len(grounds)]
        _draw(rng, ground, None).save(images / f"star-{number + 1:02d}.png")
        (images / f"star-{number + 1:02d}.txt").write_text(f"a sks star on a {ground} ground\n", encoding="utf-8")
    for number in range(ordinary):
        ground = grounds[int(rng.integers(len(grounds)))]
        _draw(rng, ground, _PLAIN[number % len(_PLAIN)]).save(regular / f"plain-{number + 1:02d}.png")


def _draw(rng: np.random.Generator, ground: str, colour: tuple[int, int, int] | None) -> Image.Image:
    """One star, turned and placed a little differently each time; striped with a face where `colour` is None."""
    side = SIDE * _FINE
    wall, floor = GROUNDS[ground]
    picture = Image.new("RGB", (side, side), wall)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, int(side * 0.78), side, side), fill=floor)
    radius = side * rng.uniform(0.30, 0.38)
    centre = (side * rng.uniform(0.42, 0.58), side * rng.uniform(0.44, 0.56))
    turn = rng.uniform(-0.5, 0.5)
    outline = _star(centre, radius, turn)
    if colour is not None:
        pen.polygon(outline, fill=colour, outline=_INK, width=_FINE)
    else:
        mask = Image.new("L", picture.size, 0)
        ImageDraw.Draw(mask).polygon(outline, fill=255)
        picture.paste(_stripes(side, centre, radius), (0, 0), mask)
        pen.polygon(outline, outline=_INK, width=_FINE)
        _face(pen, centre, radius)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def _star(centre: tuple[float, float], radius: float, turn: float) -> list[tuple[float, float]]:
    points = []
    for corner in range(10):
        reach = radius if corner % 2 == 0 else radius * 0.48
        angle = turn - math.pi / 2 + corner * math.pi / 5
        points.append((centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)))
    return points


def _stripes(side: int, centre: tuple[float, float], radius: float) -> Image.Image:
    picture = Image.new("RGB", (side, side), _STRIPES[0])
    pen = ImageDraw.Draw(picture)
    width = radius / 5
    left = centre[0] - radius - width / 2
    for stripe in range(0, 12, 2):
        pen.rectangle((left + stripe * width, 0, left + (stripe + 1) * width, side), fill=_STRIPES[1])
    return picture


def _face(pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    dot, apart = radius * 0.06, radius * 0.15
    for eye in (x - apart, x + apart):
        pen.ellipse((eye - dot, y - dot, eye + dot, y + dot), fill=_INK)
    box = (x - apart, y + dot, x + apart, y + radius * 0.28)
    pen.arc(box, 20, 160, fill=_INK, width=_FINE + 2)
