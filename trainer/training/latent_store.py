"""Encoded images on disk, so that a later run over the same images encodes only what has changed.

One small .safetensors file for each cut, in the studio's own cache and never among the user's images. Its name is made
from all that decides what is in it: the image file's content, how it is resized, cut and mirrored, the weights of the
VAE and the precision. So a changed image, another VAE or another resolution finds no file, and nothing stale is read.
A digest in each file tells damage. Files that were not read for 60 days are deleted.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from trainer.dataset.buckets import Size
from trainer.dataset.duplicates import content_digests
from trainer.dataset.index import Index
from trainer.dataset.index_file import default_index_path
from trainer.dataset.placement import Placement
from trainer.dataset.scan import Picture

MAKE = 2
"""Raised when pixels or latents are made in another way: what was kept before is then not found any more."""

KEPT_DAYS = 60

State = tuple[int, int]
"""Length and time of a file."""

Place = tuple[Size, Placement]
"""The size that is cut, and from where."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mean and deviation of the latents of each image, fp32 [B, 4, H/8, W/8], or of one [4, H/8, W/8]."""

    mean: Tensor
    deviation: Tensor

    @property
    def finite(self) -> bool:
        return bool(self.mean.isfinite().all() and self.deviation.isfinite().all())


class LatentStore:
    """The files of one VAE at one precision."""

    def __init__(self, folder: Path, contents: Mapping[Path, tuple[bytes, State]], vae: bytes, precision: str) -> None:
        """`contents`: the digest and state of each image file; one without a digest is neither found nor kept."""
        self._folder = folder
        self._contents = contents
        self._made_by = vae + f"{precision} {MAKE}".encode()

    def find(self, path: Path, place: Place) -> Posterior | None:
        """What was kept of an image's cut; None where nothing was, or where its file is damaged."""
        file = self._file(path, place)
        if file is None:
            return None
        try:
            with safe_open(file, framework="pt", device="cpu") as stored:
                found = Posterior(stored.get_tensor("mean"), stored.get_tensor("deviation"))
                sound = (stored.metadata() or {}).get("digest") == _digest(found)
            os.utime(file)
        except (OSError, SafetensorError):
            return None
        width, height = place[0]
        fits = found.mean.shape[1:] == found.deviation.shape[1:] == (height // 8, width // 8)
        return found if sound and fits else None

    def keep(self, path: Path, place: Place, posterior: Posterior) -> None:
        """Write an image's cut. Raises OSError.

        What is not a number is not kept, nor what was made while its image was being changed: a user who puts the old
        image back would get the latents of the other.
        """
        file = self._file(path, place)
        if file is None or not posterior.finite or _state(path) != self._contents[path][1]:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.partial")
        tensors = {"mean": posterior.mean.contiguous(), "deviation": posterior.deviation.contiguous()}
        # Not flushed to the disk, which would take longer than encoding: what a power cut spoils has another digest.
        temporary.write_bytes(save(tensors, {"digest": _digest(posterior)}))
        temporary.replace(file)

    def _file(self, path: Path, place: Place) -> Path | None:
        content = self._contents.get(path, (b"", None))[0]
        if not content:
            return None
        name = blake2b(content + self._made_by + repr(place).encode(), digest_size=20).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"


def open_store(pictures: Sequence[Picture], vae: nn.Module, precision: str) -> LatentStore | None:
    """The store for these images; None where this user has no folder for caches."""
    index_path = default_index_path()
    if index_path is None:
        return None
    folder = index_path.parent / "latents"
    _forget_old(folder)
    ordered = sorted(pictures, key=lambda picture: (str(picture.folder), picture.name))
    with Index(index_path) as index:
        digests = content_digests(ordered, index)
        contents = {
            picture.path: (digest, (picture.size_bytes, picture.mtime_ns))
            for picture, digest in zip(ordered, digests, strict=True)
        }
    return LatentStore(folder, contents, digest_of(vae), precision)


@torch.no_grad()
def digest_of(network: nn.Module) -> bytes:
    """A digest of every weight of a network, whatever device it is on: 0.4 s for the VAE of 1.x and 2.x."""
    digest = blake2b(digest_size=16)
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return digest.digest()


def _digest(posterior: Posterior) -> str:
    digest = blake2b(digest_size=16)
    for tensor in (posterior.mean, posterior.deviation):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _state(path: Path) -> State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _forget_old(folder: Path) -> None:
    """Delete what was not read for `KEPT_DAYS`; what cannot be deleted stays."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for file in folder.glob("*/*"):
        try:
            if file.stat().st_mtime < oldest:
                file.unlink()
        except OSError:
            continue
