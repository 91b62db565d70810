"""From an image file to the pixels that are learnt: upright, over white, sRGB, 8 bits, resized, cut, mirrored.

An entry, its bucket and the generator of its use come in; uint8 [H, W, 3] goes out. No OpenCV, no torch.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from trainer.contract.config import ImageSection
from trainer.dataset.buckets import Size
from trainer.dataset.captions import Entry
from trainer.dataset.colours import vary_colours
from trainer.dataset.headers import READ_FORMATS, orientation
from trainer.dataset.placement import Placement, placement
from trainer.dataset.resize import resize_and_cut

TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright (EXIF 2.32, tag 0x0112)."""

SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


class PictureUnreadable(ValueError):
    """An image file that cannot be decoded; the message names it."""


def pixels(entry: Entry, bucket: Size, images: ImageSection, rng: np.random.Generator) -> np.ndarray:
    """The pixels of one use, uint8 [H, W, 3]. Raises PictureUnreadable."""
    place = placement(entry.picture, bucket, images, rng)
    cut = pixels_at(read_picture(entry.picture.path), bucket, place)
    return vary_colours(cut, rng) if images.color_aug else cut


def pixels_at(image: Image.Image, bucket: Size, place: Placement) -> np.ndarray:
    """The cut of a decoded picture: uint8 [H, W, 3], contiguous."""
    cut = resize_and_cut(image, (place.resized_w, place.resized_h), place.left, place.top, bucket)
    return np.ascontiguousarray(cut[:, ::-1] if place.flipped else cut)


def read_picture(path: Path, at_least: Size | None = None) -> Image.Image:
    """Decode an image file: the first picture in it, RGB, upright. Raises PictureUnreadable.

    `at_least` allows a smaller form of a JPEG, no side shorter than this: a whole decoding, some times faster.
    """
    return _read(path, _over_white, at_least)


def read_red(path: Path) -> Image.Image:
    """The red channel of an image file as its values stand there: "L", upright. Raises PictureUnreadable."""
    return _read(path, lambda image, _: image.convert("RGB").getchannel("R"))


def read_alpha(path: Path) -> Image.Image:
    """The alpha channel of an image file, all opaque where it has none: "L", upright. Raises PictureUnreadable."""
    return _read(path, lambda image, _: image.convert("RGBA").getchannel("A"))


def _read(
    path: Path, make: Callable[[Image.Image, bytes | None], Image.Image], at_least: Size | None = None
) -> Image.Image:
    """What `make` makes of the upright picture in 8 bits and its colour profile."""
    try:
        with Image.open(path, formats=READ_FORMATS) as image:
            turn = TURNS.get(orientation(image))
            if at_least is not None:
                image.draft("RGB" if image.mode != "L" else "L", at_least)
            image.load()
            upright = image.transpose(turn) if turn is not None else image
            return make(_eight_bit(upright), image.info.get("icc_profile"))
    except UnidentifiedImageError:
        raise PictureUnreadable(f"{path} is no image that can be read.") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as reason:
        raise PictureUnreadable(f"{path} cannot be decoded: {reason}.") from reason


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits by 65535 -> 255; Pillow itself would cut at 255. (16-bit colour it has scaled already.)"""
    if image.mode not in SIXTEEN_BIT_MODES:
        return image
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _over_white(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB, transparent parts over white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colours = _to_srgb(image.convert("RGB") if image.mode not in ("RGB", "L", "CMYK") else image, profile)
    if alpha is None:
        return colours
    white = Image.new("RGB", colours.size, "white")
    white.paste(colours, mask=alpha)
    return white


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from the embedded profile; where it is damaged or of another kind, as browsers do, take it as sRGB."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")
