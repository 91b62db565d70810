"""From networks in memory to a checkpoint that other programs load: a single file or a Diffusers folder.

Networks and a target go in, the written paths come out. U-Net and text encoder are written as they are now (or as the
weights given instead, such as an average), the VAE with the values it was loaded with, whatever it was cast to since.
Every file appears whole or not at all.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainer.contract.saves import Precision, SaveFormat
from trainer.model.architecture import HINTS_KEY, write_hints
from trainer.model.diffusers_folder import save_folder
from trainer.model.keys import plain_text_name
from trainer.model.load import Networks
from trainer.model.single_file import State, average_tensors, single_file_tensors
from trainer.model.writing import HASH_KEY, NO_HASH, in_place, write_pickled, write_safetensors

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: torch.float32}
INFERENCE = Path(__file__).parents[2] / "v2_inference"

LASTING = ("author", "license", "merged_from", "tags", "usage_hint", "trigger_phrase", "preprocessor")
"""The parts of a source's modelspec metadata that still hold for a model trained from it."""


def save_model(
    networks: Networks,
    target: Path,
    *,
    form: SaveFormat,
    precision: Precision | None,
    weights: Mapping[str, State] | None = None,
    ema: State | None = None,
    metadata: Mapping[str, str] | None = None,
    epoch: int = 0,
    step: int = 0,
) -> list[Path]:
    """Write the model as `target` plus the ending that `form` has, and return the paths that were written.

    `weights` replaces the current values of "unet" or "text_encoder" (Diffusers names); `ema` is written besides, as
    `model_ema.*` of a single file. `precision` None means fp32. `epoch` and `step` are those of this training; a .ckpt
    adds what its source had counted. An OSError (disk full, no permission) leaves what stood there before.
    """
    given = weights or {}
    text = given.get("text_encoder") or networks.text_encoder.state_dict()
    states = {
        "unet": given.get("unet") or networks.unet.state_dict(),
        "text_encoder": {plain_text_name(name): value for name, value in text.items()},
        "vae": networks.vae_weights,
    }
    dtype = DTYPES[precision]
    words = _metadata(networks, target.name, metadata or {}, epoch, step)
    if form in ("diffusers", "diffusers_safetensors"):
        safe = form == "diffusers_safetensors"
        return [save_folder(networks, target, states, dtype, words=words, safe=safe)]
    tensors = single_file_tensors(networks, states, dtype)
    if ema is not None:
        tensors |= average_tensors(ema, dtype, networks.family, step)
    path = target.with_name(f"{target.name}.{form}")
    # The yaml of a 2.x file goes first, so that at no moment the file stands there without it.
    beside = [_save_inference_config(networks, target)] if networks.family == "v2" else []
    with in_place(path, tensors) as temporary:
        if form == "safetensors":
            write_safetensors(temporary, tensors, words)
        else:
            write_pickled(temporary, tensors, _around(networks, words, epoch, step))
    return [path, *beside]


def _around(networks: Networks, words: Mapping[str, str], epoch: int, step: int) -> dict[str, Any]:
    """What stands beside `state_dict` in a .ckpt: the counts, added to the source's where it has whole numbers."""
    counted = networks.facts.metadata
    before = [counted.get(name) for name in ("epoch", "global_step")]
    epochs, steps = (count if type(count) is int else 0 for count in before)
    around: dict[str, Any] = {"epoch": epochs + epoch, "global_step": steps + step}
    if HINTS_KEY in words:
        # A model of another size: what its shapes cannot tell.
        around |= {name: words[name] for name in (HINTS_KEY, "modelspec.resolution") if name in words}
    if networks.family == "v1" and networks.prediction == "v":
        around["modelspec.prediction_type"] = "v"  # there is no yaml that would say so
    return around


def _metadata(networks: Networks, title: str, given: Mapping[str, str], epoch: int, step: int) -> dict[str, str]:
    """The words in a safetensors header. What the caller gives wins over what is known here."""
    version = "v1" if networks.family == "v1" else "v2-768-v" if networks.prediction == "v" else "v2-512"
    lasting = {f"modelspec.{name}": networks.facts.metadata.get(f"modelspec.{name}") for name in LASTING}
    words: dict[str, Any] = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"stable-diffusion-{version}",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.prediction_type": networks.prediction,
        "modelspec.title": title,
        "modelspec.resolution": f"{networks.facts.home_size}x{networks.facts.home_size}",
        HASH_KEY: NO_HASH,
        "atelier.epoch": epoch,
        "atelier.step": step,
        **{name: value for name, value in lasting.items() if value is not None},
    }
    configs = {
        "unet": dict(networks.unet.config),
        "vae": dict(networks.vae.config),
        "text_encoder": networks.text_encoder.config.to_dict(),
    }
    hints = write_hints(configs, networks.family)
    if hints is not None:
        words[HINTS_KEY] = hints
    if networks.facts.home_size is None:
        del words["modelspec.resolution"]
    return {name: str(value) for name, value in {**words, **given}.items()}


def _save_inference_config(networks: Networks, target: Path) -> Path:
    """The yaml beside a 2.x file, from which other programs know its architecture and whether it predicts v."""
    path = target.with_name(f"{target.name}.yaml")
    source = INFERENCE / ("v2-inference-v.yaml" if networks.prediction == "v" else "v2-inference.yaml")
    with in_place(path) as temporary:
        shutil.copyfile(source, temporary)
    return path
