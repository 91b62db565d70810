"""Read tensors from checkpoint files one at a time: no file is ever whole in memory, nothing in it is executed.

A path (or a table of contents) goes in; out comes a mapping from names to tensors, each read when it is asked for.
The tensors are copies of their own: the file may be overwritten or deleted afterwards.
"""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import torch

from trainer.model.stored import StoredTensor
from trainer.model.tensors import TensorFile, read_tensor_file

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Checkpoint(Mapping[str, torch.Tensor]):
    """The tensors of a file or of several (shards), read on demand. Close it, or use it in a `with`."""

    def __init__(self, content: TensorFile) -> None:
        self.content = content
        self._files: dict[Path, BinaryIO] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.read(self.content.tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.content.tensors)

    def __len__(self) -> int:
        return len(self.content.tensors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files, so that Windows lets others replace them."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read(self, stored: StoredTensor) -> torch.Tensor:
        """One tensor, contiguous, in the dtype it is stored in."""
        size = DTYPES[stored.dtype].itemsize
        span = stored.elements
        if stored.strides is not None and span:
            span = 1 + sum((side - 1) * step for side, step in zip(stored.shape, stored.strides, strict=True))
        raw = torch.empty(span * size, dtype=torch.uint8)
        if span:
            self._fill(raw, stored)
        elements = raw.view(DTYPES[stored.dtype])
        if stored.strides is None:
            return elements.reshape(stored.shape)
        return elements.as_strided(stored.shape, stored.strides).contiguous()

    def _fill(self, raw: torch.Tensor, stored: StoredTensor) -> None:
        into = memoryview(raw.numpy())
        if stored.member is not None:
            with zipfile.ZipFile(stored.path) as archive, archive.open(stored.member) as member:
                into[:] = member.read()[stored.start : stored.start + len(into)]
            return
        file = self._files.get(stored.path)
        if file is None:
            # Unbuffered: each tensor is one read of its own length.
            file = self._files[stored.path] = stored.path.open("rb", buffering=0)
        file.seek(stored.start)
        done = 0
        while done < len(into):
            # Linux reads at most 2 GiB at once, so a long tensor may take several turns.
            count = file.readinto(into[done:])
            if not count:
                raise OSError(f"{stored.path} became shorter while it was read")
            done += count


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint file of any kind; raises `UnreadableFile` where it is none."""
    return Checkpoint(read_tensor_file(path))
