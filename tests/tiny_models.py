"""Tiny Stable Diffusion models with random weights, written as Diffusers folders: what the tests train, load and save.

Every number is exact in half precision, so that a round trip through fp16 can be compared bit for bit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.demo_model.folder import write_parts
from trainer.contract.config import ModelSection
from trainer.model.load import Networks, load_networks


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths and depths of a small model; four levels and the kinds of blocks are those of the real one."""

    unet: tuple[int, int, int, int] = (32, 64, 64, 64)
    unet_groups: int = 16
    heads: int = 4
    layers_per_block: int = 1
    text: int = 32
    text_layers: int = 2
    vae: tuple[int, int, int, int] = (8, 16, 32, 32)
    vae_layers: int = 1
    vae_groups: int = 8
    sample_size: int = 16
    """Latent side at which the model is at home: an eighth of the picture's."""


def write_model(
    folder: Path,
    family: Literal["v1", "v2"] = "v1",
    prediction: Literal["epsilon", "v"] = "epsilon",
    *,
    shape: Shape | None = None,
    seed: int = 0,
) -> Path:
    """Write a Diffusers folder and return it. Every weight is exact in fp16: a round trip loses nothing."""
    shape = shape or Shape()
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**_unet(shape, family))
    text_encoder = CLIPTextModel(_text_encoder(shape, family))
    vae = AutoencoderKL(**_vae(shape))
    return write_parts(folder, family, prediction, unet, text_encoder, vae)


def _unet(shape: Shape, family: str) -> dict[str, Any]:
    first, *rest = (shape.heads,) * 4
    return {
        "block_out_channels": shape.unet,
        "layers_per_block": shape.layers_per_block,
        "cross_attention_dim": shape.text,
        # Named after the dimension, read by diffusers as the number of heads.
        "attention_head_dim": shape.heads if family == "v1" else (max(1, first // 2), *rest),
        "use_linear_projection": family == "v2",
        "upcast_attention": family == "v2",
        "norm_num_groups": shape.unet_groups,
        "sample_size": shape.sample_size,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    }


def _text_encoder(shape: Shape, family: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=shape.text,
        intermediate_size=shape.text * 4,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=2,
        hidden_act="quick_gelu" if family == "v1" else "gelu",
        projection_dim=shape.text,
    )


def _vae(shape: Shape) -> dict[str, Any]:
    return {
        "block_out_channels": shape.vae,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": shape.vae_layers,
        "latent_channels": 4,
        "norm_num_groups": shape.vae_groups,
        "sample_size": shape.sample_size * 8,
        "scaling_factor": 0.18215,
    }


def make_tiny(
    folder: Path,
    family: Literal["v1", "v2"] = "v1",
    prediction: Literal["epsilon", "v"] = "epsilon",
    *,
    layers_per_block: int = 1,
    seed: int = 0,
) -> Path:
    """Write a Diffusers folder of about 5 MB (vocabulary 49408, everything else narrow) and return it.

    U-Net and text encoder read 16 numbers for each token; images have 8 pixels to a latent, as in the real models.
    """
    shape = Shape(
        unet=(16, 32, 32, 32),
        unet_groups=8,
        layers_per_block=layers_per_block,
        text=16,
        text_layers=2 if family == "v1" else 3,
        vae=(4, 8, 8, 8),
        vae_groups=4,
        sample_size=8,
    )
    return write_model(folder, family, prediction, shape=shape, seed=seed)


def load(path: Path, **options: Any) -> Networks:
    """The networks of a model on disk, with further options of the model section."""
    return load_networks(ModelSection(pretrained_model_name_or_path=str(path), **options))
