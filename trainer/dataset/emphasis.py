"""Weighted words in captions, as web UIs write them: (word), (word:1.3), [word].

Round brackets raise what they hold by 1.1, square ones lower it by 1.1, a number sets the factor itself; brackets in
brackets multiply. A backslash before a bracket makes it a bracket of the text. What is left open reaches to the end.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

STEP = 1.1
"""What one pair of brackets without a number is worth."""

_TOKEN = re.compile(r"\\(?P<plain>[\\()\[\]])|:\s*(?P<factor>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)|(?P<bracket>[()\[\]])")


@dataclass(slots=True)
class Piece:
    """Some text and how much it weighs."""

    text: str
    weight: float = 1.0


def parse(caption: str) -> list[Piece]:
    """The pieces of a caption, in order; neighbours of one weight are one piece. An empty caption is an empty piece."""
    pieces: list[Piece] = []
    opened: list[tuple[str, int]] = []
    text, end = "", 0

    def close(bracket: str, factor: float) -> bool:
        """Weigh everything since the last open bracket, if that is one of this kind."""
        if not opened or opened[-1][0] != bracket:
            return False
        for piece in pieces[opened.pop()[1] :]:
            piece.weight *= factor
        return True

    def put() -> None:
        nonlocal text
        if text:
            pieces.append(Piece(text))
        text = ""

    for match in _TOKEN.finditer(caption):
        text += caption[end : match.start()]
        end = match.end()
        bracket = match["bracket"]
        if match["plain"]:
            text += match["plain"]
            continue
        if bracket in ("(", "["):
            put()
            opened.append((bracket, len(pieces)))
            continue
        pending = text
        put()
        closed = close("[", 1 / STEP) if bracket == "]" else close("(", float(match["factor"] or STEP))
        if not closed:
            # A bracket that closes nothing is a sign like any other.
            if pending:
                pieces.pop()
            text = pending + match.group()
    text += caption[end:]
    put()
    while opened:
        bracket, first = opened.pop()
        for piece in pieces[first:]:
            piece.weight *= STEP if bracket == "(" else 1 / STEP
    return _joined(pieces) or [Piece("")]


def _joined(pieces: list[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].weight == piece.weight:
            found[-1].text += piece.text
        else:
            found.append(piece)
    return found


def counting_words(count_tokens: Callable[[str], int]) -> Callable[[str], int]:
    """A count of tokens that leaves brackets and factors out."""
    return lambda caption: sum(count_tokens(piece.text) for piece in parse(caption))
