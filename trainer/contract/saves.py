"""Options about what a run writes: models and states, where and how often."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from trainer.contract.options import Shown
from trainer.contract.section import Section

Precision = Literal["float", "fp16", "bf16"]
SaveFormat = Literal["ckpt", "safetensors", "diffusers", "diffusers_safetensors"]


class SaveSection(Section):
    """What is written, where and how often."""

    title: ClassVar[str] = "Saves"

    output_dir: Annotated[Path | None, Shown("Folder", basic=True, look="folder")] = None
    """Where trained models are written. It is made where it does not exist."""

    output_name: Annotated[str | None, Field(max_length=100), Shown("Name", basic=True)] = None
    """The file name of the trained model, without its ending; without one: last, and epoch-000001 in between."""

    save_every_n_epochs: Annotated[int | None, Field(ge=1), Shown("Save every", basic=True, unit="epochs")] = None
    """Write a model each time this many epochs are done; the last one is always written."""

    save_every_n_steps: Annotated[int | None, Field(ge=1), Shown("Save every", unit="steps")] = None
    """Write a model each time this many steps are done. Where an epoch's is due after the same step, only that one."""

    save_last_n_epochs: Annotated[int | None, Field(ge=1), Shown("Epoch saves to keep", unit="saves")] = None
    """Of the models saved every so many epochs only the newest are kept; not given: all."""

    save_last_n_steps: Annotated[int | None, Field(ge=1), Shown("Keep step saves for", unit="steps")] = None
    """A model saved every so many steps is deleted once it is more than this many steps old; not given: never."""

    save_precision: Annotated[
        Precision | None,
        Shown("Precision", basic=True, words={"float": "fp32, full", "fp16": "fp16, half", "bf16": "bf16, half"}),
    ] = None
    """How numbers are written. fp16 has half the size and no visible difference; not given: fp32."""

    save_model_as: Annotated[
        SaveFormat | None,
        Shown(
            "Format",
            basic=True,
            words={
                "safetensors": "One .safetensors file",
                "ckpt": "One .ckpt file",
                "diffusers": "Diffusers folder, .bin",
                "diffusers_safetensors": "Diffusers folder",
            },
        ),
    ] = None
    """What is written; not given: the same kind as the model that training started from."""

    use_safetensors: Annotated[bool, Shown("Write .safetensors")] = False
    """Write .safetensors in place of .ckpt where a single file or a folder is written without a format chosen above."""

    save_ema_keys: Annotated[bool, Shown("Write EMA keys")] = False
    """Write the average a second time, as the model_ema.* keys of a single file; later runs with EMA go on from it."""

    save_raw: Annotated[bool, Shown("Also write raw weights")] = False
    """With averaged weights, write those of the last step as well, under the same name with -raw behind it."""

    save_state: Annotated[bool, Shown("Save states to resume")] = False
    """Beside each saved model, write all that is needed to go on from there. A stopped run always writes one."""

    save_state_every_minutes: Annotated[float, Field(ge=0, le=100_000), Shown("Save a state every", unit="minutes")] = (
        15
    )
    """Write a state into the run's folder so often, so that a crash costs no more; 0 writes none in between."""

    save_last_n_states: Annotated[int | None, Field(ge=1), Shown("States to keep", unit="states")] = None
    """Only the newest states are kept; not given: one in the run's folder, and those of all models that are kept."""

    resume: Annotated[Path | None, Shown("Resume from", look="folder")] = None
    """A state folder of an earlier run: training goes on from its step, with steps and epochs as totals."""

    @field_validator("output_name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and (value in (".", "..") or any(c in '/\\:*?"<>|' or ord(c) < 32 for c in value)):
            raise ValueError('a file name cannot hold / \\ : * ? " < > |')
        return value
