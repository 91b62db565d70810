"""Thumbnails: what they show, what they refuse, what they cost."""

import io
import os
import struct
import zlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gui.studio import Studio
from gui.thumbnails import ADDRESS, Kept, NoThumbnail, draw, side_for, thumbnail_routes, thumbnail_url


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    (tmp_path / "home").mkdir()
    (tmp_path / "pictures ä").mkdir()
    return Studio(home=tmp_path / "home", roots=(tmp_path / "pictures ä",))


@pytest.fixture
def client(studio: Studio) -> TestClient:
    return TestClient(Starlette(routes=thumbnail_routes(studio)))


def drawn(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


def test_longer_side_and_proportions(tmp_path: Path) -> None:
    """The longer side is the asked one, proportions stay, and small pictures are not enlarged."""
    Image.new("RGB", (800, 400), "red").save(tmp_path / "a.png")
    assert drawn(draw(tmp_path / "a.png", 256)).size == (256, 128)
    assert drawn(draw(tmp_path / "a.png", 1024)).size == (800, 400)


def test_upright_and_over_white(tmp_path: Path) -> None:
    """EXIF orientation is applied and transparent parts are white, as the trainer sees them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40), "blue").save(tmp_path / "a.jpg", exif=exif)
    assert drawn(draw(tmp_path / "a.jpg", 128)).size == (40, 80)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "b.png")
    assert drawn(draw(tmp_path / "b.png", 128)).getpixel((4, 4)) == (255, 255, 255)


def test_sixteen_bit_grey_is_not_cut(tmp_path: Path) -> None:
    """Half of 65535 is drawn as half of 255, not as white."""
    Image.new("I;16", (16, 16), 32768).save(tmp_path / "a.png")
    assert abs(drawn(draw(tmp_path / "a.png", 128)).getpixel((8, 8))[0] - 128) <= 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_not_decoded(tmp_path: Path) -> None:
    """A small file that says it has 400 megapixels is refused at its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))
    with pytest.raises(NoThumbnail, match="100 megapixels"):
        draw(path, 256)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    """What is no image, or a kind that starts another program, gives NoThumbnail and nothing else."""
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(NoThumbnail, match="a.png"):
        draw(tmp_path / "a.png", 256)


def test_sizes_are_few() -> None:
    """Any asked size is rounded up to one of four, so that few are kept."""
    assert [side_for(text) for text in ("1", "128", "129", "999999", "-5", "x", "", "٣")] == [
        *(128, 128, 256, 256, 256, 256, 256, 256),
    ]
    assert side_for("99999") == 1024


def test_kept_ones_stay_within_bounds(tmp_path: Path) -> None:
    """The oldest thumbnails are dropped; a changed file is drawn anew, an unchanged one is not."""
    Image.new("RGB", (300, 300), "red").save(tmp_path / "a.png")
    one = len(draw(tmp_path / "a.png", 256))
    kept = Kept(most_bytes=3 * one)
    first = kept.jpeg(tmp_path / "a.png", 256)
    assert kept.jpeg(tmp_path / "a.png", 256) is first
    for number in range(6):
        Image.new("RGB", (300, 300), (number, 0, 0)).save(tmp_path / f"{number}.png")
        kept.jpeg(tmp_path / f"{number}.png", 256)
    assert kept._bytes <= 3 * one + 64 and len(kept._jpegs) <= 3
    assert kept.jpeg(tmp_path / "a.png", 256) is not first
    Image.new("RGB", (300, 300), "blue").save(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert drawn(kept.jpeg(tmp_path / "a.png", 256)).getpixel((5, 5))[2] > 200


def test_route_serves_what_lies_inside(studio: Studio, client: TestClient) -> None:
    """A picture in a root, under a name with spaces and umlauts, comes as a JPEG of its own address."""
    path = studio.roots[0] / "Bär & co.png"
    Image.new("RGB", (500, 500), "green").save(path)
    answer = client.get(thumbnail_url(path).removeprefix("."))
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert drawn(answer.content).size == (256, 256)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_route_refuses_what_lies_outside(studio: Studio, client: TestClient, tmp_path: Path) -> None:
    """Neither a plain path, nor one with dots, nor a link leads out of the roots; nor is another file's text sent."""
    outside = tmp_path / "secret.png"
    Image.new("RGB", (50, 50)).save(outside)
    roundabout = f"{studio.roots[0]}/../secret.png"
    paths = [str(outside), roundabout, "secret.png", "", "\0", "/etc/passwd"]
    if os.name != "nt":
        (studio.roots[0] / "link.png").symlink_to(outside)
        paths.append(str(studio.roots[0] / "link.png"))
    for path in paths:
        answer = client.get(ADDRESS, params={"path": path})
        assert answer.status_code in (403, 404), path
        assert b"JFIF" not in answer.content
    (studio.roots[0] / "notes.png").write_text("secret words")
    answer = client.get(ADDRESS, params={"path": str(studio.roots[0] / "notes.png")})
    assert answer.status_code == 404 and b"secret" not in answer.content


def test_route_asks_for_the_login(studio: Studio) -> None:
    """Where the studio has a login, only its cookie opens the route."""
    path = studio.home / "a.png"
    Image.new("RGB", (50, 50)).save(path)
    app = Starlette(routes=thumbnail_routes(studio))
    app.auth, app.cookie_id, app.tokens = {"atelier": "word"}, "17", {"token": "atelier"}  # type: ignore[attr-defined]
    client = TestClient(app)
    assert client.get(ADDRESS, params={"path": str(path)}).status_code == 401
    client.cookies.set("access-token-17", "wrong")
    assert client.get(ADDRESS, params={"path": str(path)}).status_code == 401
    client.cookies.set("access-token-17", "token")
    assert client.get(ADDRESS, params={"path": str(path)}).status_code == 200


def test_address_changes_with_the_file(tmp_path: Path) -> None:
    """A browser may keep a thumbnail, since a changed file has another address."""
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 5)).save(path)
    before = thumbnail_url(path)
    os.utime(path, ns=(5, 5))
    assert thumbnail_url(path) != before
    assert parse_qs(urlsplit(before).query)["path"] == [str(path)]
