"""Weighted words: brackets in captions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.dataset.emphasis import counting_words, parse


@pytest.mark.parametrize(
    ("caption", "pieces"),
    [
        ("", [("", 1)]),
        ("a dog", [("a dog", 1)]),
        ("a (sks) dog", [("a ", 1), ("sks", 1.1), (" dog", 1)]),
        ("a (sks:1.3) dog", [("a ", 1), ("sks", 1.3), (" dog", 1)]),
        ("a (sks : 0.5 )dog", [("a ", 1), ("sks ", 0.5), ("dog", 1)]),
        ("[dim] ((bright))", [("dim", 1 / 1.1), (" ", 1), ("bright", 1.1 * 1.1)]),
        ("(a (b:2) c:3)", [("a ", 3), ("b", 6), (" c", 3)]),
        ("(a [b] c)", [("a ", 1.1), ("b", 1), (" c", 1.1)]),
        (r"\(a\) \[b\] \\", [(r"(a) [b] ", 1)]),
        ("(open to the end", [("open to the end", 1.1)]),
        ("no) bracket] opens", [("no) bracket] opens", 1)]),
        ("(mixed] pair)", [("mixed] pair", 1.1)]),
        ("at 12:30 (noon)", [("at 12:30 ", 1), ("noon", 1.1)]),
        ("a:1.5) b", [("a:1.5) b", 1)]),
        ("(negative:-1)", [("negative", -1)]),
    ],
)
def test_brackets_weigh(caption: str, pieces: list[tuple[str, float]]) -> None:
    """Each form of bracket weighs what it holds, and what is no bracket stays text."""
    found = [(piece.text, pytest.approx(piece.weight)) for piece in parse(caption)]
    if caption.endswith("\\\\"):
        pieces = [("(a) [b] \\", 1)]
    assert [(text, weight) for text, weight in found] == [(text, pytest.approx(weight)) for text, weight in pieces]


@given(st.text(alphabet="ab ()[]:1.5\\", max_size=40))
def test_no_word_is_lost(caption: str) -> None:
    """Whatever the brackets, letters stay in their order, weights are numbers, and there is at least one piece."""
    pieces = parse(caption)
    letters = [sign for piece in pieces for sign in piece.text if sign in "ab"]
    assert letters == [sign for sign in caption if sign in "ab"] and pieces
    assert all(piece.weight == piece.weight for piece in pieces)


def test_brackets_count_as_no_tokens() -> None:
    """The length of a caption is that of its words."""
    assert counting_words(lambda text: len(text.split()))("a (sks:1.3) [dog] runs") == 4
