"""What the buttons of a run and of the queue do, apart from what they change on the page.

Comes in: a `RunOnPage` and what was clicked. Goes out: a wish in the run's folder, or a new run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gui.bench import bench_of
from gui.crash_card import ways_of
from gui.marks import mark
from gui.run_cards import job_options
from gui.run_on_page import RunOnPage, can_go_on
from gui.studio import Studio
from gui.tensorboard import open_board
from trainer.contract.control import send
from trainer.contract.job import Job, read_job
from trainer.runs.crash import diagnose
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.following import job_after
from trainer.runs.lane import lane_of
from trainer.runs.order import read_order, set_goes_on
from trainer.runs.queue import live_runs, move
from trainer.runs.runner import continue_run, end_run, go_on_with_queue, start_run, stop_run
from trainer.runs.ways import Way


def tend_queue(studio: Studio, kind: str) -> None:
    """What concerns all that waits. Raises OSError, RuntimeError."""
    if kind == "release":
        go_on_with_queue(studio.runs)
    else:
        set_goes_on(studio.runs, not read_order(studio.runs).goes_on)


def do(studio: Studio, shown: RunOnPage, kind: str, place: str = "") -> RunFolder | None:
    """Send a wish, or start what follows the run; returns a new run. Raises OSError, RuntimeError.

    `place` says which of the ways to mend a crash was chosen.
    """
    run = shown.run
    match kind:
        case "save" | "sample" | "pause":
            send(run.control_file, kind)
        case "finish" | "unqueue":
            stop_run(run)
        case "earlier" | "later":
            move(run, -1 if kind == "earlier" else 1)
        case "stop":
            stop_run(run, save=False)
        case "end":
            end_run(run)
        case "go_on" if shown.status.state == "paused":
            continue_run(run)
        case "go_on":
            if can_go_on(shown) is None:
                raise RuntimeError("There is no state to go on from any more.")
            return _follow(studio, shown, {})
        case "measure":
            _measure_ways(studio, run)
        case "cancel_measuring":
            bench_of(studio.home).cancel()
        case "retry":
            return _follow(studio, shown, _way(shown, place).values)
    return None


def _measure_ways(studio: Studio, run: RunFolder) -> None:
    """Measure each way to mend a crash. Raises OSError, RuntimeError."""
    busy = live_runs(studio.runs, lane_of(run))
    if busy:
        raise RuntimeError(f"{busy[0].name} is running. Measure when it is done.")
    job = read_job(run.job_file)
    if not isinstance(job, Job):
        raise RuntimeError(" ".join(problem.message for problem in job))
    bench_of(studio.home).start(job, "--every_way")


def _follow(studio: Studio, shown: RunOnPage, values: Mapping[str, Any]) -> RunFolder:
    """A new run with the settings of an ended one and these changed. Raises OSError, RuntimeError."""
    state = can_go_on(shown)
    job = job_after(shown.run, values, Path(state.path) if state else None)
    if not isinstance(job, Job):
        raise RuntimeError(" ".join(problem.message for problem in job))
    # Both at once could each make the other run out of memory: the run goes first.
    bench_of(studio.home).cancel()
    run = new_run(studio.runs, job)
    start_run(run)
    return run


def board_link(run: RunFolder) -> str:
    """Start TensorBoard over what the run logs, as HTML with its address. Raises OSError, RuntimeError."""
    folder = (job_options(run.job_file) or {}).get("logging_dir")
    if not isinstance(folder, str) or not Path(folder).is_dir():
        raise RuntimeError("This run has not logged anything that is still there.")
    address = open_board(Path(folder))
    link = f'<a class="at-link" href="{address}" target="_blank" rel="noopener">{address}</a>'
    return (
        f'<div class="at-message at-message-good">{mark("good")}<span><strong>TensorBoard is up:</strong> {link} '
        "It answers on this computer only, and ends with the studio.</span></div>"
    )


def _way(shown: RunOnPage, place: str) -> Way:
    """The way that was clicked; a click of an old page may name one that is not there any more: RuntimeError."""
    crash = diagnose(shown.run, shown.status)
    ways = ways_of(crash) if crash is not None else ()
    if not place.isdecimal() or int(place) >= len(ways):
        raise RuntimeError("This way is not offered any more. Load the page again.")
    return ways[int(place)]
