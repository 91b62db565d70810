"""The three steps of the welcome as HTML: what will be learnt, the start and how it goes, and what it has changed.

Comes in: pictures, what stands in the form, and the runs of the demo. Goes out: HTML of one step, its words at the left
and what it is about at the right. Every figure and picture is that of a file.
"""

from collections.abc import Sequence
from html import escape

from gui.activity import activity_of
from gui.demo_runs import Pair, model_of, newest_finished, newest_run, newest_samples, pairs_of
from gui.figures import count, counted, duration, percent
from gui.marks import STATE_WORDS, message, state_mark
from gui.run_cards import picture
from gui.run_head import phase_line
from gui.run_on_page import RunOnPage, taken
from gui.studio import Studio
from gui.tour import Demo
from trainer.contract.events import Sampled

UNDER_WAY = ("queued", "running", "stopping", "paused")
"""States of a run that comes before a new start; all others are endings."""


def look_step(number: str, pictures: Sequence[str]) -> str:
    """The pictures that are learnt; `number` is how many in words, `pictures` are their images as HTML."""
    if not pictures:
        words = "The demo's pictures are not there. python -m trainer demo --make draws them, or says why it cannot."
        return _step(1, "Pictures of one thing", [message("info", words)], [_step_button("Next: train it", 2)], "")
    title = f"{number} picture{'' if len(pictures) == 1 else 's'} of one thing"
    words = [
        "<p>This striped star is new to the model. It has learnt shapes, colours and places, and has never seen this "
        "one.</p>",
        "<p>You will teach it the name <code>sks</code>, so that “a sks star in the middle on a sky ground” draws this "
        "star.</p>",
    ]
    shown = f'<div class="at-tour-pictures">{"".join(pictures)}</div>'
    return _step(1, title, words, [_step_button("Next: train it", 2)], shown)


def train_step(studio: Studio, demo: Demo, *, made: bool, told: str = "") -> str:
    """The start; while a run of the demo is under way where it is, and once it is over how it ended."""
    run = newest_run(studio)
    note = [message("bad", "Nothing started.", told)] if told else []
    if run is not None and run.status.state in UNDER_WAY:
        return _under_way(run)
    if demo.errors:
        return _step(2, *_to_mend(demo, made=made), _sum(demo))
    ahead = next((name for lane, name in activity_of(studio.runs).ahead if lane == demo.lane), "")
    start = "Add to queue" if ahead else "Start"
    waits = [f"<p>It waits behind {escape(ahead)}.</p>"] if ahead else []
    if run is not None:
        return _over(run, [*note, *waits], f"{start} again" if not ahead else start)
    words = [
        "<p>At each step the model looks at a few of the pictures, guesses, and is changed a little towards what it "
        "should have seen.</p>",
        "<p>Start leads to the page of the run: step, time left, loss, and pictures drawn on the way. You can close "
        "the page, the run goes on.</p>",
    ]
    return _step(2, "Teach it the star", [*words, *note, *waits], [_act(start, "start", filled=True)], _sum(demo))


def compare_step(studio: Studio) -> str:
    """The samples of the newest finished run of the demo, before and after; or what is still missing for that."""
    run, newest = newest_finished(studio), newest_run(studio)
    live = newest if newest is not None and newest.status.state in UNDER_WAY else None
    pairs = pairs_of(run.view) if run is not None else []
    if run is not None and pairs:
        words = [
            "<p>Each pair has the same words and the same seed: at the left before training, at the right after "
            f"{counted(pairs[0][1].step, 'step')}.</p>"
        ]
        if live is not None:
            words.append(f"<p>Another run is under way. {_where(live)} {_show(live)}</p>")
        tried = f' data-to="{escape(model_of(run.view))}"'
        acts = [_act("Try it with your own words", "try", filled=True, more=tried), _own_images()]
        return _step(3, "Before and after", words, acts, _pairs(run, pairs))
    if live is not None:
        words = [f"<p>{_where(live)} The pictures stand here when all steps are done.</p>"]
        return _step(3, "Nothing to compare yet", words, [_show(live)], "", live=True)
    if run is not None:
        words = [
            "<p>The last run has no pictures of before and after: it had no sample prompts, or did not draw before the "
            "first step. Both are set on Training, in the group “Samples”.</p>"
        ]
        return _step(3, "Nothing to compare", words, [_show(run), _own_images()], "")
    words = ["<p>The demo has not been trained to the end here. Train it first, then come back.</p>"]
    return _step(3, "Nothing to compare yet", words, [_step_button("Back: train it", 2)], "")


def _under_way(run: RunOnPage) -> str:
    view = run.view
    bar = ""
    if view.total:
        done = int(100 * view.fraction)
        bar = (
            '<div class="at-progress" role="progressbar" aria-label="Steps done" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{done}"><i class="at-progress-done" style="width:{done}%"></i></div>'
        )
    steps = f"<p>{_where(run)}</p>" if view.step else ""
    words = [f"<p>{state_mark(run.status.state)}</p>", f"<p>{escape(phase_line(run))}</p>", steps, bar]
    title = "It is learning" if run.is_live else f"{STATE_WORDS[run.status.state]}"
    return _step(2, title, words, [_show(run)], _drawn(run), live=True)


def _over(run: RunOnPage, notes: list[str], start: str) -> str:
    words = [f"<p>{state_mark(run.status.state)}</p>"]
    if run.status.state == "finished":
        words.append(f"<p>{counted(run.view.step, 'step')} in {duration(taken(run))}. {_show(run)}</p>")
        acts = [_step_button("Next: compare", 3), _act(start, "start")]
        return _step(2, "All steps are done", [*words, *notes], acts, _drawn(run))
    words.append(f"<p>{escape(run.status.detail)} {_show(run)}</p>")
    return _step(2, "It has not come to the end", [*words, *notes], [_act(start, "start", filled=True)], _drawn(run))


def _to_mend(demo: Demo, *, made: bool) -> tuple[str, list[str], list[str]]:
    """Heading, words and buttons where nothing can start."""
    if not made:
        words = "python -m trainer demo --make makes its model and pictures, or says why it cannot."
        return "Teach it the star", [message("bad", "The demo is not there.", words)], []
    number = counted(demo.errors, "thing")
    words = f"{number} {'is' if demo.errors == 1 else 'are'} to mend before it can start."
    lead = '<button type="button" class="at-button at-button-filled" data-page="train">Show it on Training</button>'
    return "Teach it the star", [message("bad", words)], [lead]


def _where(run: RunOnPage) -> str:
    """ "Step 120 of 200 (60 %), 25 s left." """
    view = run.view
    if not run.is_live or not view.total or not view.step:
        return escape(phase_line(run))
    left = f", {duration(view.left.seconds)} left" if view.left is not None else ""
    return f"Step {count(view.step)} of {count(view.total)} ({percent(view.fraction)}){left}."


def _sum(demo: Demo) -> str:
    rows = "".join(f"<dt>{escape(what)}</dt><dd>{escape(much)}</dd>" for what, much in demo.rows)
    return f'<dl class="at-sum at-tour-sum">{rows}</dl>' if rows else ""


def _drawn(run: RunOnPage) -> str:
    """The newest samples of a run."""
    samples = newest_samples(run.view)
    if not samples:
        return ""
    when = "before training" if samples[0].step == 0 else f"at step {count(samples[0].step)}"
    cells = "".join(_figure(run, one, one.prompt) for one in samples)
    return f'<div><p class="at-aside">Drawn {when}</p><div class="at-tour-drawn">{cells}</div></div>'


def _pairs(run: RunOnPage, pairs: Sequence[Pair]) -> str:
    rows = "".join(
        f'<figure class="at-tour-pair"><div>{_figure(run, before, "Before")}{_figure(run, after, "After")}</div>'
        f"<figcaption>{escape(after.prompt)}</figcaption></figure>"
        for before, after in pairs
    )
    return f'<div class="at-tour-pairs">{rows}</div>'


def _figure(run: RunOnPage, sampled: Sampled, words: str) -> str:
    shown = picture(run.run.path, sampled, sampled.prompt)
    return f'<div class="at-tour-sample">{shown}<span class="at-aside">{escape(words)}</span></div>'


def _step(place: int, title: str, words: list[str], acts: list[str], shown: str, *, live: bool = False) -> str:
    """One step: words and buttons at the left, what they are about at the right; `live` is looked at again."""
    buttons = f'<div class="at-tour-acts">{"".join(acts)}<span class="at-aside">Step {place} of 3</span></div>'
    heading = f'<h2 tabindex="-1" data-place="{place}">{escape(title)}</h2>'
    left = f'<div class="at-tour-words">{heading}{"".join(words)}{buttons}</div>'
    right = f'<div class="at-tour-shown">{shown}</div>' if shown else ""
    return f'<div class="at-tour-body"{" data-live" if live else ""}>{left}{right}</div>'


def _act(words: str, act: str, *, filled: bool = False, more: str = "") -> str:
    look = "at-button at-button-filled" if filled else "at-button"
    return f'<button type="button" class="{look}" data-act="{act}"{more}>{words}</button>'


def _step_button(words: str, place: int) -> str:
    return _act(words, "step", filled=True, more=f' data-to="{place}"')


def _own_images() -> str:
    words = "Use your own images"
    return f'<button type="button" class="at-button" data-page="dataset" data-press="at-choose-folder">{words}</button>'


def _show(run: RunOnPage) -> str:
    name = escape(run.run.path.name)
    return f'<button type="button" class="at-link" data-act="show" data-run="{name}">Show the run</button>'
