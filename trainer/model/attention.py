"""Which formula the U-Net's attention uses: PyTorch's own (the default), xformers, slices, or the plain one.

A U-Net and the hardware section go in; the U-Net is changed, and a sentence comes out where a wish could not be met.
Whatever is chosen, the products q.k are added up in fp32: in Stable Diffusion 2.1 they reach above 65504, where fp16
ends and black images begin. PyTorch's and xformers' kernels do so by themselves, the other two formulas here.
"""

import math
from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from trainer.contract.config import HardwareSection

Formula = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""q [B, heads, L, d], k and v [B, heads, S, d] -> [B, heads, L, d]: softmax(q k^T / sqrt(d)) v."""

SLICE_SCORES = 2**24
"""Scores that one slice holds at a time: 64 MiB in fp32. A whole 768-pixel picture has 10 times as many a head."""


def set_attention(unet: UNet2DConditionModel, hardware: HardwareSection, device: torch.device | str) -> str | None:
    """Make the U-Net use the attention that the options ask for; returns a warning where another had to be taken.

    `mem_eff_attn` wins over `xformers`, and both over `sdpa`, as in the contract. xformers is tried with a real
    forward and backward on this device in the precision of the run before it is trusted.
    """
    warning = None
    if hardware.mem_eff_attn:
        formula = attend_in_slices
    elif hardware.xformers:
        reason = _why_no_xformers(unet, hardware, torch.device(device))
        formula = attend_with_xformers if reason is None else scaled_dot_product_attention
        if reason is not None:
            warning = f"xformers cannot be used here: {reason}. PyTorch's own attention is used in its place."
    else:
        formula = scaled_dot_product_attention if hardware.sdpa else attend_plainly
    unet.set_attn_processor(HeadAttention(formula))
    return warning


class HeadAttention:
    """An attention processor for Diffusers: projections as they are in the module, a given formula between them."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **_unused: object,
    ) -> torch.Tensor:
        """Attention of [B, L, C] on itself or on the text states [B, S, width]."""
        assert attention_mask is None, "the U-Nets of 1.x and 2.x attend to all tokens"
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        q, k, v = (states.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for states in projected)
        mixed = self.formula(q, k, v).transpose(1, 2).flatten(2).to(q.dtype)
        output, dropout = attn.to_out
        return dropout(output(mixed))


def attend_plainly(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The formula as it stands in "Attention Is All You Need", section 3.2.1, with scores in fp32."""
    # Autocast would put the product back into fp16.
    with torch.autocast(q.device.type, enabled=False):
        scores = (q.float() / math.sqrt(q.shape[-1])) @ k.float().transpose(-1, -2)
        return scores.softmax(dim=-1).to(v.dtype) @ v


def attend_in_slices(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The plain formula for some queries at a time; in training each slice's scores are computed again backwards.

    So the memory is that of one slice, not of L x S scores, forwards and backwards.
    """
    rows = max(1, SLICE_SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))
    parts = q.split(rows, dim=2)
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(attend_plainly, part, k, v, use_reentrant=False) for part in parts], dim=2)
    return torch.cat([attend_plainly(part, k, v) for part in parts], dim=2)


def attend_with_xformers(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """xformers' kernel, which wants [B, L, heads, d]."""
    # Optional at run time, slow to import, and on most machines not there.
    from xformers.ops import memory_efficient_attention  # noqa: PLC0415

    # The kernel takes one dtype; without autocast, text states may come in another.
    q, k, v = (states.transpose(1, 2).to(v.dtype).contiguous() for states in (q, k, v))
    return memory_efficient_attention(q, k, v).transpose(1, 2)


def _why_no_xformers(unet: UNet2DConditionModel, hardware: HardwareSection, device: torch.device) -> str | None:
    """None where xformers' kernel runs forwards and backwards for every head size of this U-Net."""
    dtype = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[hardware.mixed_precision]
    sizes = {module.inner_dim // module.heads for module in unet.modules() if isinstance(module, Attention)}
    try:
        for size in sorted(sizes):
            q, k, v = (torch.randn(1, 2, 64, size, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
            attend_with_xformers(q, k, v).sum().backward()
    except ImportError:
        return "it is not installed"
    except Exception as trouble:
        # From a missing kernel to a driver fault: any of them means that training would stop at its first step.
        first_line = str(trouble).strip().split("\n")[0] or type(trouble).__name__
        return f"its kernel does not run on {device.type} ({first_line[:200]})"
    return None
