"""Buckets against the recorded facts, and what must hold for any size."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.config import ImageSection
from trainer.dataset.buckets import assign, bucket_of, bucket_sizes, fit, resized_size, rounding_problems, sizes_of

SIDES = st.integers(1, 12_000)


@pytest.mark.parametrize("program", ["sd_scripts_HEAD", "v15"])
@pytest.mark.parametrize("side", [512, 768])
def test_lists_assignment_resize_and_cut_equal_the_recorded_ones(facts: Path, program: str, side: int) -> None:
    """For 200 image sizes bucket, resized size and corner of the cut are those of both programs."""
    recorded = json.loads((facts / "buckets.json").read_text())[program][str(side)]
    sizes = bucket_sizes((side, side), 256, 1024)
    assert sizes == [tuple(size) for size in recorded["predefined_resos"]]
    for image in recorded["images"]:
        bucket = assign(*image["size"], sizes)
        fitted = fit(*image["size"], bucket)
        assert list(bucket) == image["bucket"]
        assert [fitted.resized_w, fitted.resized_h] == image["resized"]
        assert [fitted.crop_left, fitted.crop_top] == image["crop_left_top"]


def test_lists_for_other_ranges_equal_those_of_today(facts: Path) -> None:
    """Where the two programs differ, ours are today's: both sides lie within both bounds, rounded to the grid."""
    lists = json.loads((facts / "buckets.json").read_text())["reso_lists"]
    assert len(lists) > 10
    for label, recorded in lists.items():
        matched = re.match(r"(\d+),(\d+) min (\d+) max (\d+)$", label)
        assert matched
        width, height, smallest, largest = (int(number) for number in matched.groups())
        assert [list(size) for size in bucket_sizes((width, height), smallest, largest)] == recorded["HEAD"], label


@given(SIDES, SIDES, st.sampled_from([(512, 512), (640, 448), (768, 768), (512, 768)]))
def test_a_cut_lies_inside_the_resized_image(width: int, height: int, size: tuple[int, int]) -> None:
    """Whatever the image, its resized form covers the bucket, touches it on one axis, and keeps its middle."""
    bucket = assign(width, height, bucket_sizes(size, 256, 1024))
    fitted = fit(width, height, bucket)
    assert fitted.resized_w == bucket[0] or fitted.resized_h == bucket[1]
    for resized, cut, start in (
        (fitted.resized_w, bucket[0], fitted.crop_left),
        (fitted.resized_h, bucket[1], fitted.crop_top),
    ):
        assert resized >= cut
        assert 0 <= (resized - cut) - 2 * start <= 1


@given(st.integers(64, 2048), st.integers(64, 2048), st.integers(64, 512), st.integers(512, 2048))
def test_bucket_sides_are_on_the_grid_and_within_the_area(w: int, h: int, smallest: int, largest: int) -> None:
    """No bucket has more pixels than the resolution or a side off the 64 grid; lists are sorted and hold both ways."""
    sizes = bucket_sizes((w, h), smallest, largest)
    assert sizes == sorted(set(sizes)) and sizes
    for width, height in sizes:
        assert width % 64 == 0 and height % 64 == 0 and width * height <= w * h
        assert (height, width) in sizes


def test_an_image_of_a_buckets_own_size_goes_there() -> None:
    """Of two buckets with nearly one shape, an image that is exactly one of them is left as it is."""
    sizes = bucket_sizes((768, 768), 256, 1024)
    for size in sizes:
        assert assign(*size, sizes) == size


def test_without_buckets_there_is_one_size() -> None:
    """Buckets off: the resolution is the only size, and every image is fitted to it."""
    images = ImageSection(resolution="640,448")
    assert sizes_of(images) == [(640, 448)]
    assert assign(100, 900, sizes_of(images)) == (640, 448)
    assert rounding_problems(images) == []


def test_sizes_off_the_grid_are_rounded_with_a_warning() -> None:
    """500 becomes 512 without buckets; with buckets the shortest side goes down and the longest up; each is said."""
    single = ImageSection(resolution="500")
    assert sizes_of(single) == [(512, 512)]
    assert [problem.code for problem in rounding_problems(single)] == ["disk.resolution_rounded"]
    several = ImageSection(resolution="512", enable_bucket=True, min_bucket_reso=300, max_bucket_reso=1000)
    assert sizes_of(several) == bucket_sizes((512, 512), 256, 1024)
    assert [problem.fields for problem in rounding_problems(several)] == [("min_bucket_reso",), ("max_bucket_reso",)]
    assert all(problem.severity == "warning" for problem in rounding_problems(several))


def own_sizes(resolution: str = "512", step: int = 64) -> ImageSection:
    return ImageSection(resolution=resolution, enable_bucket=True, bucket_no_upscale=True, bucket_reso_steps=step)


@pytest.mark.parametrize(
    ("image", "resized", "bucket"),
    [
        ((512, 512), (512, 512), (512, 512)),
        ((300, 200), (300, 200), (256, 192)),  # smaller than the resolution: its own size, cut to the grid
        ((500, 520), (500, 520), (448, 512)),
        ((1024, 1024), (512, 512), (512, 512)),
        ((1000, 750), (512, 384), (512, 384)),  # 591 x 443 of the area: 384 high keeps the shape, 576 wide does not
        ((1920, 1080), (683, 384), (640, 384)),
        ((600, 1800), (256, 768), (256, 768)),
        ((2000, 64), (2000, 64), (1984, 64)),
        ((512, 30), (10923, 640), None),  # no bucket of its own: enlarged for one of the list
    ],
)
def test_without_enlarging_small_images_keep_their_size(image: tuple, resized: tuple, bucket: tuple | None) -> None:
    """Up to the resolution's area an image keeps its size and loses only what is off the grid; above it is shrunk to
    that area; one narrower than a step goes where it would go without the option."""
    images = own_sizes()
    found = bucket_of(*image, images, sizes_of(images))
    if bucket is None:
        assert found == assign(*image, sizes_of(images))
    else:
        assert (found, resized_size(*image, found, images)) == (bucket, resized)


@given(SIDES, SIDES, st.sampled_from(["512", "640,448", "768"]), st.sampled_from([64, 128]))
def test_without_enlarging_nothing_is_enlarged(width: int, height: int, resolution: str, step: int) -> None:
    """Wherever both sides of what is left reach one step, the image is not enlarged, the bucket lies on the grid and
    inside the resized image, less than a step from it, and holds no more pixels than the resolution."""
    images = own_sizes(resolution, step)
    bucket = bucket_of(width, height, images, sizes_of(images))
    resized = resized_size(width, height, bucket, images)
    assert bucket[0] % step == 0 and bucket[1] % step == 0 and min(bucket) >= step
    assert resized[0] >= bucket[0] and resized[1] >= bucket[1]
    area = images.size[0] * images.size[1]
    if min(width, height) >= step and width * height <= area:
        assert resized == (width, height)
    if resized[0] <= width and resized[1] <= height and bucket not in sizes_of(images):
        assert resized[0] - bucket[0] < step and resized[1] - bucket[1] < step
        assert bucket[0] * bucket[1] <= area


def test_longer_steps_make_fewer_buckets() -> None:
    """Steps of 128: every side is a multiple of it, and off-grid bounds are rounded to it with a warning."""
    images = ImageSection(enable_bucket=True, bucket_reso_steps=128, min_bucket_reso=320)
    sizes = sizes_of(images)
    assert sizes == bucket_sizes((512, 512), 256, 1024, 128) and len(sizes) < len(
        sizes_of(ImageSection(enable_bucket=True))
    )
    assert all(width % 128 == 0 and height % 128 == 0 for width, height in sizes)
    (problem,) = rounding_problems(images)
    assert problem.message == "The shortest bucket side 320 is not made of 128s: 256 is used."
