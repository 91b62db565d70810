"""Small JSON files that are whole or absent."""

import threading
from pathlib import Path

import pytest

from trainer.contract.records import read_record, write_record


def test_readers_see_old_or_new_never_half(tmp_path: Path) -> None:
    """While a file is rewritten again and again, each look finds a whole record."""
    path = tmp_path / "exit.json"
    write_record(path, {"number": -1, "text": "ü" * 9000})
    looks: list[dict[str, object] | None] = []
    writer = threading.Thread(
        target=lambda: [write_record(path, {"number": n, "text": "ü" * 9000}) for n in range(100)]
    )
    writer.start()
    while writer.is_alive():
        looks.append(read_record(path))
    writer.join()
    assert looks and all(look is not None and len(str(look["text"])) == 9000 for look in looks)
    assert read_record(path)["number"] == 99
    assert [file.name for file in tmp_path.iterdir()] == ["exit.json"]


def test_what_is_no_record_is_none(tmp_path: Path) -> None:
    """A missing file, a folder, text and a list are no records."""
    path = tmp_path / "exit.json"
    assert read_record(path) is None and read_record(tmp_path) is None
    for text in ("", "{", "[1]", "\x00"):
        path.write_text(text)
        assert read_record(path) is None


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Writing into a folder that is not there raises."""
    with pytest.raises(OSError):
        write_record(tmp_path / "missing" / "exit.json", {})
