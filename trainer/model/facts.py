"""What a checkpoint says about itself: `ModelFacts`, read from tables of contents and configs alone, without torch.

A path goes in; out come the facts, or `UnusableModel` with the one problem that keeps the model from being trained.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from trainer.model import kinds
from trainer.model.folders import is_diffusers_folder, read_component, read_config, read_json, recovered
from trainer.model.refusals import other_kind, read_or_refuse, refuse_hostile, refused, stands, unopened, unreadable
from trainer.model.stored import FLOATS, StoredTensor, UnreadableFile
from trainer.model.tensors import TensorFile

Family = Literal["v1", "v2"]
Prediction = Literal["epsilon", "v"]

WORDS = {"v1": "Stable Diffusion 1.x", "v2": "Stable Diffusion 2.x"}
LARGEST_SIDE = 16_384
PRECISIONS = {"F32": "float", "F16": "fp16", "BF16": "bf16"}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model before a weight is read.

    `prediction` is None where nothing records it, `prediction_known_from` then says "nothing in it"; `home_size` is
    the side in pixels it was made for; `precision` is "float", "fp16", "bf16" or "mixed"; `parameters` counts numbers
    in "unet", "text_encoder", "vae" and "other" (what is passed through); `metadata` is what the file says itself.
    """

    path: Path
    name: str
    form: Literal["file", "folder"]
    format: Literal["safetensors", "ckpt", "diffusers"]
    family: Family
    prediction: Prediction | None
    prediction_known_from: str
    home_size: int | None
    precision: str
    has_vae: bool
    has_ema: bool
    tensor_count: int
    size_bytes: int
    text_width: int
    text_layers: int
    parameters: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_facts(path: Path) -> ModelFacts:
    """The facts of a model that is on this disk; raises `UnusableModel`."""
    name, path = path.name, recovered(path)
    if not stands(path):
        raise refused("disk.model_missing", f"There is no model at {path}. Check the path, or choose another model.")
    if path.is_dir():
        if not is_diffusers_folder(path):
            raise refused(
                "disk.model_folder",
                f"{path} is a folder without a model: no model_index.json and no unet folder in it. "
                "Choose a Diffusers folder, or the .safetensors or .ckpt file itself.",
            )
        return replace(_facts_of_folder(path), name=name)
    return _facts_of_file(path)


def _facts_of_file(path: Path) -> ModelFacts:
    content = read_or_refuse(path)
    tensors = content.tensors
    _check_kind(path, tensors)
    family = kinds.family_of_file(tensors)
    _check_channels(path, tensors.get(f"{kinds.UNET}input_blocks.0.0.weight"))
    if not kinds.has_text_encoder(tensors):
        raise refused(
            "disk.model_no_text_encoder",
            f"{path.name} has a U-Net but no text encoder, so it cannot be trained. Choose the full model.",
        )
    prediction, source = prediction_of_file(content, tensors)
    width, layers = text_size(tensors, family)
    groups = {"unet": kinds.UNET, "vae": kinds.VAE, "text_encoder": "cond_stage_model."}
    parameters = {name: _count(tensors, prefix) for name, prefix in groups.items()}
    known = (kinds.UNET, kinds.VAE, "cond_stage_model.", kinds.EMA)
    parameters["other"] = sum(entry.elements for name, entry in tensors.items() if not name.startswith(known))
    return ModelFacts(
        path=path,
        name=path.stem,
        form="file",
        format=content.format,
        family=family,
        prediction=prediction,
        prediction_known_from=source,
        home_size=_home_size(family, prediction, content.metadata),
        precision=_precision(entry for name, entry in tensors.items() if name.startswith(known[:3])),
        has_vae=kinds.has_vae(tensors),
        has_ema=kinds.has_ema(tensors),
        tensor_count=len(tensors),
        size_bytes=path.stat().st_size,
        text_width=width,
        text_layers=layers,
        parameters=parameters,
        metadata=content.metadata,
    )


def _facts_of_folder(folder: Path) -> ModelFacts:
    try:
        index = read_json(folder / "model_index.json")
        parts = {name: read_component(folder, name) for name in ("unet", "text_encoder")}
        if (folder / "vae").is_dir():
            parts["vae"] = read_component(folder, "vae")
        unet, text, scheduler = (read_config(folder, name) for name in ("unet", "text_encoder", "scheduler"))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except UnreadableFile as trouble:
        raise unreadable(folder, trouble) from None
    except OSError as trouble:
        raise unopened(folder, trouble) from None
    refuse_hostile(folder, next((part.reaching for part in parts.values() if part.reaching), ()))
    if (folder / "text_encoder_2").is_dir() or "XL" in str(index.get("_class_name")):
        raise other_kind(folder, "a Stable Diffusion XL model")
    tensors = parts["unet"].tensors
    if "conv_in.weight" not in tensors or not any(name.startswith("up_blocks.") for name in tensors):
        raise other_kind(folder, "no Stable Diffusion 1.x or 2.x model")
    _check_channels(folder, tensors["conv_in.weight"])
    family = kinds.family_of_unet(tensors)
    said = scheduler.get("prediction_type")
    prediction = {"epsilon": "epsilon", "v_prediction": "v"}.get(said) if isinstance(said, str) else None
    if said is None and scheduler:
        prediction = "epsilon"  # the scheduler's default, from before the key existed
    sample = _whole(unet.get("sample_size"))
    channels = unet.get("block_out_channels")
    levels = len(channels) if isinstance(channels, list) else 4
    everything = [entry for part in parts.values() for entry in part.tensors.values()]
    return ModelFacts(
        path=folder,
        name=folder.name,
        form="folder",
        format="diffusers",
        family=family,
        prediction=prediction,
        prediction_known_from="the folder's scheduler config" if prediction else "nothing in it",
        home_size=_side(sample * 2 ** (levels - 1)) or _home_size(family, prediction, {}),
        precision=_precision(everything),
        has_vae="vae" in parts,
        has_ema=False,
        tensor_count=len(everything),
        size_bytes=size,
        text_width=_number(text, "hidden_size"),
        text_layers=_number(text, "num_hidden_layers"),
        parameters={name: sum(entry.elements for entry in part.tensors.values()) for name, part in parts.items()},
        metadata=parts["unet"].metadata,
    )


def prediction_of_file(content: TensorFile, tensors: Mapping[str, StoredTensor]) -> tuple[Prediction | None, str]:
    """What the model predicts as far as something records it, and what records it."""
    said = str(content.metadata.get("modelspec.prediction_type", "")).lower()
    if said in ("epsilon", "v", "v_prediction"):
        return ("epsilon" if said == "epsilon" else "v"), "the file's metadata"
    architecture = str(content.metadata.get("modelspec.architecture", ""))
    if architecture.endswith("-v"):
        return "v", "the file's metadata"
    if "v_pred" in tensors:
        return "v", "a mark among its tensors"
    beside = content.path.with_suffix(".yaml")
    if beside.is_file():
        text = beside.read_text(encoding="utf-8", errors="replace")
        parameterization = re.search(r"^\s*parameterization\s*:\s*[\"']?(\w+)", text, re.MULTILINE)
        if parameterization is not None:
            return ("v" if parameterization[1] == "v" else "epsilon"), beside.name
        if "ldm.models.diffusion" in text:
            return "epsilon", beside.name
    return None, "nothing in it"


def text_size(tensors: Mapping[str, StoredTensor], family: Family) -> tuple[int, int]:
    """Width and number of layers of the text encoder in use.

    2.x leaves the last layer out: 23 of 24. Files without that unused layer are about as well.
    """
    inside = {name: entry for name, entry in tensors.items() if name.startswith("cond_stage_model.")}
    embeddings = (entry.shape for name, entry in inside.items() if name.endswith("token_embedding.weight"))
    width = next((shape[-1] for shape in embeddings if len(shape) == 2), 0)
    found = [re.search(r"(?:resblocks|encoder\.layers)\.(\d+)\.", name) for name in inside]
    # Counted, not the highest: a damaged name may say any number.
    layers = len({match[1] for match in found if match})
    if family == "v2":
        layers = min(layers, 23) if width == 1024 else layers - 1
    return width, layers


def _check_kind(path: Path, tensors: Mapping[str, StoredTensor]) -> None:
    other = kinds.other_kind(tensors)
    if other == "a U-Net alone" and is_diffusers_folder(path.parent.parent):
        raise refused(
            "disk.model_kind",
            f"{path.name} is one part of a Diffusers folder. Choose the folder: {path.parent.parent}.",
        )
    if other is not None:
        raise other_kind(path, other)


def _check_channels(path: Path, conv_in: StoredTensor | None) -> None:
    if conv_in is None or len(conv_in.shape) != 4:
        raise other_kind(path, "no Stable Diffusion 1.x or 2.x model")
    special = kinds.special_unet(conv_in.shape[1])
    if special is not None:
        raise refused(
            "disk.model_special",
            f"{path.name} is {special}: its U-Net reads {conv_in.shape[1]} channels where text to image has 4. "
            "Choose the plain model of the same family.",
        )


def _number(config: Mapping[str, Any], name: str) -> int:
    """A whole number of a text encoder's config, which may stand one level down; 0 where it says none."""
    inner = config.get("text_config")
    value = (inner if isinstance(inner, Mapping) else config).get(name)
    return _whole(value)


def _whole(value: Any) -> int:
    """A positive whole number as it is, 0 for everything else that may stand in a config (True is no number)."""
    return value if type(value) is int and value > 0 else 0


def _side(pixels: int) -> int | None:
    """The side of an image in pixels, None where no model is made for such a size."""
    return pixels if 0 < pixels <= LARGEST_SIDE else None


def _home_size(family: Family, prediction: Prediction | None, metadata: Mapping[str, Any]) -> int | None:
    sides = re.findall(r"\d{1,5}", str(metadata.get("modelspec.resolution", "")))
    said = _side(max(map(int, sides), default=0))
    if said is not None:
        return said
    if family == "v1":
        return 512
    return {"epsilon": 512, "v": 768}.get(prediction or "")


def _precision(entries: Iterable[StoredTensor]) -> str:
    weights = Counter(entry.dtype for entry in entries if entry.dtype in FLOATS)
    return PRECISIONS.get(next(iter(weights)), "mixed") if len(weights) == 1 else "mixed"


def _count(tensors: Mapping[str, StoredTensor], prefix: str) -> int:
    return sum(entry.elements for name, entry in tensors.items() if name.startswith(prefix))
