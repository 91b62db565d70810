"""Adding an option costs one declaration: everything else follows from the row."""

import json
from typing import Annotated, ClassVar

import pytest
from pydantic import BaseModel, Field

from trainer.contract import cli, config, job, reference
from trainer.contract.config import Section
from trainer.contract.options import Shown, options_of


class NewSection(Section):
    title: ClassVar[str] = "New"

    brightness_of_moon: Annotated[float, Field(ge=0, le=2), Shown("Moon", unit="candela")] = 0.5
    """How bright the moon is in every picture."""


class NewConfig(BaseModel):
    new: NewSection = NewSection()


@pytest.fixture
def _one_more_option(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**config.OPTIONS, **options_of(NewConfig)}
    for module in (config, cli, job, reference):
        monkeypatch.setattr(module, "OPTIONS", rows)


@pytest.mark.usefixtures("_one_more_option")
def test_a_new_option_appears_everywhere() -> None:
    """Flag, help, schema and the documentation's row come from the declaration alone."""
    assert cli.parse_line(["--brightness-of-moon", "1"]).values == {"brightness_of_moon": "1"}
    assert "--brightness_of_moon" in cli.help_text()
    assert reference.preset_schema()["properties"]["brightness_of_moon"]["maximum"] == 2
    assert "| `brightness_of_moon` | Moon | number, 0 to 2 | 0.5 | How bright" in reference.option_table()


def test_an_option_without_words_is_our_mistake() -> None:
    """A field without label or help does not become a row."""

    class Bare(Section):
        silent: int = 1

    class BareConfig(BaseModel):
        bare: Bare = Bare()

    with pytest.raises(AssertionError, match="silent"):
        options_of(BareConfig)


def test_the_docs_are_fresh() -> None:
    """docs/options.md and the preset schema are what `python -m trainer.contract.reference` writes today."""
    assert (reference.DOCS / "options.md").read_text(encoding="utf-8") == reference.option_table()
    written = json.loads((reference.DOCS / "preset.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(reference.preset_schema(), default=str))
