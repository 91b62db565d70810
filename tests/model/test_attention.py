"""The attention that the options choose, held against PyTorch's own and against overflow in half precision."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.tiny_models import load
from trainer.contract.config import HardwareSection
from trainer.model import attention
from trainer.model.attention import attend_in_slices, attend_plainly, set_attention
from trainer.model.load import Networks

OPTIONS = {
    "sdpa": HardwareSection(),
    "plain": HardwareSection(sdpa=False),
    "slices": HardwareSection(mem_eff_attn=True),
    "slices before xformers": HardwareSection(mem_eff_attn=True, xformers=True),
}


def heads(*sides: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> tuple[torch.Tensor, ...]:
    """q, k, v of [batch, heads, tokens, size] with a fixed seed."""
    seed = torch.Generator().manual_seed(0)
    return tuple((scale * torch.randn(*sides, generator=seed)).to(dtype).requires_grad_() for _ in range(3))


@pytest.mark.parametrize("formula", [attend_plainly, attend_in_slices])
def test_formulas_equal_pytorch_s(formula: attention.Formula, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients of our formulas are those of PyTorch's attention; slices that do not divide evenly too."""
    monkeypatch.setattr(attention, "SLICE_SCORES", 2 * 4 * 50 * 7)
    ours, theirs = heads(2, 4, 50, 8), heads(2, 4, 50, 8)
    weights = torch.randn(2, 4, 50, 8, generator=torch.Generator().manual_seed(1))
    outputs = formula(*ours), scaled_dot_product_attention(*theirs)
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output * weights).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    with torch.no_grad():
        torch.testing.assert_close(formula(*ours), outputs[1].detach())


@pytest.mark.parametrize("formula", [attend_plainly, attend_in_slices, scaled_dot_product_attention])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_does_not_overflow(formula: attention.Formula, autocast: bool) -> None:
    """Products far above 65504, as in Stable Diffusion 2.1, come out finite and as in fp32; fp16 alone would not."""
    q, k, v = heads(1, 2, 40, 64, dtype=torch.float16, scale=100.0)
    assert not torch.isfinite(q.detach() @ k.detach().transpose(-1, -2)).all(), "the case must be one that overflows"
    expected = scaled_dot_product_attention(q.float(), k.float(), v.float())
    with torch.autocast("cpu", torch.float16, enabled=autocast):
        output = formula(q, k, v)
    assert torch.isfinite(output).all()
    torch.testing.assert_close(output.float(), expected, rtol=2e-2, atol=0.5)


def test_slices_keep_the_memory_of_one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, no scores are kept for the way back: what autograd holds does not grow with L x S."""
    monkeypatch.setattr(attention, "SLICE_SCORES", 2 * 64 * 32)

    def largest_kept(formula: attention.Formula) -> int:
        sizes = [0]
        q, k, v = heads(1, 2, 512, 8)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            formula(q, k, v)
        return max(sizes)

    assert largest_kept(attend_plainly) >= 2 * 512 * 512
    assert largest_kept(attend_in_slices) <= 2 * 512 * 8


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("option", OPTIONS)
def test_the_unet_computes_the_same(
    option: str, family: str, tiny: dict[str, Path], loaded: dict[str, Networks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever attention is chosen, the U-Net's output and gradients are those of diffusers' default."""
    monkeypatch.setattr(attention, "SLICE_SCORES", 2000)
    unet = load(tiny[family]).unet
    assert set_attention(unet, OPTIONS[option], "cpu") is None
    seed = torch.Generator().manual_seed(0)
    noise, text = torch.randn(2, 4, 8, 8, generator=seed), torch.randn(2, 77, 16, generator=seed)
    outputs = [network(noise, 7, text).sample for network in (unet, loaded[family].unet)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    outputs[0].square().mean().backward()
    gradient = unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_each_option_chooses_its_formula(tiny: dict[str, Path]) -> None:
    """The options act on every attention of the U-Net."""
    unet = load(tiny["v1"]).unet
    formulas = {
        "sdpa": scaled_dot_product_attention,
        "plain": attend_plainly,
        "slices": attend_in_slices,
        "slices before xformers": attend_in_slices,
    }
    for option, formula in formulas.items():
        set_attention(unet, OPTIONS[option], "cpu")
        assert {processor.formula for processor in unet.attn_processors.values()} == {formula}


def test_xformers_is_tried_before_it_is_trusted(tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where xformers does not run on this device, a sentence says so and PyTorch's attention is used; else xformers."""
    unet = load(tiny["v1"]).unet
    warning = set_attention(unet, HardwareSection(xformers=True), "cpu")
    assert warning is not None and "PyTorch's own attention" in warning
    assert {processor.formula for processor in unet.attn_processors.values()} == {scaled_dot_product_attention}
    monkeypatch.setattr(attention, "attend_with_xformers", scaled_dot_product_attention)
    assert set_attention(unet, HardwareSection(xformers=True), "cpu") is None
