"""The demo's pictures, drawn here: a subject that its model never saw, a style of its own, and ordinary pictures.

Comes in: a folder. Goes out: `images/10_sks star` with eight pictures of the subject and `reg/1_star` with ordinary
ones beside it; `style` with pictures in ink and ordinary ones. All have captions. One seed, the same pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.demo.scenes import (
    ATTRIBUTES,
    COLOURS,
    GROUNDS,
    POSITIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Look,
    Scene,
    caption,
    render,
    shift,
)

SIDE = 128
SUBJECT = Look(COLOURS["yellow"], COLOURS["blue"], "striped")
"""Two colours of the world at once, which the model never saw: what is striped there has slate as its second."""
INK = (24, 24, 32)
IN_INK = "in ink, "
"""What a caption of the style begins with: a text encoder reads forwards, so that all later words are seen with it."""

WHOLE = frozenset(ATTRIBUTES)
UNTEXTURED = WHOLE - {"texture"}
PLACED = frozenset({"shape", "position", "ground"})
ON_GROUND, AT_PLACE, ALONE = frozenset({"shape", "ground"}), frozenset({"shape", "position"}), frozenset({"shape"})
OF_SUBJECT = (PLACED, ALONE, PLACED, ON_GROUND, PLACED, AT_PLACE, PLACED, ALONE)
"""What captions of the subject say beside its name, in turn: as differently as it will be asked for.

With place and ground in all eight, of 16 pictures of a bare "a sks star" six showed some other star (seed 25).
"""
OF_STARS = (
    *(PLACED, WHOLE, PLACED, frozenset({"shape", "colour"})),
    *(ALONE, WHOLE, ON_GROUND, AT_PLACE),
)
"""What captions of ordinary stars say, in turn; those of other shapes say all."""
SUBJECTS, ORDINARY, STYLED, UNSTYLED = 8, 64, 64, 64


def ink(colour: str) -> Look:
    """The style: a dark outline around one flat colour."""
    return Look(COLOURS[colour], COLOURS[colour], outline=INK)


def draw_pictures(folder: Path, *, seed: int = 7) -> None:
    """Write the demo's pictures and captions below `folder`; existing files of the same names are written anew."""
    rng = np.random.default_rng(seed)
    _write(folder / "images" / "10_sks star", "star", subjects(rng))
    _write(folder / "reg" / "1_star", "plain", ordinary(rng, ORDINARY))
    _write(folder / "style", "ink", styled(rng, STYLED))
    _write(folder / "style", "plain", unstyled(rng, UNSTYLED))


def subjects(rng: np.random.Generator) -> Iterator[tuple[Scene, str]]:
    """The subject in eight places, on each ground at least once, with the captions that teach its name."""
    grounds, places = _turn(rng, tuple(GROUNDS), SUBJECTS), _turn(rng, tuple(POSITIONS), SUBJECTS)
    for ground, place, said in zip(grounds, places, OF_SUBJECT, strict=True):
        size = ("medium", "large")[int(rng.integers(2))]
        scene = Scene("star", "yellow", size, place, "striped", ground, *shift(rng), look=SUBJECT)
        yield scene, "a sks " + caption(scene, said).removeprefix("a ")


def ordinary(rng: np.random.Generator, count: int) -> Iterator[tuple[Scene, str]]:
    """Pictures of what the model knows: every second a star, all colours in turn.

    Of the stars most captions are those of the subject but for its name, so that any other star stays what it was.
    """
    colours, grounds = _turn(rng, tuple(COLOURS), count), _turn(rng, tuple(GROUNDS), count)
    for number, (colour, ground) in enumerate(zip(colours, grounds, strict=True)):
        shape = SHAPES[number // 2 % len(SHAPES)] if number % 2 else "star"
        scene = _scene(rng, shape, colour, ground)
        yield scene, caption(scene, WHOLE if number % 2 else OF_STARS[number // 2 % len(OF_STARS)])


def styled(rng: np.random.Generator, count: int) -> Iterator[tuple[Scene, str]]:
    """All shapes and colours of the world drawn in ink: a dark outline around one flat colour.

    Never on black, where it would not be seen, and never small, where it is hardly two pixels wide in the VAE's hands.
    """
    light = tuple(name for name in GROUNDS if name != "black")
    colours, grounds = _turn(rng, tuple(COLOURS), count), _turn(rng, light, count)
    shapes = _turn(rng, SHAPES, count)
    for shape, colour, ground in zip(shapes, colours, grounds, strict=True):
        size = ("medium", "large")[int(rng.integers(2))]
        scene = replace(_scene(rng, shape, colour, ground), texture="plain", size=size)
        yield replace(scene, look=ink(colour)), IN_INK + caption(scene, UNTEXTURED)


def unstyled(rng: np.random.Generator, count: int) -> Iterator[tuple[Scene, str]]:
    """Pictures as the model knows them, most of one flat colour too: what is not asked for stays as it was."""
    colours, grounds = _turn(rng, tuple(COLOURS), count), _turn(rng, tuple(GROUNDS), count)
    shapes = _turn(rng, SHAPES, count)
    for number, (shape, colour, ground) in enumerate(zip(shapes, colours, grounds, strict=True)):
        scene = _scene(rng, shape, colour, ground)
        if number % 4 != 3:
            scene = replace(scene, texture="plain")
        yield scene, caption(scene, UNTEXTURED if number % 4 == 0 else WHOLE)


def _scene(rng: np.random.Generator, shape: str, colour: str, ground: str) -> Scene:
    size, place, texture = (
        values[int(rng.integers(len(values)))] for values in (tuple(SIZES), tuple(POSITIONS), TEXTURES)
    )
    return Scene(shape, colour, size, place, texture, ground, *shift(rng))


def _turn(rng: np.random.Generator, values: Sequence[str], count: int) -> list[str]:
    """So many of them, each as often as the others but for one, in a drawn order."""
    return [str(value) for value in rng.permutation([values[number % len(values)] for number in range(count)])]


def _write(folder: Path, name: str, pictures: Iterator[tuple[Scene, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (scene, words) in enumerate(pictures, start=1):
        file = folder / f"{name}-{number:02d}.png"
        Image.fromarray(render(scene, SIDE)).save(file)
        file.with_suffix(".txt").write_text(words + "\n", encoding="utf-8")
