"""From a checkpoint on disk to networks in memory, with the network off.

A `ModelSection` goes in: a .safetensors or .ckpt file or a Diffusers folder, 1.x or 2.x. Out come `Networks`: U-Net
and text encoder in fp32, the VAE in its own precision, and all that a later save passes through. Weights are read one
tensor at a time, and no file stays open: the source may be moved or overwritten while training runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from trainer.contract.config import ModelSection
from trainer.model import kinds
from trainer.model.architecture import published, read_hints, text_config, unet_config
from trainer.model.checkpoint import Checkpoint
from trainer.model.facts import Family, ModelFacts, Prediction, read_facts
from trainer.model.folders import read_config
from trainer.model.hub import Progress, local_folder
from trainer.model.keys import ema_names, plain_text_name, text_names_v1, text_names_v2, unet_names, vae_names
from trainer.model.modules import Find, empty_text_encoder, empty_unet, fill, fill_component
from trainer.model.refusals import read_or_refuse, refused, unreadable
from trainer.model.stored import StoredTensor, UnreadableFile
from trainer.model.tokenizer import Tokenizer, load_tokenizer
from trainer.model.vae import LoadedVae, load_vae, read_vae, vae_of_file, vae_of_folder

__all__ = ["Networks", "load_ema", "load_networks", "load_vae"]


@dataclass(slots=True)
class Networks:
    """A loaded model. `facts.path` is where it came from.

    `prediction` is what the networks are trained to predict: what the model's files say, or v where the job says so.
    `vae_weights` are the VAE's own values under Diffusers names, whatever `vae` is cast to later; `extras` are tensors
    of a single file that belong to none of the three networks (schedule, last layer of the 2.x text encoder), under
    their original names; `scheduler` is a Diffusers scheduler config with the right prediction type.
    """

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    tokenizer: Tokenizer
    facts: ModelFacts
    prediction: Prediction
    scheduler: dict[str, Any]
    vae_weights: dict[str, torch.Tensor]
    extras: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """1.x or 2.x, as read from the weights."""
        return self.facts.family

    @property
    def source(self) -> Path:
        """Where the model came from; it need not exist any more."""
        return self.facts.path


def load_networks(model: ModelSection, progress: Progress | None = None) -> Networks:
    """Load the model of a job. Raises `UnusableModel` with the problem where it cannot be.

    A hub name that a user typed is downloaded first where it is not on this disk; `progress` hears of that.

    The family is what the weights say (`check_model` names a contradicting flag before this). Peak memory is the
    networks themselves and one tensor.
    """
    name = model.pretrained_model_name_or_path
    assert name is not None, "the gates let no job without a model through"
    path = local_folder(name, progress=progress)
    facts = read_facts(path)
    if model.vae is None and not facts.has_vae:
        raise refused("disk.model_no_vae", f"{path.name} has no VAE in it. Choose a VAE file or folder as well.", "vae")
    given = read_vae(model.vae, progress) if model.vae is not None else None
    networks = _from_folder(facts, given) if facts.form == "folder" else _from_file(facts, given)
    if model.v_parameterization:
        networks.prediction = "v"
    networks.scheduler["prediction_type"] = "v_prediction" if networks.prediction == "v" else "epsilon"
    return networks


def load_ema(networks: Networks) -> dict[str, torch.Tensor] | None:
    """The averaged U-Net weights of the source file in fp32 under Diffusers names, or None where it has none.

    The one thing that is read from the source after loading: call it before anything is saved over the source.
    """
    if not networks.facts.has_ema or not networks.source.is_file():
        return None
    content = read_or_refuse(networks.source)
    originals = unet_names(networks.unet.state_dict())
    found: dict[str, torch.Tensor] = {}
    with Checkpoint(content) as checkpoint:
        for name, target in networks.unet.state_dict().items():
            stored = next((content.tensors[key] for key in ema_names(originals[name]) if key in content.tensors), None)
            if stored is None or stored.elements != target.numel():
                return None
            found[name] = checkpoint.read(stored).to(torch.float32).reshape(target.shape)
    return found


def _from_file(facts: ModelFacts, given: LoadedVae | None) -> Networks:
    content = read_or_refuse(facts.path)
    tensors = content.tensors
    shapes = {name: entry.shape for name, entry in tensors.items()}
    hints = read_hints(content.metadata)
    unet = empty_unet(unet_config(shapes, facts, hints))
    text_encoder = empty_text_encoder(text_config(shapes, facts, hints))
    table = unet_names(unet.state_dict())
    used = set(table.values())
    with Checkpoint(content) as checkpoint:
        fill(unet, checkpoint, lambda name: tensors.get(table[name]), facts.path)
        fill(text_encoder, checkpoint, _text_finder(text_encoder, facts.family, tensors, used), facts.path)
        vae, vae_weights = given or vae_of_file(content, facts.family)
        used.update(vae_names(vae_weights).values())
        extras = {name: checkpoint[name] for name in tensors if name not in used and _passes(name, given is None)}
    return Networks(
        unet=unet,
        text_encoder=text_encoder,
        vae=vae,
        tokenizer=load_tokenizer(facts.family),
        facts=facts,
        prediction=facts.prediction or "epsilon",
        scheduler=published(facts.family, "scheduler"),
        vae_weights=vae_weights,
        extras=extras,
    )


def _passes(name: str, with_vae: bool) -> bool:
    """Whether a tensor of none of the networks is kept: all but old averages, a replaced VAE's, and position ids.

    The averages would be those of the untrained model; position ids are 0..76 and made anew as int64.
    """
    if name.startswith(kinds.EMA) or name.endswith("position_ids"):
        return False
    return with_vae or not name.startswith(kinds.VAE)


def _text_finder(encoder: CLIPTextModel, family: Family, tensors: Mapping[str, StoredTensor], used: set[str]) -> Find:
    names = [plain_text_name(name) for name in encoder.state_dict()]
    if family == "v2":
        stacked = text_names_v2(names)

        def find_v2(name: str) -> StoredTensor | None:
            original, third = stacked[plain_text_name(name)]
            used.add(original)
            stored = tensors.get(original)
            if third is None or stored is None:
                return stored
            return _third(stored, third) if stored.shape else None

        return find_v2
    plain = text_names_v1(names)

    def find_v1(name: str) -> StoredTensor | None:
        usual = plain[plain_text_name(name)]
        # Some early files leave `text_model.` out.
        for original in (usual, usual.replace(f"{kinds.TEXT_V1}text_model.", kinds.TEXT_V1)):
            used.add(original)
            if original in tensors:
                return tensors[original]
        return None

    return find_v1


def _third(stored: StoredTensor, third: int) -> StoredTensor:
    """One third of the rows of a stacked matrix or vector, without reading the others."""
    rows = stored.shape[0] // 3
    row = stored.elements // max(stored.shape[0], 1) if stored.strides is None else stored.strides[0]
    size = stored.bytes // max(stored.elements, 1)
    return StoredTensor(
        dtype=stored.dtype,
        shape=(rows, *stored.shape[1:]),
        path=stored.path,
        start=stored.start + third * rows * row * size,
        strides=stored.strides,
        member=stored.member,
    )


def _from_folder(facts: ModelFacts, given: LoadedVae | None) -> Networks:
    folder = facts.path
    try:
        unet = empty_unet(read_config(folder, "unet") or published(facts.family, "unet"))
        text_encoder = empty_text_encoder(
            read_config(folder, "text_encoder") or published(facts.family, "text_encoder")
        )
        scheduler = read_config(folder, "scheduler")
    except UnreadableFile as trouble:
        raise unreadable(folder, trouble) from None
    if not isinstance(scheduler.get("_class_name"), str):
        scheduler = published(facts.family, "scheduler")  # none, or none that a saved folder could name
    fill_component(unet, folder / "unet", "unet")
    fill_component(text_encoder, folder / "text_encoder", "text_encoder")
    vae, vae_weights = given or vae_of_folder(folder / "vae")
    return Networks(
        unet=unet,
        text_encoder=text_encoder,
        vae=vae,
        tokenizer=load_tokenizer(facts.family),
        facts=facts,
        prediction=facts.prediction or "epsilon",
        scheduler=scheduler,
        vae_weights=vae_weights,
    )
