"""The verb `probe`, and what it starts: how much memory and time a job needs, measured by real steps.

Comes in: the words behind the verb. Goes out: an exit code, text on the terminal or JSON with --json; nothing is left
on the disk. Where a job does not fit, the gentlest change with which it does is measured and named.
"""

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.answers import as_flags, print_json, refuse
from trainer.console import Console
from trainer.contract.cli import Line, parse_line
from trainer.contract.events import GIB_IN_GB, Event, Phase
from trainer.contract.job import Job
from trainer.contract.problems import Problem, errors_of
from trainer.runs.folder import RunFolder
from trainer.runs.ladder import Rung, cheapest, climb
from trainer.runs.lane import lane_for
from trainer.runs.launch import settle_threads
from trainer.runs.measure import Measured, NotMeasured, measure
from trainer.runs.queue import live_runs
from trainer.runs.ways import Way
from trainer.verbs import JOB_FLAGS, home_folder, job_of, look_at

PHASES = {
    "loading": "loads the model",
    "scanning": "looks at the images",
    "caching": "encodes images",
    "training": "learns",
    "sampling": "draws",
    "saving": "saves",
    "validating": "measures images held out",
}
"""What a run does in each phase, as it is told while it is measured."""


def probe(argv: Sequence[str]) -> int:
    """Measure a job: its name as a run, a job.json, or flags. 0: it fits. 2: it does not, or something is to mend."""
    line = parse_line(argv, {**JOB_FLAGS, "within": True, "every_way": False})
    home = home_folder(line.own.get("home"))
    job = _asked(line, home)
    within = _within(line)
    problems = [*(job if isinstance(job, list) else []), *(within if isinstance(within, list) else [])]
    if isinstance(job, Job):
        problems += _unmeasurable(job) or errors_of(look_at(job.config)[1]) or _busy(home, job)
    if isinstance(job, list) or isinstance(within, list) or problems:
        return refuse(problems, line)
    # To be asked to end is an interrupt: its processes are ended and the folder goes.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rungs = _climb(line, job, home, within)
    except NotMeasured as reason:
        refuse(reason.problems, line)
        return 1
    except OSError as trouble:
        refuse([Problem("disk.home", f"{home} cannot be written to: {trouble.strerror or trouble}.")], line)
        return 1
    except KeyboardInterrupt:
        print("Ended; nothing is left of it.", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    if line.own.get("json"):
        print_json(_as_record(rungs))
    elif not rungs[0].fits:
        _advise(rungs)
    return 0 if rungs[0].fits else 2


def rehearse(argv: Sequence[str]) -> int:
    """What `probe` starts as processes of their own: the trainer, for a few steps in a folder that is thrown away."""
    line = parse_line(argv, JOB_FLAGS)
    job = job_of(line)
    if isinstance(job, list):
        return refuse(job, line)
    _volunteer()
    run = RunFolder(Path(str(line.own["run_dir"])))
    console = Console(run.events_file)
    console.watch()
    settle_threads()
    from trainer.training.run import train_job  # noqa: PLC0415 - torch, only here

    try:
        train_job(job, run.path, rehearsed=True)
    finally:
        console.close()
    return 0


def _volunteer() -> None:
    """Should memory run out, Linux is to end this process and nobody else's."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def told(way: Way, measured: Measured) -> str:
    """One measurement in a sentence for people."""
    narrow = measured.narrow
    place = "the computer's memory" if measured.card is None or measured.lacks_host else "card memory"
    if not measured.complete:
        return f"{way.title}: {place} ran out at {_gb(narrow.need_gib)}, with {_gb(narrow.free_gib)} free."
    verdict = (
        f"it fits, with {_gb(narrow.spare_gib)} to spare"
        if measured.fits
        else "it does not fit" + ("" if narrow.spare_gib < 0 else " safely")
    )
    time = ""
    if measured.seconds_per_step is not None and measured.seconds_in_all is not None:
        time = f" {_seconds(measured.seconds_per_step)} a step, about {duration(measured.seconds_in_all)} in all."
    return (
        f"{way.title}: {_gb(narrow.need_gib)} of {place} at most, while {measured.most_while}; "
        f"{_gb(narrow.free_gib)} of {_gb(narrow.total_gib)} are free: {verdict}.{time}"
    )


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3 h 20 min"."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _asked(line: Line, home: Path) -> Job | list[Problem]:
    """The job: of a run or a job.json that is named as a word, else of the flags."""
    if len(line.words) != 1 or "job" in line.own:
        return job_of(line)
    named = Path(line.words[0]).expanduser()
    places = (named, named / "job.json", home / "runs" / named / "job.json")
    file = next((place for place in places if place.is_file()), named)
    return job_of(Line(line.values, {**line.own, "job": str(file)}, [], line.problems))


def _within(line: Line) -> float | None | list[Problem]:
    given = line.own.get("within")
    if given is None:
        return None
    try:
        gigabytes = float(str(given))
        if not 0 < gigabytes < float("inf"):
            raise ValueError
    except ValueError:
        return [Problem("value.within", f"--within takes a size in GB such as 8, not “{given}”.")]
    return gigabytes / GIB_IN_GB


def _unmeasurable(job: Job) -> list[Problem]:
    if not job.config.images.debug_dataset:
        return []
    return [Problem("value.probe", "A job that only shows its batches trains nothing that could be measured.")]


def _busy(home: Path, job: Job) -> list[Problem]:
    """Beside a run on the same card both would be slower, and each could make the other run out of memory."""
    return [
        Problem("probe.busy", f"{run.path.name} is running. Measure when it is done, or pause it first.")
        for run in live_runs(home / "runs", lane_for(job.config.hardware.gpu_ids))[:1]
    ]


def _climb(line: Line, job: Job, home: Path, within_gib: float | None) -> list[Rung]:
    quiet = bool(line.own.get("json"))

    def measured(way: Way, changed: Job) -> Measured:
        phase = ""

        def tell(event: Event) -> None:
            nonlocal phase
            if isinstance(event, Phase) and event.name != phase:
                phase = event.name
                print(f"{way.title}: {PHASES[phase]}", file=sys.stderr, flush=True)

        return measure(changed, home, tell, within_gib=within_gib)

    rungs = []
    for rung in climb(job, measured, every_way=bool(line.own.get("every_way"))):
        rungs.append(rung)
        refused = f"{rung.way.title} cannot be tried: {rung.why_not}"
        words = told(rung.way, rung.measured) if rung.measured is not None else refused
        print(words, file=sys.stderr if quiet else sys.stdout, flush=True)
    return rungs


def _advise(rungs: Sequence[Rung]) -> None:
    found = cheapest(rungs)
    if found is None:
        print("No change that was tried lets it fit. Close other programs, or train a smaller model.")
    else:
        print(f"The gentlest change that fits: {found.way.title}. {found.way.about}\n    {as_flags(found.way.values)}")


def _as_record(rungs: Sequence[Rung]) -> dict[str, Any]:
    found = cheapest(rungs)
    rows = []
    for rung in rungs:
        row: dict[str, Any] = {"way": asdict(rung.way), "fits": rung.fits, "why_not": rung.why_not}
        if rung.measured is not None:
            row |= asdict(rung.measured) | {"on_card": rung.measured.narrow is rung.measured.card}
        rows.append(row)
    return {"fits": rungs[0].fits, "mend": None if found is None else asdict(found.way), "measured": rows}


def _gb(gib: float) -> str:
    gigabytes = gib * GIB_IN_GB
    return f"{gigabytes:.2f} GB" if gigabytes < 2 else f"{gigabytes:.1f} GB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
