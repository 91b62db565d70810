"""What is wrong with captions over all folders, collected file by file, to say each thing once.

Names come in, problems go out: captions that cannot be read, are missing, empty or too long.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Literal, get_args

from trainer.contract.config import TokenLength
from trainer.contract.problems import Mend, Problem
from trainer.dataset.wording import NAMES_SHOWN, counted, listed

Fault = Literal["not_utf8", "unreadable"]

TAIL_SHOWN = 60
"""Letters of a lost tail that a message shows: enough to find the place."""


class CaptionProblems:
    """Collects, then says. Names only: of a million captions few have anything wrong with them."""

    def __init__(self) -> None:
        self._missing: list[str] = []
        self._empty: list[str] = []
        self._empty_needed: list[str] = []
        self._faults: dict[str, list[str]] = {"not_utf8": [], "unreadable": []}
        self._beside: dict[str, int] = {}

    def note_fault(self, fault: str, file: str) -> None:
        """A caption file that is there and cannot be read."""
        self._faults[fault].append(file)

    def note_missing(self, picture: str) -> None:
        """A picture without the caption that it needs."""
        self._missing.append(picture)

    def note_empty(self, file: str, needed: bool) -> None:
        """A caption without a word, where one is `needed` or not."""
        (self._empty_needed if needed else self._empty).append(file)

    def note_beside(self, extension: str, number: int) -> None:
        """So many pictures without a caption would have one with this extension."""
        self._beside[extension] = self._beside.get(extension, 0) + number

    def problems(self, extension: str) -> list[Problem]:
        """All of them; `extension` is the one that the job reads."""
        box = ("caption_extension", "train_data_dir")
        problems = [
            Problem(f"disk.caption_{fault}", message.format(*_named(names, "caption file")), box)
            for fault, message in (
                ("not_utf8", "{0} {1} not in UTF-8. Save {2} as UTF-8 in a text editor."),
                ("unreadable", "{0} {1} not readable. Allow reading {2}, or take {2} away."),
            )
            if (names := self._faults[fault])
        ]
        if self._missing:
            problems.append(self._say_missing(extension))
        elif any(self._beside.values()):
            problems.append(self._say_other_extension(extension))
        if self._empty_needed:
            who, verb, _ = _named(self._empty_needed, "caption file")
            message = f"{who} {verb} empty. Write a caption into the first line."
            problems.append(Problem("disk.caption_empty", message, box))
        if self._empty:
            who, _, _ = _named(self._empty, "image")
            message = f"{who}: the caption is empty, and is learnt as an empty one."
            problems.append(Problem("disk.caption_empty", message, box, "warning"))
        return problems

    def _say_missing(self, extension: str) -> Problem:
        who, _, _ = _named(self._missing, "image")
        verb = "has" if len(self._missing) == 1 else "have"
        message = f"{who} {verb} no caption file ending in {extension}."
        found = self._best()
        if found:
            number = self._beside[found]
            message += f" {counted(number, 'caption')} ending in {found} {_verb(number)} there."
        else:
            message += " Write the captions, or train with numbered folders."
        return Problem("disk.captions_missing", message, ("caption_extension", "train_data_dir"), mends=_switch(found))

    def _say_other_extension(self, extension: str) -> Problem:
        found = self._best()
        assert found
        number = self._beside[found]
        message = (
            f"{counted(number, 'caption file')} ending in {found} {_verb(number)} beside the images unread: "
            f"the job reads {extension}, and uses the folder's name where there is none."
        )
        return Problem("disk.captions_of_other_ending", message, ("caption_extension",), "warning", _switch(found))

    def _best(self) -> str:
        """The extension that would find most captions, empty where none would find any."""
        return max((other for other in self._beside if self._beside[other]), key=self._beside.__getitem__, default="")


def long_captions(captions: Iterable[tuple[str, str]], count_tokens: Callable[[str], int], most: int) -> list[Problem]:
    """A warning where captions have more than `most` tokens, with the tail that is lost. `captions`: (image, text)."""
    tokens: dict[str, int] = {}
    long: list[tuple[str, str]] = []
    for image, text in captions:
        # A token holds at least one byte, so most captions need no counting.
        if len(text) * 4 <= most or len(text.encode()) <= most:
            continue
        if text not in tokens:
            tokens[text] = count_tokens(text)
        if tokens[text] > most:
            long.append((image, text))
    if not long:
        return []
    shown = [f"{image} loses “{_shortened(lost_tail(text, count_tokens, most))}”" for image, text in long[:NAMES_SHOWN]]
    verb = "is" if len(long) == 1 else "are"
    message = (
        f"{counted(len(long), 'caption')} {verb} longer than {most} tokens, and what comes after is not learnt: "
        f"{listed([*shown, *(image for image, _ in long[NAMES_SHOWN:])])}."
    )
    longest = max(tokens.values())
    limits = [int(limit) for limit in get_args(TokenLength)]
    enough = next((limit for limit in limits if limit >= longest), limits[-1])
    mends = (Mend(f"Read up to {enough}", {"max_token_length": str(enough)}),) if enough > most else ()
    return [Problem("disk.caption_long", message, ("train_data_dir", "max_token_length"), "warning", mends)]


def lost_tail(text: str, count_tokens: Callable[[str], int], most: int) -> str:
    """The words of `text` from the first one on that does not fit whole into `most` tokens."""
    starts = [i for i in range(len(text)) if not text[i].isspace() and (i == 0 or text[i - 1].isspace())]
    ends = [*starts[1:], len(text)]
    fitting = bisect_right(ends, most, key=lambda end: count_tokens(text[:end]))
    return text[starts[fitting] :] if fitting < len(starts) else ""


def _shortened(text: str) -> str:
    return text if len(text) <= TAIL_SHOWN else text[: TAIL_SHOWN - 1].rstrip() + "…"


def _switch(extension: str) -> tuple[Mend, ...]:
    return (Mend(f"Switch to {extension}", {"caption_extension": extension}),) if extension else ()


def _verb(number: int) -> str:
    return "lies" if number == 1 else "lie"


def _named(names: list[str], noun: str) -> tuple[str, str, str]:
    """Who, is or are, it or them."""
    if len(names) == 1:
        return names[0], "is", "it"
    return f"{counted(len(names), noun)} ({listed(names)})", "are", "them"
