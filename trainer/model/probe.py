"""What a U-Net really predicts, asked of its weights: noise (epsilon) or v.

Loaded networks go in; "epsilon", "v" or None (undecided, as for random weights) comes out, after one forward pass. It
is for files that say nothing about themselves, and for flags that contradict the weights.
"""

import math

import torch
from torch.nn.functional import interpolate

from trainer.model.architecture import published
from trainer.model.facts import Prediction
from trainer.model.load import Networks

LATER, EARLIER = 999, 250
"""Timesteps. At 999 the input is 99.8 % noise: a trained epsilon model gives that noise back, while v is the picture
there, turned negative. At 250 both give the noise back, v at 0.8 of its length: so a trained model is told from a
random one."""

MOST, SOME, LITTLE = 0.85, 0.6, 0.3
"""How much of the noise the output holds. A trained model holds 1.0 at 999 if it predicts epsilon and 0.07 if v, and
about 0.9 or 0.8 at 250; weights that were trained for a few steps only lie between and stay undecided."""

SIDE = 32
"""Latents; 256 pixels, where the models still denoise well, and a CPU needs a few seconds."""


@torch.no_grad()
def probe_prediction(networks: Networks) -> Prediction | None:
    """Tell epsilon from v by one forward pass on the device that the U-Net is on; draws on no shared random numbers.

    With x_t = a x0 + b eps (a^2 + b^2 = 1), the target is eps, or v = a eps - b x0 (Salimans and Ho 2022, appendix D).
    """
    unet, generator = networks.unet, torch.Generator().manual_seed(0)
    times = torch.tensor([LATER, EARLIER])
    channels = unet.config.in_channels
    eps = torch.randn((2, channels, SIDE, SIDE), generator=generator)
    # A soft, faint picture: anything that a model can tell from noise will do.
    coarse = 0.3 * torch.randn((2, channels, 4, 4), generator=generator)
    x0 = interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    abar = _alphas_cumprod(networks)[times].view(2, 1, 1, 1)
    noisy = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
    ids = torch.tensor(networks.tokenizer.encode([""] * 2), device=networks.text_encoder.device)
    states = networks.text_encoder(ids).last_hidden_state
    place = {"device": unet.device, "dtype": unet.dtype}
    was_training = unet.training
    unet.eval()
    try:
        out = unet(noisy.to(**place), times.to(unet.device), encoder_hidden_states=states.to(**place)).sample
    finally:
        unet.train(was_training)
    late, early = (_share_of(noise, output) for output, noise in zip(out.float().cpu(), eps, strict=True))
    if early < SOME:
        return None
    return "epsilon" if late > MOST else "v" if late < LITTLE else None


def _share_of(noise: torch.Tensor, output: torch.Tensor) -> float:
    """The factor before `noise` in `output`, by least squares; 0 where the output is no number."""
    share = float((output * noise).sum() / (noise * noise).sum())
    return share if math.isfinite(share) else 0.0


def _alphas_cumprod(networks: Networks) -> torch.Tensor:
    """The noise schedule that both families were trained with: square roots of the betas, evenly spaced."""
    settings = published(networks.family, "scheduler")
    steps = int(settings["num_train_timesteps"])
    betas = torch.linspace(settings["beta_start"] ** 0.5, settings["beta_end"] ** 0.5, steps) ** 2
    return torch.cumprod(1 - betas, 0)
