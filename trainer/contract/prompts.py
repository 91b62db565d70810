"""Sample prompts: one a line, with the flags that kohya's users know at the end of the line.

`a harbour at dawn --n blurry --w 512 --h 768 --d 42 --s 28 --l 7.5 --ss euler_a`: unwanted words, width, height, seed,
steps, scale, sampler. `parameters` writes the same down the way web UIs read it in a PNG.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer.contract.problems import Problem

SAMPLERS = ("DDIM", "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras")
"""The ways from noise to a picture, by the names that web UIs know them by; the first is the default."""

BOUNDS: dict[str, tuple[float, float]] = {
    "width": (64, 4096),
    "height": (64, 4096),
    "seed": (0, 2**32 - 1),
    "steps": (1, 1000),
    "scale": (0, 100),
}
"""The lowest and the highest value of each number of a prompt; all but the scale are whole."""

_FLAG = re.compile(r"\s--([a-zA-Z]+)(?=\s|$)")
_NUMBERS = {"w": "width", "h": "height", "d": "seed", "s": "steps", "l": "scale"}
_KOHYA = {"k_euler": "Euler", "k_euler_a": "Euler a", "dpmsolver": "DPM++ 2M", "dpmsolver++": "DPM++ 2M"}
_KARRAS = " Karras"


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
    sampler: str = SAMPLERS[0]


PLAIN = Prompt("")


def parse_prompts(text: str | None, like: Prompt = PLAIN) -> tuple[list[Prompt], list[Problem]]:
    """The prompts of a text, or of the .txt file that it names, and what is wrong with them, line by line.

    What a line does not say itself is as in `like`.
    """
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
            prompts.append(_parse_line(line, like))
        except ValueError as reason:
            problems.append(_problem("flag", f"Prompt {number}: {reason}"))
    if not prompts and not problems:
        problems.append(_problem("none", "There is no prompt in here. Write one prompt a line."))
    return prompts, problems


def parameters(prompt: Prompt, seed: int, size: tuple[int, int], **more: object) -> str:
    """The settings of a picture as the text `parameters` that web UIs write into a PNG and fill their boxes from.

    `size` is width and height in pixels; `more` are further settings, such as Model="harbour". Read again by
    AUTOMATIC1111's web UI and its descendants: prompt, "Negative prompt:", then one line of "Name: value".
    """
    sampler, karras, _ = prompt.sampler.partition(_KARRAS)
    settings: dict[str, object] = {"Steps": prompt.steps, "Sampler": sampler}
    if karras:
        settings["Schedule type"] = karras.strip()
    settings |= {"CFG scale": f"{prompt.scale:g}", "Seed": seed, "Size": f"{size[0]}x{size[1]}", **more}
    lines = [prompt.text, f"Negative prompt: {prompt.negative}"] if prompt.negative else [prompt.text]
    return "\n".join([*lines, ", ".join(f"{name}: {_quoted(str(value))}" for name, value in settings.items())])


def _quoted(value: str) -> str:
    """A value in quotation marks where it could be taken for more than one."""
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def sampler_named(text: str) -> str | None:
    """The sampler of a name, however it is spelt: "Euler a", "euler_a", "k_euler_a"; None for one that is not here."""
    word = text.strip().lower()
    names = {name.lower(): name for name in SAMPLERS} | {name.lower().replace(" ", "_"): name for name in SAMPLERS}
    return (names | _KOHYA).get(word)


def _parse_line(line: str, like: Prompt) -> Prompt:
    parts = _FLAG.split(" " + line)
    values: dict[str, Any] = {"text": parts[0].strip()}
    for flag, raw in zip(parts[1::2], parts[2::2], strict=True):
        raw = raw.strip()
        if flag == "n":
            values["negative"] = raw
        elif flag == "ss":
            sampler = sampler_named(raw)
            if sampler is None:
                raise ValueError(f"There is no sampler “{raw}”. There are: {', '.join(SAMPLERS)}.")
            values["sampler"] = sampler
        elif flag in _NUMBERS:
            values[_NUMBERS[flag]] = number_of(_NUMBERS[flag], raw, f"--{flag}")
        else:
            raise ValueError(f"--{flag} is not known; --n --w --h --d --s --l --ss are.")
    return replace(like, **values)


def number_of(name: str, raw: object, label: str) -> int | float:
    """The number that a setting of a prompt stands for; ValueError, naming it by its label, where it can be none.

    Width and height are rounded down to a multiple of 8: the latents are an eighth of the picture.
    """
    whole = name != "scale"
    try:
        number = float(str(raw))
        if whole and number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{label} needs a {'whole ' if whole else ''}number, not “{raw}”.") from None
    low, high = BOUNDS[name]
    if not low <= number <= high:
        raise ValueError(f"{label} must lie between {low:g} and {high:.10g}, not {raw}.")
    if not whole:
        return number
    return int(number) // 8 * 8 if name in ("width", "height") else int(number)


def _problem(kind: str, message: str) -> Problem:
    return Problem(f"rule.prompts_{kind}", message, ("sample_prompts",))
