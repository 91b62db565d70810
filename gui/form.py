"""The form: option rows to boxes, boxes to values, values to boxes, problems to marks.

A box is made from its `Option` row wherever a page wants it; each option has at most one box in the window. Handlers
get a dict keyed by component and ask the form for flat values. Numbers are text boxes, so that 2e-6 looks like 2e-6
and a word in a number box is named, not swallowed by the browser.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from gui.marks import NOTE_SCRIPT, NOTE_TEMPLATE
from trainer.contract.config import DEFAULTS, OPTIONS
from trainer.contract.options import Option
from trainer.contract.problems import Mend, Problem

_NOT_GIVEN = {"save_precision": "fp32, full", "save_model_as": "Same kind as the model"}


_ARIA_SCRIPT = """
const say = () => {
  const box = element.closest('.at-box'), body = element.querySelector('.at-note-body');
  if (!box || !body) return;
  body.id = body.id || 'at-said-' + Math.random().toString(36).slice(2);
  for (const input of box.querySelectorAll('input, textarea')) {
    input.setAttribute('aria-invalid', body.classList.contains('at-bad'));
    input.setAttribute('aria-describedby', body.id);
  }
};
say();
watch('value', say);
"""
"""Tells a screen reader which box a note belongs to and whether what stands in it is to mend."""


@dataclass(frozen=True)
class Box:
    """One option in the window: its component and the note under it (problems, mends, the way back to the default).

    `page` is the id of the tab on which it stands.
    """

    option: Option
    component: Component
    note: gr.HTML
    page: str


@dataclass
class Form:
    """All boxes of one window, by option name. `page` is the tab that is being built."""

    boxes: dict[str, Box] = field(default_factory=dict)
    page: str = ""

    def draw(self, name: str, *, label: str | None = None, scale: int | None = None) -> Component:
        """Make the box of an option in the open Blocks context, with its note, and return the component."""
        option = OPTIONS[name]
        assert name not in self.boxes, f"{name} has a box already"
        classes = ["at-box", f"at-box-{option.kind}", f"at-look-{option.shown.look}"]
        with gr.Column(elem_classes=classes, elem_id=f"at-box-{name}", min_width=150, scale=scale or 1):
            component = _component(option, label or option.shown.label)
            note = gr.HTML(
                value=_note(option, option.default, ()),
                html_template=NOTE_TEMPLATE,
                js_on_load=NOTE_SCRIPT + _ARIA_SCRIPT,
                apply_default_css=False,
                elem_classes=["at-note"],
            )
        self.boxes[name] = Box(option, component, note, self.page)
        return component

    @property
    def inputs(self) -> set[Component]:
        """Every box, for `inputs=` of a handler that gets a dict."""
        return {box.component for box in self.boxes.values()}

    @property
    def outputs(self) -> set[Component]:
        """Every box and note, for `outputs=` of a handler that fills or marks the form."""
        return self.inputs | {box.note for box in self.boxes.values()}

    @property
    def components(self) -> list[Component]:
        """Every box, in the order of drawing, for `outputs=` of a handler that fills."""
        return [box.component for box in self.boxes.values()]

    def values(self, data: Mapping[Component, Any]) -> dict[str, Any]:
        """The flat values as they stand in all boxes (not checked yet). An empty box is None, "not given"."""
        return {name: _read(box.option, data[box.component]) for name, box in self.boxes.items()}

    def fill(self, values: Mapping[str, Any]) -> dict[Component, Any]:
        """Updates that show `values` over the defaults in every box."""
        shown = DEFAULTS | dict(values)
        return {box.component: _write(box.option, shown[name]) for name, box in self.boxes.items()}

    def put(self, values: Mapping[str, Any]) -> dict[Component, Any]:
        """Updates that put only these values into their boxes, as a mend does."""
        return {self.boxes[name].component: _write(OPTIONS[name], value) for name, value in values.items()}

    def mark(self, values: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, dict[str, Any]]:
        """What the note of each box says, by option name.

        All boxes that a problem concerns get red edges; its sentence and its mends stand at the one it names first.
        A box that differs from its default also offers the way back.
        """
        concerned = {name for problem in problems if problem.severity == "error" for name in problem.fields}
        told: dict[str, list[tuple[str, Problem]]] = {}
        for key, problem in keyed(problems).items():
            first = next((name for name in problem.fields if name in self.boxes), None)
            if first is not None:
                told.setdefault(first, []).append((key, problem))
        return {
            name: _note(box.option, values.get(name, DEFAULTS[name]), told.get(name, ()), bad=name in concerned)
            for name, box in self.boxes.items()
        }


def keyed(problems: Sequence[Problem]) -> dict[str, Problem]:
    """Each problem by its code and its place among those of that code: what a click on one of its mends sends back."""
    seen: Counter[str] = Counter()
    keys: dict[str, Problem] = {}
    for problem in problems:
        keys[f"{problem.code}/{seen[problem.code]}"] = problem
        seen[problem.code] += 1
    return keys


def mend_of(problems: Sequence[Problem], key: str, place: int) -> Mend | None:
    """The mend behind a button, None where the problem has gone in the meantime."""
    problem = keyed(problems).get(key)
    return problem.mends[place] if problem is not None and place < len(problem.mends) else None


def is_changed(option: Option, value: Any) -> bool:
    """Whether a value means something else than the default: "2e-06" is the default 2e-6, 0 is not "not given"."""
    return _meaning(option, value) != _meaning(option, option.default)


def differing(values: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The options whose value in `values` means something else than in `others`; both lie over the defaults."""
    return [
        name
        for name, option in OPTIONS.items()
        if _meaning(option, values.get(name, DEFAULTS[name])) != _meaning(option, others.get(name, DEFAULTS[name]))
    ]


def written(value: Any) -> str:
    """A value as it stands in a text box: 2e-6 and not 2e-06, 1600 and not 1600.0, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    text = f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def default_in_words(option: Option) -> str:
    """The default as the link "default ..." names it."""
    if isinstance(option.default, bool):
        return "on" if option.default else "off"
    if option.default is None:
        return _NOT_GIVEN.get(option.name, "none").lower()
    return str(option.shown.words.get(str(option.default), written(_square(option.default)))).lower()


def _square(value: Any) -> Any:
    """ "512,512" is shown as 512."""
    if isinstance(value, str) and "," in value:
        width, _, height = value.partition(",")
        return width if width == height else value
    return value


def _component(option: Option, label: str) -> Component:
    shared: dict[str, Any] = {
        "label": label,
        "info": option.help,
        "interactive": True,
        "elem_id": f"at-{option.name}",
        "show_label": True,
    }
    if option.kind == "switch":
        return gr.Checkbox(value=option.default, **shared)
    if option.kind == "choice":
        return gr.Dropdown(choices=_choices(option), value=option.default or "", **shared)
    lines = 4 if option.shown.look == "lines" else 1
    return gr.Textbox(value=written(_square(option.default)), lines=lines, max_lines=12 if lines > 1 else 1, **shared)


def _choices(option: Option) -> list[tuple[str, str]]:
    rows = [(option.shown.words.get(str(choice), str(choice)), str(choice)) for choice in option.choices]
    return [(_NOT_GIVEN.get(option.name, "Not given"), ""), *rows] if option.optional else rows


def _read(option: Option, raw: Any) -> Any:
    if option.kind == "switch":
        return bool(raw)
    text = "" if raw is None else str(raw).strip()
    if not text:
        return None
    if option.name == "resolution":
        return f"{text},{text}" if text.isdecimal() else text
    return text


def _write(option: Option, value: Any) -> Any:
    if option.kind == "switch":
        return bool(value)
    if option.kind == "choice":
        # A value that is no choice cannot stand in the box; whoever loads a preset names it.
        allowed = ("", *option.choices) if option.optional else option.choices
        return str(value) if value in allowed else str(option.default or "")
    return written(_square(value) if option.name == "resolution" else value)


def _meaning(option: Option, value: Any) -> Any:
    """The value in the one form in which two spellings of it are equal."""
    if option.kind == "switch":
        return bool(value)
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if option.kind in ("whole", "number"):
        try:
            return float(text)
        except ValueError:
            return text
    return _square(text.lower().replace("x", ",").replace(" ", "")) if option.name == "resolution" else text


def _note(option: Option, value: Any, problems: Sequence[tuple[str, Problem]], *, bad: bool = False) -> dict[str, Any]:
    return {
        "name": option.name,
        "unit": option.shown.unit,
        "bad": bad,
        "default": default_in_words(option) if is_changed(option, value) else "",
        "problems": [
            {
                "key": key,
                "severity": problem.severity,
                "message": problem.message,
                "mends": [mend.label for mend in problem.mends],
            }
            for key, problem in problems
        ],
    }
