"""Read pickled checkpoints (.ckpt, .pt, .bin) without executing anything in them, and without torch.

A file goes in; its object tree comes out, with a `View` in place of every tensor and an inert `Stub` in place of
every object of a class that a state dict does not need: training callbacks, optimizers, or the calls that a hostile
file would like to see made. Both of torch's layouts are read: the zip of today and the stream of torch before 1.6.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainer.model.stored import ELEMENT_BYTES, StoredTensor, UnreadableFile

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LARGEST_TREE = 512 * 2**20
"""Bytes. The object tree of a real checkpoint has under 10 MB; a zip can blow up a few bytes to any size."""

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}

# Modules whose functions reach the machine. Naming them in a checkpoint has one purpose, so such a file is refused,
# though nothing of it would run here.
_REACHING = """
    os posix nt posixpath ntpath subprocess sys shutil socket runpy importlib imp pty ctypes _ctypes multiprocessing
    asyncio urllib requests httpx http ftplib smtplib telnetlib webbrowser code codeop pdb bdb timeit profile cProfile
    pip ensurepip distutils setuptools site signal threading _thread concurrent tempfile io _io pickle _pickle dill
    cloudpickle joblib marshal pydoc doctest trace platform commands winreg _winreg msvcrt
"""
_REACHING_BUILTINS = "eval exec execfile compile __import__ open input breakpoint globals"
_REACHING_NAMES = frozenset({"torch.storage._load_from_bytes", "torch.load", "torch.hub.load", "numpy.load"})


class Stub:
    """Stands for any object whose class is not needed. It takes whatever a pickle does to it and does nothing."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> "Stub":
        return object.__new__(cls)

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        pass

    def __call__(self, *_arguments: Any, **_named: Any) -> "Stub":
        return Stub()

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        """Take a list item and forget it."""

    def extend(self, _items: Any) -> None:
        """Take list items and forget them."""

    def add(self, _item: Any) -> None:
        """Take a set item and forget it."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Memory that tensors of the file may share: a number of elements of one dtype under a key."""

    dtype: str
    key: str
    elements: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as the pickle describes it: some elements of a storage, whose place in the file is not known yet."""

    storage: Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PickledFile:
    """What stands in a pickled checkpoint: `foreign` names the classes that became stubs, `reaching` the hostile."""

    path: Path
    tree: Any
    foreign: tuple[str, ...]
    reaching: tuple[str, ...]
    place: Callable[[Storage], tuple[int, str | None]]

    def stored(self, view: View) -> StoredTensor:
        """The place of a tensor's bytes; raises `UnreadableFile` where the file does not hold them."""
        start, member = self.place(view.storage)
        return StoredTensor(
            dtype=view.storage.dtype,
            shape=view.shape,
            path=self.path,
            start=start + view.first * ELEMENT_BYTES[view.storage.dtype],
            strides=None if _in_order(view.shape, view.strides) else view.strides,
            member=member,
        )


def read_pickled(path: Path) -> PickledFile:
    """The object tree of a torch file. Raises `UnreadableFile` where it is none; executes nothing of it."""
    try:
        with path.open("rb") as file:
            return _read_zip(path, file) if zipfile.is_zipfile(file) else _read_legacy(path, file)
    except UnreadableFile:
        raise
    except (EOFError, struct.error) as trouble:
        raise UnreadableFile("it ends too early") from trouble
    except OSError:
        raise
    except Exception as trouble:
        # A damaged or hand-made pickle can raise anything; whatever it is, this is no checkpoint.
        raise UnreadableFile("its contents are damaged, or it is no checkpoint") from trouble


class _Reader(pickle.Unpickler):
    """An unpickler that knows the few names a state dict is made of and no others."""

    def __init__(self, file: BinaryIO | io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self.foreign: set[str] = set()
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        self.foreign.add(f"{module}.{name}")
        return Stub

    def persistent_load(self, pid: Any) -> Storage | Stub:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return Stub()
        _, dtype, key, _location, elements, *rest = pid
        if dtype not in ELEMENT_BYTES or not isinstance(elements, int) or elements < 0:
            return Stub()
        self.dtypes[str(key)] = dtype
        if rest and rest[0] is not None:
            # A view of another storage (torch before 0.4): its first element within the whole.
            _, first, elements = rest[0]
            return Storage(dtype, str(key), int(elements), int(first))
        return Storage(dtype, str(key), elements)


def _tensor(storage: Any, first: Any, shape: Any, strides: Any, *_rest: Any) -> View | Stub:
    """What `torch._utils._rebuild_tensor_v2` is called with, checked and kept."""
    if not isinstance(storage, Storage):
        return Stub()
    numbers = (first, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise UnreadableFile("a tensor in it has an impossible shape")
    last = first + sum((side - 1) * step for side, step in zip(shape, strides, strict=True)) if 0 not in shape else -1
    if last >= storage.elements:
        raise UnreadableFile("a tensor in it is larger than its data")
    return View(storage, storage.first + first, tuple(shape), tuple(strides))


def _parameter(view: Any, *_rest: Any) -> Any:
    """What `torch._utils._rebuild_parameter` is called with: the tensor it wraps."""
    return view


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
}


def _read_zip(path: Path, file: BinaryIO) -> PickledFile:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        trees = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(trees) != 1:
            raise UnreadableFile("it is a zip archive, but no checkpoint lies in it")
        if members[trees[0]].file_size > LARGEST_TREE:
            raise UnreadableFile("its table of contents is too large to be real")
        reader = _Reader(io.BytesIO(archive.read(trees[0])))
        tree = reader.load()
        folder = trees[0].removesuffix("data.pkl")
    starts: dict[str, int] = {}
    size = path.stat().st_size
    for info in members.values():
        if info.filename.startswith(f"{folder}data/") and info.compress_type == zipfile.ZIP_STORED:
            file.seek(info.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            starts[info.filename] = info.header_offset + 30 + name_length + extra_length
            if starts[info.filename] + info.file_size > size:
                raise UnreadableFile("it ends too early")

    def place(storage: Storage) -> tuple[int, str | None]:
        name = f"{folder}data/{storage.key}"
        if name not in members or members[name].file_size < storage.elements * ELEMENT_BYTES[storage.dtype]:
            raise UnreadableFile("data of a tensor is missing in it")
        return (starts[name], None) if name in starts else (0, name)

    return PickledFile(path, tree, *_strangers(reader.foreign), place)


def _read_legacy(path: Path, file: BinaryIO) -> PickledFile:
    """Magic number, protocol, system facts, tree, storage keys: one pickle each; then sizes and bytes in turn."""
    file.seek(0)
    first = _Reader(file)
    if first.load() != LEGACY_MAGIC:
        raise UnreadableFile("it is no checkpoint", _strangers(first.foreign)[1])
    for _ in range(2):
        _Reader(file).load()
    reader = _Reader(file)
    tree = reader.load()
    starts: dict[str, int] = {}
    size = path.stat().st_size
    for key in map(str, _Reader(file).load()):
        (elements,) = struct.unpack("<q", file.read(8))
        starts[key] = file.tell()
        after = starts[key] + elements * ELEMENT_BYTES[reader.dtypes[key]]
        if elements < 0 or after > size:
            raise UnreadableFile("it ends too early")
        file.seek(after)

    def place(storage: Storage) -> tuple[int, str | None]:
        if storage.key not in starts:
            raise UnreadableFile("data of a tensor is missing in it")
        return starts[storage.key], None

    return PickledFile(path, tree, *_strangers(reader.foreign), place)


def _in_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side != 1 and stride != step:
            return False
        step *= side
    return True


def _strangers(foreign: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = tuple(sorted(foreign))
    return names, tuple(name for name in names if _reaches(name))


def _reaches(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if name in _REACHING_NAMES or name.split(".")[0] in _REACHING.split():
        return True
    return module.split(".")[0] in ("builtins", "__builtin__") and attribute in _REACHING_BUILTINS.split()
