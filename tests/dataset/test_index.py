"""The index of earlier scans: it saves reading, is never believed against the disk, and is never needed."""

import copy
import multiprocessing
import os
import sqlite3
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.contract.config import DataSection, TrainingConfig
from trainer.dataset.captions import entries_of
from trainer.dataset.check import Report, check_dataset
from trainer.dataset.index import Index
from trainer.dataset.index_file import default_index_path
from trainer.dataset.scan import Picture, Scan, scan


def settle(root: Path) -> None:
    """Date all files an hour back: younger than two seconds they are not noted."""
    for path in root.rglob("*"):
        os.utime(path, (time.time() - 3600,) * 2)


def scanned(root: Path, file: Path | None) -> Scan:
    with Index(file) as index:
        return scan(DataSection(train_data_dir=root), index=index)


@pytest.fixture
def root(tmp_path: Path, make_tree: Callable) -> Path:
    """Two folders with sound images, a damaged and a turned one, and captions."""
    files = {f"2_sks star/{n:02}.png": (64 + n, 64) for n in range(12)}
    files |= {"2_sks star/03.txt": "a star", "2_sks star/cut.png": b"\x89PNG\r\n\x1a\n12", "1_ö/ü.jpg": (80, 60)}
    make_tree(tmp_path / "img", files)
    settle(tmp_path / "img")
    return tmp_path / "img"


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files whose headers are read from now on."""
    import trainer.dataset.scan as module  # noqa: PLC0415 - to put a counting function into it

    real, read = module.read_header, []
    monkeypatch.setattr(module, "read_header", lambda path: (read.append(path.name), real(path))[1])
    return read


def test_a_second_scan_opens_no_image(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second scan finds the same folders, pictures and problems without reading a header."""
    first = scanned(root, tmp_path / "i.sqlite")
    read = count_reads(monkeypatch)
    assert scanned(root, tmp_path / "i.sqlite") == first == scanned(root, None)
    assert len(read) == 14  # all of them by the scan without an index
    assert [problem.code for problem in first.problems] == ["disk.image_truncated"]


@pytest.mark.parametrize("change", ["content", "time", "new", "renamed"])
def test_only_what_changed_is_read_again(
    change: str, root: Path, tmp_path: Path, make_image: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another length, another time, another name: that one file is read, and the scan says what lies there now."""
    scanned(root, tmp_path / "i.sqlite")
    path = root / "2_sks star/04.png"
    if change == "content":
        make_image(path, (300, 200))
    elif change == "time":
        os.utime(path, (1_000_000, 1_000_000))
    elif change == "new":
        path = make_image(root / "2_sks star/new.png", (70, 70))
    else:
        path = path.rename(root / "2_sks star/zz.png")
    read = count_reads(monkeypatch)
    found = scanned(root, tmp_path / "i.sqlite")
    assert read == [path.name]
    assert found == scanned(root, None)


@pytest.mark.parametrize("change", ["nothing", "content", "time", "new", "renamed", "gone"])
def test_a_folder_without_flaws_is_compared_as_a_whole(
    change: str, root: Path, tmp_path: Path, make_image: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing has changed not one row is asked for; any change shows, and only what changed is read."""
    (root / "2_sks star/cut.png").unlink()
    scanned(root, tmp_path / "i.sqlite")
    path = root / "2_sks star/04.png"
    if change == "content":
        make_image(path, (300, 200))
        os.utime(path, (1_000_000, 1_000_000))
    elif change == "time":
        os.utime(path, (1_000_000, 1_000_000))
    elif change == "new":
        path = make_image(root / "2_sks star/new.png", (70, 70))
    elif change == "renamed":
        path = path.rename(root / "2_sks star/zz.png")
    elif change == "gone":
        path.unlink()
    expected = scanned(root, None)
    read = count_reads(monkeypatch)
    asked: list[int] = []
    real = Index.headers
    monkeypatch.setattr(Index, "headers", lambda self, *values: (asked.append(1), real(self, *values))[1])
    assert scanned(root, tmp_path / "i.sqlite") == expected
    assert read == ([] if change in ("nothing", "gone") else [path.name])
    assert bool(asked) is (change != "nothing")


def test_a_file_that_is_gone_is_forgotten(root: Path, tmp_path: Path) -> None:
    """Rows of removed images do not pile up."""
    scanned(root, tmp_path / "i.sqlite")
    for n in range(6):
        (root / f"2_sks star/{n:02}.png").unlink()
    assert scanned(root, tmp_path / "i.sqlite").pictures == 7
    rows = sqlite3.connect(tmp_path / "i.sqlite").execute("SELECT name FROM images ORDER BY name").fetchall()
    assert [name for (name,) in rows] == [
        "06.png",
        "07.png",
        "08.png",
        "09.png",
        "10.png",
        "11.png",
        "cut.png",
        "ü.jpg",
    ]


def test_a_file_written_just_now_is_not_noted(tmp_path: Path, make_tree: Callable, monkeypatch) -> None:
    """It may be written again within the same tick of the clock, and then nothing would tell."""
    root = make_tree(tmp_path / "img", {"1_x/a.png": (64, 64)})
    scanned(root, tmp_path / "i.sqlite")
    read = count_reads(monkeypatch)
    scanned(root, tmp_path / "i.sqlite")
    assert read == ["a.png"]


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 100, None])
def test_a_damaged_index_is_replaced(damage: bytes | None, root: Path, tmp_path: Path) -> None:
    """Whatever stands in the file, the scan is right, and the next one is quick again."""
    file = tmp_path / "i.sqlite"
    first = scanned(root, file)
    content = file.read_bytes()
    file.write_bytes(content[:1024] + b"\xff" * (len(content) - 1024) if damage is None else damage)
    assert scanned(root, file) == first
    assert scanned(root, file) == first
    assert sqlite3.connect(file).execute("SELECT count(*) FROM images").fetchone() == (14,)


def test_a_locked_index_is_done_without(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program holds the file for good, the scan goes on without it."""
    monkeypatch.setattr("trainer.dataset.index_file.WAIT_S", 0.05)
    first = scanned(root, tmp_path / "i.sqlite")
    other = sqlite3.connect(tmp_path / "i.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert scanned(root, tmp_path / "i.sqlite") == first
    other.execute("ROLLBACK")
    other.close()
    assert scanned(root, tmp_path / "i.sqlite") == first


@pytest.mark.parametrize("place", ["below a file", "a folder"])
def test_an_index_that_cannot_be_is_done_without(place: str, root: Path, tmp_path: Path) -> None:
    """No place for the file: no index, no exception."""
    (tmp_path / "file").write_text("x")
    file = tmp_path / "file/i.sqlite" if place == "below a file" else root
    assert scanned(root, file) == scanned(root, None)


def _scan_often(root: Path, file: Path, times: int) -> None:
    expected = scanned(root, None)
    for _ in range(times):
        for path in sorted((root / "2_sks star").glob("*.png"))[::3]:
            os.utime(path, (time.time() - 5000,) * 2)
        assert scanned(root, file).pictures == expected.pictures


def test_two_processes_may_use_it_at_once(root: Path, tmp_path: Path) -> None:
    """Page and trainer scan and note at the same time: both are right, and the file stays sound."""
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_scan_often, args=(root, tmp_path / "i.sqlite", 15)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert sqlite3.connect(tmp_path / "i.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_captions_and_digests_cost_nothing_the_second_time(
    tmp_path: Path, make_tree: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No image is hashed, no caption opened, and the report is the same; an edited caption is read anew."""
    files = {f"1_x/{n}.png": (64, 64) for n in range(4)} | {f"1_x/{n}.txt": f"caption {n}" for n in range(4)}
    root = make_tree(tmp_path / "img", files)
    (root / "1_x/copy.png").write_bytes((root / "1_x/2.png").read_bytes())
    settle(root)
    config = TrainingConfig.from_flat({"train_data_dir": str(root), "caption_extension": ".txt", "resolution": "64"})

    def check() -> Report:
        return check_dataset(config, index_path=tmp_path / "i.sqlite")

    first = check()
    assert [problem.code for problem in first.problems] == ["disk.image_duplicate"]

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} is read again")

    with monkeypatch.context() as patch:
        patch.setattr("trainer.dataset.captions.read_caption", refuse)
        patch.setattr("trainer.dataset.duplicates.blake2b", refuse)
        assert check() == first
    (root / "1_x/3.txt").write_text("another one")
    assert [entry.caption for entry in check().entries][3] == "another one"


def test_damage_found_by_a_deep_check_is_remembered(tmp_path: Path, make_tree: Callable) -> None:
    """What only decoding tells stays known to ordinary checks, until the file changes."""
    root = make_tree(tmp_path / "img", {"1_x/a.png": (64, 64), "1_x/b.png": (64, 64)})
    content = bytearray((root / "1_x/b.png").read_bytes())
    middle = content.index(b"IDAT") + 8
    content[middle : middle + 20] = b"\0" * 20
    (root / "1_x/b.png").write_bytes(content)
    settle(root)
    config = TrainingConfig.from_flat({"train_data_dir": str(root), "resolution": "64"})

    def codes(**how: bool) -> list[str]:
        return [problem.code for problem in check_dataset(config, index_path=tmp_path / "i.sqlite", **how).problems]

    assert codes() == []
    assert codes(deep=True) == ["disk.image_undecodable"]
    assert codes() == ["disk.image_undecodable"] == codes(deep=True)
    (root / "1_x/b.png").write_bytes((root / "1_x/a.png").read_bytes())
    assert codes() == ["disk.image_duplicate"]


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
def test_names_that_are_no_text_are_read_each_time(tmp_path: Path, make_tree: Callable) -> None:
    """On Linux any bytes can be a name: such a file counts like any other."""
    root = make_tree(tmp_path / "img", {"1_x/a.png": (64, 64)})
    try:
        os.rename(os.fsencode(root / "1_x/a.png"), os.fsencode(root / "1_x") + b"/\xff\xfe.png")
    except OSError:
        pytest.skip("this file system takes only text")
    settle(root)
    assert scanned(root, tmp_path / "i.sqlite") == scanned(root, tmp_path / "i.sqlite")
    assert scanned(root, tmp_path / "i.sqlite").pictures == 1


def test_where_the_index_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In ATELIER_HOME where it is set, else in the folder that the system keeps for such files."""
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path))
    assert default_index_path() == tmp_path / "cache" / "images.sqlite"
    monkeypatch.delenv("ATELIER_HOME")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "caches"))
    found = default_index_path()
    assert found is not None and found.parts[-2:] == ("atelier", "images.sqlite")


def test_memory_for_an_image_is_below_a_kilobyte(tmp_path: Path) -> None:
    """What 3,000 images and their entries hold, and what a warm scan and reading of captions take at their peak."""
    inner = tmp_path / "img/1_x"
    inner.mkdir(parents=True)
    picture = next(Path(__file__).parents[1].glob("fixtures/dataset/pixels/*.png")).read_bytes()
    for n in range(3000):
        # Different lengths: what follows the end of a PNG is not looked at.
        (inner / f"{n:06}.png").write_bytes(picture + bytes(n % 40))
    settle(tmp_path / "img")
    data = DataSection(train_data_dir=tmp_path / "img")
    with Index(tmp_path / "i.sqlite") as index:
        scan(data, index=index)
        tracemalloc.start()
        found = scan(data, index=index)
        entries, _ = entries_of(found, data, index)
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(entries) == 3000
    assert held / 3000 < 500 and peak / 3000 < 1000 + 2_000_000 / 3000, (held / 3000, peak / 3000)


def test_a_picture_is_a_value_with_a_path() -> None:
    """However it was made, it is the same: it travels to worker processes and is compared."""

    picture = Picture(Path("a/b.png"), 64, 48, 5, 6)
    assert picture.path == Path("a/b.png") and (picture.folder, picture.name) == (Path("a"), "b.png")
    assert copy.deepcopy(picture) == picture and hash(picture) == hash(Picture(Path("a/b.png"), 64, 48, 5, 6))
