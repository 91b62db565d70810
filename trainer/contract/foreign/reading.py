"""What is taken from another studio's preset, key by key: as it is, in another form, or left with the reason.

A `Reading` is asked for one key after the other; what nobody asked for in the end is told as unknown.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainer.contract.config import OPTIONS
from trainer.contract.job import check_values
from trainer.contract.options import Option
from trainer.contract.problems import Problem, errors_of

Kind = Literal["converted", "left", "unknown"]

_SWITCH = ("false", "true", "0", "1", "0.0", "1.0", "no", "yes")
"""Off and on in turn, as they are written."""
_NOTHING: tuple[Any, ...] = (None, False, 0, "", [], {})
"""Values that ask for nothing."""

SECRETS = ("api_key", "token", "password", "secret")
"""A key with one of these in its name may hold a secret: its value is neither taken nor shown."""


@dataclass(frozen=True, slots=True)
class Note:
    """A key of the other studio that does not simply stand here under an option, and why."""

    key: str
    kind: Kind
    said: str


class RefusedError(Exception):
    """The whole preset is for something that is not trained here; its text is for a person."""


class Reading:
    """A record of another studio on its way into option values.

    `values` are the options found so far, `same` the keys that were taken as they are, `notes` all others that say
    something.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._rest = dict(record)
        self._from: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.same: list[str] = []
        self.notes: list[Note] = []

    def pop(self, key: str) -> Any:
        """The value of a key, which is done with then; None where there is none, or an empty one."""
        value = self._rest.pop(key, None)
        value = value.strip() if isinstance(value, str) else value
        return None if value in ("", "None", "none", "null") else value

    def peek(self, key: str) -> Any:
        """The value of a key, which is still to be read."""
        return self._rest.get(key)

    def number(self, key: str) -> float:
        """The number of a key; 0 where there is none, or where it is not one."""
        value = self.pop(key)
        try:
            number = float(value) if value is not None else 0.0
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
        self.leave(key, value, "This is no number.")
        return 0.0

    def on(self, key: str) -> bool:
        """Whether a switch is on, which is written as text in some years."""
        return str(self.pop(key)).lower() == "true"

    def part(self, key: str, defaults: Mapping[str, Any] | None = None) -> "Reading":
        """A record in the record, to be read by itself, over its defaults; empty where there is none."""
        value = self.pop(key)
        return Reading({**(defaults or {}), **(value if isinstance(value, Mapping) else {})})

    def rows(self, key: str) -> list["Reading"]:
        """The records of a list that are not switched off."""
        value = self.pop(key)
        rows = value if isinstance(value, list) else []
        return [Reading(row) for row in rows if isinstance(row, Mapping) and row.get("enabled", True)]

    def take(self, key: str, option: str | None = None, *, empty: Iterable[Any] = ()) -> None:
        """Lay the value of a key under an option, by default the one of the same name.

        Values in `empty` mean "not given" in the other studio.
        """
        name = option or key
        value = self.pop(key)
        if value is None:
            return
        try:
            value = _as(OPTIONS[name], value)
        except (TypeError, ValueError, OverflowError):
            self.leave(key, value, f"“{value}” is not understood.")
            return
        if value not in tuple(empty):
            self.put(key, {name: value})

    def put(self, key: str, values: Mapping[str, Any]) -> None:
        """Lay values under options that mean the same as what stood under the key."""
        self.values |= values
        self._from |= dict.fromkeys(values, key)
        self.same.append(key)

    def convert(self, key: str, said: str, values: Mapping[str, Any]) -> None:
        """Lay other values under options than stood under the key, and say which."""
        self.values |= values
        self._from |= dict.fromkeys(values, key)
        self.notes.append(Note(key, "converted", said))

    def leave(self, key: str, value: Any, said: str) -> None:
        """Say why a value is not taken, where there is one."""
        if value not in _NOTHING:
            self.notes.append(Note(key, "left", said))

    def skip(self, *keys: str) -> None:
        """Forget keys that say nothing about a run."""
        for key in keys:
            self._rest.pop(key, None)

    def skip_where(self, prefixes: tuple[str, ...]) -> None:
        """Forget all keys that begin with one of these."""
        self.skip(*[key for key in self._rest if key.startswith(prefixes)])

    def finish(self) -> None:
        """Tell what is left over, and take back what the options themselves refuse; values are as options have them."""
        for key, value in list(self._rest.items()):
            if any(word in key.lower() for word in SECRETS):
                self.leave(key, self.pop(key), "A secret stays out of presets.")
            elif value not in _NOTHING:
                self.notes.append(Note(key, "unknown", f"There is nothing like it here; it was {_short(value)}."))
        self._rest.clear()
        for problem in errors_of(check_values(self.values)[1]):
            if problem.code.startswith("value."):
                self._take_back(problem)
        if self.values.get("max_train_epochs") is not None:
            self.values["max_train_steps"] = None
        config, _ = check_values(self.values)
        assert config is not None, self.values
        self.values = {name: value for name, value in config.flat().items() if name in self.values}

    def _take_back(self, problem: Problem) -> None:
        for name in problem.fields:
            if name in self.values:
                del self.values[name]
                key = self._from[name]
                self.same = [other for other in self.same if other != key]
                self.notes = [note for note in self.notes if note.key != key]
                self.notes.append(Note(key, "left", f"{problem.message} The default stands instead."))


def _as(option: Option, value: Any) -> Any:
    """A value as its option has it: other studios write numbers and switches as text as well."""
    if isinstance(value, (dict, list)):
        raise TypeError
    if option.kind == "switch":
        return _SWITCH.index(str(value).lower()) % 2 == 1
    if option.kind == "whole":
        number = float(value)
        return int(number) if number == int(number) else number
    return float(value) if option.kind == "number" else str(value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
