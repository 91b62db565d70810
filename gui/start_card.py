"""The right column of the training page: what a run will be, its command line, and the start itself.

Comes in: a `Review`. Goes out: HTML for the cards, and from `begin` a run folder with a runner that looks after it.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from gui.bench import bench_of
from gui.figures import size
from gui.form import written
from gui.marks import card_title
from gui.review import Review, review
from gui.studio import ROOT, Studio
from trainer.contract.cli import flags_of
from trainer.contract.config import TrainingConfig
from trainer.contract.prompts import parse_prompts
from trainer.contract.schedule import curve
from trainer.dataset.plan import Plan
from trainer.dataset.room import Sizes
from trainer.dataset.wording import counted
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.runner import start_run

COPY_SCRIPT = """
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const text = element.querySelector('code').textContent;
  try { await navigator.clipboard.writeText(text); }
  catch {  // no clipboard without https on another machine: mark the text, so that Ctrl+C copies it
    getSelection().selectAllChildren(element.querySelector('code'));
    button.textContent = 'Press Ctrl+C';
    return;
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 2000);
});
"""
CURVE_TEMPLATE = """${(() => {
if (!value.path) return `<p class="at-aside">${value.said}</p>`;
const y = value.y.map(([text, top]) => `<span style="top:${top}%">${text}</span>`).join('');
const x = value.x.map(([text, left]) => `<span style="left:${left}%">${text}</span>`).join('');
return `<div class="at-curve" role="img" aria-label="${value.said}">
<div class="at-curve-y" aria-hidden="true">${y}</div>
<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">
<path class="at-curve-grid" d="M0 0H1000M0 500H1000"/>
<path class="at-curve-ground" d="M0 1000H1000"/><path class="at-curve-line" d="${value.path}"/></svg>
<div class="at-curve-x" aria-hidden="true">${x}</div></div><p class="at-aside">${value.said}</p>`; })()}"""


def sum_card(found: Review) -> str:
    """The plan as a sum: images, batches, epochs, steps, saves, samples."""
    if found.plan is None:
        unread = "every value can be read" if found.config is None else "images are chosen and a length is given"
        return f'<p class="at-aside">The sum stands here when {unread}.</p>'
    rows = sum_rows(found.plan, found.looked_at, found.sizes)
    cells = "".join(f"<dt>{escape(what)}</dt><dd>{escape(much)}</dd>" for what, much in rows)
    return f'<dl class="at-sum">{cells}</dl>'


def sum_rows(plan: Plan, config: TrainingConfig, sizes: Sizes | None) -> list[tuple[str, str]]:
    """(what, how much), each row following from the one above it."""
    own = plan.uses_per_epoch - plan.reg_uses_per_epoch
    repeats, uneven = divmod(own, plan.images)
    times = "with repeats" if uneven else f"× {counted(repeats, 'repeat')}" if repeats > 1 else "once each"
    rows = [(f"{counted(plan.images, 'image')} {times}", f"{own:,} an epoch")]
    if plan.reg_uses_per_epoch:
        words = counted(plan.reg_images, "regularization image")
        rows.append((f"and of {words}", f"{plan.reg_uses_per_epoch:,} an epoch"))
    if plan.held_out:
        rows.append((f"held out: {counted(plan.held_out, 'image')}", "measured, not trained on"))
    gathered = config.length.gradient_accumulation_steps
    batches = f"in batches of {plan.batch_size}" + (f", {gathered} to a step" if gathered > 1 else "")
    rows.append((batches, f"{counted(plan.steps_per_epoch, 'step')} an epoch"))
    full = plan.total_steps == plan.epochs * plan.steps_per_epoch
    epochs = f"times {counted(plan.epochs, 'epoch')}" if full else f"ending in epoch {plan.epochs:,}"
    rows.append((epochs, counted(plan.total_steps, "step")))
    rows.append(("Saves", f"{plan.save_count:,}" + (f" of {size(sizes.model)}" if sizes is not None else "")))
    if states := plan.states_beside + plan.states_in_run:
        much = f"up to {states:,} at once" + (f", each {size(sizes.state)}" if sizes is not None else "")
        rows.append(("States to resume from", much))
    if plan.samples:
        prompts = len(parse_prompts(config.samples.sample_prompts)[0])
        rows.append(("Samples", f"{counted(prompts, 'prompt')}, {counted(len(plan.samples), 'time')}"))
    return rows


def curve_value(found: Review) -> dict[str, Any]:
    """The learning rate over the real number of steps, for `CURVE_TEMPLATE`; without a path where it is not known."""
    config = found.config
    if config is None:
        return {"path": "", "said": "The curve is drawn again when every value can be read."}
    total = found.plan.total_steps if found.plan is not None else config.length.max_train_steps
    if total is None:
        return {"path": "", "said": "The curve is drawn when the number of steps is known."}
    rates = curve(config.rate, total)
    top = config.rate.learning_rate
    points = [f"{1000 * i / (len(rates) - 1):.1f} {1000 - 1000 * rate / top:.1f}" for i, rate in enumerate(rates)]
    quarters = [round(total * part / 4) for part in range(5)] if total >= 4 else [0, total]
    return {
        "path": "M" + "L".join(points),
        "y": [[written(top), 0], [written(float(f"{top / 2:.3g}")), 50], ["0", 100]],
        "x": [[f"{step:,}", 100 * step / total] for step in quarters],
        "said": f"As it will be in this run of {counted(total, 'step')}.",
    }


def command_card(found: Review, studio: Studio) -> str:
    """The same run from a terminal, with a button that copies all of it."""
    if found.config is None:
        # A command without the value that cannot be read would be another run.
        return card_title("Command line") + '<p class="at-aside">It stands here when every value can be read.</p>'
    return (
        '<div class="at-card-title"><h2>Command line</h2>'
        '<button type="button" class="at-button" data-copy>Copy</button></div>'
        f'<pre class="at-command"><code>{escape(command_of(found, studio.home))}</code></pre>'
        '<p class="at-aside">The same run, from a terminal in the program\'s folder.</p>'
    )


def command_of(found: Review, home: Path, *, windows: bool = os.name == "nt") -> str:
    """The command that asks for the same run, quoted for this system: every option that differs from its default."""
    words = ["python", "-m", "trainer"]
    if home != ROOT:
        words += ["--home", str(home)]
    changed = found.looked_at.changed()
    words += flags_of({name: written(value) if isinstance(value, float) else value for name, value in changed.items()})
    return subprocess.list2cmdline(words) if windows else shlex.join(words)


def title_line(found: Review) -> str:
    """Images, model and what will be written, in one line."""
    parts = []
    if found.report is not None and (images := sum(not entry.regularization for entry in found.report.entries)):
        parts.append(counted(images, "image"))
    model = found.looked_at.model.pretrained_model_name_or_path
    if model is not None:
        parts.append(Path(model).name)
    if found.looked_at.saves.output_dir is not None and found.facts is not None:
        parts.append(f"written as {written_name(found)}")
    return ", ".join(parts) or "Choose images and a model on their pages."


def written_name(found: Review) -> str:
    """The name of the last save: a file's with its ending, a folder's without."""
    assert found.facts is not None
    saves = found.looked_at.saves
    form = saves.save_model_as or found.facts.format
    if form == "ckpt" and saves.use_safetensors:
        form = "safetensors"
    return (saves.output_name or "last") + (f".{form}" if form in ("ckpt", "safetensors") else "")


def begin(studio: Studio, values: Mapping[str, Any]) -> RunFolder | Review | str:
    """Look once more, then ask for the run and see that a runner takes it; what is being measured ends.

    Gives the run, or the review where there is something to mend after all, or a sentence on why nothing started.
    """
    # Both at once could each make the other run out of memory: the run goes first.
    bench_of(studio.home).cancel()
    found = review(values, studio.home, fresh=True)
    if found.job is None:
        return found
    try:
        run = new_run(studio.runs, found.job)
    except OSError as reason:
        return f"The run could not be written into {studio.runs}: {reason.strerror}. Make room there, or allow writing."
    try:
        start_run(run)
    except RuntimeError as reason:
        return f"{reason} The run waits in the list; it starts with the next one."
    return run
