"""Captions to ids, with neither torch nor transformers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from trainer.model.tokenizer import END_ID, START_ID, load_tokenizer

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((ROOT / "tests" / "fixtures" / "model" / "tokens.json").read_text(encoding="utf-8"))
FAMILIES = {"v1": "sd1", "v2": "sd2"}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CLIPTokenizer]:
    """transformers' tokenizers, loaded from the folders that ours write."""
    root = tmp_path_factory.mktemp("tokenizers")
    for family in FAMILIES:
        load_tokenizer(family).write(root / family)
    return {family: CLIPTokenizer.from_pretrained(root / family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_the_recorded_ones(family: str) -> None:
    """Every recorded caption has the recorded ids, but for `&amp;`, which was recorded with a text-mending package."""
    rows = [row for row in RECORDED["padded"] if "&amp;" not in row["text"]]
    assert len(rows) >= 12
    ids = load_tokenizer(family).encode([row["text"] for row in rows])
    assert ids == [row[f"{FAMILIES[family]}_max_length"] for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_padded_to_the_longest_equal_the_recorded_ones(family: str) -> None:
    """Without full padding a batch is as long as its longest caption."""
    for batch in RECORDED["to_longest"]:
        assert load_tokenizer(family).encode(batch["texts"], pad_to_longest=True) == batch[FAMILIES[family]]


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_transformers(family: str, foreign: dict[str, CLIPTokenizer]) -> None:
    """For any text, our ids are those of transformers' tokenizer loaded from the folder that ours writes."""
    ours, theirs = load_tokenizer(family), foreign[family]

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=120) | st.text("abc XYZ 019!?.,'’“éß日😀\u0301ﬁ\n-_<|>&", max_size=120))
    def check(text: str) -> None:
        expected = theirs(text, padding="max_length", truncation=True, max_length=77).input_ids
        assert ours.encode([text]) == [expected]

    check()
    check_list = ["<|startoftext|>dog<|endoftext|>", "it's they'll", "word " * 100]
    assert ours.encode(check_list) == [
        theirs(text, padding="max_length", truncation=True, max_length=77).input_ids for text in check_list
    ]


def test_split_keeps_what_fits() -> None:
    """The kept part has 75 tokens, the tail is the rest, and a short caption loses nothing."""
    tokenizer = load_tokenizer("v1")
    text = " ".join(f"Wörd {number}," for number in range(40))
    kept, lost = tokenizer.split(text)
    assert kept + lost == text.replace(f"{kept} ", kept)
    assert lost.endswith("39,")
    assert tokenizer.count(kept) == 75
    assert tokenizer.split("a photo of a cat") == ("a photo of a cat", "")
    assert tokenizer.count("a photo of a cat") == 5
    assert tokenizer.count("") == 0


def test_windows_cover_long_captions() -> None:
    """Two windows hold 150 tokens in order, each with its own start and end."""
    tokenizer = load_tokenizer("v1")
    text = " ".join(f"{chr(97 + number % 26)} dog" for number in range(60))
    rows = tokenizer.frame(tokenizer.ids(text), 2)
    whole = tokenizer._pairs.encode(text, add_special_tokens=False).ids
    assert [len(row) for row in rows] == [77, 77]
    assert all(row[0] == START_ID and END_ID in row for row in rows)
    assert rows[0][1:76] + rows[1][1:46] == whole


@pytest.mark.parametrize("module", ["trainer.model.tokenizer", "trainer.model.inspect"])
def test_no_torch_is_loaded(module: str) -> None:
    """A fresh interpreter that imports the tokenizer or the inspection has neither torch nor transformers in it."""
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'diffusers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
