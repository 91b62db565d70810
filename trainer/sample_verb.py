"""The verb `sample`: pictures from any checkpoint, drawn in this process.

The words behind the verb come in; PNG files, text or JSON and an exit code go out. All that can be said without torch
is said before it is read.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainer.answers import print_json, refuse
from trainer.contract.cli import Line, parse_line
from trainer.contract.job import check_values
from trainer.contract.problems import Problem
from trainer.contract.prompts import Prompt
from trainer.drawing.checkpoints import HOW, Checkpoint, checkpoint_at, checkpoints_of, look_at
from trainer.drawing.request import MOST_PICTURES, prompt_of, seeds_from
from trainer.drawing.tasks import training_now
from trainer.model.refusals import UnusableModel
from trainer.model_verbs import useless
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.launch import has_nvidia
from trainer.verbs import home_folder

_FLAGS = {
    **dict.fromkeys(("prompt", "negative", "steps", "sampler", "guidance", "width", "height"), True),
    **{"number": True, "out": True, "home": True, "cpu": False, "wait": False, "json": False},
}
_OPTIONS = ("seed", *HOW)
_LOOK_EVERY_S = 2.0


def sample(argv: Sequence[str]) -> int:
    """Draw with a checkpoint: a file, a Diffusers folder, or a run, whose newest save is taken."""
    line = parse_line(argv, _FLAGS)
    home = home_folder(line.own.get("home"))
    problems = [*line.problems, *useless(line, _OPTIONS)]
    how = {name: line.values[name] for name in HOW if name in line.values}
    config, found = check_values(how)
    problems += [problem for problem in found if problem.code.startswith("value.")]
    checkpoint = _checkpoint(line, home)
    facts = None
    if isinstance(checkpoint, Problem):
        problems.append(checkpoint)
    else:
        given = {name: value for name, value in config.flat().items() if name in how} if config is not None else {}
        checkpoint = replace(checkpoint, options={**checkpoint.options, **given})
        facts, unfit = look_at(checkpoint)
        problems += unfit
    prompt, wrong = prompt_of(_typed(line), facts)
    count, miscounted = _number(line)
    problems += [*wrong, *miscounted]
    if problems or isinstance(checkpoint, Problem):
        return refuse(problems, line)
    busy = _busy(line, home)
    if busy is not None:
        return refuse([busy], line)
    return _draw(checkpoint, seeds_from(prompt, count), line, home)


def _typed(line: Line) -> dict[str, Any]:
    own = line.own
    names = {"text": "prompt", "scale": "guidance"}
    typed = {name: own.get(names.get(name, name)) for name in ("text", "negative", "steps", "sampler", "scale")}
    return typed | {"width": own.get("width"), "height": own.get("height"), "seed": line.values.get("seed")}


def _checkpoint(line: Line, home: Path) -> Checkpoint | Problem:
    if len(line.words) != 1:
        message = "Name one checkpoint: a file, a Diffusers folder, or a run, whose newest save is taken."
        return Problem("value.words", message)
    named = line.words[0]
    run = next((run for run in list_runs(home / "runs") if named in (run.path.name, str(run.path))), None)
    if run is None and (Path(named) / "job.json").is_file():
        run = RunFolder(Path(named).absolute())
    if run is None:
        return checkpoint_at(named, home / "runs")
    saved = checkpoints_of(run)
    return saved[0] if saved else Problem("value.run", f"{run.name} has saved no model that is still there.")


def _number(line: Line) -> tuple[int, list[Problem]]:
    given = str(line.own.get("number", 1))
    if given.isdecimal() and 1 <= int(given) <= MOST_PICTURES:
        return int(given), []
    message = f"--number is how many pictures to draw, between 1 and {MOST_PICTURES}, not “{given}”."
    return 1, [Problem("value.drawing", message, ("number",))]


def _busy(line: Line, home: Path) -> Problem | None:
    """Wait for a run that trains now where that was asked for; else say that one does, unless it is left alone."""
    if line.own.get("cpu"):
        return None
    while (run := training_now(home)) is not None:
        if not line.own.get("wait"):
            where = "on this card" if has_nvidia() else "on this machine"
            message = (
                f"{run.name} trains {where} now, and drawing would slow it. "
                "Add --wait to draw when it is done, or --cpu to draw on the processor at low priority."
            )
            return Problem("machine.training", message)
        time.sleep(_LOOK_EVERY_S)
    return None


def _draw(checkpoint: Checkpoint, prompts: Sequence[Prompt], line: Line, home: Path) -> int:
    from trainer.drawing.artist import Artist  # noqa: PLC0415 - torch, only once all else is right
    from trainer.drawing.drawer import give_way  # noqa: PLC0415 - goes with it

    if line.own.get("cpu"):
        give_way()
    artist, rows = Artist(home), []
    try:
        artist.load(checkpoint, on_cpu=bool(line.own.get("cpu")))
        for number, prompt in enumerate(prompts, 1):
            began = time.monotonic()
            with tqdm(total=prompt.steps, unit="step", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
                path = artist.draw(checkpoint, prompt, _told(bar), _out(line, number, len(prompts)))
            rows.append({"picture": str(path), "seconds": round(time.monotonic() - began, 2), **asdict(prompt)})
            if not line.own.get("json"):
                print(f"{path}  (seed {prompt.seed}, {time.monotonic() - began:.1f} s)", flush=True)
    except UnusableModel as refusal:
        return refuse([refusal.problem], line)
    except OSError as reason:
        return refuse([Problem("disk.picture_unwritable", f"The picture cannot be written: {reason}.")], line)
    if line.own.get("json"):
        print_json(rows)
    return 0


def _told(bar: "tqdm[Any]") -> Callable[[int], None]:
    return lambda step: bar.update(step - bar.n) and None


def _out(line: Line, number: int, count: int) -> Path | None:
    """The file of a picture as --out names it, with its number where there are several; None where nothing does."""
    if "out" not in line.own:
        return None
    path = Path(str(line.own["out"])).expanduser()
    path = path if path.suffix.lower() == ".png" else path.with_name(f"{path.name}.png")
    return path if count == 1 else path.with_stem(f"{path.stem}-{number}")
