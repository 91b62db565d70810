"""The form of one rule between options: the tables of rules are made of these rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.contract.config import TrainingConfig
from trainer.contract.problems import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule between options; `mends` are (label, values) pairs, the gentlest first."""

    code: str
    fields: tuple[str, ...]
    broken: Callable[[TrainingConfig], bool]
    message: str
    mends: tuple[tuple[str, dict[str, Any]], ...] = ()
    severity: Severity = "error"
