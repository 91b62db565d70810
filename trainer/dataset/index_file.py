"""The file behind the index of images: where it lies, its tables, and what happens when it is damaged.

A path comes in, an open SQLite connection with all tables goes out, or None: the index is never needed.
"""

import contextlib
import os
import sqlite3
import sys
import time
import zlib
from pathlib import Path

import PIL

LAYOUT = 2
"""Raised when tables or the meaning of a column change: an index of another layout is emptied."""

UNUSED_DAYS = 180
"""Folders not scanned for this long are forgotten."""

WAIT_S = 2.0
"""How long to wait for the other process's short writes."""

_TABLES = """
CREATE TABLE folders (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, day INTEGER NOT NULL);
CREATE TABLE images (
    folder INTEGER NOT NULL, name TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, format TEXT NOT NULL, frames INTEGER NOT NULL, flaw TEXT,
    digest BLOB, look BLOB, PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE TABLE unchanged (folder INTEGER PRIMARY KEY, state BLOB NOT NULL, sizes BLOB NOT NULL);
CREATE TABLE captions (
    folder INTEGER NOT NULL, name TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    text TEXT NOT NULL, PRIMARY KEY (folder, name)) WITHOUT ROWID;
"""


def default_index_path() -> Path | None:
    """Where the index lies: in ATELIER_HOME, else the system's folder for caches; None where there is no home."""
    if home := os.environ.get("ATELIER_HOME"):
        return Path(home).expanduser() / "cache" / "images.sqlite"
    try:
        if os.name == "nt":
            caches = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            caches = Path.home() / "Library" / "Caches"
        else:
            caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return caches / "atelier" / "images.sqlite"


def open_index(path: Path) -> sqlite3.Connection | None:
    """A connection with its tables; a damaged file is replaced once. None where that does not work."""
    for _ in range(2):
        file = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(path, timeout=WAIT_S)
            _prepare(file)
            return file
        except OSError:
            return None
        except sqlite3.Error as reason:
            if file is not None:
                file.close()
            if not is_damage(reason):
                return None
            remove_index(path)
    return None


def _prepare(file: sqlite3.Connection) -> None:
    # In write-ahead mode readers never wait for the writer; a power cut loses the newest rows and damages nothing.
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = NORMAL")
    # Another Pillow may read what this one cannot, so what it found out belongs to its version.
    version = LAYOUT * 1_000_000 + zlib.crc32(PIL.__version__.encode()) % 1_000_000
    if file.execute("PRAGMA user_version").fetchone()[0] != version:
        _make_tables(file, version)
    # Looked for before anything is written: a scan that only reads must not wait for the other process.
    old = file.execute("SELECT id FROM folders WHERE day < ?", (today() - UNUSED_DAYS,)).fetchall()
    for table, column in (("images", "folder"), ("unchanged", "folder"), ("captions", "folder"), ("folders", "id")):
        if old:
            file.executemany(f"DELETE FROM {table} WHERE {column} = ?", old)
    file.commit()


def _make_tables(file: sqlite3.Connection, version: int) -> None:
    file.execute("BEGIN IMMEDIATE")
    # The other process may have made them while this one waited.
    if file.execute("PRAGMA user_version").fetchone()[0] != version:
        for table in ("folders", "images", "unchanged", "captions"):
            file.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _TABLES.split(";"):
            file.execute(statement)
        file.execute(f"PRAGMA user_version = {version}")
    file.commit()


def is_damage(reason: sqlite3.Error) -> bool:
    """Whether the file is no sound database, as opposed to a busy, unreachable or read-only one."""
    code = getattr(reason, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def remove_index(path: Path) -> None:
    """Take the file away with what SQLite keeps beside it; where that fails, it stays."""
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + ending).unlink(missing_ok=True)


def today() -> int:
    """Days since 1970."""
    return int(time.time() // 86_400)
