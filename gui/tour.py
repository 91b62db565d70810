"""What one browser is shown of the tour, as plain data: the step it is at, and what the form says of the demo.

Comes in: a `Review` of a form that holds the demo. Goes out: a `Demo`, the few figures that the welcome draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gui.figures import count, counted, size
from gui.form import differing
from gui.review import Review
from gui.start_card import sum_rows
from gui.studio import Studio
from trainer.contract.presets import Preset, load_preset
from trainer.runs.lane import lane_for

_LENGTH = (
    *("max_train_steps", "max_train_epochs", "train_batch_size", "gradient_accumulation_steps"),
    *("dataset_repeats", "resolution", "sample_prompts"),
)
"""While none of these differs from the demo's preset, the demo takes about as long as it does for everybody."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What a review of the form says of the demo; `errors` is how many things are to mend before a start."""

    figures: tuple[tuple[str, str, str], ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    errors: int = 0
    lane: str = ""
    total: int = 0
    as_shipped: bool = True


@dataclass(frozen=True, slots=True)
class Tour:
    """What one browser is shown: step 0 follows from the runs, `demo` is None where the form holds something else."""

    step: int = 0
    demo: Demo | None = None
    skipped: bool = False
    asking: bool = False
    """Whether the question stands that comes before the demo takes the place of one's own."""
    told: str = ""
    """Why a start came to nothing."""
    machine: str = ""
    checked: str = ""
    drawn: str = ""
    """Digest of what the browser was sent last."""

    @property
    def is_on(self) -> bool:
        return self.demo is not None and not self.skipped


def demo_in(studio: Studio, found: Review) -> Demo:
    """What the welcome says of a form that holds the demo."""
    errors, lane = len(found.errors), lane_for(found.looked_at.hardware.gpu_ids)
    as_shipped = not set(differing(found.values, demo_values(studio))) & set(_LENGTH)
    plan, report = found.plan, found.report
    if plan is None or report is None:
        return Demo(errors=errors, lane=lane, as_shipped=as_shipped)
    captions = sum(entry.captioned and not entry.regularization for entry in report.entries)
    repeats, uneven = divmod(plan.uses_per_epoch - plan.reg_uses_per_epoch, plan.images)
    used = f"{count(plan.uses_per_epoch)} images" if uneven else counted(repeats, "time")
    each = found.save_bytes
    shown = (
        ("Images", count(plan.images), f"with {counted(captions, 'caption')}"),
        ("Used" if uneven else "Each used", used, "an epoch"),
        ("An epoch", counted(plan.steps_per_epoch, "step"), f"{counted(plan.images_per_step, 'image')} a step"),
        ("In all", counted(plan.total_steps, "step"), counted(plan.epochs, "epoch")),
        ("Saves", count(plan.save_count), f"{size(each)}{' each' if plan.save_count > 1 else ''}" if each else ""),
    )
    rows = tuple(sum_rows(plan, found.looked_at, found.sizes))
    return Demo(shown, rows, errors, lane, plan.total_steps, as_shipped)


def demo_values(studio: Studio) -> Mapping[str, Any]:
    """The option values of the demo."""
    preset = load_preset(studio.shipped_presets / "demo.json", base=studio.home)
    assert isinstance(preset, Preset), "the shipped preset is whole: a test reads it"
    return preset.values
