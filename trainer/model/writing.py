"""Write tensors to .safetensors and to torch's zip format, one tensor at a time, and put the file in place at once.

Names with `Outgoing` tensors go in, a file that other programs load comes out. Each tensor is made when its turn
comes and forgotten after it, so saving needs the memory of the largest one. `in_place` gives the file its name only
when it is whole and its table of contents was read back: whoever looks sees the old file or the new one.
"""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import torch

from trainer.model.checkpoint import NAMES
from trainer.model.folders import set_aside
from trainer.model.stored import UnreadableFile
from trainer.model.tensors import read_tensor_file

ALIGNMENT = 64
"""Bytes; where torch lets the data of a storage begin, so that the file can be memory-mapped."""

STORAGES = {
    torch.float64: torch.DoubleStorage,
    torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage,
    torch.bfloat16: torch.BFloat16Storage,
    torch.int64: torch.LongStorage,
    torch.int32: torch.IntStorage,
    torch.int16: torch.ShortStorage,
    torch.int8: torch.CharStorage,
    torch.uint8: torch.ByteStorage,
    torch.bool: torch.BoolStorage,
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A tensor to be written: its final dtype and shape, and how to make it (on any device, of any float dtype)."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], torch.Tensor]

    @property
    def elements(self) -> int:
        """The number of elements."""
        return torch.Size(self.shape).numel()

    def raw(self) -> memoryview:
        """The bytes, little-endian and in order."""
        tensor = self.make().detach().to(device="cpu", dtype=self.dtype).reshape(self.shape).contiguous()
        return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())


Tensors = Mapping[str, Outgoing]

HASH_KEY = "modelspec.hash_sha256"
"""Where a .safetensors file says the SHA-256 of what follows its header, as "0x" and 64 digits (ModelSpec 1.0.1)."""
NO_HASH = f"0x{'0' * 64}"


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """One .safetensors file, durably on disk when this returns. Widest dtypes first, so that all stay aligned.

    Where the metadata has a `HASH_KEY`, whatever stands there becomes the digest of the data.
    """
    hashed = HASH_KEY in metadata
    if hashed:
        metadata = {**metadata, HASH_KEY: NO_HASH}
    digest = sha256()
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name in order:
        tensor = tensors[name]
        after = place + tensor.elements * tensor.dtype.itemsize
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, after]}
        place = after
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)))
        file.write(raw)
        for name in order:
            data = tensors[name].raw()
            file.write(data)
            if hashed:
                digest.update(data)
        if hashed:
            # The header comes first, before the data are known. Within a text quotes are escaped: this is the key.
            file.seek(8 + raw.index(f'"{HASH_KEY}":"{NO_HASH}"'.encode()) + len(HASH_KEY) + 4)
            file.write(f"0x{digest.hexdigest()}".encode())
        _flush(file)


def write_pickled(path: Path, tensors: Tensors, around: Mapping[str, Any] | None) -> None:
    """One file that `torch.load` reads, durably on disk when this returns.

    With `around` it is a .ckpt: the tensors under `state_dict` beside these values; without, a plain state dict.
    """
    keys = {name: str(number) for number, name in enumerate(tensors)}
    state = {name: _Entry(tensor, keys[name]) for name, tensor in tensors.items()}
    tree = io.BytesIO()
    _Pickler(tree, protocol=2).dump(state if around is None else {"state_dict": state, **around})
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, "archive/data.pkl", tree.getbuffer())
            _add(archive, "archive/byteorder", b"little")
            for name, tensor in tensors.items():
                _add(archive, f"archive/data/{keys[name]}", tensor.raw())
            _add(archive, "archive/version", b"3\n")
        _flush(file)


@contextmanager
def in_place(target: Path, tensors: Tensors | None = None) -> Iterator[Path]:
    """A temporary path in the target's folder to write to; it becomes the target when the block ends well.

    With `tensors`, the table of contents is read back first and held against them; an OSError says where it differs.
    A block that fails leaves what was there before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # One name for each target, so that what a killed process leaves is overwritten by the next save.
    partial = target.with_name(f".{target.name}.partial{target.suffix}")
    try:
        yield partial
        if tensors is not None:
            _read_back(partial, tensors)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


@contextmanager
def folder_in_place(target: Path) -> Iterator[Path]:
    """An empty folder beside the target to fill; it becomes the target when the block ends well.

    What stood there before is replaced; a block that fails leaves it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, old = target.with_name(f".{target.name}.partial"), set_aside(target)
    if old.exists() and not target.exists():
        os.replace(old, target)  # a process was killed between the two renames below
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if target.exists():
            os.replace(target, old)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable; Windows does that by itself and cannot open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_back(path: Path, tensors: Tensors) -> None:
    try:
        written = read_tensor_file(path).tensors
    except UnreadableFile:
        written = {}
    same = written.keys() == tensors.keys() and all(
        written[name].shape == tuple(tensor.shape) and written[name].dtype == NAMES[tensor.dtype]
        for name, tensor in tensors.items()
    )
    if not same:
        raise OSError(f"{path} does not hold what was written to it; the disk may be faulty")


class _Entry:
    """A tensor's place holder in the pickled tree."""

    def __init__(self, tensor: Outgoing, key: str) -> None:
        self.tensor = tensor
        self.key = key


class _Storage:
    """A storage's place holder: pickled by its persistent id alone."""

    def __init__(self, entry: _Entry) -> None:
        self.entry = entry


class _Pickler(pickle.Pickler):
    """Writes the tree that `torch.save` would write, without the tensors being there yet."""

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        if not isinstance(obj, _Storage):
            return None
        tensor = obj.entry.tensor
        return "storage", STORAGES[tensor.dtype], obj.entry.key, "cpu", tensor.elements

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, _Entry):
            return NotImplemented
        strides = torch.empty(obj.tensor.shape, device="meta").stride()
        shape = tuple(obj.tensor.shape)
        return torch._utils._rebuild_tensor_v2, (_Storage(obj), 0, shape, strides, False, OrderedDict())


def _add(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    info = zipfile.ZipInfo(name)
    info.file_size = len(content)
    # An extra field fills up to the alignment: 30 bytes of header, the name, 4 bytes of the field's own header.
    start = archive.start_dir + 30 + len(name) + 4
    info.extra = struct.pack("<2sH", b"FB", -start % ALIGNMENT) + bytes(-start % ALIGNMENT)
    with archive.open(info, "w") as member:
        member.write(content)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
