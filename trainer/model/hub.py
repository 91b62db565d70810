"""Hub names such as owner/model: recognised here, downloaded only when a user typed one. No torch.

A name or path goes in; out comes the folder on this disk, after a download where it is needed and possible.
"""

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from trainer.model.folders import Component, recovered, weights_of
from trainer.model.refusals import FIELD, refused, stands

Progress = Callable[[int, int], None]
"""Hears how many bytes of how many are done."""

TELL_EVERY_S = 0.5

WHOLE: tuple[Component, ...] = ("unet", "vae", "text_encoder")

_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.(?P<kind>safetensors|bin)"
)


def is_hub_name(text: str) -> bool:
    """Whether a text that is no path on this disk can be the name of a model on the hub.

    `models/sd15` where a folder `models` stands here is a mistyped path, not a name.
    """
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is None or Path(text).suffix.lower() in (
        ".safetensors",
        ".ckpt",
        ".pt",
        ".bin",
        ".pth",
    ):
        return False
    return not Path(text).parent.is_dir()


def cached_snapshot(name: str, parts: tuple[Component, ...] = WHOLE) -> Path | None:
    """The folder of a model that was downloaded before with all its parts, or None.

    `parts` ("vae",) asks for a VAE, in a full model or alone at the top.
    """
    # Late: only a typed hub name needs this package, and the page should open without it.
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    for index in ("model_index.json", "config.json"):
        try:
            found = try_to_load_from_cache(name, index)
        except ValueError:
            return None  # no name that the hub gives
        if isinstance(found, str):
            folder = Path(found).parent
            if all(weights_of(folder / part, part) for part in parts):
                return folder
            if parts == ("vae",) and weights_of(folder, "vae"):
                return folder
    return None


def local_folder(path_or_id: str, field_name: str = FIELD, progress: Progress | None = None) -> Path:
    """The path itself where it exists, else the downloaded hub model; raises `UnusableModel` where neither is had.

    `progress` hears (bytes done, bytes in all) about twice a second while a download goes on.
    """
    path = recovered(Path(path_or_id).expanduser())
    if stands(path) or not is_hub_name(path_or_id):
        return path
    parts = WHOLE if field_name == FIELD else ("vae",)
    snapshot = cached_snapshot(path_or_id, parts)
    if snapshot is not None:
        return snapshot
    try:
        return _download(path_or_id, parts if parts == WHOLE else ("vae", ""), progress or _hear_nothing)
    except Exception as trouble:
        # The hub's client raises a dozen kinds, from DNS to licence gates; each ends here with the same choice.
        raise refused(
            "disk.model_download",
            f"{path_or_id} is not on this disk and could not be downloaded ({type(trouble).__name__}). "
            "Check the name and the connection, or choose a local model.",
            field_name,
        ) from trouble


def _download(name: str, parts: tuple[str, ...], progress: Progress) -> Path:
    # Late, as above.
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download  # noqa: PLC0415
    from tqdm import tqdm  # noqa: PLC0415 - only for what the hub's client wants to be given

    info = HfApi().model_info(name, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    names = wanted_files(sizes, parts)
    total, before, last = sum(sizes[file] for file in names), 0, 0.0

    class Meter(tqdm):  # type: ignore[type-arg]
        """Takes the place of the bar that the client would print, and passes on how far it is."""

        def display(self, *_arguments: object, **_named: object) -> bool:
            return True

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal last
            moved = super().update(n)
            if time.monotonic() - last > TELL_EVERY_S:
                last = time.monotonic()
                progress(min(before + int(self.n), total), total)
            return moved

    for file in names:
        progress(before, total)
        hf_hub_download(name, file, revision=info.sha, tqdm_class=Meter)
        before += sizes[file]
    progress(total, total)
    # All of it is there now; this notes which revision the name stands for, so that it is found without the hub.
    return Path(snapshot_download(name, allow_patterns=names))


def _hear_nothing(_done: int, _total: int) -> None:
    pass


def wanted_files(names: Iterable[str], parts: tuple[str, ...]) -> list[str]:
    """Of all files of a hub model, those that loading reads: configs, and one copy of the weights of each part.

    A part is a folder's name, "" the top. .safetensors goes before .bin, and the plain copy before variants.
    """
    names = list(names)
    chosen = {name for name in names if name in ("model_index.json", "scheduler/scheduler_config.json")}
    for part in parts:
        inside = {name: name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == part}
        chosen |= {name for name, file in inside.items() if file.endswith(".json")}
        copies: dict[tuple[int, int, str], list[str]] = {}
        for name, file in inside.items():
            found = _WEIGHTS.fullmatch(file)
            if found is not None:
                variant = found["variant"] or ""
                rank = 0 if not variant else 2 if variant == "non_ema" else 1
                copies.setdefault((rank, found["kind"] == "bin", variant), []).append(name)
        chosen.update(copies[min(copies)] if copies else ())
    return [name for name in names if name in chosen]
