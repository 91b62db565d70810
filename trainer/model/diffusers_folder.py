"""Write a Diffusers folder that diffusers, transformers 4 and transformers 5 load: weights, configs, tokenizer, index.

Networks and their states go in; the folder is built beside the target and takes its place when it is whole.
"""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from trainer.model.architecture import published
from trainer.model.folders import STEMS, is_diffusers_folder, recovered
from trainer.model.load import Networks
from trainer.model.single_file import State, outgoing
from trainer.model.writing import folder_in_place, in_place, write_pickled, write_safetensors


def save_folder(
    networks: Networks,
    target: Path,
    states: Mapping[str, State],
    dtype: torch.dtype,
    *,
    words: Mapping[str, str],
    safe: bool,
) -> Path:
    """Write the model as the folder `target`, with .safetensors where `safe`, else .bin.

    `words` go into the header of the U-Net's .safetensors file. Raises FileExistsError where something else than a
    model stands at the target.
    """
    if not _may_be_replaced(recovered(target)):
        raise FileExistsError(errno.EEXIST, "there is something here already that is no Diffusers model", str(target))
    with folder_in_place(target) as partial:
        for part, state in states.items():
            (partial / part).mkdir()
            _write_weights(partial / part, part, state, dtype, words if part == "unet" else {"format": "pt"}, safe)
        _write_configs(networks, partial)
        networks.tokenizer.write(partial / "tokenizer")
    return target


def _may_be_replaced(target: Path) -> bool:
    """Whether nothing is lost that is no model: the place is free, an empty folder, or a Diffusers folder."""
    return not target.exists() or (target.is_dir() and (is_diffusers_folder(target) or not any(target.iterdir())))


def _write_weights(
    folder: Path, part: str, state: State, dtype: torch.dtype, words: Mapping[str, str], safe: bool
) -> None:
    # transformers before 5.6 looks for `text_model.`, and fills what it does not find with random numbers.
    prefix = "text_model." if part == "text_encoder" else ""
    tensors = {prefix + name: outgoing(value, dtype) for name, value in state.items()}
    safe_stem, pickled_stem = STEMS[part]
    path = folder / (f"{safe_stem}.safetensors" if safe else f"{pickled_stem}.bin")
    with in_place(path, tensors) as temporary:
        if safe:
            write_safetensors(temporary, tensors, words)
        else:
            write_pickled(temporary, tensors, None)


def _write_configs(networks: Networks, folder: Path) -> None:
    version = {"_diffusers_version": diffusers.__version__}
    modules = {"unet": networks.unet, "vae": networks.vae}
    for part, module in modules.items():
        settings = {name: value for name, value in module.config.items() if not name.startswith("_")}
        _write_json(folder / part / "config.json", {"_class_name": type(module).__name__, **version, **settings})
    # The published settings' names with this model's values: what every version of transformers knows.
    text = published(networks.family, "text_encoder")
    text |= {name: getattr(networks.text_encoder.config, name, value) for name, value in text.items()}
    # Whatever the weights are stored in: transformers 5 would else load half precision as it is, while diffusers loads
    # U-Net and VAE as fp32, and the pipeline would stop at its first product of the two.
    text |= {"architectures": ["CLIPTextModel"], "torch_dtype": "float32"}
    _write_json(folder / "text_encoder" / "config.json", text)
    scheduler = networks.scheduler
    _write_json(folder / "scheduler" / "scheduler_config.json", {**scheduler, **version})
    index = published(networks.family, "model_index") | version
    _write_json(folder / "model_index.json", index | {"scheduler": ["diffusers", scheduler["_class_name"]]})


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=list) + "\n", encoding="utf-8")
