"""Drawn pictures as the files that they are, with their settings in them: one guarded route to save them from the page.

Comes in: a path. Goes out: a PNG, for saving and never for showing, and only from the folders that drawings lie in.
"""

import os
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from gui.studio import Studio
from gui.thumbnails import may_look

ADDRESS = "/picture"


def picture_url(path: Path) -> str:
    """The address under which the file can be saved, relative to the page."""
    return f".{ADDRESS}?{urlencode({'path': str(path)})}"


def picture_routes(studio: Studio) -> list[Route]:
    """The route for `app_kwargs={"routes": ...}` of Blocks.launch."""

    def save(request: Request) -> Response:
        if not may_look(request):
            return PlainTextResponse("Log in first.", 401)
        path = drawn_file(studio, request.query_params.get("path", ""))
        if path is None:
            return PlainTextResponse("There is no drawn picture here.", 404)
        headers = {"X-Content-Type-Options": "nosniff"}
        return FileResponse(path, media_type="image/png", filename=path.name, headers=headers)

    return [Route(ADDRESS, save, methods=["GET"])]


def drawn_file(studio: Studio, given: str) -> Path | None:
    """The file where it really is a PNG in the drawings of the studio or of one of its runs; else None."""
    try:
        real = Path(os.path.realpath(given))
        home = Path(os.path.realpath(studio.home))
        inside = real.parent == home / "drawings" or (
            real.parent.name == "drawings" and real.parents[2] == Path(os.path.realpath(studio.runs))
        )
        return real if given and inside and real.suffix == ".png" and real.is_file() else None
    except (OSError, ValueError, IndexError):  # ValueError: a path with a zero byte in it
        return None
