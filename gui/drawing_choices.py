"""What can be chosen on the Try it page: checkpoints of runs, models of this studio, sizes; and what typed texts mean.

Comes in: a `Studio` and what stands in the boxes. Goes out: choices, a `Request`, or all that is to mend.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gui.figures import clock
from gui.model_cards import WORDS
from gui.pages.model import folders_of, models_in
from gui.studio import Studio
from trainer.contract.job import read_options
from trainer.contract.problems import Problem
from trainer.contract.prompts import parse_prompts
from trainer.drawing.checkpoints import (
    Checkpoint,
    before_training,
    checkpoint_at,
    checkpoints_in,
    look_at,
)
from trainer.drawing.request import MOST_PICTURES, SIZE, Request, prompt_of, seeds_from
from trainer.runs.folder import RunFolder
from trainer.runs.following import exists

SIDES = (512, 640, 768)
"""Sides of the sizes that are offered; any other can be typed."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What stands in the boxes for one picture."""

    checkpoint: str
    text: str
    negative: str
    seed: str
    size: str
    steps: float
    scale: float
    sampler: str
    compare: bool

    def values(self) -> dict[str, Any]:
        """As `prompt_of` reads them."""
        width, _, height = size_of(self.size).partition("x")
        named = {name: getattr(self, name) for name in ("text", "negative", "seed", "steps", "scale", "sampler")}
        return {**named, "width": width, "height": height}


def choices(studio: Studio) -> list[tuple[str, str]]:
    """(label, path) of everything that is offered, newest first: what runs saved, then other models."""
    saved = checkpoints_in(studio.runs)
    names = Counter({(c.run_name, c.run) for c in saved})
    often = Counter(name for name, _ in names)
    rows = {c.path: _with_time(c) if often[c.run_name] > 1 else c.label for c in saved}
    for facts in models_in(folders_of(studio, None)):
        rows.setdefault(str(facts.path), facts.name)
    return [(label, path) for path, label in rows.items()]


def sizes() -> list[str]:
    """Squares, and one upright and one wide of each."""
    found = [f"{side} × {side}" for side in SIDES]
    return [*found, "512 × 768", "768 × 512", "576 × 1024", "1024 × 576"]


def size_of(text: str) -> str:
    """ "512x768" of whatever way a size is typed; the text itself where it is none."""
    numbers = re.findall(r"\d+", text or "")
    return "x".join(numbers) if len(numbers) == 2 else numbers[0] + "x" + numbers[0] if len(numbers) == 1 else text


def chosen(studio: Studio, path: str) -> Checkpoint | Problem:
    """The checkpoint at a path that was chosen or typed."""
    path = (path or "").strip()
    if not path:
        return Problem("value.drawing", "No checkpoint is chosen. Choose one, or type the path of a model.")
    checkpoint = checkpoint_at(path, studio.runs)
    listed = checkpoint.run or any(path == known for _, known in choices(studio))
    if not listed and exists(checkpoint.path) and not studio.allows(Path(checkpoint.path)):
        message = f"{path} lies outside the folders that this studio may read. Start it with --root to add one."
        return Problem("value.drawing", message)
    return checkpoint


def asked(studio: Studio, typed: Typed, count: int) -> Request | list[Problem]:
    """The request for one picture, or for the same with several seeds; with `compare` also before training."""
    checkpoint = chosen(studio, typed.checkpoint)
    if isinstance(checkpoint, Problem):
        return [checkpoint, *prompt_of(typed.values(), None)[1]]
    facts, problems = look_at(checkpoint)
    prompt, wrong = prompt_of(typed.values(), facts)
    if problems or wrong:
        return [*problems, *wrong]
    before = before_of(checkpoint) if typed.compare and count == 1 else None
    checkpoints = (before, checkpoint) if before is not None else (checkpoint,)
    return Request(checkpoints, seeds_from(prompt, count))


def asked_grid(studio: Studio, paths: Sequence[str], text: str, typed: Typed) -> Request | list[Problem]:
    """The request for every prompt with every checkpoint. What a line does not say itself is as in the boxes."""
    found = [chosen(studio, path) for path in paths]
    problems = [one for one in found if isinstance(one, Problem)]
    checkpoints = [one for one in found if isinstance(one, Checkpoint)]
    if not found:
        problems.append(Problem("value.drawing", "No checkpoints are chosen for the grid."))
    like, wrong = prompt_of({**typed.values(), "text": "any"}, None)
    problems += wrong
    lines, wrong = parse_prompts(text or "", like)
    problems += wrong
    if not lines and not wrong:
        problems.append(Problem("value.drawing", "There are no prompts for the grid. Write one a line."))
    for checkpoint in checkpoints:
        problems += look_at(checkpoint)[1]
    if len(checkpoints) * len(lines) > MOST_PICTURES:
        message = f"{len(checkpoints)} checkpoints with {len(lines)} prompts are more than {MOST_PICTURES} pictures."
        problems.append(Problem("value.drawing", message))
    if problems:
        return problems
    return Request(tuple(checkpoints), tuple(lines), grid=True)


def before_of(checkpoint: Checkpoint) -> Checkpoint | None:
    """What the checkpoint's run started from, where that is still there."""
    before = before_training(RunFolder(Path(checkpoint.run))) if checkpoint.run else None
    return before if before is not None and not look_at(before)[1] else None


def described(checkpoint: Checkpoint) -> tuple[str, str]:
    """What a checkpoint is in a sentence, and the size that suits it; empty where it cannot be drawn with."""
    facts, problems = look_at(checkpoint)
    if facts is None or problems:
        return "", ""
    side = facts.home_size or SIZE
    predicts = {"v": ", predicts v", "epsilon": ", predicts noise"}.get(facts.prediction or "", "")
    return f"{WORDS[facts.family]}{predicts}", f"{side} × {side}"


def first_choice(studio: Studio) -> tuple[str, str]:
    """The checkpoint and the prompt that a first visit begins with: the newest save, and its run's first sample."""
    offered = choices(studio)
    saved = next(iter(checkpoints_in(studio.runs)), None)
    if saved is None:
        return (offered[0][1] if offered else ""), ""
    return saved.path, first_sample(RunFolder(Path(saved.run)))


def first_sample(run: RunFolder) -> str:
    """The first of the run's own sample prompts; empty where it has none."""
    prompts = (read_options(run.job_file) or {}).get("sample_prompts")
    lines = parse_prompts(prompts)[0] if isinstance(prompts, str) else []
    return lines[0].text if lines else ""


def _with_time(checkpoint: Checkpoint) -> str:
    asked_at = clock(RunFolder(Path(checkpoint.run)).created)
    return f"{checkpoint.run_name}, {asked_at} · {checkpoint.short}"
