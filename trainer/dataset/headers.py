"""The head of an image file: its size as seen upright, and whether it can be trusted, without decoding it.

A path comes in, a `Header` goes out; a file that cannot be read is a header with a `flaw`, never an exception, so
that a scan of a large folder names all bad files at once.
"""

import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

Image.init()  # Pillow loads most of its formats only after the common ones have failed; a list of names needs them all
READ_FORMATS = tuple(
    name for name in ("PNG", "JPEG", "WEBP", "BMP", "DIB", "AVIF", "GIF", "TIFF") if name in Image.OPEN
)
"""What may be inside: the formats that are read, and two that turn up under their endings. Formats that start other
programs or are hardly images (EPS, PDF, WMF) are left out on purpose."""

# Pillow warns from 89 megapixels on and refuses from twice that on. The refusal is a flaw here; large but honest
# scans need no warning in the log.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Flaw = Literal["unreadable", "zero_bytes", "not_an_image", "truncated", "too_large", "undecodable"]
"""The last one is found only by decoding: the head is sound, the pixels are not."""


class Header(NamedTuple):
    """Width and height in pixels with the EXIF orientation applied; 0 where there is a flaw.

    A tuple, since an index makes a hundred thousand of them from its rows in a fraction of a second.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    frames: int = 1
    size_bytes: int = 0
    mtime_ns: int = 0
    flaw: Flaw | None = None


def read_header(path: Path) -> Header:
    """Read the head (and a few bytes of the tail) of an image file."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            header = _read(file, status.st_size)
    except OSError:
        return Header(flaw="unreadable")
    return Header(
        header.width, header.height, header.format, header.frames, status.st_size, status.st_mtime_ns, header.flaw
    )


def orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8 of an image that is opened but not yet loaded.

    Pillow's PNG class would decode the whole file to look for an EXIF block behind the pixels; the base class looks
    only at what stands before them, as most viewers do. Scan and decoding both ask here, so they always agree.
    """
    try:
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except (ValueError, TypeError, SyntaxError, struct.error, OSError):  # a damaged EXIF block turns nothing
        return 1
    return value if value in range(1, 9) else 1


def _read(file: BinaryIO, size_bytes: int) -> Header:
    if size_bytes == 0:
        return Header(flaw="zero_bytes")
    try:
        with Image.open(file, formats=READ_FORMATS) as image:
            width, height = image.size
            if orientation(image) >= 5:  # 5..8 lie on their side
                width, height = height, width
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if width < 1 or height < 1:
                return Header(flaw="not_an_image")
            # A tail that looks cut is only a hint (cameras append data of their own): decoding tells.
            if _looks_cut(file, image.format, size_bytes) and not _decodes(file):
                return Header(flaw="truncated")
            return Header(width, height, image.format or "", frames)
    except Image.DecompressionBombError:
        return Header(flaw="too_large")
    except UnidentifiedImageError:
        return Header(flaw="not_an_image" if not _starts_like_an_image(file) else "truncated")
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, struct.error, OverflowError):
        # Pillow's readers raise all of these on damaged files, by format and place of the damage.
        return Header(flaw="truncated")


def _looks_cut(file: BinaryIO, format: str | None, size_bytes: int) -> bool:
    if format == "WEBP":
        file.seek(4)
        head = file.read(4)
        return len(head) < 4 or int.from_bytes(head, "little") + 8 > size_bytes
    if format in ("BMP", "DIB"):
        file.seek(2)
        return int.from_bytes(file.read(4), "little") > size_bytes
    file.seek(max(0, size_bytes - 64))
    tail = file.read(64).rstrip(b"\0 \r\n")
    if format in ("JPEG", "MPO"):
        return not tail.endswith(b"\xff\xd9")
    if format == "PNG":
        return b"IEND" not in tail
    return False


def _decodes(file: BinaryIO) -> bool:
    file.seek(0)
    try:
        with Image.open(file, formats=READ_FORMATS) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, struct.error):
        return False
    return True


def _starts_like_an_image(file: BinaryIO) -> bool:
    file.seek(0)
    start = file.read(16)
    return start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8")) or start[8:12] == b"WEBP"
