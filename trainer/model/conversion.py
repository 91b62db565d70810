"""What to convert into what, and whether the result may stand where it is asked for. No torch."""

from dataclasses import dataclass
from pathlib import Path

from trainer.contract.problems import Problem
from trainer.contract.saves import Precision, SaveFormat
from trainer.model.folders import is_diffusers_folder

FILE_FORMS: dict[str, SaveFormat] = {".safetensors": "safetensors", ".ckpt": "ckpt"}
OTHER_ENDINGS = frozenset({".pt", ".pth", ".bin", ".zip", ".onnx", ".gguf", ".yaml", ".json"})


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to convert into what.

    The ending of `target` decides what is written: .safetensors, .ckpt, or a Diffusers folder. `precision` None keeps
    the source's, fp32 where that is mixed. `predicts_v` None means: as the source says.
    """

    source: str
    target: Path
    precision: Precision | None = None
    vae: str | None = None
    use_ema_weights: bool = False
    predicts_v: bool | None = None
    overwrite: bool = False


def target_problem(target: Path, overwrite: bool) -> Problem | None:
    """Why a converted model cannot be written there, or None."""
    ending = target.suffix.lower()
    if ending in OTHER_ENDINGS:
        message = f"{target.name} ends in {ending}. Let it end in .safetensors or .ckpt, or name a folder."
        return Problem("value.target", message)
    if not target.exists():
        return None
    if target.is_dir() and ending not in FILE_FORMS and (is_diffusers_folder(target) or not any(target.iterdir())):
        fits = overwrite or not any(target.iterdir())
    elif target.is_file() and ending in FILE_FORMS:
        fits = overwrite
    else:
        kind = "folder" if target.is_dir() else "file"
        return Problem("disk.target", f"{target} is a {kind} that is no model of this kind. Choose another name.")
    if fits:
        return None
    message = f"{target} is there already. Choose another name, or add --overwrite to replace it."
    return Problem("disk.target_exists", message)
