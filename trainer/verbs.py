"""What each verb of `python -m trainer` does.

Comes in: the words behind the verb. Goes out: an exit code, text on the terminal or JSON with --json. Nothing here
imports torch before all that can be said without it has been said.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainer.answers import print_json, print_problems, refuse
from trainer.console import Console
from trainer.contract.cli import Line, parse_line
from trainer.contract.config import TrainingConfig
from trainer.contract.job import Job, check_values, make_job, read_job
from trainer.contract.presets import Preset, load_preset
from trainer.contract.problems import Problem, errors_of
from trainer.dataset.check import Report, check_dataset
from trainer.dataset.face_finder import find_faces, folders_of, load_finder
from trainer.demo.make import make_demo, not_made
from trainer.demo.place import is_made
from trainer.drawing.before_after import write_before_after
from trainer.model.inspect import ModelFacts, check_model
from trainer.model.tokenizer import load_tokenizer
from trainer.runs.card import check_card
from trainer.runs.ending import record_exit
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.launch import settle_threads
from trainer.runs.runner import start_run, stop_run
from trainer.runs.status import status_of

ROOT = Path(__file__).resolve().parents[1]
JOB_FLAGS = {"preset": True, "job": True, "run_dir": True, "home": True, "json": False}


def home_folder(given: str | bool | None = None) -> Path:
    """Where runs, own presets and the demo lie: --home, else ATELIER_HOME, else the program's own folder."""
    return Path(os.path.abspath(os.path.expanduser(str(given or os.environ.get("ATELIER_HOME") or ROOT))))


def train(argv: Sequence[str]) -> int:
    """Train in this process; under `accelerate launch` each process comes through here."""
    line = parse_line(argv, JOB_FLAGS)
    job = job_of(line)
    if isinstance(job, list):
        return refuse(job, line)
    main_process = os.environ.get("RANK", "0") == "0"
    launched = "run_dir" in line.own and RunFolder(Path(str(line.own["run_dir"]))).job_file.exists()
    if main_process and not launched:
        # A launched run says what is wrong in its events; here nothing must be left behind by a refusal.
        problems = errors_of(look_at(job.config)[1])
        if problems:
            return refuse(problems, line)
    run = _run_folder(line, job, launched) if main_process else RunFolder(Path())
    console = Console(run.events_file) if main_process else None
    if console:
        console.watch()

    settle_threads()
    if job.config.hardware.gpu_ids is not None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        os.environ["CUDA_VISIBLE_DEVICES"] = str(job.config.hardware.gpu_ids)
    from trainer.training.run import Refused, train_job  # noqa: PLC0415 - torch is read only once all else is right

    code, result, cause = 1, None, ""
    try:
        result = train_job(job, run.path)
        code = 0
    except Refused as refusal:
        code, cause = refuse(refusal.problems, line), "; ".join(p.message for p in refusal.problems)
    except Exception as failure:
        cause = f"{type(failure).__name__}: {failure}"
        raise
    finally:
        if console:
            console.close()
        if main_process and not launched and result != "paused":
            record_exit(run, code, result or "failed", cause)
    return code


def check(argv: Sequence[str]) -> int:
    """Gates one to three, all at once; --deep decodes every image and finds those that look nearly the same."""
    line = parse_line(argv, {**JOB_FLAGS, "deep": False})
    values, problems = _values(line)
    config, found = check_values(values)
    problems += found
    if config is not None:
        problems += look_at(config, deep=bool(line.own.get("deep")))[1]
    if line.own.get("json"):
        print_json([problem.as_dict() for problem in problems])
    else:
        print_problems(problems)
        if not problems:
            print("Nothing to mend.")
    return 2 if errors_of(problems) else 0


def plan(argv: Sequence[str]) -> int:
    """The plan of a run: what the page shows and the trainer does."""
    line = parse_line(argv, JOB_FLAGS)
    job = job_of(line)
    if isinstance(job, list):
        return refuse(job, line)
    report = check_dataset(job.config)
    if report.plan is None or errors_of(report.problems):
        return refuse(errors_of(report.problems), line)
    found = report.plan
    if line.own.get("json"):
        print_json(found.as_dict())
        return 0
    print(
        f"{found.images:,} images, {found.uses_per_epoch:,} uses an epoch, {found.reg_images:,} regularization images"
    )
    if found.held_out:
        print(f"{found.held_out:,} images held out: measured, not trained on")
    for row in found.buckets:
        print(f"  {row.size[0]} x {row.size[1]}: {row.images:,} images, {row.batches:,} batches")
    print(f"{found.steps_per_epoch:,} steps an epoch, {found.epochs:,} epochs, {found.total_steps:,} steps in all")
    states = found.states_beside + found.states_in_run
    at_once = f"at most {found.models_on_disk:,} models and {states:,} states on disk at once"
    print(f"{found.save_count:,} saves, {at_once}")
    return 0


def demo(argv: Sequence[str]) -> int:
    """Make the demo where it is missing, and train it to the end as the page would: in a run of its own."""
    line = parse_line(argv, {"make": False, "home": True, "json": False})
    if line.problems:
        return refuse(line.problems, line)
    home = home_folder(line.own.get("home"))
    if not is_made(home):
        print("Making the demo: two small models that draw, and pictures to teach them.", flush=True)
        try:
            make_demo(home)
        except OSError as reason:
            return refuse([Problem("disk.demo_unwritable", not_made(home, reason))], line)
    if line.own.get("make"):
        return 0
    preset = load_preset(ROOT / "presets" / "demo.json", base=home)
    assert isinstance(preset, Preset)
    job = make_job({**preset.values, **line.values}, home)
    if isinstance(job, list):
        return refuse(job, line)
    run = new_run(home / "runs", job)
    start_run(run)
    code = follow(run)
    if status_of(run).state == "finished" and not line.own.get("json"):
        _show_before_after(run)
    return code


def faces(argv: Sequence[str]) -> int:
    """Find the faces in a folder of images, or in the numbered folders in it, for face_crop_aug_range."""
    line = parse_line(argv, {"again": False, "json": False})
    if line.problems or len(line.words) != 1:
        return refuse(line.problems or [Problem("value.words", "Name one folder of images.")], line)
    folders = folders_of(Path(line.words[0]).expanduser())
    find = load_finder()
    problems = [found for found in (folders, find) if isinstance(found, Problem)]
    if isinstance(folders, Problem) or isinstance(find, Problem):
        return refuse(problems, line)
    rows = []
    for folder in folders:
        try:
            found = find_faces(folder, find, again=bool(line.own.get("again")))
        except OSError as reason:
            message = f"{folder} cannot be written to ({reason.strerror}). Allow writing, and find the faces again."
            return refuse([Problem("disk.faces_unwritable", message)], line)
        rows.append(asdict(found))
        if not line.own.get("json"):
            print(f"{found.folder}: a face in {found.faces:,} of {found.images:,} images", flush=True)
            for name in found.unreadable:
                print(f"    {name} cannot be decoded", file=sys.stderr)
    if line.own.get("json"):
        print_json(rows)
    return 0


def job_of(line: Line) -> Job | list[Problem]:
    """The job of a command line: a job.json, or a preset with flags over it."""
    values, problems = _values(line)
    if "job" in line.own:
        job = read_job(Path(str(line.own["job"])))
        if not isinstance(job, list) and values:
            changed = make_job({**job.config.flat(), **values})
            job = changed if isinstance(changed, list) else Job(job.name, changed.config, changed.warnings)
    else:
        job = make_job(values)
    if isinstance(job, list):
        return [*problems, *job]
    told = tuple(problem for problem in problems if problem.severity == "warning")
    return errors_of(problems) or replace(job, warnings=(*told, *job.warnings))


def _values(line: Line) -> tuple[dict[str, Any], list[Problem]]:
    """The values of a line and all that is wrong with them; what of a foreign preset was not taken is a warning."""
    problems = list(line.problems)
    problems += [Problem("value.words", f"“{word}” belongs to no flag.") for word in line.words]
    if "preset" not in line.own:
        return dict(line.values), problems
    path = Path(str(line.own["preset"])).expanduser()
    shipped = ROOT / "presets" / f"{path.name}.json"
    preset = load_preset(path if path.is_file() else shipped, base=home_folder(line.own.get("home")))
    if isinstance(preset, list):
        return dict(line.values), problems + preset
    problems += [Problem("value.preset_foreign", f"{n.key}: {n.said}", severity="warning") for n in preset.notes]
    values = {**preset.values, **line.values}
    if "max_train_epochs" in line.values and "max_train_steps" not in line.values:
        values["max_train_steps"] = None
    if "max_train_steps" in line.values and "max_train_epochs" not in line.values:
        values["max_train_epochs"] = None
    return values, problems


def look_at(
    config: TrainingConfig, deep: bool = False
) -> tuple[tuple[ModelFacts | None, Report | None], list[Problem]]:
    """Gate three: model and data, each as far as it is given."""
    problems: list[Problem] = check_card(config)
    facts, report = None, None
    if config.model.pretrained_model_name_or_path is not None and not config.images.debug_dataset:
        facts, found = check_model(config.model)
        problems += found
    if config.data.train_data_dir is not None:
        family = facts.family if facts else ("v2" if config.model.v2 else "v1")
        report = check_dataset(config, count_tokens=load_tokenizer(family).count, deep=deep)
        problems = [*problems, *report.problems]
    return (facts, report), problems


def _run_folder(line: Line, job: Job, launched: bool) -> RunFolder:
    if launched:
        return RunFolder(Path(os.path.abspath(str(line.own["run_dir"]))))
    if "run_dir" in line.own:
        return new_run(Path(os.path.abspath(str(line.own["run_dir"]))), job, queued=False, named=True)
    return new_run(home_folder(line.own.get("home")) / "runs", job, queued=False)


def _show_before_after(run: RunFolder) -> None:
    """Say where the picture of a run's first and last samples lies. The run is fine without it."""
    try:
        drawn = write_before_after(run)
    except OSError as reason:
        message = f"What it drew could not be put into one picture ({reason.strerror}). Look into {run.samples}."
        print(message, file=sys.stderr)
        return
    if drawn is not None:
        print(f"What it drew before and after: {drawn}")


def follow(run: RunFolder) -> int:
    """Show a run until it ends, and say what it wrote. Ctrl+C asks it to finish its step and save."""
    console = Console(run.events_file)
    console.watch()
    while status_of(run).state in ("queued", "running", "stopping"):
        try:
            time.sleep(0.2)
        except KeyboardInterrupt:
            stop_run(run)
            print("Finishing the step and saving.", file=sys.stderr)
    console.close()
    status = status_of(run)
    if status.state == "paused":
        print(f"Paused. `python -m trainer resume {run.path.name}` lets it go on.")
        return 0
    if status.state not in ("finished", "stopped"):
        print(f"The run is {status.state}: {status.cause}. The log is {run.log_file}.", file=sys.stderr)
        return 1
    job = read_job(run.job_file)
    if isinstance(job, Job):
        print(f"Models: {job.config.saves.output_dir}")
    print(f"The run, with samples and log: {run.path}")
    return 0
