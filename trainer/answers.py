"""What a verb of `python -m trainer` says: problems with their mends, or JSON for programs.

Problems and data come in; text on the terminal and an exit code go out.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from trainer.contract.cli import Line
from trainer.contract.problems import Problem


def refuse(problems: Sequence[Problem], line: Line) -> int:
    """Say what is to mend, as text or with --json as JSON; returns exit code 2."""
    if line.own.get("json"):
        print_json([problem.as_dict() for problem in problems])
    else:
        print_problems(problems)
    return 2


def print_problems(problems: Sequence[Problem]) -> None:
    """Problems on stderr, one a line, with the boxes they belong to and the flags that mend them."""
    for problem in problems:
        boxes = f"  [{', '.join(problem.fields)}]" if problem.fields else ""
        mark = "to mend: " if problem.severity == "error" else "look at: "
        print(f"{mark}{problem.message}{boxes}", file=sys.stderr)
        for mend in problem.mends:
            print(f"    {mend.label}: {as_flags(mend.values)}".rstrip(": "), file=sys.stderr)


def print_json(data: Any) -> None:
    """Data on stdout, for programs."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def as_flags(values: Any) -> str:
    """Option values as they are typed on a command line."""
    return " ".join(f"--{name} {'none' if value is None else value}" for name, value in values.items())
