"""One row per option, read from the config's own declarations.

`Shown` stands beside a field in config.py and says how to draw it; `Option` is the finished row from which the
form, the flags, the preset schema and the documentation's table are made.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Kind = Literal["switch", "whole", "number", "text", "choice", "path"]
Look = Literal["auto", "folder", "file", "lines", "model"]


@dataclass(frozen=True, slots=True)
class Shown:
    """How an option is drawn: its plain label, whether it is among the basic ones, its unit, its kind of box."""

    label: str
    basic: bool = False
    unit: str = ""
    look: Look = "auto"
    words: Mapping[str, str] = field(default_factory=dict)
    """Plain words for the values of a choice; a value without one is shown as it is."""
    bare: Any = None
    """What the flag means on the command line without a value; a switch needs none."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the contract, complete: everything that a form, a flag, a schema or a table needs."""

    name: str
    section: str
    title: str
    kind: Kind
    default: Any
    optional: bool
    help: str
    shown: Shown
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None

    @property
    def bounds(self) -> str:
        """The allowed range in words, empty where there is none."""
        if self.above is not None:
            return f"above {self.above:g}" + (f", at most {self.maximum:g}" if self.maximum is not None else "")
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None:
            return f"at least {self.minimum:g}"
        return f"at most {self.maximum:g}" if self.maximum is not None else ""


@cache
def options_of(config: type[BaseModel]) -> dict[str, Option]:
    """All options of a config class whose fields are sections: name -> row, in the order of declaration."""
    rows: dict[str, Option] = {}
    for section, section_field in config.model_fields.items():
        section_class = section_field.annotation
        assert isinstance(section_class, type) and issubclass(section_class, BaseModel)
        for name, info in section_class.model_fields.items():
            assert name not in rows, f"option {name} is declared twice"
            rows[name] = _option(name, section, getattr(section_class, "title", section), info)
    return rows


def _option(name: str, section: str, title: str, info: FieldInfo) -> Option:
    shown = next((mark for mark in info.metadata if isinstance(mark, Shown)), None)
    assert shown is not None, f"option {name} has no Shown(...)"
    assert info.description, f"option {name} has no help sentence under it"
    kind, choices, optional = _kind(info.annotation)

    def bound(mark: type, attribute: str) -> float | None:
        return next((getattr(m, attribute) for m in info.metadata if isinstance(m, mark)), None)

    assert bound(Lt, "lt") is None, f"option {name}: say the upper bound with le"
    return Option(
        name=name,
        section=section,
        title=title,
        kind=kind,
        default=info.get_default(call_default_factory=True),
        optional=optional,
        help=" ".join(info.description.split()),
        shown=shown,
        choices=choices,
        minimum=bound(Ge, "ge"),
        maximum=bound(Le, "le"),
        above=bound(Gt, "gt"),
    )


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...], bool]:
    """The kind of an annotation, its choices, and whether None is allowed."""
    parts = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = list(get_args(annotation))
    optional = type(None) in parts
    (inner,) = [part for part in parts if part is not type(None)]
    if get_origin(inner) is Literal:
        return "choice", get_args(inner), optional
    kinds: dict[Any, Kind] = {bool: "switch", int: "whole", float: "number", str: "text", Path: "path"}
    return kinds[inner], (), optional
