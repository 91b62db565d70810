"""What is asked: pictures of some prompts with some checkpoints. Looked through before anything is loaded. No torch.

Typed values come in; a `Prompt` with size and seed, or all that is to mend, goes out. `picture_file` says where a
picture will lie: the same settings lead to the same file, so that nothing is drawn twice.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainer.contract.problems import Problem
from trainer.contract.prompts import SAMPLERS, Prompt, number_of, sampler_named
from trainer.drawing.checkpoints import Checkpoint
from trainer.model.facts import ModelFacts

SIZE = 512
"""Pixels of a side where neither the person nor the model says one."""

MOST_PICTURES = 64

_LABELS = {"width": "Width", "height": "Height", "seed": "Seed", "steps": "Steps", "scale": "Guidance"}
_EDITION = 1
"""Raised when the same settings would give another picture."""


@dataclass(frozen=True, slots=True)
class Request:
    """Every prompt is drawn with every checkpoint. The prompts have size and seed."""

    checkpoints: tuple[Checkpoint, ...]
    prompts: tuple[Prompt, ...]
    on_cpu: bool = False
    """Draw on the processor, at once and at low priority, also while a run trains."""
    grid: bool = False
    """Whether the page shows it as a grid of checkpoints and prompts."""

    @property
    def cells(self) -> list[tuple[int, int]]:
        """(number of the checkpoint, number of the prompt) of each picture, checkpoint by checkpoint."""
        return [(c, p) for c in range(len(self.checkpoints)) for p in range(len(self.prompts))]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Request":
        """The request in a record. Raises KeyError, TypeError where it is none."""
        return cls(
            tuple(Checkpoint(**row) for row in record["checkpoints"]),
            tuple(Prompt(**row) for row in record["prompts"]),
            bool(record["on_cpu"]),
            bool(record["grid"]),
        )


def prompt_of(values: Mapping[str, Any], facts: ModelFacts | None) -> tuple[Prompt, list[Problem]]:
    """The prompt that typed values ask for (text, negative, sampler, width, height, seed, steps, scale).

    An empty size is the one that the model is at home at, an empty seed a new one.
    """
    problems: list[Problem] = []
    numbers: dict[str, Any] = {}
    for name, label in _LABELS.items():
        given = values.get(name)
        if given is None or str(given).strip() == "":
            continue
        try:
            numbers[name] = number_of(name, str(given).strip(), label)
        except ValueError as reason:
            problems.append(Problem("value.drawing", str(reason), (name,)))
    named = str(values.get("sampler") or SAMPLERS[0])
    sampler = sampler_named(named)
    if sampler is None:
        message = f"There is no sampler “{named}”. There are: {', '.join(SAMPLERS)}."
        problems.append(Problem("value.drawing", message, ("sampler",)))
    text = str(values.get("text") or "").strip()
    if not text:
        problems.append(Problem("value.drawing", "There is no prompt. Write what is to be in the picture.", ("text",)))
    side = (facts.home_size if facts else None) or SIZE
    complete = {"width": side, "height": side, "seed": secrets.randbelow(2**32)} | numbers
    return Prompt(text, str(values.get("negative") or "").strip(), sampler=sampler or SAMPLERS[0], **complete), problems


def seeds_from(prompt: Prompt, count: int) -> tuple[Prompt, ...]:
    """The same prompt with so many seeds, one after another."""
    return tuple(replace(prompt, seed=((prompt.seed or 0) + n) % 2**32) for n in range(count))


def drawings_folder(checkpoint: Checkpoint, home: Path) -> Path:
    """Where pictures drawn with it lie: with its run, else in the studio's home."""
    return Path(checkpoint.run or home) / "drawings"


def picture_file(checkpoint: Checkpoint, prompt: Prompt, home: Path) -> Path:
    """Where the picture lies or will lie. Another file under the checkpoint's name gives another picture."""
    settings = [_EDITION, checkpoint.path, _version(Path(checkpoint.path)), dict(checkpoint.options), asdict(prompt)]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
    words = re.sub(r"[^\w-]+", "-", checkpoint.short.replace(",", ""))[:60].strip("-") or "model"
    return drawings_folder(checkpoint, home) / f"{words}-seed-{prompt.seed}-{digest[:12]}.png"


def _version(path: Path) -> list[int]:
    """Changes when the file does; of a folder, when one of its weights is replaced."""
    files = sorted(path.rglob("*.safetensors")) + sorted(path.rglob("*.bin")) if path.is_dir() else [path]
    try:
        return [number for file in files for number in (file.stat().st_size, file.stat().st_mtime_ns)]
    except OSError:
        return []
