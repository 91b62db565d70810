"""The form looked through: gates one to three for the values in the boxes, and what follows from them.

Comes in: flat values as they stand in the boxes. Goes out: a `Review` with all problems at once, the facts of the
model, the report on the images and the plan. What the disk says is remembered until files or the options that it
depends on change, so that typing in a box does not read a thousand images again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from trainer.contract.config import TrainingConfig
from trainer.contract.job import Job, absolute_paths, check_values, job_name
from trainer.contract.problems import Mend, Problem, errors_of
from trainer.dataset.check import Report, check_dataset
from trainer.dataset.plan import Plan
from trainer.dataset.room import Places, Sizes, room_problems
from trainer.demo.place import demo_folder
from trainer.model.inspect import ModelFacts, check_model
from trainer.model.saved_size import saved_bytes, state_bytes
from trainer.model.tokenizer import load_tokenizer
from trainer.runs.card import check_card

_REMEMBERED = 16
_DATA_SECTIONS = ("data", "images", "captions", "length", "loss", "networks", "saves", "samples", "validation")


@dataclass(frozen=True, slots=True)
class Review:
    """What one look at the form found.

    `config` is None where a value cannot be read, `job` where anything keeps the run from starting. `plan` is None
    where nothing can be counted yet. The config that was held against the disk is `looked_at`: without the values
    that cannot be read, so that the other pages keep their figures while somebody types.
    """

    values: Mapping[str, Any]
    config: TrainingConfig | None
    looked_at: TrainingConfig
    problems: tuple[Problem, ...]
    facts: ModelFacts | None = None
    report: Report | None = None

    @property
    def errors(self) -> list[Problem]:
        """What is to mend before a start."""
        return errors_of(self.problems)

    @property
    def job(self) -> Job | None:
        """The job, where nothing is to mend."""
        if self.config is None or self.errors:
            return None
        return Job(job_name(self.config), self.config, self.problems)

    @property
    def plan(self) -> Plan | None:
        """What will happen, as far as it can be counted."""
        return self.report.plan if self.report is not None and self.config is not None else None

    @property
    def sizes(self) -> Sizes | None:
        """About the bytes of one saved model and of one state, None where the model is not known."""
        if self.facts is None:
            return None
        return Sizes(saved_bytes(self.facts, self.looked_at.saves), state_bytes(self.facts, self.looked_at))

    @property
    def save_bytes(self) -> int | None:
        """About the size of one saved model, None where the model is not known."""
        return None if self.sizes is None else self.sizes.model


def review(values: Mapping[str, Any], base: Path, *, fresh: bool = False) -> Review:
    """Gates one to three, all at once. Relative paths begin at `base`; `fresh` looks at the disk anew."""
    if fresh:
        _memory.clear()
    values = absolute_paths(values, base)
    config, problems = check_values(values)
    looked_at = config if config is not None else _readable(values, problems)
    problems = [*problems, *check_card(looked_at), *_left_of_the_demo(looked_at, base)]
    facts: ModelFacts | None = None
    report: Report | None = None
    if looked_at.model.pretrained_model_name_or_path is not None and not looked_at.images.debug_dataset:
        facts, found = _look_at_model(looked_at)
        problems = [*problems, *found]
    if looked_at.data.train_data_dir is not None:
        report = _look_at_images(looked_at, facts)
        problems = [*problems, *report.problems]
    result = Review(values, config, looked_at, tuple(problems), facts, report)
    room = _room_problems(result, base / "runs")
    return Review(values, config, looked_at, (*problems, *room), facts, report) if room else result


def _left_of_the_demo(config: TrainingConfig, home: Path) -> list[Problem]:
    """Who chooses images over the loaded demo still has its ordinary stars beside them."""
    images, regular, demo = config.data.train_data_dir, config.data.reg_data_dir, demo_folder(home)
    if images is None or regular is None or images.is_relative_to(demo) or not regular.is_relative_to(demo):
        return []
    message = (
        "The regularization images are still those of the demo: small drawn stars. Leave them out, or choose others."
    )
    mend = Mend("Leave them out", {"reg_data_dir": None})
    return [Problem("disk.demo_regularization", message, ("reg_data_dir",), "warning", (mend,))]


def _readable(values: Mapping[str, Any], problems: Sequence[Problem]) -> TrainingConfig:
    """The config without the values that gate one refuses."""
    refused = {name for problem in problems if problem.code.startswith("value.") for name in problem.fields}
    config, _ = check_values({name: value for name, value in values.items() if name not in refused})
    assert config is not None, "gate one names every value that it refuses"
    return config


def _look_at_model(config: TrainingConfig) -> tuple[ModelFacts | None, list[Problem]]:
    model = config.model
    paths = [model.pretrained_model_name_or_path, model.vae]
    seen = tuple(_signature(Path(path).expanduser(), depth=2) for path in paths if path)
    return _memory.recall(("model", model.model_dump_json(), seen), lambda: check_model(model))


def _look_at_images(config: TrainingConfig, facts: ModelFacts | None) -> Report:
    family = facts.family if facts is not None else "v2" if config.model.v2 else "v1"
    folders = (config.data.train_data_dir, config.data.reg_data_dir, config.loss.conditioning_data_dir)
    seen = tuple(_signature(folder.expanduser(), depth=1) for folder in folders if folder)
    options = json.dumps({name: getattr(config, name).model_dump(mode="json") for name in _DATA_SECTIONS})
    return _memory.recall(
        ("images", family, options, seen), lambda: check_dataset(config, count_tokens=load_tokenizer(family).count)
    )


def _signature(path: Path, depth: int) -> int:
    """Changes when a file in a folder (or `depth` folders below) comes, goes or is written, without opening any."""
    rows: list[tuple[str, int, int]] = []
    try:
        stat = path.stat()
        rows.append((str(path), stat.st_mtime_ns, stat.st_size))
        if path.is_dir():
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir() and depth:
                        rows.append((entry.name, _signature(Path(entry.path), depth - 1), 0))
                    else:
                        stat = entry.stat()
                        rows.append((entry.name, stat.st_mtime_ns, stat.st_size))
    except OSError:
        rows.append((str(path), -1, -1))
    return hash(tuple(sorted(rows)))


def _room_problems(found: Review, runs: Path) -> list[Problem]:
    """Whether all planned models and states fit on the disk: a full disk late at night is the dearest of mistakes.

    A run that goes on has written a part of them already: the trainer, which reads the state, looks at its start.
    """
    plan, output, sizes = found.plan, found.looked_at.saves.output_dir, found.sizes
    if plan is None or output is None or sizes is None or found.looked_at.saves.resume is not None:
        return []
    return room_problems(found.looked_at, plan, sizes, Places(output.expanduser(), runs))


class _Memory:
    """The last few answers of the disk, shared by all browsers that look at the studio."""

    def __init__(self) -> None:
        self._answers: dict[Any, Any] = {}
        self._lock = Lock()

    def recall(self, key: Any, ask: Any) -> Any:
        """The remembered answer, else that of `ask`. One at a time: two browsers do not read one folder twice."""
        with self._lock:
            if key not in self._answers:
                self._answers[key] = ask()
                if len(self._answers) > _REMEMBERED:
                    del self._answers[next(iter(self._answers))]
            return self._answers[key]

    def clear(self) -> None:
        with self._lock:
            self._answers.clear()


_memory = _Memory()
