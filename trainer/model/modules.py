"""Networks without weights, and weights put into them: the step from names and places on disk to modules in memory.

A config goes in, an empty module comes out; `fill` then reads each weight from where a `Find` says it lies. At no
time is a weight in memory twice.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from trainer.model.checkpoint import Checkpoint
from trainer.model.folders import Component, read_weights
from trainer.model.keys import plain_text_name
from trainer.model.refusals import FIELD, refused, unreadable
from trainer.model.stored import StoredTensor, UnreadableFile
from trainer.model.tensors import TensorFile

Find = Callable[[str], StoredTensor | None]
"""Diffusers name -> where that weight lies."""

DEPTHS = ("layers_per_block", "transformer_layers_per_block", "num_hidden_layers")
MOST_LAYERS = 200
"""The deepest published text encoder has 24. Each layer of an empty network takes a millisecond, so a count of a
million would look as if the program had hung."""

OLD_VAE_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
"""The VAE's attention was called this in Diffusers before 0.17, and still is in folders written then."""


def empty_unet(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """A U-Net of this Diffusers config, without memory for its weights; refuses a config that makes none."""
    with _built_from(config, "U-Net", FIELD):
        return UNet2DConditionModel.from_config(dict(config)).eval()


def empty_vae(config: Mapping[str, Any], field_name: str = FIELD) -> AutoencoderKL:
    """A VAE of this Diffusers config, without memory for its weights; refuses a config that makes none."""
    with _built_from(config, "VAE", field_name):
        return AutoencoderKL.from_config(dict(config)).eval()


def empty_text_encoder(config: Mapping[str, Any]) -> CLIPTextModel:
    """A text encoder of this transformers config (4 or 5), without memory for its weights; refuses as above."""
    settings = config.get("text_config") if isinstance(config.get("text_config"), Mapping) else config
    plain = {name: value for name, value in settings.items() if name not in ("torch_dtype", "dtype", "architectures")}
    with _built_from(plain, "text encoder", FIELD):
        return CLIPTextModel(CLIPTextConfig.from_dict(plain)).eval()


@contextmanager
def _built_from(config: Mapping[str, Any], part: str, field_name: str) -> Iterator[None]:
    """A block that builds a network on no device.

    A config is the user's file: a text for a number or a list that is too short ends in the libraries as anything from
    KeyError to ZeroDivisionError, which is one problem here.
    """
    try:
        for name in DEPTHS:
            for count in np.ravel(config.get(name) or 0).tolist():
                if isinstance(count, int | float) and count > MOST_LAYERS:
                    raise ValueError(f"{name} is {count}")
        with init_empty_weights():
            yield
    except Exception as trouble:
        first = str(trouble).strip().partition("\n")[0][:200]
        raise refused(
            "disk.model_config",
            f"The settings of the model's {part} fit no {part} ({type(trouble).__name__}: {first}). "
            "Choose a complete model, or get its config.json again.",
            field_name,
        ) from trouble


def fill(
    module: torch.nn.Module,
    checkpoint: Checkpoint,
    find: Find,
    path: Path,
    *,
    own_dtype: bool = False,
    field_name: str = FIELD,
) -> dict[str, torch.Tensor]:
    """Put the weights into an empty module, in file order; returns them in the dtype they were stored in.

    As fp32, or with `own_dtype` as stored (where the file mixes dtypes, the module gets fp32). With fp32 the returned
    mapping is empty, since keeping the stored values too would cost their memory.
    """
    targets = module.state_dict()
    places = {name: find(name) for name in targets}
    unfit = [name for name, stored in places.items() if stored is None or not _fits(stored.shape, targets[name].shape)]
    if unfit:
        kind = type(module).__name__
        raise refused(
            "disk.model_incomplete",
            f"{path.name} is not a complete {kind}: {len(unfit)} of its {len(targets)} weights are missing or of "
            f"another size, first {unfit[0]}. Choose a complete model.",
            field_name,
        )
    found = {name: stored for name, stored in places.items() if stored is not None}
    loaded: dict[str, torch.Tensor] = {}
    for name, stored in sorted(found.items(), key=lambda item: (str(item[1].path), item[1].start)):
        tensor = checkpoint.read(stored).reshape(targets[name].shape)
        loaded[name] = tensor if own_dtype else tensor.to(torch.float32)
    mixed = own_dtype and len({tensor.dtype for tensor in loaded.values()}) > 1
    state = {name: tensor.to(torch.float32) for name, tensor in loaded.items()} if mixed else loaded
    module.load_state_dict(state, strict=True, assign=True)
    return {name: loaded[name] for name in targets} if own_dtype else {}


def _fits(stored: tuple[int, ...], target: torch.Size) -> bool:
    """The same shape, but for sides of 1: a [C, C] matrix and a [C, C, 1, 1] convolution are the same weights."""
    return [side for side in stored if side != 1] == [side for side in target if side != 1]


def fill_component(
    module: torch.nn.Module, folder: Path, part: Component, field_name: str = FIELD
) -> dict[str, torch.Tensor]:
    """`fill` from a folder that holds the weights of one part of a Diffusers model."""
    try:
        content = read_weights(folder, part)
    except UnreadableFile as trouble:
        raise unreadable(folder.parent, trouble, field_name) from None
    with Checkpoint(content) as checkpoint:
        return fill(
            module, checkpoint, diffusers_finder(content), folder, own_dtype=part == "vae", field_name=field_name
        )


def diffusers_finder(content: TensorFile) -> Find:
    """Find weights under Diffusers names, those of older versions and of both transformers included."""
    tensors = content.tensors

    def find(name: str) -> StoredTensor | None:
        old = name
        for new, before in OLD_VAE_NAMES.items():
            old = old.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        candidates = (name, f"text_model.{name}", plain_text_name(name), old)
        return next((tensors[key] for key in candidates if key in tensors), None)

    return find
