"""Which models can be drawn with: what runs have saved, what they started from, and any other on this disk.

Comes in: run folders and paths. Goes out: a `Checkpoint`, with the options by which its run reads prompts and draws. No
torch.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainer.contract.config import ModelSection
from trainer.contract.events import Removed, Saved, decode
from trainer.contract.job import check_values, differing, read_options
from trainer.contract.problems import Problem
from trainer.model.facts import ModelFacts
from trainer.model.inspect import check_model, inspect_model
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.following import exists

HOW = (
    "vae",
    "v_parameterization",
    "clip_skip",
    "zero_terminal_snr",
    "max_token_length",
    "weighted_captions",
    "mixed_precision",
    "sdpa",
    "xformers",
    "mem_eff_attn",
)
"""The options of a run that a picture depends on, beside the weights."""

BEFORE = "before training"

_BETWEEN = " · "
_BASE = "pretrained_model_name_or_path"
_LINE = re.compile(rb'^\{"type":"(?:saved|removed)",.*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model to draw with. `run` is the folder of the run that it belongs to, empty for none."""

    path: str
    label: str
    run: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those of `HOW` that differ from their defaults."""

    @property
    def run_name(self) -> str:
        """The name of the run in the label; empty for a model of no run."""
        return self.label.rpartition(_BETWEEN)[0]

    @property
    def short(self) -> str:
        """The label without the name of the run: "epoch 10, step 3,200"."""
        return self.label.rpartition(_BETWEEN)[2]


def checkpoints_in(runs: Path) -> list[Checkpoint]:
    """Every model that a run has saved and that is still there, of the newest run and the newest save first."""
    return [found for run in list_runs(runs) for found in checkpoints_of(run)]


def checkpoints_of(run: RunFolder) -> list[Checkpoint]:
    """The models that a run has saved and that are still there, newest first."""
    how = _how(run)
    how.pop("vae", None)  # it lies in what was saved
    return [
        Checkpoint(saved.path, f"{run.name}{_BETWEEN}{_moment(saved)}", str(run.path), how)
        for saved in reversed(_saves(run))
        if exists(saved.path)
    ]


def before_training(run: RunFolder) -> Checkpoint | None:
    """What a run started from, drawn as the run draws; None where it says none."""
    base = (read_options(run.job_file) or {}).get(_BASE)
    if not isinstance(base, str) or not base:
        return None
    return Checkpoint(base, f"{run.name}{_BETWEEN}{BEFORE}", str(run.path), _how(run))


def checkpoint_at(path: str, runs: Path) -> Checkpoint:
    """The checkpoint at a path: of the run that saved it, or one that belongs to none."""
    place = Path(path).expanduser().absolute()
    known = (found for found in checkpoints_in(runs) if Path(found.path) == place)
    return next(known, Checkpoint(str(place) if exists(str(place)) else path, Path(path).name))


def look_at(checkpoint: Checkpoint) -> tuple[ModelFacts | None, list[Problem]]:
    """What the model is, and all that keeps it from being drawn with."""
    facts = inspect_model(checkpoint.path)
    if isinstance(facts, Problem):
        return None, [facts]
    return facts, [problem for problem in check_model(section_of(checkpoint, facts))[1] if problem.severity == "error"]


def section_of(checkpoint: Checkpoint, facts: ModelFacts) -> ModelSection:
    """How to load it. What the model says of itself is believed; the run's options say the rest."""
    asked = bool(checkpoint.options.get("v_parameterization"))
    return ModelSection(
        pretrained_model_name_or_path=checkpoint.path,
        v2=facts.family == "v2",
        v_parameterization=asked if facts.prediction is None else facts.prediction == "v",
        vae=checkpoint.options.get("vae"),
    )


def options_of(checkpoint: Checkpoint, facts: ModelFacts) -> dict[str, Any]:
    """How prompts are read and drawn: as its run does, else as the model's own metadata say that it was trained."""
    try:
        told = dict(json.loads(str(facts.metadata.get("atelier.options", "{}"))))
    except (ValueError, TypeError):
        told = {}
    own = _those_of(told)
    # A file may say anything: what is no value of its option is passed over.
    readable = check_values(own)[0] is not None
    return (own if readable else {}) | dict(checkpoint.options)


def _how(run: RunFolder) -> dict[str, Any]:
    return _those_of(read_options(run.job_file) or {})


def _those_of(options: Mapping[str, Any]) -> dict[str, Any]:
    changed = differing(options)
    return {name: changed[name] for name in HOW if name in changed}


def _moment(saved: Saved) -> str:
    raw = ", not averaged" if Path(saved.path).stem.endswith("-raw") else ""
    return f"epoch {saved.epoch:,}, step {saved.step:,}{raw}"


def _saves(run: RunFolder) -> tuple[Saved, ...]:
    """The models that were saved and not removed again, oldest first."""
    try:
        stat = run.events_file.stat()
    except OSError:
        return ()
    return _read_saves(run.events_file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=512)
def _read_saves(events_file: Path, size: int, modified: int) -> tuple[Saved, ...]:
    """`size` and `modified` only tell the cache when the file is another one.

    Of 100,000 steps only the lines that begin as those of saves are parsed: 0.05 s in place of one.
    """
    del size, modified
    saves: dict[str, Saved] = {}
    for line in _LINE.findall(events_file.read_bytes()):
        try:
            event = decode(json.loads(line))
        except ValueError:
            continue
        if isinstance(event, Saved) and event.kind == "model":
            saves.pop(event.path, None)  # written again: the newest of its name
            saves[event.path] = event
        elif isinstance(event, Removed):
            saves.pop(event.path, None)
    return tuple(saves.values())
