"""Which pictures count as nearly the same, and which do not."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.dataset.looks import LOOK_BYTES, MOST_BITS, alike, look_of


def photo(seed: int, grain: int = 7) -> Image.Image:
    """A smooth random picture with a little noise, as photos have."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (grain, grain, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((240, 180), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + generator.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8))


def saved(picture: Image.Image, format: str, **options: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return Image.open(stream).convert("RGB")


COPIES = {
    "jpeg 90": lambda picture: saved(picture, "JPEG", quality=90),
    "jpeg 50": lambda picture: saved(picture, "JPEG", quality=50),
    "webp 60": lambda picture: saved(picture, "WEBP", quality=60),
    "a third of the size": lambda picture: picture.resize((80, 60), Image.Resampling.LANCZOS),
    "twice the size": lambda picture: picture.resize((480, 360), Image.Resampling.BICUBIC),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_alike(how: str) -> None:
    """Saved again or resized, of 60 pictures at least 58 stay alike, and 56 by two thirds of the allowed bits."""
    differences = []
    for seed in range(60):
        picture = photo(seed, grain=4 + seed % 9)
        looks = [look_of(picture), look_of(COPIES[how](picture))]
        bits = np.unpackbits(np.frombuffer(looks[0][:8], np.uint8) ^ np.frombuffer(looks[1][:8], np.uint8)).sum()
        assert (alike(looks) == [[0, 1]]) == (bits <= MOST_BITS)
        differences.append(int(bits))
    differences.sort()
    assert differences[57] <= MOST_BITS and differences[55] <= 4, differences


def test_different_pictures_are_not() -> None:
    """Among 400 random pictures no two are alike; nor are a picture and its mirrored, turned or cut form."""
    assert alike([look_of(photo(seed, grain=5 + seed % 8)) for seed in range(400)]) == []
    picture = photo(1)
    forms = [
        picture,
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        picture.rotate(90),
        picture.crop((40, 30, 240, 180)),
    ]
    assert alike([look_of(form) for form in forms]) == []


def test_flat_pictures_are_told_apart_by_their_colour() -> None:
    """A hash sees nothing in one colour; red is not blue all the same."""
    looks = [look_of(Image.new("RGB", (64, 64), colour)) for colour in ("red", "blue", "red", "#f80000", "white")]
    assert alike(looks) == [[0, 2, 3]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(0, 12))
def test_groups_are_those_of_comparing_all_pairs(seed: int, number: int, bits: int) -> None:
    """The parts of hashes that find candidates miss none: groups are those of the slow way."""
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**63, 3, dtype=np.uint64)[generator.integers(0, 3, number)]
    for place in range(number):
        for bit in generator.integers(0, 64, generator.integers(0, bits + 1)):
            hashes[place] ^= np.uint64(1) << np.uint64(bit)
    looks = [int(value).to_bytes(8, "little") + bytes(LOOK_BYTES - 8) for value in hashes]
    group = list(range(number))
    for a in range(number):
        for b in range(a):
            if int(hashes[a] ^ hashes[b]).bit_count() <= MOST_BITS:
                old, new = max(group[a], group[b]), min(group[a], group[b])
                group = [new if one == old else one for one in group]
    slow = [[n for n in range(number) if group[n] == leader] for leader in sorted(set(group))]
    assert alike(looks) == [members for members in slow if len(members) > 1]


def test_nothing_and_one_have_no_groups() -> None:
    """No pictures, or a single one."""
    assert alike([]) == [] and alike([look_of(photo(0))]) == []
