"""U-Net and text encoder as one module, so that accelerate wraps one thing and both share one backward pass.

Noisy latents, timesteps and token ids come in, the U-Net's prediction goes out.
"""

import torch
from torch import Tensor, nn

from trainer.training.text import Words, states_of


class Denoiser(nn.Module):
    """Predicts noise or v from noisy latents and captions. Frozen networks run without a graph where none is needed."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module, clip_skip: int | None) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self.clip_skip = clip_skip

    def forward(
        self, noisy_BCHW: Tensor, timesteps_B: Tensor, ids_BT: Tensor, weights_BT: Tensor | None = None
    ) -> Tensor:
        """The prediction [B, C, H, W]. `weights_BT` multiply the text's hidden states."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(self.text_encoder)):
            states = states_of(self.text_encoder, Words(ids_BT, weights_BT), self.clip_skip)
        return self.unet(noisy_BCHW, timesteps_B, encoder_hidden_states=states).sample


def is_trained(network: nn.Module) -> bool:
    """Whether any weight of the network takes gradients."""
    return any(parameter.requires_grad for parameter in network.parameters())
