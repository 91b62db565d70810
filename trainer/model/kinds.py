"""Tell from the names and shapes of its tensors what a file is: a Stable Diffusion 1.x or 2.x model, or something else.

Input is the tensors of a file or of a Diffusers U-Net; output is the family, or the words for what it is instead.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from trainer.model.stored import StoredTensor

Tensors = Mapping[str, StoredTensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT_V1 = "cond_stage_model.transformer."
TEXT_V2 = "cond_stage_model.model."
EMA = "model_ema."

SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
"""Vectors of 1000 numbers in an original checkpoint; they follow from the noise schedule and are passed through."""

# What a name in the file gives away, in the order in which it is asked. None of these can be trained here.
_MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a LoRA", ("lora_unet_", "lora_te_", "lora_te1_", "lora_transformer_", "lycoris_")),
    ("a LoRA", (".lora_A.", ".lora_B.", ".lora_down.", ".lora_up.", ".lora.down.", ".hada_w1_a", ".lokr_w1")),
    ("a ControlNet", ("control_model.", "controlnet_cond_embedding.", "controlnet_down_blocks.")),
    ("a Stable Diffusion 3 model", ("model.diffusion_model.joint_blocks.", "joint_blocks.", "context_embedder.")),
    ("a Flux model", ("double_blocks.", "model.diffusion_model.double_blocks.", "single_transformer_blocks.")),
    ("a Stable Diffusion XL model", ("conditioner.embedders.",)),
    ("a text embedding", ("string_to_param.", "emb_params", "clip_l", "clip_g")),
    ("a DiT or video model", ("model.diffusion_model.blocks.", "blocks.0.adaLN_modulation", "temporal_")),
)

_TOKENS = ((768,), (1024,), (1280,))
"""The last side of a text embedding: the numbers for a token in 1.x, 2.x and the second encoder of XL."""


def other_kind(tensors: Tensors) -> str | None:
    """What a single file is, where its names show that it is no whole Stable Diffusion 1.x or 2.x model."""
    names = list(tensors)
    for words, marks in _MARKS:
        if any(_shows(name, mark) for name in names for mark in marks):
            return words
    if _any(names, (f"{UNET}label_emb.", "label_emb.")):
        # SDXL's U-Net and the unCLIP versions of 2.1 have an extra input here.
        return "a Stable Diffusion XL or unCLIP model"
    if _any(names, (UNET,)):
        return None
    if len(names) <= 2 and all(tensor.shape[-1:] in _TOKENS and len(tensor.shape) <= 2 for tensor in tensors.values()):
        return "a text embedding"
    if _any(names, (VAE, "encoder.down.", "decoder.up.", "encoder.down_blocks.", "decoder.up_blocks.")):
        return "a VAE alone"
    if _any(names, ("down_blocks.", "input_blocks.", "mid_block.")):
        return "a U-Net alone"
    if _any(names, ("text_model.", "transformer.resblocks.", "encoder.layers.")):
        return "a text encoder alone"
    return "no Stable Diffusion model"


def special_unet(channels: int) -> str | None:
    """What a U-Net with this many input channels is made for, where it is not plain text to image (4 channels)."""
    if channels == 4:
        return None
    purposes = {9: "an inpainting model", 5: "a depth model", 8: "an image-editing model", 7: "an upscaling model"}
    return purposes.get(channels, f"a model with {channels} input channels")


def family_of_file(tensors: Tensors) -> Literal["v1", "v2"]:
    """1.x or 2.x, by the text encoder's names, else by the width of what the U-Net reads, else by its projections."""
    if f"{TEXT_V2}positional_embedding" in tensors or _any(tensors, (f"{TEXT_V2}transformer.resblocks.",)):
        return "v2"
    if _any(tensors, (TEXT_V1,)):
        return "v1"
    return family_of_unet(tensors)


def family_of_unet(tensors: Tensors) -> Literal["v1", "v2"]:
    """1.x or 2.x by the U-Net alone: 768 or 1024 numbers a token; other widths by the kind of projections."""
    for name, tensor in tensors.items():
        # A slice, since the shapes of a damaged file may have no sides at all.
        if name.endswith("attn2.to_k.weight") and tensor.shape[-1:] in ((768,), (1024,)):
            return "v1" if tensor.shape[-1] == 768 else "v2"
    flat = [len(tensor.shape) == 2 for name, tensor in tensors.items() if name.endswith(".proj_in.weight")]
    return "v2" if flat and all(flat) else "v1"


def has_text_encoder(tensors: Tensors) -> bool:
    """Whether a single file holds a text encoder."""
    return _any(tensors, (TEXT_V1, TEXT_V2))


def has_vae(tensors: Tensors) -> bool:
    """Whether a single file holds a VAE, both halves of it."""
    return _any(tensors, (f"{VAE}encoder.",)) and _any(tensors, (f"{VAE}decoder.",))


def has_ema(tensors: Tensors) -> bool:
    """Whether a single file holds averaged weights of the U-Net: more than 100 names, as readers commonly ask."""
    return sum(name.startswith(EMA) for name in tensors) > 100


def _any(names: Iterable[str], starts: tuple[str, ...]) -> bool:
    return any(name.startswith(starts) for name in names)


def _shows(name: str, mark: str) -> bool:
    return mark in name if mark.startswith(".") else name.startswith(mark)
