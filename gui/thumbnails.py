"""Small pictures of image files for the page: one guarded route that draws a JPEG of the asked size.

`thumbnail_url` gives the address, `thumbnail_routes` the route that app.py hands to the server. Only files inside the
folders that the studio may show are opened, only as images, and what leaves is always drawn anew: no file's own bytes.
"""

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gui.studio import Studio
from trainer.dataset.headers import READ_FORMATS, orientation
from trainer.dataset.pixels import TURNS

ADDRESS = "/thumbnail"

SIZES = (128, 256, 512, 1024)
"""Longer sides in pixels that are drawn; what is asked for is rounded up to one of them, so that few are kept."""

MOST_PIXELS = 100_000_000
"""Larger pictures are not decoded for a thumbnail: 100 megapixels take 300 MB while they are."""

KEPT_BYTES = 64 * 2**20
"""JPEGs kept in memory: about 5,000 of 256 pixels."""

_QUALITY = 82
_AT_ONCE = 2
"""Pictures decoded at the same time: 24 large ones together would take gigabytes."""


class NoThumbnail(ValueError):
    """A picture that cannot be shown; the text says why."""


def thumbnail_url(path: Path, size: int = 256) -> str:
    """The address of a picture's thumbnail, relative to the page; it changes when the file does, so it may be kept."""
    try:
        version = path.stat().st_mtime_ns
    except OSError:
        version = 0
    return f".{ADDRESS}?{urlencode({'path': str(path), 'size': size, 'v': version})}"


def thumbnail_routes(studio: Studio) -> list[Route]:
    """The route for `app_kwargs={"routes": ...}` of Blocks.launch: standing there, it comes before Gradio's own."""
    kept = Kept()

    def show(request: Request) -> Response:
        if not may_look(request):
            return PlainTextResponse("Log in first.", 401)
        given = request.query_params.get("path", "")
        try:
            path = Path(given)
            if not given or not path.is_absolute() or not studio.allows(path):
                return PlainTextResponse("This file lies outside the folders that the studio may show.", 403)
            side = side_for(request.query_params.get("size", ""))
            jpeg = kept.jpeg(path, side)
        except (NoThumbnail, OSError, ValueError):  # ValueError: a path with a zero byte in it
            return PlainTextResponse("There is no picture here that can be shown.", 404)
        headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    return [Route(ADDRESS, show, methods=["GET"])]


def side_for(size: str) -> int:
    """The drawn size for an asked one."""
    wanted = int(size) if size.isascii() and size.isdecimal() and len(size) < 6 else 256
    return next((side for side in SIZES if side >= wanted), SIZES[-1])


def draw(path: Path, side: int) -> bytes:
    """A JPEG of the picture, upright and over white as the trainer sees it, its longer side at most `side` pixels.

    Raises NoThumbnail for what is no image, is damaged or has more than MOST_PIXELS.
    """
    try:
        with Image.open(path, formats=READ_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise NoThumbnail(f"{path.name} has more than {MOST_PIXELS // 10**6} megapixels")
            turn = TURNS.get(orientation(image))
            # JPEGs are decoded at a fraction of their size: up to ten times faster.
            image.draft("RGB", (side, side))
            image.thumbnail((side, side))
            upright = image.transpose(turn) if turn is not None else image
            out = io.BytesIO()
            _over_white(upright).save(out, "JPEG", quality=_QUALITY)
            return out.getvalue()
    except NoThumbnail:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as reason:
        raise NoThumbnail(f"{path.name} cannot be drawn: {reason}") from reason


@dataclass
class Kept:
    """The JPEGs drawn last, at most KEPT_BYTES of them, by file, its date and size, and the asked side."""

    most_bytes: int = KEPT_BYTES
    _jpegs: OrderedDict[tuple[str, int, int, int], bytes] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _drawing: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))

    def jpeg(self, path: Path, side: int) -> bytes:
        """The thumbnail, drawn where it is not kept. Raises NoThumbnail, and OSError where there is no file."""
        status = path.stat()
        key = (str(path), status.st_mtime_ns, status.st_size, side)
        with self._lock:
            if key in self._jpegs:
                self._jpegs.move_to_end(key)
                return self._jpegs[key]
        with self._drawing:
            jpeg = draw(path, side)
        with self._lock:
            if key not in self._jpegs:
                self._jpegs[key] = jpeg
                self._bytes += len(jpeg)
            while self._bytes > self.most_bytes and len(self._jpegs) > 1:
                _, dropped = self._jpegs.popitem(last=False)
                self._bytes -= len(dropped)
        return jpeg


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would cut at 255
        image = image.point(lambda value: value / 257).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    white = Image.new("RGB", coloured.size, "white")
    white.paste(coloured, mask=coloured.getchannel("A"))
    return white


def may_look(request: Request) -> bool:
    """Where the studio asks for a login, only who has one: the same cookies and tokens as Gradio's own routes."""
    app = request.app
    if getattr(app, "auth", None) is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)
