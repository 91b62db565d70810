"""The welcome as HTML: three steps over the demo (look, train, compare), its plan, and the ways to one's own.

Comes in: a `Tour`, and the run folders and pictures of the studio. Goes out: HTML, with texts from outside escaped.
What a click does is named in data-act, data-page and data-press; gui/welcome.py follows it.
"""

from html import escape
from pathlib import Path

from gui.demo_runs import newest_finished
from gui.figures import count, duration
from gui.marks import card_title, figures, page_title
from gui.run_on_page import taken
from gui.studio import Studio
from gui.thumbnails import thumbnail_url
from gui.tour import Demo, Tour
from gui.tour_steps import compare_step, look_step, train_step
from trainer.demo.place import demo_folder, is_made

STEPS = ("Look", "Train", "Compare")

# What it is, what is said of it, the words on the button, the tab, the id of the part that is pressed there.
_OWN = (
    (
        *("A folder of images", "With or without captions. Nothing in it is moved, renamed or deleted."),
        *("Choose folder", "dataset", "at-choose-folder"),
    ),
    (
        *("A model", "Stable Diffusion 1.x or 2.x: .safetensors, .ckpt or a Diffusers folder."),
        *("Choose model", "model", "at-browse-model"),
    ),
    (
        *(
            "A preset from elsewhere",
            "kohya_ss, OneTrainer or EveryDream2. You see what was taken over and what was not.",
        ),
        *("Import preset", "train", "at-import"),
    ),
)


def pictures_of(home: Path) -> list[Path]:
    """The pictures that the demo is trained with."""
    return sorted((demo_folder(home) / "images").glob("*/*.png"))


def draw_welcome(studio: Studio, tour: Tour) -> str:
    """The welcome, or only what the style sheet has to know where it is not shown."""
    if not tour.is_on or tour.demo is None:
        return f'<span class="at-tour-off{" at-demo-loaded" if tour.demo is not None else ""}"></span>'
    pictures = pictures_of(studio.home)
    return (
        f'<div class="at-tour at-tour-on at-demo-loaded">{_head(tour.demo, len(pictures))}'
        f"{_card(studio, tour, pictures)}{_plan(studio, tour.demo)}{_own()}{_machine(tour)}</div>"
    )


def draw_foot(tour: Tour) -> str:
    """The way back to the tour, under the usual page; with the question where the form holds one's own work."""
    if tour.is_on:
        return ""
    if tour.asking:
        return (
            '<div class="at-question at-tour-question" role="alertdialog" aria-label="Load the demo?">'
            "<strong>The tour goes through the demo.</strong><p>Loading it replaces all that is set in the form now. "
            'Your files stay as they are.</p><button type="button" class="at-button" data-act="keep" data-focus>'
            'Keep what is set</button> <button type="button" class="at-button" data-act="demo">Load the demo</button>'
            "</div>"
        )
    return '<button type="button" class="at-link" data-act="tour">Show the tour</button>'


def in_words(number: int) -> str:
    """Numbers up to twelve in words."""
    words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    return words[number] if number < len(words) else count(number)


def _head(demo: Demo, pictures: int) -> str:
    what = "picture" if pictures == 1 else "pictures"
    there = f"{in_words(pictures)} {what}" if pictures else "pictures"
    about = f"Everything is here already: a small model, {there} and a preset."
    if demo.as_shipped:
        about += " It takes about a minute, even without a graphics card."
    skip = '<button type="button" class="at-link at-tour-skip" data-act="skip">Skip the tour</button>'
    return f'<div class="at-tour-head">{page_title("Train your first model", about)}{skip}</div>'


def _card(studio: Studio, tour: Tour, pictures: list[Path]) -> str:
    assert tour.demo is not None
    if tour.step == 3:
        body = compare_step(studio)
    elif tour.step == 2:
        body = train_step(studio, tour.demo, made=is_made(studio.home), told=tour.told)
    else:
        number = in_words(len(pictures)).capitalize()
        body = look_step(number, [_picture(path) for path in pictures])
    return f'<section class="at-card at-tour-card" aria-label="The tour">{_stepper(tour.step)}{body}</section>'


def _stepper(now: int) -> str:
    steps = "".join(
        f'<li><button type="button" data-act="step" data-to="{place}"{" aria-current=step" if place == now else ""}>'
        f"<b>{place}</b>{name}</button></li>"
        for place, name in enumerate(STEPS, 1)
    )
    return f'<ol class="at-tour-steps">{steps}</ol>'


def _picture(path: Path) -> str:
    try:
        words = path.with_suffix(".txt").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        words = path.stem
    return f'<img src="{escape(thumbnail_url(path, 256))}" alt="{escape(words)}" loading="lazy">'


def _plan(studio: Studio, demo: Demo) -> str:
    title = card_title("The plan for the demo")
    if not demo.figures:
        waits = "The plan stands here as soon as the demo's files are there and every value can be read."
        return f'<section class="at-card">{title}<p class="at-aside">{waits}</p></section>'
    return f'<section class="at-card">{title}{figures([*demo.figures, _time(studio, demo)])}</section>'


def _time(studio: Studio, demo: Demo) -> tuple[str, str, str]:
    """What the last run of the demo took here, for as many steps; else what the demo as it is shipped takes."""
    last = newest_finished(studio)
    if last is not None and last.view.total:
        return ("Time here", f"about {duration(taken(last) * demo.total / last.view.total)}", "as the last run went")
    if demo.as_shipped:
        return ("Time here", "about 1 min", "on a processor")
    return ("Time here", "not known yet", "told while it trains")


def _own() -> str:
    cards = "".join(
        f'<section class="at-card"><h3>{what}</h3><p>{about}</p>'
        f'<button type="button" class="at-button" data-page="{page}" data-press="{part}">{words}</button></section>'
        for what, about, words, page, part in _OWN
    )
    return f'<h2 class="at-tour-title">Or start with your own</h2><div class="at-tour-own">{cards}</div>'


def _machine(tour: Tour) -> str:
    checked = f" Checked at {escape(tour.checked)}." if tour.checked else ""
    return (
        f'<p class="at-aside at-tour-machine" role="status">{escape(tour.machine)} Works without internet.{checked} '
        '<button type="button" class="at-link" data-act="check">Check again</button></p>'
    )
