"""The runs of the demo: whether a form or a job is the demo's, its newest run, and what a finished one has changed.

Comes in: the studio's folders. Goes out: `RunOnPage`s and pairs of samples, read from the run folders alone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gui.monitor import RunView, glance
from gui.run_cards import job_options
from gui.run_on_page import RunOnPage
from gui.studio import Studio
from trainer.contract.events import Sampled
from trainer.demo.place import demo_folder
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.status import status_of

Pair = tuple[Sampled, Sampled]
"""A sample before training, and that of the same prompt after the last step."""

_LOOKED_AT = 50
"""The newest runs of all, among which those of the demo are looked for: their jobs are read at every look."""


def is_of_demo(values: Mapping[str, Any], home: Path) -> bool:
    """Whether these option values train the demo's model with the demo's images, and with no folder but those."""
    demo = demo_folder(home)
    regular = values.get("reg_data_dir")
    return (
        _is_at(values.get("train_data_dir"), home, demo / "images")
        and _is_at(values.get("pretrained_model_name_or_path"), home, demo / "model")
        and (not regular or _is_at(regular, home, demo / "reg"))
    )


def newest_run(studio: Studio) -> RunOnPage | None:
    """The newest run of the demo, however it stands; None where there is none."""
    return next((_look(run) for run in _demo_runs(studio)), None)


def newest_finished(studio: Studio) -> RunOnPage | None:
    """The newest run of the demo that has done all its steps; one with pictures to compare before one without."""
    finished = [look for look in map(_look, _demo_runs(studio)) if look.status.state == "finished"]
    return next((look for look in finished if pairs_of(look.view)), finished[0] if finished else None)


def pairs_of(view: RunView) -> list[Pair]:
    """For each prompt its sample of step 0 and its last one; only where there are both."""
    by_step = sorted(view.samples, key=lambda sampled: sampled.step)
    first = {sampled.index: sampled for sampled in by_step if sampled.step == 0}
    last = {sampled.index: sampled for sampled in by_step if sampled.step > 0}
    return [(first[index], last[index]) for index in sorted(first.keys() & last.keys())]


def newest_samples(view: RunView) -> Sequence[Sampled]:
    """The samples of the last step that has any, by prompt."""
    newest = max((sampled.step for sampled in view.samples), default=0)
    return sorted((one for one in view.samples if one.step == newest), key=lambda one: one.index)


def model_of(view: RunView) -> str:
    """Path of the newest model that the run has written and that is still there; empty where there is none."""
    models = [saved for saved in view.saves if saved.kind == "model" and os.path.exists(saved.path)]
    return max(models, key=lambda saved: saved.step).path if models else ""


def _demo_runs(studio: Studio) -> Iterator[RunFolder]:
    for run in list_runs(studio.runs)[:_LOOKED_AT]:
        options = job_options(run.job_file)
        if options is not None and is_of_demo(options, studio.home):
            yield run


def _look(run: RunFolder) -> RunOnPage:
    # The status first: a run that ends in between is then shown with all its events at the next look.
    status = status_of(run)
    return RunOnPage(run, status, glance(run.events_file))


def _is_at(value: Any, home: Path, place: Path) -> bool:
    return bool(value) and os.path.realpath(home / Path(str(value)).expanduser()) == os.path.realpath(place)
