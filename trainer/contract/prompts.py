"""Sample prompts: one a line, with the flags that kohya's users know at the end of the line.

`a harbour at dawn --n blurry --w 512 --h 768 --d 42 --s 28 --l 7.5`: unwanted words, width, height, seed, steps, scale.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.problems import Problem

_FLAG = re.compile(r"\s--([a-zA-Z]+)(?=\s|$)")
_NUMBERS = {"w": ("width", 64, 4096), "h": ("height", 64, 4096), "d": ("seed", 0, 2**32 - 1), "s": ("steps", 1, 1000)}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One picture to draw. `None` leaves size and seed to the run: its resolution, and the same seed at every step."""

    text: str
    negative: str = ""
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    steps: int = 28
    scale: float = 7.5


def parse_prompts(text: str | None) -> tuple[list[Prompt], list[Problem]]:
    """The prompts of a text, or of the .txt file that it names, and what is wrong with them, line by line."""
    if not text:
        return [], []
    if "\n" not in text and text.strip().lower().endswith(".txt"):
        path = Path(text.strip()).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return [], [
                _problem("file", f"The file of prompts {path} cannot be read. Choose another, or write them here.")
            ]
    prompts: list[Prompt] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            prompts.append(_parse_line(line))
        except ValueError as reason:
            problems.append(_problem("flag", f"Prompt {number}: {reason}"))
    if not prompts and not problems:
        problems.append(_problem("none", "There is no prompt in here. Write one prompt a line."))
    return prompts, problems


def _parse_line(line: str) -> Prompt:
    parts = _FLAG.split(" " + line)
    values: dict[str, str | int | float] = {"text": parts[0].strip()}
    for flag, raw in zip(parts[1::2], parts[2::2], strict=True):
        raw = raw.strip()
        if flag == "n":
            values["negative"] = raw
        elif flag == "l":
            values["scale"] = _number(flag, raw, 0, 100)
        elif flag in _NUMBERS:
            name, low, high = _NUMBERS[flag]
            number = _number(flag, raw, low, high)
            if number != int(number):
                raise ValueError(f"--{flag} needs a whole number, not “{raw}”.")
            values[name] = int(number)
        else:
            raise ValueError(f"--{flag} is not known; --n --w --h --d --s --l are.")
    for name in ("width", "height"):
        if name in values:
            # The latents are an eighth of the picture: other sizes cannot be drawn.
            values[name] = int(values[name]) // 8 * 8
    return Prompt(**values)  # type: ignore[arg-type]


def _number(flag: str, raw: str, low: float, high: float) -> float:
    try:
        number = float(raw)
    except ValueError:
        raise ValueError(f"--{flag} needs a number, not “{raw}”.") from None
    if not low <= number <= high:
        raise ValueError(f"--{flag} must lie between {low:g} and {high:g}, not {raw}.")
    return number


def _problem(kind: str, message: str) -> Problem:
    return Problem(f"rule.prompts_{kind}", message, ("sample_prompts",))
