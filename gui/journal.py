"""The journal of edited captions: every change is written down before it is made, so that none can be lost.

A caption file, the text that was shown and the new text come in; the file is changed and the journal has one more
line. Nothing is overwritten that has changed on disk in the meantime. One JSON object a line, only ever appended to.
"""

import json
import os
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.dataset.captions import read_caption, write_caption


class CaptionChanged(Exception):
    """The file holds another text than the one that was shown; nothing was written."""

    def __init__(self, now: str | None) -> None:
        super().__init__(now)
        self.now = now


class CaptionUnwritable(Exception):
    """The file or the journal cannot be written; the text says why. The caption is as it was."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a caption file: `old` is None where there was no file, `new` is None where one was taken away."""

    id: str
    time: float
    """Seconds since 1970."""
    file: Path
    old: str | None
    new: str | None
    undoes: str | None = None


@dataclass
class Journal:
    """The edits in one file, whoever made them."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def edits(self) -> list[Edit]:
        """All edits that came through, the oldest first. A line that is no edit, such as a torn one, is skipped."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return []
        found: dict[str, Edit] = {}
        for line in lines:
            try:
                record = json.loads(line)
                if record.get("failed"):
                    found.pop(record["id"], None)
                else:
                    found[record["id"]] = _edit(record)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return list(found.values())

    def open_edits(self) -> list[Edit]:
        """The edits that can be undone, the newest first: neither undone already nor an undoing itself."""
        edits = self.edits()
        undone = {edit.undoes for edit in edits}
        return [edit for edit in reversed(edits) if edit.undoes is None and edit.id not in undone]

    def save(self, file: Path, shown: str, text: str) -> Edit | None:
        """Write a caption whose box showed `shown`; None where nothing changes.

        Raises CaptionChanged where the file no longer says what was shown, CaptionUnwritable where writing fails.
        """
        text = one_line(text)
        with self._lock:
            now = _read(file)
            if (now or "") == text:
                return None
            if (now or "") != one_line(shown):
                raise CaptionChanged(now)
            return self._write(Edit(uuid.uuid4().hex, time.time(), file, now, text))

    def undo(self, edit: Edit) -> Edit:
        """Put back what an edit replaced, or take away the file that it made. Raises as `save` does."""
        with self._lock:
            now = _read(edit.file)
            if now != edit.new:
                raise CaptionChanged(now)
            return self._write(Edit(uuid.uuid4().hex, time.time(), edit.file, now, edit.old, undoes=edit.id))

    def _write(self, edit: Edit) -> Edit:
        self._append(
            {"id": edit.id, "time": edit.time, "file": str(edit.file), "old": edit.old, "new": edit.new}
            | ({"undoes": edit.undoes} if edit.undoes else {})
        )
        try:
            if edit.new is None and _has_one_line(edit.file):
                edit.file.unlink()
            else:
                write_caption(edit.file, edit.new or "")
        except OSError as reason:
            self._append({"id": edit.id, "failed": True})
            raise CaptionUnwritable(f"{edit.file.name} cannot be written: {_why(reason)}.") from reason
        return edit

    def _append(self, record: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as out:
                # A line that was torn by a crash must not swallow this one.
                torn = out.tell() > 0 and not _ends_whole(self.path)
                out.write(b"\n" * torn + json.dumps(record).encode() + b"\n")
                out.flush()
                os.fsync(out.fileno())
        except OSError as reason:
            raise CaptionUnwritable(f"The journal {self.path} cannot be written: {_why(reason)}.") from reason


def one_line(text: str) -> str:
    """The text as it will stand in the file: only one line of a caption file is read."""
    # A browser can send half of a surrogate pair, which no file can hold.
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(whole.replace("\r", " ").split("\n")).strip()


def _edit(record: dict[str, Any]) -> Edit:
    return Edit(
        str(record["id"]),
        float(record["time"]),
        Path(record["file"]),
        record["old"],
        record["new"],
        record.get("undoes"),
    )


def _read(file: Path) -> str | None:
    try:
        return read_caption(file)
    except UnicodeDecodeError:
        raise CaptionUnwritable(f"{file.name} is not in UTF-8. Save it as UTF-8 in a text editor first.") from None
    except OSError as reason:
        raise CaptionUnwritable(f"{file.name} cannot be read: {_why(reason)}.") from reason


def _has_one_line(file: Path) -> bool:
    return len(file.read_bytes().strip().splitlines()) <= 1


def _ends_whole(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _why(reason: OSError) -> str:
    return (reason.strerror or type(reason).__name__).lower()
