"""Masks: found by name, cut as their images are, and all that can be wrong with them said at once."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.contract.config import ImageSection
from trainer.dataset.batches import Purpose, Use, rng
from trainer.dataset.buckets import bucket_of, sizes_of
from trainer.dataset.captions import Entry
from trainer.dataset.check import Report, check_dataset
from trainer.dataset.index import Index
from trainer.dataset.masks import Masks, digest_of_masks, over_latents
from trainer.dataset.pixels import PictureUnreadable, pixels
from trainer.dataset.scan import Picture


def grey(path: Path, size: tuple[int, int], seed: int = 0, **options: Any) -> np.ndarray:
    """Write a picture of grey noise in blocks; returns its values."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 1), dtype=np.uint8)
    values = values.repeat(4, axis=0).repeat(4, axis=1)[: size[1], : size[0]]
    Image.fromarray(values).save(path, **options)
    return values


def use_of(path: Path, images: ImageSection, mask: Path | None, size: tuple[int, int], **more: Any) -> Use:
    """A use of the image at `path`."""
    picture = None if mask is None else Picture(mask, *size)
    entry = Entry(Picture(path, *size), "", 1, more.get("regularization", False), path.parent, mask=picture)
    return Use(entry, bucket_of(*size, images, sizes_of(images)), 3)


def dice(epoch: int) -> np.random.Generator:
    """The generator of a use's pixels."""
    return rng(1, epoch, 3, Purpose.PIXELS)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "buckets": {"enable_bucket": True, "min_bucket_reso": 64, "max_bucket_reso": 256},
    "random crop": {"random_crop": True},
    "face crop": {"face_crop_aug_range": "1.5,4"},
    "cached": {"cache_latents": True},
}


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(70, 260), st.integers(70, 260), st.integers(0, 99))
def test_mask_is_cut_as_its_image(
    tmp_path_factory: pytest.TempPathFactory, kind: str, width: int, height: int, epoch: int
) -> None:
    """A picture that is its own mask has that mask: resized, cut and mirrored alike, then averaged for each latent."""
    folder = tmp_path_factory.mktemp("masks")
    images = ImageSection(resolution="128,64", flip_aug=True, **KINDS[kind])
    image, mask = folder / f"a_{width // 2}_{height // 3}_30_30.png", folder / "mask.png"
    grey(image, (width, height))
    grey(mask, (width, height))
    use = use_of(image, images, mask, (width, height))
    got = Masks("folder", images).of(use, dice(epoch))
    seen = pixels(use.entry, use.bucket, images, dice(epoch))[..., 0]
    assert got.dtype == np.float32 and got.shape == (use.bucket[1] // 8, use.bucket[0] // 8)
    for y in range(got.shape[0]):
        for x in range(got.shape[1]):
            assert got[y, x] == pytest.approx(seen[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].mean() / 255, abs=1e-6)


def test_small_mask_is_enlarged_to_its_image(tmp_path: Path) -> None:
    """A mask of half the size covers the same parts."""
    images = ImageSection(resolution="64")
    Image.new("RGB", (128, 128)).save(tmp_path / "a.png")
    half = np.repeat([0, 255], 32).astype(np.uint8)[None].repeat(64, axis=0)
    Image.fromarray(half).save(tmp_path / "m.png")
    got = Masks("folder", images).of(use_of(tmp_path / "a.png", images, tmp_path / "m.png", (128, 128)), dice(0))
    assert (got[:, :4] == 0).all() and (got[:, 4:] == 1).all()


def test_mask_is_upright_and_read_by_its_red(tmp_path: Path) -> None:
    """EXIF turns a mask as it turns an image; of colours red counts, whatever the transparency."""
    images = ImageSection(resolution="64")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    pixels_of_mask = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels_of_mask[:32, :, 0] = 255
    pixels_of_mask[..., 1] = 77
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels_of_mask).save(tmp_path / "m.png", exif=exif)
    got = Masks("folder", images).of(use_of(tmp_path / "a.png", images, tmp_path / "m.png", (64, 64)), dice(0))
    assert (got[:4] == 0).all() and (got[4:] == 1).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "CMYK"])
def test_alpha_is_a_mask_where_there_is_one(tmp_path: Path, mode: str) -> None:
    """The alpha channel of an image, of a palette too; an image without one counts as a whole."""
    images = ImageSection(resolution="64")
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image = Image.new("RGBA", (64, 64), (10, 200, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 64, 32))
    image.convert(mode).save(path)
    got = Masks("alpha", images).of(use_of(path, images, None, (64, 64)), dice(0))
    assert (got[4:] == 1).all()
    assert (got[:4] == (0 if mode in ("RGBA", "LA", "P") else 1)).all()


def test_cached_mask_is_read_once(tmp_path: Path) -> None:
    """With cached latents the file is not opened again; both mirrored and plain stay apart. Without, it is."""
    size, image, mask = (64, 64), tmp_path / "a.png", tmp_path / "m.png"
    grey(image, size)
    grey(mask, size)
    images = ImageSection(resolution="64", flip_aug=True, cache_latents=True)
    use, masks = use_of(image, images, mask, size), Masks("folder", images)
    first = [masks.of(use, dice(epoch)) for epoch in range(8)]
    mask.unlink()
    again = [masks.of(use, dice(epoch)) for epoch in range(8)]
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    kinds = {one.tobytes() for one in first}
    assert len(kinds) == 2 and {first[0][:, ::-1].tobytes(), first[0].tobytes()} == kinds
    with pytest.raises(PictureUnreadable, match=r"m\.png"):
        Masks("folder", ImageSection(resolution="64")).of(use, dice(0))


def test_regularization_image_without_a_mask_counts_whole(tmp_path: Path) -> None:
    """Nothing is masked out."""
    grey(tmp_path / "a.png", (64, 64))
    images = ImageSection(resolution="128,64")
    got = Masks("folder", images).of(use_of(tmp_path / "a.png", images, None, (64, 64), regularization=True), dice(0))
    assert got.shape == (8, 16) and (got == 1).all()


def test_mean_over_a_latent_is_exact() -> None:
    """One white pixel of 64 counts 1/64."""
    mask = np.zeros((8, 16), dtype=np.uint8)
    mask[3, 9] = 255
    assert over_latents(mask).tolist() == [[0.0, 1 / 64]]


def damaged_inside() -> bytes:
    """A PNG with sound head and tail, whose pixels end in its midst."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[len(content) // 2 : -20] = bytes(len(content) - 20 - len(content) // 2)
    return bytes(content)


IMAGES: dict[str, Any] = {"img/2_dog/a.png": None, "img/1_cat/b.png": (700, 512)}
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all there": ({"masks/a.png": None, "masks/b.jpg": (350, 256)}, []),
    "in folders of the same names": ({"masks/2_dog/a.png": None, "masks/1_cat/b.png": (700, 512)}, []),
    "one missing": ({"masks/a.png": None}, ["disk.mask_missing"]),
    "all missing": ({"masks/readme.txt": "x"}, ["disk.mask_missing"]),
    "no folder": ({}, ["disk.mask_folder"]),
    "a file in its place": ({"masks": "x"}, ["disk.mask_folder"]),
    "one cut off": ({"masks/a.png": None, "masks/b.png": b"\x89PNG"}, ["disk.mask_unreadable"]),
    "one damaged inside": ({"masks/a.png": damaged_inside(), "masks/b.jpg": (350, 256)}, ["disk.mask_unreadable"]),
    "other proportions": ({"masks/a.png": None, "masks/b.png": None}, ["disk.mask_shape"]),
    "nearly the proportions": ({"masks/a.png": (33, 33), "masks/b.png": (70, 51)}, []),
    "one for two": (
        {"img/1_cat/a.png": (256, 256), "masks/a.png": None, "masks/b.png": (700, 512)},
        ["disk.image_small", "disk.mask_shared"],
    ),
    "two of one name": (
        {"img/1_cat/a.png": (512, 511), "masks/1_cat/a.png": None, "masks/a.png": None, "masks/b.png": (700, 512)},
        [],
    ),
    "none for regularization": (
        {"reg/1_dog/r.png": (511, 512), "masks/a.png": None, "masks/b.png": (700, 512)},
        [],
    ),
    "all at once": (
        {"img/1_cat/c.png": (600, 600), "masks/a.png": b"x", "masks/b.png": None},
        ["disk.mask_missing", "disk.mask_shape", "disk.mask_unreadable"],
    ),
}


def look(tmp_path: Path, make_tree: Callable, files: dict[str, Any], make_config: Callable, **options: Any) -> Report:
    """The report on images with these masks."""
    make_tree(tmp_path, IMAGES | files)
    reg = {"reg_data_dir": tmp_path / "reg"} if "reg/1_dog/r.png" in files else {}
    masks = {"masked_loss": True, "conditioning_data_dir": tmp_path / "masks"}
    return check_dataset(make_config(train_data_dir=tmp_path / "img", **masks | reg | options))


@pytest.mark.parametrize("label", CASES)
def test_masks_are_checked(label: str, tmp_path: Path, make_tree: Callable, make_config: Callable) -> None:
    """Each folder of masks has exactly these problems, and each mend ends them."""
    files, codes = CASES[label]
    report = look(tmp_path, make_tree, files, make_config)
    assert sorted(problem.code for problem in report.problems) == codes
    for problem in report.problems:
        for mend in problem.mends:
            again = look(tmp_path, make_tree, files, make_config, **mend.values)
            assert not any(one.code.startswith("disk.mask") for one in again.problems)


def test_mask_in_the_folder_of_its_images_folder_goes_first(
    tmp_path: Path, make_tree: Callable, make_config: Callable
) -> None:
    """Two images of one name have masks of their own in folders named as theirs."""
    files = CASES["two of one name"][0]
    entries = look(tmp_path, make_tree, files, make_config).entries
    found = {entry.picture.path: entry.mask.path for entry in entries if entry.mask is not None}
    masks = tmp_path / "masks"
    assert found == {
        tmp_path / "img/1_cat/a.png": masks / "1_cat/a.png",
        tmp_path / "img/1_cat/b.png": masks / "b.png",
        tmp_path / "img/2_dog/a.png": masks / "a.png",
    }


@pytest.mark.parametrize("content", [damaged_inside(), damaged_inside()[:200], b""])
def test_damaged_mask_is_named_once_and_again(
    content: bytes, tmp_path: Path, make_tree: Callable, make_config: Callable
) -> None:
    """One message names the file, on the first look and on a second one, which an index may answer."""
    files = {"masks/a.png": content, "masks/b.png": (700, 512)}
    for _ in range(2):
        report = look(tmp_path, make_tree, files, make_config)
        (problem,) = report.problems
        assert problem.code == "disk.mask_unreadable" and "1 mask cannot be read: a.png." in problem.message


def test_digest_is_of_what_stands_in_the_masks(tmp_path: Path) -> None:
    """Another mask of the same length is another digest, the same masks in another place are the same, none is None."""
    images = ImageSection(resolution="64")
    digests = []
    for number, (folder, value) in enumerate((("one", 1), ("other", 1), ("changed", 2))):
        (tmp_path / folder).mkdir()
        Image.new("L", (64, 64), value).save(tmp_path / folder / "a.bmp")
        use = use_of(tmp_path / "a.png", images, tmp_path / folder / "a.bmp", (64, 64))
        digests.append(digest_of_masks([use.entry], Index(None)))
        assert number == 0 or (tmp_path / folder / "a.bmp").stat().st_size == (tmp_path / "one/a.bmp").stat().st_size
    assert digests[0] == digests[1] != digests[2]
    assert digest_of_masks([replace(use.entry, mask=None)], Index(None)) is None


def test_images_are_not_their_own_masks(tmp_path: Path, make_tree: Callable, make_config: Callable) -> None:
    """Who chooses the images as masks is told so."""
    report = look(tmp_path, make_tree, {}, make_config, conditioning_data_dir=tmp_path / "img")
    assert [problem.code for problem in report.problems] == ["disk.mask_itself"]


def test_masks_are_looked_for_only_where_they_act(tmp_path: Path, make_tree: Callable, make_config: Callable) -> None:
    """Without `masked_loss` the folder is not looked into."""
    report = look(tmp_path, make_tree, {}, make_config, masked_loss=False)
    assert report.problems == () and all(entry.mask is None for entry in report.entries)
