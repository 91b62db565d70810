"""What is wrong with a job, said so that it can be mended.

Every gate (value, rule, disk, machine) returns a list of `Problem`; the page marks the boxes in `fields`, the
command line prints `message`, and a `Mend` is one click that sets values.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Mend:
    """One click that mends a problem: the words on the button and the option values that it sets."""

    label: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, tied to the option names that mend it.

    `code` is stable and dotted by gate ("value.number", "rule.cache_random_crop", "disk.no_images"); `message` is
    plain English: what is wrong, then what to do. An error keeps the run from starting, a warning does not.
    """

    code: str
    message: str
    fields: tuple[str, ...] = ()
    severity: Severity = "error"
    mends: tuple[Mend, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The problem as JSON-ready data, for `--json` and the page."""
        return asdict(self)


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Only the problems that keep a run from starting."""
    return [problem for problem in problems if problem.severity == "error"]
