"""The demo's U-Nets before their training: the blocks of the real ones, narrow, and started so that they learn fast."""

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from benchmarks.demo_model.words import WIDTH, Family

HEADS = 2
"""Of 32 and 48 channels: eight heads of 8 and 12 took 1.5 times as long a step on two CPU cores."""
CHANNELS = (64, 64, 96, 96)
"""Two channels and more in each of the 32 groups: with one, the norm would take away what a flat colour says."""


def make_unet(family: Family, seed: int) -> UNet2DConditionModel:
    """4.39 million parameters. What ends in a sum starts at zero, so that at first each block passes its input on."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=CHANNELS,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        # Named after the dimension, read by diffusers as the number of heads.
        attention_head_dim=HEADS if family == "v1" else (HEADS,) * 4,
        use_linear_projection=family == "v2",
        upcast_attention=family == "v2",
        norm_num_groups=32,
        sample_size=16,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    for name, module in unet.named_modules():
        if name.rpartition(".")[2] in ("conv2", "proj_out", "conv_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return unet


def start_from(unet: UNet2DConditionModel, trained: UNet2DConditionModel) -> None:
    """Give a 2.x U-Net the weights of a trained 1.x one: the same but for projections, 1x1 convolutions there."""
    state = trained.state_dict()
    shapes = {name: weight.shape for name, weight in unet.state_dict().items()}
    unet.load_state_dict({name: weight.reshape(shapes[name]) for name, weight in state.items()})
