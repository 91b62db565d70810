"""Options about validation: images that are not trained on but measured."""

from typing import Annotated, ClassVar

from pydantic import Field

from trainer.contract.options import Shown
from trainer.contract.section import Section


class ValidationSection(Section):
    """A loss on images that training does not see."""

    title: ClassVar[str] = "Validation"

    validation_split: Annotated[float, Field(ge=0, le=0.9), Shown("Share of images held out")] = 0.0
    """So many of the images are not trained on but measured: once their loss rises, the others are learnt by heart.
    0.1 is a tenth; 0 holds none out."""

    validate_every_n_steps: Annotated[int | None, Field(ge=1), Shown("Measure every", unit="steps")] = None
    """Measure the images held out each time so many steps are done; not given: after each epoch."""
