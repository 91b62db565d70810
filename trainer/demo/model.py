"""Small Stable Diffusion models with random weights, in the layout of 1.x and 2.x.

Comes in: a folder and a `Shape`. Goes out: a complete Diffusers folder that any tool for the real models loads: real
tokenizer, factor-8 VAE with four channels, the real block types, only narrow. Needs torch; runs offline.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from trainer.model.tokenizer import FILES, load_tokenizer


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


def write_parts(
    folder: Path,
    family: Literal["v1", "v2"],
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


def _scheduler(family: str, prediction: str) -> PNDMScheduler | DDIMScheduler:
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
