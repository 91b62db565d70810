"""The table of contents of a checkpoint file: names, dtypes, shapes and places of its tensors; no weight is read.

Input is a .safetensors file or a pickled one (.ckpt, .pt, .pth, .bin); output is a `TensorFile`. Needs no torch, so
that the page can look at a 4 GB file in milliseconds.
"""

import json
import math
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer.model.pickles import View, read_pickled
from trainer.model.stored import ELEMENT_BYTES, StoredTensor, UnreadableFile

LARGEST_HEADER = 100 * 10**6
"""Bytes; the limit that the safetensors format sets for its header."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the few lines begin that Git puts in place of a large file whose content was not fetched."""


@dataclass(frozen=True, slots=True)
class TensorFile:
    """All tensors of one file by name, with the file's own words about itself.

    `metadata` is the safetensors metadata, or the plain values beside a pickled state dict (epoch, global_step);
    `foreign` names the classes in a pickle that were not loaded, `reaching` those that reach outside the file.
    """

    path: Path
    format: Literal["safetensors", "ckpt"]
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    reaching: tuple[str, ...] = ()


def read_tensor_file(path: Path) -> TensorFile:
    """The table of contents of a checkpoint file. Raises `UnreadableFile` with the reason; executes nothing."""
    status = path.stat()
    size = status.st_size
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFile("it is no ordinary file")  # a pipe would let us wait for ever
    if size == 0:
        raise UnreadableFile("it is empty (0 bytes)")
    if size < 1024 and path.read_bytes().startswith(LFS_POINTER):
        raise UnreadableFile("it is a Git LFS pointer, a note in the model's place; `git lfs pull` fetches the model")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path, size)
    return _read_pickled(path)


def _read_pickled(path: Path) -> TensorFile:
    pickled = read_pickled(path)
    tree = pickled.tree if isinstance(pickled.tree, dict) else {}
    prefix, state = "", tree
    if isinstance(tree.get("state_dict"), View):
        raise UnreadableFile("its state_dict is a single tensor")
    if isinstance(tree.get("state_dict"), dict):
        state = tree["state_dict"]
    elif not _views(tree):
        # Neither of the usual places: take the first inner table that has tensors, under its own name.
        prefix, state = next(
            ((f"{name}.", inner) for name, inner in tree.items() if isinstance(inner, dict) and _views(inner)), ("", {})
        )
    tensors = {f"{prefix}{name}": pickled.stored(view) for name, view in _views(state).items()}
    if not tensors:
        raise UnreadableFile("no weights stand in it", pickled.reaching)
    values = {
        key: value for key, value in tree.items() if isinstance(key, str) and isinstance(value, (int, float, str))
    }
    return TensorFile(path, "ckpt", tensors, values, pickled.foreign, pickled.reaching)


def _views(table: Mapping[Any, Any]) -> dict[str, View]:
    return {name: value for name, value in table.items() if isinstance(name, str) and isinstance(value, View)}


def _read_safetensors(path: Path, size: int) -> TensorFile:
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise UnreadableFile("it ends too early")
        (length,) = struct.unpack("<Q", start)
        if length > LARGEST_HEADER:
            raise UnreadableFile("its first bytes are not those of a .safetensors file")
        if length > size - 8:
            raise UnreadableFile("it ends within its own table of contents")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise UnreadableFile("its table of contents is damaged") from None
    if not isinstance(header, dict):
        raise UnreadableFile("its table of contents is damaged")
    metadata = header.pop("__metadata__", None)
    tensors = {name: _entry(path, name, row, 8 + length) for name, row in header.items()}
    _check_extent(tensors, size, 8 + length)
    if not tensors:
        raise UnreadableFile("no weights stand in it")
    return TensorFile(path, "safetensors", tensors, metadata if isinstance(metadata, dict) else {})


def _entry(path: Path, name: str, row: Any, data: int) -> StoredTensor:
    """One row of the header, held against itself: the bytes it claims are those its shape needs."""
    try:
        dtype, shape, (first, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
        sound = all(type(number) is int and number >= 0 for number in (*shape, first, end))
        needed = math.prod(shape) * ELEMENT_BYTES[dtype] if sound else -1
    except (KeyError, TypeError, ValueError):
        raise UnreadableFile(f"its table of contents is damaged at {name}") from None
    if end - first != needed:
        raise UnreadableFile(f"its table of contents contradicts itself at {name}")
    return StoredTensor(dtype, shape, path, data + first)


def _check_extent(tensors: Mapping[str, StoredTensor], size: int, data: int) -> None:
    """The tensors fill the file from the header to its last byte, without overlap and without a gap."""
    place = data
    for tensor in sorted(tensors.values(), key=lambda entry: (entry.start, entry.elements)):
        if tensor.start != place:
            raise UnreadableFile("its table of contents contradicts itself: tensors overlap or leave gaps")
        place += tensor.bytes
    if place > size:
        raise UnreadableFile(f"it ends too early, after {size:,} of {place:,} bytes")
    if place < size:
        raise UnreadableFile(f"its table of contents covers {place:,} of its {size:,} bytes")
