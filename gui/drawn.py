"""What the training page shows for a review of the form: pure, from a `Look` to texts and small values by name.

The names are "part/..." (HTML of the page), "head/..." (of a group), "note/..." (of a box), "views", "start" and
"differs"; gui/pages/train.py knows which component each is for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from gui.form import Form
from gui.groups import Group, View, head_of, sight_of, style_of
from gui.marks import mark, message, page_title
from gui.preset_card import differs_line
from gui.review import Review
from gui.start_card import command_card, curve_value, sum_card, title_line
from gui.studio import Studio
from trainer.contract.config import OPTIONS
from trainer.dataset.wording import counted

_PAGES = {"dataset": "Dataset", "captions": "Captions", "model": "Model", "train": "Training"}


@dataclass(frozen=True, slots=True)
class Look:
    """All that the drawing of the page depends on."""

    found: Review
    values: Mapping[str, Any]
    words: str
    view: View
    ahead: str
    preset: str | None

    @property
    def key(self) -> tuple[Any, ...]:
        """Changes when the boxes or what the disk says about them do; other pages then look again."""
        return (self.preset, dict(self.values), id(self.found.report), id(self.found.facts), self.found.problems)

    @property
    def to_mend(self) -> set[str]:
        return {name for problem in self.found.errors for name in problem.fields}


def drawing(studio: Studio, groups: Sequence[Group], state: Look) -> dict[str, Any]:
    """All that the page shows, by a name each."""
    found = state.found
    ready = not found.errors
    drawn = _view_drawing(studio.form, groups, state)
    for group in groups:
        drawn[f"head/{group.section}"] = head_of(group, state.values, found.errors)
    for name, note in studio.form.mark(state.values, found.problems).items():
        drawn[f"note/{name}"] = note
    return drawn | {
        "part/title": page_title("Training", title_line(found)),
        "part/summary": summary(found, studio.form),
        "part/curve": curve_value(found),
        "part/sum": sum_card(found),
        "part/command": command_card(found, studio),
        "part/waits": f"<p>{escape(_waits(state))}</p>",
        "start": {"value": "Add to queue" if state.ahead else "Start", "interactive": ready},
        "differs": escape(differs_line(studio, state.preset, state.values)),
    }


def _view_drawing(form: Form, groups: Sequence[Group], state: Look) -> dict[str, Any]:
    """Only what the search and the chosen view change."""
    here = {name for group in groups for name in group.names}
    changed = sight_of(groups, state.values, (), "changed", "")
    sight = sight_of(groups, state.values, state.to_mend, state.view, state.words)
    links = "".join(
        _goto(name, form, f"{escape(OPTIONS[name].shown.label)} <code>{name}</code>") for name in sight.elsewhere
    )
    about = f"<span>On other pages:</span>{links}" if links else ""
    if not sight.boxes and not links:
        about = "<span>No option is called so. Try another word.</span>" if state.words else "<span>Nothing.</span>"
    return {
        "part/style": style_of(groups, sight),
        "part/elsewhere": about,
        "views": len(changed.boxes & here),
    }


def _waits(state: Look) -> str:
    errors = state.found.errors
    if errors:
        return f"Waits for {counted(len(errors), 'thing')} to mend"
    return f"Waits behind {state.ahead}" if state.ahead else "Starts at once: nothing else is running"


def summary(found: Review, form: Form) -> str:
    """All that keeps the run from starting, each with the way to its box; else that nothing does."""
    warnings = len(found.problems) - len(found.errors)
    if not found.errors:
        more = f" {counted(warnings, 'remark')} to look at." if warnings else ""
        return message("good", "Nothing to mend.", f"Images, model and options were checked.{more}")
    rows = "".join(
        f"<li><span>{escape(problem.message)}</span>{_show(problem.fields, form)}</li>" for problem in found.errors
    )
    head = f"{counted(len(found.errors), 'thing')} to mend before Start"
    return (
        f'<div class="at-message at-message-bad" role="alert">{mark("bad")}<div><strong>{head}:</strong>'
        f'<ul class="at-findings">{rows}</ul></div></div>'
    )


def _show(fields: tuple[str, ...], form: Form) -> str:
    """The link to the first of the boxes that a problem concerns; empty where it concerns none."""
    name = next((name for name in fields if name in form.boxes), None)
    if name is None:
        return ""
    page = form.boxes[name].page
    return _goto(name, form, "Show the box" if page == "train" else f"Show it on {_PAGES[page]}")


def _goto(name: str, form: Form, words: str) -> str:
    """A link that leads to a box; `words` are HTML."""
    page = form.boxes[name].page
    return f'<button type="button" class="at-link" data-goto="{name}" data-page="{page}">{words}</button>'
