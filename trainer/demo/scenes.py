"""The world that the demo's model knows: one shape on a ground, drawn from six attributes, with a caption.

A `Scene` goes in, pixels and words come out; the same scene is always the same picture. Shapes are drawn from their
signed distance, so any cut at any size is as sharp as the whole.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

Colour = tuple[int, int, int]

SHAPES = ("circle", "square", "triangle", "star")
COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (242, 140, 30),
    "yellow": (246, 218, 46),
    "green": (44, 154, 72),
    "blue": (40, 92, 214),
    "purple": (132, 62, 182),
    "pink": (244, 132, 184),
    "brown": (132, 80, 42),
}
SLATE: Colour = (74, 76, 96)
"""The second colour of what is striped or two-tone."""
SIZES = {"small": 0.125, "medium": 0.165, "large": 0.21}
"""Word -> radius, as a share of the picture's side."""
POSITIONS = {
    "at the top left": (0.28, 0.28),
    "at the top": (0.5, 0.28),
    "at the top right": (0.72, 0.28),
    "at the left": (0.28, 0.5),
    "in the middle": (0.5, 0.5),
    "at the right": (0.72, 0.5),
    "at the bottom left": (0.28, 0.72),
    "at the bottom": (0.5, 0.72),
    "at the bottom right": (0.72, 0.72),
}
TEXTURES = ("plain", "striped", "two-tone")
GROUNDS: dict[str, Colour] = {
    "white": (246, 246, 246),
    "grey": (150, 152, 154),
    "black": (20, 20, 24),
    "sky": (186, 220, 246),
    "mint": (196, 236, 206),
    "sand": (236, 214, 172),
}

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "position": tuple(POSITIONS),
    "texture": TEXTURES,
    "ground": tuple(GROUNDS),
}
"""Attribute -> its values; 4 x 8 x 3 x 9 x 3 x 6 = 15,552 scenes."""

JITTER = 0.02
"""How far a shape may lie from its place, as a share of the side."""
HELD_OUT = 16
"""One combination in so many is never drawn for training."""
_STAR_INNER = 0.5
_REACH = {"circle": 1.0, "square": 0.88, "triangle": 1.2, "star": 1.2}
"""From the middle to the furthest point (of a square: to its side), in radii: all four look equally large."""
_STRIPES = 5
_CONSONANTS = "bcdfghjklmnpqrtvwxz"


@dataclass(frozen=True, slots=True)
class Look:
    """How a shape is painted: two colours, and where the second one lies."""

    first: Colour
    second: Colour
    texture: str = "plain"
    outline: Colour | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture's attributes; `x`, `y` move it from its place, as shares of the side."""

    shape: str
    colour: str
    size: str
    position: str
    texture: str
    ground: str
    x: float = 0.0
    y: float = 0.0
    look: Look | None = field(default=None, compare=False)
    """Another look than the words say: of a new subject or style."""

    @property
    def centre(self) -> tuple[float, float]:
        """Shares of the side, from the top left."""
        column, row = POSITIONS[self.position]
        return column + self.x, row + self.y

    @property
    def radius(self) -> float:
        """A share of the side."""
        return SIZES[self.size]

    @property
    def number(self) -> int:
        """The place of this combination among all."""
        place = 0
        for name, values in ATTRIBUTES.items():
            place = place * len(values) + values.index(getattr(self, name))
        return place

    @property
    def held_out(self) -> bool:
        """Whether no picture of this combination is trained on."""
        return self.number * 2_654_435_761 % 2**32 % HELD_OUT == 0  # Knuth's multiplicative hash


def draw_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """A random scene, of those held out or of the others."""
    while True:
        words = {name: values[rng.integers(len(values))] for name, values in ATTRIBUTES.items()}
        x, y = shift(rng)
        scene = Scene(**words, x=x, y=y)
        if scene.held_out == held_out:
            return scene


def shift(rng: np.random.Generator) -> tuple[float, float]:
    """How far a shape lies from its place, as shares of the side."""
    x, y = rng.uniform(-JITTER, JITTER, 2)
    return float(x), float(y)


def caption(scene: Scene, said: Collection[str] = frozenset(ATTRIBUTES), order: int = 0) -> str:
    """The words for a scene: only the attributes in `said`, in one of three orders."""
    words = [getattr(scene, name) for name in ("size", "colour", "texture") if name in said]
    thing = " ".join(["a", *words, scene.shape if "shape" in said else "shape"])
    place = scene.position if "position" in said else ""
    ground = f"on a {scene.ground} ground" if "ground" in said else ""
    parts = [(thing, place, ground), (ground, thing, place), (place, thing, ground)][order % 3]
    return ", ".join(part for part in parts if part) if order % 3 else " ".join(part for part in parts if part)


def draw_caption(rng: np.random.Generator, scene: Scene) -> tuple[str, frozenset[str]]:
    """A caption as people write them, and what it says: all in two of five cases, else each attribute in three of four.

    One in eight has a word without meaning somewhere in it, so that a word to be taught later disturbs nothing.
    """
    full = rng.random() < 0.4
    said = frozenset(name for name in ATTRIBUTES if full or rng.random() < 0.75)
    words = caption(scene, said, int(rng.integers(3))).split(" ")
    if rng.random() < 0.125:
        made_up = "".join(rng.choice(list(_CONSONANTS), 3))
        words.insert(int(rng.integers(len(words) + 1)), made_up)
    return " ".join(words), said


def render(scene: Scene, side: int, cut: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> np.ndarray:
    """uint8 [side, side, 3] of a part of the picture; `cut` is where it begins (x, y) and how wide it is, as shares."""
    look = scene.look or Look(COLOURS[scene.colour], SLATE, scene.texture)
    image = np.empty((side, side, 3), dtype=np.uint8)
    image[:] = GROUNDS[scene.ground]
    paint(image, scene.shape, scene.centre, scene.radius, look, cut)
    return image


def paint(
    image: np.ndarray,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    look: Look,
    cut: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> None:
    """Paint one shape onto uint8 [side, side, 3]; each pixel is mixed by the share of it that the shape covers."""
    side = len(image)
    left, top, share = cut
    pixel = share / side / radius
    # Only where the shape may be: the rest is ground.
    reach = 1.3 * radius + share / side
    columns, rows = (
        slice(
            *np.clip(
                [(middle - reach - start) / share * side, (middle + reach - start) / share * side + 1], 0, side
            ).astype(int)
        )
        for middle, start in zip(centre, (left, top), strict=True)
    )
    places = (np.arange(side) + 0.5) / side * share
    x, y = (places[None, columns] + left - centre[0]) / radius, (places[rows, None] + top - centre[1]) / radius
    distance = distance_to(shape, x, y)
    second = _covered(_second(look.texture, x, y), pixel)[..., None]
    inside = np.asarray(look.first) * (1 - second) + np.asarray(look.second) * second
    if look.outline is not None:
        rim = _covered(distance + 0.22, pixel)[..., None]
        inside = np.asarray(look.outline) * (1 - rim) + inside * rim
    covered = _covered(distance, pixel)[..., None]
    image[rows, columns] = np.round(image[rows, columns] * (1 - covered) + inside * covered)


def distance_to(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the outline in radii, negative inside; `x`, `y` in radii from the middle, y downwards."""
    reach = _REACH[shape]
    if shape == "circle":
        return np.hypot(x, y) - reach
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - reach
    corners = 3 if shape == "triangle" else 10
    radii = [reach if shape == "triangle" or corner % 2 == 0 else reach * _STAR_INNER for corner in range(corners)]
    angles = -np.pi / 2 + np.arange(corners) * 2 * np.pi / corners
    return _polygon(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1), x, y)


def _polygon(points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to a polygon; inside by the number of edges that a ray to the right crosses."""
    x, y = np.broadcast_arrays(x, y)
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ay != by:
            crosses = (ay > y) != (by > y)
            inside ^= crosses & (x < ax + (y - ay) / (by - ay) * ex)
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def _second(texture: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to where the second colour lies: nowhere, every other level band, or the right half."""
    if texture == "striped":
        # Every other band of this width; the middle of the shape is the middle of a band of the first colour.
        width = 2.5 / _STRIPES
        return width / 2 - np.abs((y + width) % (2 * width) - width) + 0 * x
    if texture == "two-tone":
        return -x + 0 * y
    return np.full(np.broadcast_shapes(x.shape, y.shape), np.inf)


def _covered(distance: np.ndarray, pixel: float) -> np.ndarray:
    """The share of each pixel inside, 0 to 1."""
    return np.clip(0.5 - distance / pixel, 0, 1)
