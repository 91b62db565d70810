"""Which boxes of the training page are in view: Basic, All, Changed, or what a search finds. Pure.

Comes in: the groups of options, the values, what is to mend, the chosen view and the words in the search box. Goes
out: a `Sight`, and the style sheet that hides the rest. Hidden boxes stay in the page, so nothing typed is lost.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from gui.form import Form, is_changed
from gui.marks import ESC, mark
from trainer.contract.config import OPTIONS
from trainer.contract.options import Option
from trainer.contract.problems import Problem

View = Literal["basic", "all", "changed"]

ARROW = (
    '<svg class="at-arrow" viewBox="0 0 16 16" width="14" height="14" fill="none" stroke="currentColor" '
    'stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">'
    '<path d="M6 3.5 10.5 8 6 12.5"/></svg>'
)
HEAD_TEMPLATE = f"""${{(() => {{ {ESC}
const aside = value.bad ? `<span class="at-to-mend">{mark("bad", 14)}${{value.bad}} to mend</span>` : esc(value.aside);
return `<button type="button" class="at-fold" aria-expanded="true">{ARROW}<span>${{esc(value.title)}}</span></button>
<span class="at-aside">${{aside}}</span>`; }})()}}"""
HEAD_SCRIPT = """
const group = () => element.closest('.at-group');
const say = () => {
  const open = !group()?.classList.contains('at-closed');
  element.querySelector('.at-fold')?.setAttribute('aria-expanded', open);
};
element.addEventListener('click', (event) => {
  if (event.target.closest('.at-fold')) { group()?.classList.toggle('at-closed'); say(); }
});
say();
watch('value', say);
"""
"""Opening a group is the browser's own business: the class on the group, and what a screen reader is told."""


@dataclass(frozen=True, slots=True)
class Group:
    """The boxes of one section that stand on the training page."""

    section: str
    title: str
    names: tuple[str, ...]

    @property
    def basic(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if OPTIONS[name].shown.basic)


@dataclass(frozen=True, slots=True)
class Sight:
    """What is in view: boxes, groups that stand open whatever their arrow says, and finds on other pages."""

    boxes: frozenset[str]
    open_groups: frozenset[str]
    elsewhere: tuple[str, ...]


def groups_left(form: Form) -> list[Group]:
    """All options without a box, by section, in the order of declaration."""
    left = [option for option in OPTIONS.values() if option.name not in form.boxes]
    return [
        Group(section, options[0].title, tuple(option.name for option in options))
        for section, options in ((section, list(rows)) for section, rows in groupby(left, key=lambda o: o.section))
    ]


def sight_of(
    groups: Sequence[Group], values: Mapping[str, Any], to_mend: Collection[str], view: View, words: str
) -> Sight:
    """The boxes in view. Boxes that are to mend always are; a search looks through all options of all pages."""
    here = [name for group in groups for name in group.names]
    needles = words.lower().replace("_", " ").replace("-", " ").split()
    if needles or view == "changed":
        found = {
            name
            for name, option in OPTIONS.items()
            if (fits(option, needles) if needles else is_changed(option, values.get(name, option.default)))
        }
        boxes = frozenset(name for name in here if name in found or name in to_mend)
        opened = frozenset(group.section for group in groups if boxes.intersection(group.names))
        return Sight(boxes, opened, tuple(name for name in OPTIONS if name in found and name not in here))
    boxes = frozenset(
        name
        for group in groups
        for name in group.names
        # A group without a basic option is closed at first; whoever opens it wants to see what it holds.
        if view == "all" or name in to_mend or not group.basic or name in group.basic
    )
    return Sight(boxes, frozenset(g.section for g in groups if set(g.names).intersection(to_mend)), ())


def fits(option: Option, needles: Sequence[str]) -> bool:
    """Whether an option has all these words in its label, name, help, section or values."""
    words = (option.shown.label, option.name, option.help, option.title, *option.shown.words.values())
    text = " ".join(words).lower().replace("_", " ").replace("-", " ")
    return all(needle in text for needle in needles)


def style_of(groups: Sequence[Group], sight: Sight) -> str:
    """The style sheet that shows what is in view and nothing else."""
    hidden = [f"#at-box-{name}" for group in groups for name in group.names if name not in sight.boxes]
    hidden += [f"#at-group-{g.section}" for g in groups if not sight.boxes.intersection(g.names)]
    hidden += [] if sight.boxes else [".at-groups"]
    rules = [f"{','.join(hidden)} {{ display: none !important; }}"] if hidden else []
    for section in sorted(sight.open_groups):
        rules.append(f"#at-group-{section} .at-group-body {{ display: flex !important; }}")
        rules.append(f"#at-group-{section} .at-arrow {{ transform: rotate(90deg); }}")
    return "\n".join(rules)


def head_of(group: Group, values: Mapping[str, Any], errors: Sequence[Problem]) -> dict[str, Any]:
    """What stands in the head of a group: its title, and what is changed or to mend in it."""
    changed = sum(is_changed(OPTIONS[name], values.get(name, OPTIONS[name].default)) for name in group.names)
    number = len(group.names)
    untouched = f"{number} options, all default" if number > 1 else "1 option, default"
    bad = sum(bool(set(group.names).intersection(problem.fields)) for problem in errors)
    return {"title": group.title, "aside": f"{changed} changed" if changed else untouched, "bad": bad}
