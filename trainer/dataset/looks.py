"""How a picture looks, in 56 bytes: a perceptual hash and its colours, to find pictures that are nearly the same.

A decoded picture comes in, its look goes out; of many looks, the groups that are alike. Saved again or resized
stays alike; another crop or another picture does not.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE, WAVES = 32, 8
"""Pixels that the hash sees, and how many of the slowest waves of each direction it keeps."""

COLOURS = 4
"""Colours are compared on a grid of 4 x 4."""

MOST_BITS = 6
"""Of 64: of 750 pictures saved again as JPEG 90 or 50 or WebP 60, or resized, 99 of 100 differ in at most 4 bits;
different ones in 32 on average."""

MOST_COLOUR = 16
"""Of 255, by which any of the 48 mean colours may differ: the hash sees no colour, and nothing in a flat surface."""

LOOK_BYTES = 8 + 3 * COLOURS**2


def look_of(picture: Image.Image) -> bytes:
    """The look of an RGB picture: 64 bits of its hash, 4 x 4 RGB colours.

    The hash is the DCT one: the signs of the 8 x 8 slowest waves of the 32 x 32 grey picture against their median,
    the constant one replaced by nothing (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash
    Functions, 2010, section 3.2.1).
    """
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    grey = small @ (0.299, 0.587, 0.114)
    waves = (_DCT @ grey @ _DCT.T).ravel()
    waves[0] = 0
    # Waves below a grey level are rounding, not picture: without this a flat surface would have a random hash.
    waves[np.abs(waves) < 1] = 0
    bits = waves > np.median(waves)
    colours = small.reshape(COLOURS, SIDE // COLOURS, COLOURS, SIDE // COLOURS, 3).mean(axis=(1, 3))
    return np.packbits(bits).tobytes() + np.rint(colours).astype(np.uint8).tobytes()


def alike(looks: Sequence[bytes]) -> list[list[int]]:
    """Groups of two or more places in `looks` that are alike, directly or through others; in order of their places.

    Two hashes that differ in at most 6 of 64 bits agree in one of seven parts of 9 or 10 bits: only pictures that
    share a part are compared, a few hundred for each and not all.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, look in enumerate(looks):
        places[look].append(place)
    if not places:
        return []
    table = np.frombuffer(b"".join(places), dtype=np.uint8).reshape(len(places), LOOK_BYTES)
    hashes = table[:, :8].copy().view(np.uint64).ravel()
    colours = table[:, 8:].astype(np.int16)
    leader = np.arange(len(places))
    edges = [64 * part // (MOST_BITS + 1) for part in range(MOST_BITS + 2)]
    for low, high in zip(edges, edges[1:], strict=False):
        part = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(part, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            _join(members, hashes, colours, leader)
    groups: dict[int, list[int]] = defaultdict(list)
    for number, same in enumerate(places.values()):
        groups[_leader(leader, number)] += same
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _join(members: np.ndarray, hashes: np.ndarray, colours: np.ndarray, leader: np.ndarray) -> None:
    """Put those of the members that are alike into one group."""
    for place, first in enumerate(members[:-1]):
        rest = members[place + 1 :]
        close = rest[np.bitwise_count(hashes[rest] ^ hashes[first]) <= MOST_BITS]
        close = close[np.abs(colours[close] - colours[first]).max(axis=1, initial=0) <= MOST_COLOUR]
        for other in close:
            a, b = _leader(leader, int(first)), _leader(leader, int(other))
            leader[max(a, b)] = min(a, b)


def _leader(leader: np.ndarray, place: int) -> int:
    while leader[place] != place:
        leader[place] = leader[leader[place]]
        place = int(leader[place])
    return place


def _dct() -> np.ndarray:
    """The first 8 rows of the orthonormal DCT-II of length 32."""
    wave, place = np.arange(WAVES)[:, None], np.arange(SIDE)
    rows = np.cos(np.pi * (place + 0.5) * wave / SIDE) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    return rows


_DCT = _dct()
