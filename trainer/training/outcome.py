"""How a run can end before its last step: refused by a gate, stopped as asked, or diverged."""

from collections.abc import Sequence

from trainer.contract.problems import Problem


class Refused(Exception):
    """Gates found what has to be mended first; nothing was trained."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class Stopped(Exception):
    """Somebody asked the run to stop before it came to its first step."""


class Diverged(Exception):
    """Losses or gradients stopped being numbers; the message says where and what to try."""
