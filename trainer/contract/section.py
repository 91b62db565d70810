"""What every section of the config has in common.

Options of one kind stand together in a `Section`; config.py and the modules beside it declare them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A titled group of options: frozen, no unknown keys, no NaN, an empty box is "not given"."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    title: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_given(cls, values: Any) -> Any:
        """An empty string leaves the default: forms and foreign presets write "" for "nothing"."""
        if isinstance(values, Mapping):
            return {name: value for name, value in values.items() if not (isinstance(value, str) and not value.strip())}
        return values
