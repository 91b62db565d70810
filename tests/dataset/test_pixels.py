"""From file to pixels, against recorded pictures, another program's numbers, and by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from trainer.contract.config import ImageSection
from trainer.dataset.batches import Purpose, rng
from trainer.dataset.buckets import assign, bucket_sizes, fit
from trainer.dataset.captions import Entry
from trainer.dataset.pixels import PictureUnreadable, pixels, pixels_at, read_picture
from trainer.dataset.placement import Placement, placement
from trainer.dataset.resize import resize_and_cut
from trainer.dataset.scan import Picture

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures/dataset/pixels/index.json").read_text())


def entry_of(path: Path) -> Entry:
    with Image.open(path) as image:
        return Entry(Picture(path, *image.size), "", 1, False, path.parent)


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str(case["i"]))
def test_resized_pixels_equal_the_recorded_ones(case: dict, facts: Path) -> None:
    """Shrinking and enlarging give the recorded pixels; one level on one value in ten thousand may round otherwise."""
    entry = entry_of(facts / f"pixels/{case['i']}_in.png")
    with Image.open(facts / f"pixels/{case['i']}_head.png") as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    got = pixels(entry, tuple(case["bucket"]), ImageSection(), rng(0, 0, 0, Purpose.PIXELS)).astype(int)
    assert got.shape == expected.shape
    assert abs(got - expected).max() <= 1 and (got != expected).mean() < 2e-4


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.integers(4, 20), st.integers(4, 20), st.integers(0, 99))
def test_shrinking_is_the_mean_of_the_area(w: int, h: int, new_w: int, new_h: int, seed: int) -> None:
    """Each pixel is the mean of the rectangle that it covers: computed here by enlarging each pixel to whole parts."""
    source = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    fine = source.repeat(new_h, axis=0).repeat(new_w, axis=1).astype(np.float64)
    exact = fine.reshape(new_h, h, new_w, w, 3).mean(axis=(1, 3))
    left, top = new_w // 3, new_h // 4
    got = resize_and_cut(Image.fromarray(source), (new_w, new_h), left, top, (new_w - left, new_h - top))
    assert abs(got - exact[top:, left:]).max() <= 0.501


def test_a_cut_while_resizing_equals_cutting_after() -> None:
    """Enlarging only the part that is kept gives what enlarging all and cutting gives, but for rounding."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (91, 90, 3), dtype=np.uint8))
    whole = np.asarray(image.resize((300, 303), Image.Resampling.LANCZOS)).astype(int)
    part = resize_and_cut(image, (300, 303), 37, 41, (128, 192)).astype(int)
    assert abs(part - whole[41 : 41 + 192, 37 : 37 + 128]).max() <= 1


def test_a_thread_of_a_picture_needs_no_room() -> None:
    """20000 x 2 pixels in a bucket 1024 x 256 would be 2.5 million wide: only the cut is computed."""
    image = Image.new("RGB", (20_000, 2), "red")
    fitted = fit(20_000, 2, (1024, 256))
    assert fitted.resized_w == 2_560_000
    cut = resize_and_cut(image, (fitted.resized_w, fitted.resized_h), fitted.crop_left, fitted.crop_top, (1024, 256))
    assert cut.shape == (256, 1024, 3) and (cut == (255, 0, 0)).all()


def test_a_picture_of_its_buckets_size_is_untouched(tmp_path: Path) -> None:
    """No resampling where none is needed."""
    source = np.random.default_rng(1).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    Image.fromarray(source).save(tmp_path / "a.png")
    got = pixels(entry_of(tmp_path / "a.png"), (192, 128), ImageSection(), rng(0, 0, 0, Purpose.PIXELS))
    assert (got == source).all() and got.dtype == np.uint8 and got.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_upright(orientation: int, tmp_path: Path) -> None:
    """For all eight EXIF orientations the red corner ends where the tag says the picture's first pixel lies."""
    stored = np.zeros((16, 24, 3), dtype=np.uint8)
    stored[:8, :8, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(read_picture(tmp_path / "a.png"))
    assert upright.shape == ((24, 16, 3) if orientation >= 5 else (16, 24, 3))
    # EXIF 2.32: where the stored first row and first column are seen.
    corner = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    rows = slice(0, 8) if corner[0] == "t" else slice(-8, None)
    columns = slice(0, 8) if corner[1] == "l" else slice(-8, None)
    assert (upright[rows, columns, 0] == 255).all() and upright[..., 0].sum() == 255 * 64


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white(mode: str, tmp_path: Path) -> None:
    """Whatever colour is stored under full transparency, white is learnt; half is half; opaque is itself."""
    pixels_rgba = np.zeros((2, 3, 4), dtype=np.uint8)
    pixels_rgba[..., 3] = [0, 128, 255]
    image = Image.fromarray(pixels_rgba)
    if mode == "LA":
        image = image.convert("LA")
    if mode == "P":
        image = image.quantize(8)
    image.save(tmp_path / "a.png")
    values = np.asarray(read_picture(tmp_path / "a.png"))[0, :, 0]
    assert values[0] == 255 and abs(int(values[1]) - 127) <= 1 and values[2] == 0


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    """0, the middle and the top of 16-bit grey become 0, 128 and 255: nothing is cut off."""
    Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(read_picture(tmp_path / "a.png"))[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_profiles_are_converted_and_damaged_ones_left(tmp_path: Path) -> None:
    """An sRGB profile changes nothing, a Lab-derived linear one does, and rubbish is read as sRGB."""
    grey = Image.new("RGB", (4, 4), (100, 150, 200))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey.save(tmp_path / "srgb.png", icc_profile=srgb)
    assert abs(np.asarray(read_picture(tmp_path / "srgb.png")).astype(int) - (100, 150, 200)).max() <= 1
    grey.save(tmp_path / "rubbish.png", icc_profile=b"not a profile")
    assert (np.asarray(read_picture(tmp_path / "rubbish.png")) == (100, 150, 200)).all()
    # The red and blue primaries exchanged, in a profile that is otherwise sRGB's.
    swapped = srgb.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    grey.save(tmp_path / "swapped.png", icc_profile=swapped)
    assert abs(np.asarray(read_picture(tmp_path / "swapped.png")).astype(int) - (200, 150, 100)).max() <= 3


@pytest.mark.parametrize(
    ("mode", "ending"), [("1", "png"), ("L", "png"), ("CMYK", "jpg"), ("P", "bmp"), ("RGB", "webp")]
)
def test_every_mode_becomes_rgb(mode: str, ending: str, tmp_path: Path) -> None:
    """White stays white in every way of storing it."""
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 8), "white").convert(mode).save(path)
    image = read_picture(path)
    assert image.mode == "RGB" and (np.asarray(image) >= 254).all()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_an_undecodable_file_is_named(content: bytes, tmp_path: Path) -> None:
    """The file's name stands in what is raised."""
    path = tmp_path / "bad one.png"
    path.write_bytes(content)
    with pytest.raises(PictureUnreadable, match=r"bad one\.png"):
        read_picture(path)


def test_flips_are_half_and_mirror(tmp_path: Path, make_image: Callable) -> None:
    """About half of the uses are mirrored, exactly, and the same use is always the same."""
    path = make_image(tmp_path / "a.png", (128, 128))
    entry, section = entry_of(path), ImageSection(flip_aug=True)
    plain = pixels(entry, (128, 128), ImageSection(), rng(0, 0, 0, Purpose.PIXELS))
    mirrored = 0
    for index in range(200):
        got = pixels(entry, (128, 128), section, rng(9, 2, index, Purpose.PIXELS))
        place = placement(entry.picture, (128, 128), section, rng(9, 2, index, Purpose.PIXELS))
        assert (got == (plain[:, ::-1] if place.flipped else plain)).all()
        mirrored += place.flipped
    assert 70 < mirrored < 130


def test_the_latent_cache_may_cut_by_itself(tmp_path: Path, make_image: Callable) -> None:
    """`pixels_at` with the placement gives what `pixels` gives."""
    entry, section = entry_of(make_image(tmp_path / "a.png", (200, 130))), ImageSection(random_crop=True, flip_aug=True)
    for index in range(10):
        place = placement(entry.picture, (64, 64), section, rng(0, 0, index, Purpose.PIXELS))
        got = pixels(entry, (64, 64), section, rng(0, 0, index, Purpose.PIXELS))
        assert (got == pixels_at(read_picture(entry.picture.path), (64, 64), place)).all()


def test_colours_vary_in_a_third_and_nothing_moves(tmp_path: Path, make_image: Callable) -> None:
    """With color_aug about a third of the uses differ, by little; the cut is the same as without."""
    entry, section = entry_of(make_image(tmp_path / "a.png", (64, 64))), ImageSection(color_aug=True)
    plain = pixels(entry, (64, 64), ImageSection(), rng(0, 0, 0, Purpose.PIXELS)).astype(int)
    differences = [
        abs(pixels(entry, (64, 64), section, rng(0, 0, n, Purpose.PIXELS)).astype(int) - plain) for n in range(400)
    ]
    changed = [d for d in differences if d.any()]
    assert 95 < len(changed) < 170  # 132 +- 4 standard deviations
    assert all(d.mean() < 20 for d in changed)


@settings(max_examples=60, deadline=None)
@given(st.integers(30, 3000), st.integers(30, 3000), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_every_cut_lies_inside(width: int, height: int, crop: bool, face: bool, index: int) -> None:
    """Random and face cuts lie inside the resized image, which covers the bucket, for any size."""
    images = ImageSection(enable_bucket=True, random_crop=crop, face_crop_aug_range="2.0,4.0" if face else None)
    bucket = assign(width, height, bucket_sizes((512, 512), 256, 1024))
    name = f"a_{max(1, width // 2)}_{height // 3}_{width // 5}_{height // 5}.png" if face else "a.png"
    place = placement(Picture(Path(name), width, height), bucket, images, rng(0, 0, index, Purpose.PIXELS))
    assert 0 <= place.left <= place.resized_w - bucket[0] and 0 <= place.top <= place.resized_h - bucket[1]
    assert not place.flipped


def test_without_random_options_the_cut_needs_no_luck() -> None:
    """Two different generators give the same middle cut."""
    picture = Picture(Path("a.png"), 640, 448)
    one, two = (placement(picture, (576, 448), ImageSection(), rng(0, 0, n, Purpose.PIXELS)) for n in (0, 1))
    assert one == two == Placement(640, 448, 32, 0)
