"""Write networks as a Diffusers folder that any tool for the real models loads, and take one into presets/demo.

Comes in: U-Net, text encoder and VAE, or a finished folder. Goes out: weights in fp16, with no path of this machine.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from trainer.model.tokenizer import FILES, Family, load_tokenizer


def write_parts(
    folder: Path,
    family: Family,
    prediction: Literal["epsilon", "v"],
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vae: AutoencoderKL,
) -> Path:
    """Write a Diffusers folder of these networks, whose weights are rounded to fp16 in place, and return it."""
    for module in (unet, text_encoder, vae):
        for parameter in module.parameters():
            parameter.data = parameter.data.half().float()
    folder.mkdir(parents=True, exist_ok=True)
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    _scheduler(family, prediction).save_pretrained(folder / "scheduler")
    # transformers 5 writes the names without `text_model.`, and transformers 4 would then load random weights.
    prefixed = {f"text_model.{name}": tensor for name, tensor in text_encoder.state_dict().items()}
    text_encoder.save_pretrained(folder / "text_encoder", state_dict=prefixed)
    load_tokenizer(family).write(folder / "tokenizer")
    shutil.copyfile(FILES.parent / family / "model_index.json", folder / "model_index.json")
    return folder


def ship(model: Path, place: Path, *, with_vae: bool) -> None:
    """Take a trained folder into `place`: weights in fp16, no tokenizer, a VAE only where asked for, no local paths."""
    shutil.rmtree(place, ignore_errors=True)
    parts = ["scheduler", "text_encoder", "unet", *(["vae"] if with_vae else [])]
    for part in parts:
        (place / part).mkdir(parents=True)
        for file in sorted((model / part).iterdir()):
            if file.suffix == ".json":
                _write_config(file, place / part / file.name)
            elif file.suffix == ".safetensors":
                halved = {n: t.half() if t.is_floating_point() else t for n, t in load_file(file).items()}
                save_file(halved, place / part / file.name, metadata={"format": "pt"})
    _write_config(model / "model_index.json", place / "model_index.json")


def _write_config(file: Path, copy: Path) -> None:
    """Diffusers notes where a part was loaded from."""
    config = json.loads(file.read_text("utf-8"))
    config.pop("_name_or_path", None)
    copy.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _scheduler(family: Family, prediction: str) -> PNDMScheduler | DDIMScheduler:
    settings: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "epsilon" if prediction == "epsilon" else "v_prediction",
    }
    if family == "v1":
        return PNDMScheduler(skip_prk_steps=True, **settings)
    return DDIMScheduler(clip_sample=False, **settings)
