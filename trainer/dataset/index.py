"""What is known of image and caption files from earlier scans, so that a second scan is a walk over directories.

An SQLite file in the studio's own data folder: by folder and name, valid while length and time of the file are the
same. It only ever saves time: where it is missing, locked, damaged or on a full disk, everything is read anew. Page
and trainer may use it at once; one `Index` belongs to one thread.
"""

import contextlib
import os
import sqlite3
import time
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from trainer.dataset.headers import Header
from trainer.dataset.index_file import is_damage, open_index, remove_index, today

BLOCK = 1024
"""Files asked for at a time: a query costs as much as reading some ten rows, a block of rows about 0.5 MB."""

SETTLED_NS = 2_000_000_000
"""Only files at rest for two seconds are noted: time stamps are as coarse as that (FAT), so that a file written
twice within them could keep its length and time."""

Mark = Literal["digest", "look"]


class Index:
    """An open index, or one that knows nothing and notes nothing where `path` is None or cannot be used."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._ids: dict[Path, int | None] = {}
        self._file = open_index(path) if path is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. What has been noted stays."""
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def picture_sizes(
        self, folder: Path, names: Sequence[str], sizes_bytes: "array[int]", mtimes_ns: "array[int]"
    ) -> "array[int] | None":
        """Width, height, width, height ... of all images of a folder where not one has changed, and none has a flaw.

        One comparison for the whole folder: row by row a warm scan takes nearly twice as long (9.5 against 5.5 us an
        image, of which 3 are the system's directory walk).
        """
        owner = self._id(folder)
        found = self._ask("SELECT state, sizes FROM unchanged WHERE folder = ?", (owner,)) if owner is not None else []
        if not found or found[0][0] != _state(names, sizes_bytes, mtimes_ns):
            return None
        return array("i", found[0][1])

    def note_picture_sizes(
        self,
        folder: Path,
        names: Sequence[str],
        sizes_bytes: "array[int]",
        mtimes_ns: "array[int]",
        picture_sizes: "array[int]",
    ) -> None:
        """Note what `picture_sizes` shall tell, where all files are at rest."""
        if mtimes_ns and _settled(max(mtimes_ns)):
            row = _state(names, sizes_bytes, mtimes_ns), picture_sizes.tobytes()
            self._write("INSERT OR REPLACE INTO unchanged VALUES (?, ?, ?)", folder, [row])

    def headers(
        self, folder: Path, names: Sequence[str], sizes_bytes: Sequence[int], mtimes_ns: Sequence[int]
    ) -> list[Header | None]:
        """The headers of up to BLOCK files (names sorted), None for each that is not known as it is now."""
        columns = "width, height, format, frames, size_bytes, mtime_ns, flaw"
        rows = self._rows("images", columns, folder, names)
        make = Header._make
        return [
            make(row[2:]) if (row := rows.get(name)) and row[0] == size and row[1] == mtime else None
            for name, size, mtime in zip(names, sizes_bytes, mtimes_ns, strict=True)
        ]

    def note_headers(self, folder: Path, headers: Iterable[tuple[str, Header]]) -> None:
        """Note headers that have been read. One that could not be opened is left: rights may change at any time."""
        self._write(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            folder,
            (
                (name, h.size_bytes, h.mtime_ns, h.width, h.height, h.format, h.frames, h.flaw)
                for name, h in headers
                if h.flaw != "unreadable" and _settled(h.mtime_ns)
            ),
        )

    def note_undecodable(self, folder: Path, names: Iterable[str]) -> None:
        """Note that the pixels of these files are damaged, though their heads are sound."""
        rows = ((name,) for name in names)
        self._write("DELETE FROM unchanged WHERE folder = ?", folder, [()])
        self._write(
            "UPDATE images SET flaw = 'undecodable', width = 0, height = 0 WHERE folder = ? AND name = ?", folder, rows
        )

    def marks(
        self, mark: Mark, folder: Path, names: Sequence[str], sizes_bytes: Sequence[int], mtimes_ns: Sequence[int]
    ) -> list[bytes | None]:
        """The digests or looks of up to BLOCK files (names sorted), None for each that is not known as it is now."""
        rows = self._rows("images", mark, folder, names)
        return [
            row[2] if (row := rows.get(name)) is not None and row[:2] == (size, mtime) else None
            for name, size, mtime in zip(names, sizes_bytes, mtimes_ns, strict=True)
        ]

    def note_marks(self, mark: Mark, folder: Path, marks: Iterable[tuple[str, int, int, bytes]]) -> None:
        """Note (name, length, time, mark) of files whose headers have been noted."""
        self._write(
            f"UPDATE images SET {mark} = ?5 WHERE folder = ?1 AND name = ?2 AND size_bytes = ?3 AND mtime_ns = ?4",
            folder,
            marks,
        )

    def captions(
        self, folder: Path, names: Sequence[str], sizes_bytes: Sequence[int], mtimes_ns: Sequence[int]
    ) -> list[str | None]:
        """The captions in up to BLOCK caption files, None for each that is not known as it is now."""
        rows = self._rows("captions", "text", folder, names)
        return [
            row[2] if (row := rows.get(name)) is not None and row[:2] == (size, mtime) else None
            for name, size, mtime in zip(names, sizes_bytes, mtimes_ns, strict=True)
        ]

    def note_captions(self, folder: Path, captions: Iterable[tuple[str, int, int, str]]) -> None:
        """Note (name, length, time, text) of caption files."""
        rows = (row for row in captions if _settled(row[2]))
        self._write("INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?, ?)", folder, rows)

    def forget_gone(self, folder: Path, names: Sequence[str]) -> None:
        """Forget the images of a folder that are no longer in it."""
        owner = self._id(folder)
        known = self._ask("SELECT count(*) FROM images WHERE folder = ?", (owner,))
        if owner is None or not known or known[0][0] <= len(names):
            return
        here = set(names)
        gone = [row for row in self._ask("SELECT name FROM images WHERE folder = ?", (owner,)) if row[0] not in here]
        self._write("DELETE FROM images WHERE folder = ? AND name = ?", folder, gone)

    def _rows(self, table: str, columns: str, folder: Path, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """name -> (length, time, columns...) of the rows between the first and the last of the names."""
        plain = [name for name in names if _is_text(name)]
        owner = self._id(folder) if plain else None
        if owner is None:
            return {}
        query = f"SELECT name, size_bytes, mtime_ns, {columns} FROM {table} WHERE folder = ? AND name BETWEEN ? AND ?"
        return {row[0]: row[1:] for row in self._ask(query, (owner, min(plain), max(plain)))}

    def _id(self, folder: Path) -> int | None:
        """The number of a folder, made where it has none."""
        if self._file is None:
            return None
        if folder not in self._ids:
            path = os.path.abspath(folder)
            rows = self._ask("SELECT id, day FROM folders WHERE path = ?", (path,)) if _is_text(path) else [(None, 0)]
            if not rows or (rows[0][0] is not None and rows[0][1] != today()):
                rows = self._ask(
                    "INSERT INTO folders (path, day) VALUES (?1, ?2) "
                    "ON CONFLICT (path) DO UPDATE SET day = ?2 RETURNING id",
                    (path, today()),
                )
                self._commit()
            self._ids[folder] = rows[0][0] if rows else None
        return self._ids[folder]

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._file is None:
            return []
        try:
            return self._file.execute(query, values).fetchall()
        except sqlite3.Error as reason:
            self._give_up(reason)
            return []

    def _write(self, query: str, folder: Path, rows: Iterable[tuple[Any, ...]]) -> None:
        owner = self._id(folder)
        if self._file is None or owner is None:
            return
        try:
            self._file.executemany(query, ((owner, *row) for row in rows if _storable(row)))
        except sqlite3.Error as reason:
            self._give_up(reason)
        self._commit()

    def _commit(self) -> None:
        if self._file is None:
            return
        try:
            self._file.commit()
        except sqlite3.Error as reason:
            self._give_up(reason)

    def _give_up(self, reason: sqlite3.Error) -> None:
        """Go on without. A damaged file is removed, so that the next scan begins a new one; a busy one stays."""
        self.close()
        if self._path is not None and is_damage(reason):
            remove_index(self._path)


def _settled(mtime_ns: int) -> bool:
    return mtime_ns < time.time_ns() - SETTLED_NS


def _state(names: Sequence[str], sizes_bytes: "array[int]", mtimes_ns: "array[int]") -> bytes:
    """A digest of a folder's listing: names, lengths and times of its images."""
    digest = blake2b("\0".join(names).encode("utf-8", "surrogatepass"), digest_size=16)
    digest.update(sizes_bytes.tobytes())
    digest.update(mtimes_ns.tobytes())
    return digest.digest()


def _is_text(name: str) -> bool:
    """File names that are not text (on Linux any bytes can be one) have no place in a text column."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _storable(row: tuple[Any, ...]) -> bool:
    return not row or not isinstance(row[0], str) or _is_text(row[0])
