"""Tiny Stable Diffusion models with random weights, written as Diffusers folders: what the tests train, load and save.

Every number is exact in half precision, so that a round trip through fp16 can be compared bit for bit.
"""

from pathlib import Path
from typing import Any, Literal

from trainer.contract.config import ModelSection
from trainer.demo.model import Shape, write_model
from trainer.model.load import Networks, load_networks


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
