"""A tensor that lies on disk: its dtype, its shape and the place of its bytes. The common word of all file readers."""

import math
from dataclasses import dataclass
from pathlib import Path

ELEMENT_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""The dtypes of the safetensors format that can stand in a checkpoint, and the bytes of one element."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


class UnreadableFile(Exception):
    """A file that holds no tensors we can read; the text ends the sentence "This file cannot be read: ...".

    `reaching` names what a pickle would have called outside the file (os.system and the like), had anyone run it.
    """

    def __init__(self, reason: str, reaching: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reaching = reaching


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor on disk: `start` is the byte offset of its first element in `path`.

    `strides` (in elements) are None where the elements lie in order; `member` names the zip entry where the data is
    compressed, and `start` then counts inside it.
    """

    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    strides: tuple[int, ...] | None = None
    member: str | None = None

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of all elements."""
        return self.elements * ELEMENT_BYTES[self.dtype]
