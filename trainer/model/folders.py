"""A Diffusers folder on disk: which files hold the weights of a component, and what its configs say. No torch.

Whole files, shards with an index, `.bin` and variants such as `model.fp16.safetensors` are all found.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from trainer.model.stored import StoredTensor, UnreadableFile
from trainer.model.tensors import TensorFile, read_tensor_file

Component = Literal["unet", "text_encoder", "vae"]

STEMS = {
    "unet": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "vae": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "text_encoder": ("model", "pytorch_model"),
}
"""Component -> the names of its weights before .safetensors and before .bin."""

_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a yes or no", type(None): "nothing"}


def is_diffusers_folder(folder: Path) -> bool:
    """Whether a folder looks like a Diffusers model: an index or a U-Net in it."""
    return (folder / "model_index.json").is_file() or (folder / "unet").is_dir()


def set_aside(folder: Path) -> Path:
    """Where a save puts the folder that it replaces, for the moment between two renames."""
    return folder.with_name(f".{folder.name}.old")


def recovered(path: Path) -> Path:
    """The path itself; where a save was killed in that very moment, the old folder, which is then all there is."""
    try:
        return set_aside(path) if path.name and not path.exists() and set_aside(path).is_dir() else path
    except OSError:
        return path  # a name that no disk can hold


def read_config(folder: Path, component: str) -> dict[str, Any]:
    """The config of a component; empty where it has none. Raises `UnreadableFile` where it is no JSON object."""
    name = "scheduler_config.json" if component == "scheduler" else "config.json"
    return read_json(folder / component / name)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, {} where there is no file; raises `UnreadableFile` where it is something else."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{path.name} in {path.parent.name} is no JSON") from None
    if not isinstance(content, dict):
        raise UnreadableFile(f"{path.name} in {path.parent.name} holds {_KINDS[type(content)]} where settings belong")
    return content


def read_component(folder: Path, component: Component) -> TensorFile:
    """All tensors of one component. Raises `UnreadableFile` where it is missing, cut short or damaged."""
    return read_weights(folder / component, component)


def read_weights(folder: Path, component: Component) -> TensorFile:
    """All tensors in `folder`, which holds the weights of `component` itself."""
    source = weights_of(folder, component)
    if source is None:
        raise UnreadableFile(f"no weights of the {component} lie in {folder}")
    try:
        if source.suffix != ".json":
            return read_tensor_file(source)
        return _read_shards(source)
    except UnreadableFile as trouble:
        raise UnreadableFile(f"{component}/{source.name}: {trouble}", trouble.reaching) from None


def weights_of(folder: Path, component: Component) -> Path | None:
    """The file to read: .safetensors before .bin, the plain name before a variant, averaged before `non_ema`."""
    found: list[tuple[int, int, str, Path]] = []
    for kind, ending in enumerate((".safetensors", ".bin")):
        stem = STEMS[component][kind]
        for path in folder.glob(f"{stem}*{ending}*"):
            middle = path.name.removeprefix(stem)
            if middle.endswith(".json"):
                # model.safetensors.index.json, or model.safetensors.index.fp16.json
                variant = middle.removeprefix(f"{ending}.index").removesuffix(".json").strip(".")
                if not middle.startswith(f"{ending}.index"):
                    continue
            elif middle.endswith(ending) and (middle == ending or middle.startswith(".")):
                variant = middle.removesuffix(ending).strip(".")
                if "-of-" in variant:
                    continue
            else:
                continue
            rank = 0 if not variant else 2 if variant == "non_ema" else 1
            found.append((rank, kind, path.name, path))
    return min(found)[3] if found else None


def _read_shards(index: Path) -> TensorFile:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnreadableFile("its list of parts is empty")
    tensors: dict[str, StoredTensor] = {}
    parts = sorted({str(name) for name in weight_map.values()})
    form = "safetensors"
    for name in parts:
        part = index.parent / name
        if re.fullmatch(r"[^/\\:]+", name) is None:
            raise UnreadableFile(f"its part {name} would lie in another folder, which is not looked at")
        if not part.is_file():
            raise UnreadableFile(f"its part {name} is missing")
        content = read_tensor_file(part)
        form = content.format
        tensors.update(content.tensors)
    return TensorFile(index, form, tensors)
