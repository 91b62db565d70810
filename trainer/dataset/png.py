"""A PNG that appears whole, with text in it where other programs look for it. No torch."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, PngImagePlugin


def write_png(path: Path, picture: Image.Image, words: Mapping[str, str]) -> None:
    """Write under another name, then rename; `words` stand in the file as text chunks. Raises OSError."""
    info = PngImagePlugin.PngInfo()
    for key, value in words.items():
        info.add_text(key, value)
    temporary = path.with_name(f".{path.name}.partial")
    picture.save(temporary, format="PNG", pnginfo=info)
    temporary.replace(path)
