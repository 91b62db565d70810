"""CLIP's tokenizer, from the vocabulary in this package: text in, token ids out, with neither torch nor a hub.

The ids equal those of transformers' CLIPTokenizer with the settings of Stable Diffusion 1.x (`v1`: padded with the
end token) and 2.x (`v2`: padded with "!", id 0, so that a typed "!" becomes id 0 as well).
"""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers
from tokenizers import Tokenizer as BytePairTokenizer
from tokenizers.models import BPE

Family = Literal["v1", "v2"]

LENGTH = 77
"""Positions of the text encoder: start token, up to 75 tokens, end token."""

START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49406, 49407

FILES = Path(__file__).parent / "layout" / "tokenizer"

# Words, single digits and runs of other signs, with English contractions split off (the pattern published with CLIP).
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Tokenizer:
    """The tokenizer of one family. Make it with `load_tokenizer`, which keeps the one that was made."""

    def __init__(self, family: Family) -> None:
        self.family: Family = family
        self.pad_token = END if family == "v1" else "!"
        self.pad_id = END_ID if family == "v1" else 0
        self._pairs = _byte_pairs(self.pad_token)

    def count(self, text: str) -> int:
        """How many tokens `text` has, without start and end; more than 75 do not fit one window."""
        return len(self._pairs.encode(text, add_special_tokens=False).ids)

    def split(self, text: str, limit: int = LENGTH - 2) -> tuple[str, str]:
        """The part of `text` that the first `limit` tokens cover, and the tail that is lost ("" where all fits)."""
        offsets = self._pairs.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= limit:
            return text, ""
        cut = offsets[limit][0]
        return text[:cut].rstrip(), text[cut:]

    def encode(self, texts: Sequence[str], pad_to_longest: bool = False) -> list[list[int]]:
        """One row of ids for each text: start, at most 75 tokens, end, padding.

        Rows are 77 long, or, with `pad_to_longest`, as long as the longest of them.
        """
        tokens = [
            encoding.ids[: LENGTH - 2] for encoding in self._pairs.encode_batch(list(texts), add_special_tokens=False)
        ]
        rows = [[START_ID, *ids, END_ID] for ids in tokens]
        length = max(map(len, rows), default=0) if pad_to_longest else LENGTH
        return [row + [self.pad_id] * (length - len(row)) for row in rows]

    def ids(self, text: str) -> list[int]:
        """The ids of the words alone, without start, end and padding."""
        return self._pairs.encode(text, add_special_tokens=False).ids

    def frame(self, ids: list[int], count: int) -> list[list[int]]:
        """`count` rows of 77 ids that hold up to 75 * `count` ids, each with its own start and end; the rest is cut."""
        rows = []
        for first in range(0, count * (LENGTH - 2), LENGTH - 2):
            row = [START_ID, *ids[first : first + LENGTH - 2], END_ID]
            rows.append(row + [self.pad_id] * (LENGTH - len(row)))
        return rows

    def write(self, folder: Path) -> None:
        """Write the four files that transformers 4 (slow and fast) and 5 load a CLIPTokenizer from."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(FILES / name, folder / name)
        special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": self.pad_token}
        settings = {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": LENGTH,
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
            **special,
        }
        for name, content in (("special_tokens_map.json", special), ("tokenizer_config.json", settings)):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@cache
def load_tokenizer(family: Family) -> Tokenizer:
    """The tokenizer of a family, made once in a process (0.1 s)."""
    return Tokenizer(family)


def _byte_pairs(pad_token: str) -> BytePairTokenizer:
    model = BPE.from_file(
        str(FILES / "vocab.json"),
        str(FILES / "merges.txt"),
        continuing_subword_prefix="",
        end_of_word_suffix="</w>",
        fuse_unk=False,
        unk_token=END,
    )
    pairs = BytePairTokenizer(model)
    pairs.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    pairs.decoder = decoders.ByteLevel()
    pairs.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (START, END)])
    if pad_token != END:
        pairs.add_special_tokens([AddedToken(pad_token, normalized=False, special=True)])
    return pairs
