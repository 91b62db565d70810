"""From flat values to a job: gates one and two, then a frozen config with a name.

`check_values` says all that is wrong at once, also when some values cannot be read; `make_job` turns sound values into
a `Job`; `write_job` and `read_job` are the only users of job.json.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trainer.contract.config import DEFAULTS, OPTIONS, TrainingConfig
from trainer.contract.options import Option
from trainer.contract.problems import Problem, errors_of
from trainer.contract.records import write_record
from trainer.contract.rules import broken_rules

SCHEMA = 1
"""The version of job.json and of presets; raised with a migration in presets.py when an option changes its meaning."""

ALIASES = {"caption_extention": "caption_extension"}
"""Other spellings of option names: the contract's own, misspelt, flag."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked: a name and a frozen config that passed the first two gates."""

    name: str
    config: TrainingConfig
    warnings: tuple[Problem, ...] = ()


def make_job(values: Mapping[str, Any], base: Path | None = None) -> Job | list[Problem]:
    """A job from flat values, or everything that keeps it from being one.

    Relative paths are taken from `base`, by default the current folder. Warnings ride along in the job.
    """
    config, problems = check_values(absolute_paths(values, base or Path.cwd()))
    if config is None or errors_of(problems):
        return problems
    return Job(job_name(config), config, tuple(problems))


def check_values(values: Mapping[str, Any]) -> tuple[TrainingConfig | None, list[Problem]]:
    """Gates one and two: the config (None where a value cannot be read) and all problems, errors and warnings.

    Where some values cannot be read, the rules are still tried on the others, so that all is said at once.
    """
    values = {ALIASES.get(name, name): value for name, value in values.items()}
    problems = [unknown_option(name) for name in values if name not in OPTIONS]
    values = {name: value for name, value in values.items() if name in OPTIONS}
    if values.get("max_train_epochs") not in (None, "") and "max_train_steps" not in values:
        # The default of 1,600 steps stands for "no length given": epochs that were chosen replace it.
        values["max_train_steps"] = None
    try:
        config = TrainingConfig.from_flat(values)
    except ValidationError as failure:
        wrong = [_value_problem(detail) for detail in failure.errors()]
        fields = {field for problem in wrong for field in problem.fields}
        rest = {name: value for name, value in values.items() if name not in fields}
        others = broken_rules(TrainingConfig.from_flat(rest))
        return None, problems + wrong + [p for p in others if not fields.intersection(p.fields)]
    return config if not problems else None, problems + broken_rules(config)


def job_name(config: TrainingConfig) -> str:
    """The name that the run is shown under: the output's, else that of the folder of images."""
    folder = config.data.train_data_dir
    return config.saves.output_name or (folder.name if folder else "") or "run"


def write_job(path: Path, job: Job) -> None:
    """Write job.json whole or not at all: into a temporary name in the same folder, then renamed."""
    record = {"schema": SCHEMA, "name": job.name, "options": job.config.flat()}
    write_record(path, record)


def read_job(path: Path) -> Job | list[Problem]:
    """The job in a job.json, checked again by the first two gates."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        options = dict(record["options"])
    except (OSError, ValueError, KeyError, TypeError):
        return [Problem("value.job", f"{path} is no job that can be read. Start the run again from the page.")]
    if record.get("schema", 0) > SCHEMA:
        return [Problem("value.job", f"{path} was written by a newer version of this program. Update it, then go on.")]
    job = make_job(options, path.parent)
    return job if isinstance(job, list) else Job(str(record.get("name") or job.name), job.config, job.warnings)


def read_options(path: Path) -> dict[str, Any] | None:
    """The options in a job.json as they were asked for, unchecked; None where it cannot be read."""
    try:
        options = json.loads(path.read_bytes())["options"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return options if isinstance(options, dict) else None


def differing(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that differ from the defaults: what a job says of the others may not be the default any more.

    Options that are not known are left out, since the job may be of an older version.
    """
    return {name: value for name, value in options.items() if name in OPTIONS and value != DEFAULTS[name]}


def unknown_option(name: str) -> Problem:
    """The problem of a name that is no option, with the nearest one that is."""
    close = difflib.get_close_matches(name.lower(), [*OPTIONS, *ALIASES], n=1, cutoff=0.6)
    hint = f" Did you mean {ALIASES.get(close[0], close[0])}?" if close else ""
    return Problem("value.unknown_option", f"There is no option {name}.{hint}", (name,))


def absolute_paths(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The values with every path that stands on this machine made absolute, so that a job means the same anywhere."""
    result = dict(values)
    for name, value in values.items():
        option = OPTIONS.get(ALIASES.get(name, name))
        if option is None or not isinstance(value, (str, Path)) or not str(value).strip():
            continue
        path = Path(os.path.expanduser(str(value).strip()))
        if option.kind == "path" or option.shown.look in ("model", "file") and _exists(base / path):
            result[name] = str(Path(os.path.abspath(base / path)))
    return result


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _value_problem(detail: ErrorDetails) -> Problem:
    name = str(detail["loc"][1])
    option = OPTIONS[name]
    return Problem(f"value.{_kind_of(detail['type'])}", _sentence(option, detail), (name,))


def _kind_of(kind: str) -> str:
    if kind.startswith(("greater", "less")):
        return "bounds"
    return "choice" if kind == "literal_error" else re.sub(r"_(parsing|type|from_float|size|error)$", "", kind)


def _sentence(option: Option, detail: ErrorDetails) -> str:
    if detail["input"] is None:
        return f"{option.shown.label} is empty. The default is {option.default}."
    given = f"“{str(detail['input'])[:60]}”"
    kind = detail["type"]
    if kind == "value_error":
        return f"{option.shown.label}: {detail['ctx']['error']}."
    if kind.startswith(("greater", "less")):
        return f"{option.shown.label} must be {option.bounds}, not {given}."
    if kind == "literal_error":
        return f"{option.shown.label}: choose one of {', '.join(map(str, option.choices))}, not {given}."
    if option.kind == "switch":
        return f"{option.shown.label} is on or off (true or false), not {given}."
    if option.kind == "whole":
        return f"{option.shown.label} needs a whole number, not {given}."
    if option.kind == "number":
        return f"{option.shown.label} needs a number, not {given}."
    if kind == "string_too_long":
        return f"{option.shown.label} is too long: at most {detail['ctx']['max_length']} letters."
    return f"{option.shown.label} cannot be read: {given}."
