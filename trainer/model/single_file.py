"""The tensors of an original single file, from networks in memory: names, shapes and dtypes as other programs expect.

Networks and their states go in, a table original name -> `Outgoing` tensor comes out; nothing is converted until the
writer asks for it.
"""

from collections.abc import Iterable, Mapping
from functools import partial

import torch

from trainer.model.facts import Family
from trainer.model.keys import QKV, ema_names, text_names_v1, text_names_v2, unet_names, vae_names
from trainer.model.kinds import TEXT_V1, TEXT_V2
from trainer.model.load import Networks
from trainer.model.writing import Outgoing

State = Mapping[str, torch.Tensor]

POSITION_IDS = f"{TEXT_V1}text_model.embeddings.position_ids"

LOGIT_SCALE = 4.6052
"""ln(100), where OpenCLIP's training ended; written for a 2.x text encoder whose source does not carry the true one."""


def single_file_tensors(networks: Networks, states: Mapping[str, State], dtype: torch.dtype) -> dict[str, Outgoing]:
    """All tensors of a single file. `states` holds "unet", "text_encoder" and "vae" under Diffusers names."""
    tensors: dict[str, Outgoing] = {}
    for name, value in networks.extras.items():
        # The unused text layer has millions of numbers; schedule vectors stay as they are, since in half precision
        # they would be another schedule.
        part = name.startswith("cond_stage_model.") and value.is_floating_point()
        tensors[name] = outgoing(value, dtype if part else value.dtype)
    unet = states["unet"]
    for name, original in unet_names(unet).items():
        tensors[original] = outgoing(unet[name], dtype, _projection_shape(name, unet[name], networks.family))
    vae = states["vae"]
    for name, original in vae_names(vae).items():
        shape = tuple(vae[name].shape)
        if ".attentions." in name and len(shape) == 2:
            shape = (*shape, 1, 1)  # attention by 1x1 convolutions
        tensors[original] = outgoing(vae[name], dtype, shape)
    text = states["text_encoder"]
    tensors |= _text_v1(text, dtype) if networks.family == "v1" else _text_v2(text, networks.extras, dtype)
    return tensors


def average_tensors(ema: State, dtype: torch.dtype, family: Family, step: int) -> dict[str, Outgoing]:
    """`model_ema.*` entries of a single file from averaged U-Net weights (Diffusers names)."""
    tensors = {
        ema_names(original)[0]: outgoing(ema[name], dtype, _projection_shape(name, ema[name], family))
        for name, original in unet_names(ema).items()
    }
    tensors["model_ema.decay"] = Outgoing(torch.float32, (), lambda: torch.tensor(0.9999))
    tensors["model_ema.num_updates"] = Outgoing(torch.int32, (), lambda: torch.tensor(step, dtype=torch.int32))
    return tensors


def outgoing(value: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...] | None = None) -> Outgoing:
    """A tensor in memory, to be written in this dtype and shape."""
    return Outgoing(dtype, tuple(value.shape) if shape is None else shape, lambda: value)


def _projection_shape(name: str, value: torch.Tensor, family: Family) -> tuple[int, ...]:
    """The projections around attention are convolutions in 1.x files and matrices in 2.x files."""
    shape = tuple(value.shape)
    if not name.endswith(("proj_in.weight", "proj_out.weight")):
        return shape
    return (*shape[:2], 1, 1) if family == "v1" else shape[:2]


def _text_v1(text: State, dtype: torch.dtype) -> dict[str, Outgoing]:
    tensors = {original: outgoing(text[name], dtype) for name, original in text_names_v1(text).items()}
    positions = text["embeddings.position_embedding.weight"].shape[0]
    # int64 whatever the precision: readers index with them.
    tensors[POSITION_IDS] = Outgoing(torch.int64, (1, positions), lambda: torch.arange(positions))
    return tensors


def _text_v2(text: State, extras: State, dtype: torch.dtype) -> dict[str, Outgoing]:
    """OpenCLIP's names and stacked matrices, and what OpenCLIP has beyond the layers in use.

    The unused last layer, the projection and the scale come from the source. A Diffusers folder has none: then a copy
    of the layer before, the identity and ln(100) stand in, which readers load and do not use.
    """
    tensors: dict[str, Outgoing] = {}
    for name, (original, third) in text_names_v2(text).items():
        if third is None:
            tensors[original] = outgoing(text[name], dtype)
        elif third == 0:
            parts = [text[name.replace(".q_proj.", f".{which}_proj.")] for which in QKV]
            shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
            tensors[original] = Outgoing(dtype, shape, partial(_stacked, parts, dtype))
    layers = 1 + max(int(name.split(".")[2]) for name in text if name.startswith("encoder.layers."))
    before, last = (f"{TEXT_V2}transformer.resblocks.{layer}." for layer in (layers - 1, layers))
    width = text["embeddings.token_embedding.weight"].shape[1]
    made_up = {last + name.removeprefix(before): tensors[name] for name in tensors if name.startswith(before)}
    made_up[f"{TEXT_V2}text_projection"] = Outgoing(dtype, (width, width), lambda: torch.eye(width))
    made_up[f"{TEXT_V2}logit_scale"] = Outgoing(dtype, (), lambda: torch.tensor(LOGIT_SCALE))
    return tensors | {name: tensor for name, tensor in made_up.items() if name not in extras}


def _stacked(parts: Iterable[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    return torch.cat([part.detach().to(device="cpu", dtype=dtype) for part in parts])
