"""A VAE from wherever one is found: a Diffusers folder, a full model, or a VAE file of any kind.

A path goes in; out come the module and its own values, which are what a save writes, whatever the module is cast to.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from trainer.model import kinds
from trainer.model.architecture import published, read_hints, vae_config
from trainer.model.checkpoint import Checkpoint
from trainer.model.facts import Family
from trainer.model.folders import read_json
from trainer.model.hub import Progress, local_folder
from trainer.model.keys import vae_names
from trainer.model.modules import diffusers_finder, empty_vae, fill, fill_component
from trainer.model.refusals import FIELD, read_or_refuse, refused, stands, unreadable
from trainer.model.stored import UnreadableFile
from trainer.model.tensors import TensorFile

LoadedVae = tuple[AutoencoderKL, dict[str, torch.Tensor]]
"""The module, and its values in the dtype they are stored in, under Diffusers names."""


def load_vae(path_or_id: str) -> AutoencoderKL:
    """A VAE from a Diffusers folder (itself or the model around it) or a file with a VAE or a full model in it.

    In the precision it is stored in. Raises `UnusableModel`.
    """
    return read_vae(path_or_id)[0]


def read_vae(path_or_id: str, progress: Progress | None = None) -> LoadedVae:
    """The VAE that the option `vae` names, with its own values; `progress` hears of a download."""
    path = local_folder(path_or_id, "vae", progress)
    if not stands(path):
        message = f"There is no VAE at {path}. Check the path, or leave the box empty."
        raise refused("disk.vae_missing", message, "vae")
    if path.is_dir():
        return vae_of_folder(path / "vae" if (path / "vae").is_dir() else path, "vae")
    content = read_or_refuse(path, "vae")
    if any(name.startswith(("decoder.up_blocks.", "encoder.down_blocks.")) for name in content.tensors):
        return _vae_with_diffusers_names(content)
    return vae_of_file(content, "v1", "vae")


def vae_of_folder(folder: Path, field_name: str = FIELD) -> LoadedVae:
    """The VAE whose config and weights lie in `folder` itself."""
    try:
        vae = empty_vae(read_json(folder / "config.json") or published("v1", "vae"), field_name)
    except UnreadableFile as trouble:
        raise unreadable(folder, trouble, field_name) from None
    return vae, fill_component(vae, folder, "vae", field_name)


def vae_of_file(content: TensorFile, family: Family, field_name: str = FIELD) -> LoadedVae:
    """The VAE in a file with original names, with or without the prefix that they have in a full model."""
    prefix = kinds.VAE if any(name.startswith(kinds.VAE) for name in content.tensors) else ""
    tensors = {
        kinds.VAE + name.removeprefix(prefix): stored
        for name, stored in content.tensors.items()
        if name.startswith(prefix)
    }
    shapes = {name: stored.shape for name, stored in tensors.items()}
    vae = empty_vae(vae_config(shapes, family, read_hints(content.metadata)), field_name)
    table = vae_names(vae.state_dict())
    with Checkpoint(content) as checkpoint:
        return vae, fill(
            vae,
            checkpoint,
            lambda name: tensors.get(table[name]),
            content.path,
            own_dtype=True,
            field_name=field_name,
        )


def _vae_with_diffusers_names(content: TensorFile) -> LoadedVae:
    """A file out of a Diffusers folder; the sizes are read from the original names that its weights would have."""
    table = vae_names(content.tensors)
    shapes = {table[name]: stored.shape for name, stored in content.tensors.items()}
    vae = empty_vae(vae_config(shapes, "v1", {}), "vae")
    with Checkpoint(content) as checkpoint:
        return vae, fill(vae, checkpoint, diffusers_finder(content), content.path, own_dtype=True, field_name="vae")
