"""Tiny Stable Diffusion models with random weights, written as Diffusers folders: what the tests train, load and save.

Every number is exact in half precision, so that a round trip through fp16 can be compared bit for bit.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from trainer.contract.config import ModelSection
from trainer.model.load import Networks, load_networks
from trainer.model.tokenizer import FILES, load_tokenizer

LAYOUT = FILES.parent


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
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**_unet_shape(family, layers_per_block))
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2 if family == "v1" else 3,
            num_attention_heads=2,
            hidden_act="quick_gelu" if family == "v1" else "gelu",
            projection_dim=16,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.18215,
    )
    for module in (unet, text_encoder, vae):
        for parameter in module.parameters():
            parameter.data = parameter.data.half().float()
    folder.mkdir(parents=True, exist_ok=True)
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    _scheduler(family, prediction).save_pretrained(folder / "scheduler")
    prefixed = {f"text_model.{name}": tensor for name, tensor in text_encoder.state_dict().items()}
    text_encoder.save_pretrained(folder / "text_encoder", state_dict=prefixed)
    load_tokenizer(family).write(folder / "tokenizer")
    shutil.copyfile(LAYOUT / family / "model_index.json", folder / "model_index.json")
    return folder


def load(path: Path, **options: Any) -> Networks:
    """The networks of a model on disk, with further options of the model section."""
    return load_networks(ModelSection(pretrained_model_name_or_path=str(path), **options))


def _unet_shape(family: str, layers_per_block: int) -> dict[str, Any]:
    return {
        "block_out_channels": (16, 32, 32, 32),
        "layers_per_block": layers_per_block,
        "cross_attention_dim": 16,
        "attention_head_dim": 4 if family == "v1" else (2, 4, 4, 4),
        "use_linear_projection": family == "v2",
        "upcast_attention": family == "v2",
        "norm_num_groups": 8,
        "sample_size": 8,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
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
