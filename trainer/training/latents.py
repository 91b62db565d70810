"""From pixels to latents: the VAE's posterior, drawn from anew at each use.

With cached latents every cut is encoded once before the first step (a mirrored one as an entry of its own), or read
from the store on disk; mean and deviation stay in the computer's memory and the VAE leaves the card. Without, pixels
are encoded as they come.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from trainer.contract.config import ImageSection
from trainer.dataset.batches import Purpose, Use, rng
from trainer.dataset.buckets import Size
from trainer.dataset.captions import Entry
from trainer.dataset.pixels import pixels_at, read_picture
from trainer.dataset.placement import placement
from trainer.dataset.scan import Picture
from trainer.training.engine import Engine
from trainer.training.feed import Batch
from trainer.training.latent_store import LatentStore, Place, Posterior
from trainer.training.noise import draw_normal

SCALE = 0.18215
"""What the U-Nets of 1.x and 2.x were trained with; a VAE's own config may say otherwise and is not asked."""

PIXELS_AT_ONCE = 4 * 512 * 512
"""How much a card encodes in one go for the cache; more at once gains little and needs memory. A CPU takes one image
at a time: at 256 pixels that was a tenth faster than twelve at once (0.40 images a second, not 0.37) on two cores."""

READERS = 4
TELL_EVERY_S = 0.2

Progress = Callable[[int, int], None]
Warn = Callable[[str, str], None]


def draw(posterior: Posterior, normal_BCHW: Tensor) -> Tensor:
    """Latents as the U-Net sees them: (mean + deviation * normal) * 0.18215."""
    return (posterior.mean + posterior.deviation * normal_BCHW) * SCALE


class Encoder:
    """The VAE on the device, in the run's compute precision, in fp32 for an image where that overflows."""

    def __init__(self, vae: AutoencoderKL, engine: Engine, warn: Warn) -> None:
        self._vae = in_fp32(vae, engine.device).eval().requires_grad_(False)
        self._engine = engine
        self._warn = warn
        self._warned: set[str] = set()

    @torch.no_grad()
    def encode(self, pixels_BHWC: Tensor, names: Sequence[str]) -> Posterior:
        """The posterior of uint8 pixels, on the device. `names` are those of the images, for a warning."""
        images = self._engine.send(pixels_BHWC).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with self._engine.autocast():
            found = self._posterior(images)
        if not self._engine.half:
            return found
        bad = ~(found.mean.isfinite() & found.deviation.isfinite()).flatten(1).all(1)
        for place in bad.nonzero().flatten().tolist():
            again = self._posterior(images[place : place + 1])
            found.mean[place], found.deviation[place] = again.mean[0], again.deviation[0]
            self._say_overflow(names[place], bool(again.mean.isfinite().all() and again.deviation.isfinite().all()))
        return found

    @property
    def vae(self) -> nn.Module:
        """The network that encodes."""
        return self._vae

    def leave(self) -> None:
        """Take the VAE off the device."""
        self._vae.to("cpu")

    def _posterior(self, images_BCHW: Tensor) -> Posterior:
        found = self._vae.encode(images_BCHW).latent_dist
        return Posterior(found.mean.float(), found.std.float())

    def _say_overflow(self, name: str, mended: bool) -> None:
        if name in self._warned:
            return
        self._warned.add(name)
        if mended:
            self._warn("latent_overflow", f"{name} overflowed in the VAE at half precision and was encoded in fp32.")
        else:
            self._warn("latent_broken", f"{name} gives latents that are not numbers, in fp32 too. Take it out.")


def in_fp32(vae: AutoencoderKL, device: torch.device) -> AutoencoderKL:
    """The VAE on a device with fp32 weights. What a save writes are the values that it was loaded with, kept apart."""
    # The plain module's `to`: diffusers' own prints a warning at each change of dtype.
    nn.Module.to(vae, device, torch.float32)
    return vae


class LatentSource(Protocol):
    """Where a step gets its latents from."""

    def latents(self, batch: Batch, epoch: int) -> Tensor:
        """Scaled latents [B, 4, H/8, W/8], fp32 on the device."""
        ...


class FreshLatents:
    """Encodes the pixels of each batch when they are used."""

    def __init__(self, encoder: Encoder, engine: Engine, seed: int) -> None:
        self._encoder = encoder
        self._engine = engine
        self._seed = seed

    def latents(self, batch: Batch, epoch: int) -> Tensor:
        """Scaled latents [B, 4, H/8, W/8], fp32 on the device."""
        assert batch.pixels_BHWC is not None
        found = self._encoder.encode(batch.pixels_BHWC, [use.entry.picture.path.name for use in batch.uses])
        normal = draw_normal(self._seed, epoch, batch.uses, found.mean.shape[1:], Purpose.LATENT)
        return draw(found, self._engine.send(normal))


@dataclass(frozen=True, slots=True)
class Cut:
    """One thing to encode: a picture for a bucket, mirrored or not. The cache's key."""

    path: Path
    bucket: Size
    flipped: bool


class CachedLatents:
    """Every cut's posterior in the computer's memory. Made by `cache_latents`."""

    def __init__(self, kept: dict[Cut, Posterior], images: ImageSection, engine: Engine, seed: int) -> None:
        self._kept = kept
        self._images = images
        self._engine = engine
        self._seed = seed

    def latents(self, batch: Batch, epoch: int) -> Tensor:
        """Scaled latents [B, 4, H/8, W/8], fp32 on the device."""
        found = [self._kept[self._cut(use, epoch)] for use in batch.uses]
        means, deviations = torch.stack([p.mean for p in found]), torch.stack([p.deviation for p in found])
        normal = draw_normal(self._seed, epoch, batch.uses, means.shape[1:], Purpose.LATENT)
        return self._engine.send(draw(Posterior(means, deviations), normal))

    def _cut(self, use: Use, epoch: int) -> Cut:
        # The same dice as for pixels: with and without a cache the same uses are mirrored.
        generator = rng(self._seed, epoch, use.index, Purpose.PIXELS)
        place = placement(use.entry.picture, use.bucket, self._images, generator)
        return Cut(use.entry.picture.path, use.bucket, place.flipped)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the caching tells while it runs."""

    progress: Progress
    """(done, total) images."""
    pause: Callable[[], None]
    """Called after each batch; may raise `Stopped`."""
    warn: Warn
    store: LatentStore | None = None
    """Where cuts are kept on disk; None: nowhere."""


def cache_latents(
    entries: Sequence[tuple[Entry, Size]], images: ImageSection, encoder: Encoder, engine: Engine, seed: int, seen: Seen
) -> CachedLatents:
    """Encode every cut of the entries (each with its bucket) once, shared out over the processes."""
    pictures = {entry.picture.path: entry.picture for entry, _ in entries}
    flips = (False, True) if images.flip_aug else (False,)
    cuts = sorted(
        {Cut(entry.picture.path, bucket, flipped) for entry, bucket in entries for flipped in flips},
        key=lambda cut: (cut.bucket, str(cut.path), cut.flipped),
    )
    where = {cut: _place(cut, pictures, images) for cut in cuts}
    store = seen.store
    kept = _kept_before(where, engine, store)
    new = [cut for cut in cuts if cut not in kept]
    batches = list(_batches(new, 0 if engine.device.type == "cpu" else PIXELS_AT_ONCE))
    own = batches[engine.rank :: engine.processes]
    done, told = len(kept), 0.0
    seen.progress(done, len(cuts))
    # Every process takes part in as many rounds as the busiest, so that all pause together.
    for batch, rows in _padded(_read_ahead(own, where), -(-len(batches) // engine.processes)):
        if rows is not None:
            found = encoder.encode(torch.from_numpy(np.stack(rows)), [cut.path.name for cut in batch])
            means, deviations = found.mean.cpu(), found.deviation.cpu()
            made = {cut: Posterior(means[i], deviations[i]) for i, cut in enumerate(batch)}
            kept |= made
            store = _keep(made, where, store, seen.warn)
        done = min(len(cuts), done + len(batch) * engine.processes)
        if done == len(cuts) or time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            seen.progress(done, len(cuts))
        seen.pause()
    if done < len(cuts):
        seen.progress(len(cuts), len(cuts))
    encoder.leave()
    return CachedLatents(dict(engine.gather(list(kept.items()))), images, engine, seed)


def _place(cut: Cut, pictures: Mapping[Path, Picture], images: ImageSection) -> Place:
    place = placement(pictures[cut.path], cut.bucket, images, np.random.default_rng(0))
    return cut.bucket, replace(place, flipped=cut.flipped)


def _kept_before(where: Mapping[Cut, Place], engine: Engine, store: LatentStore | None) -> dict[Cut, Posterior]:
    """What the store has; the main process says which cuts those are, so that all encode the same others."""
    if store is None:
        return {}

    def find(cuts: Iterable[Cut]) -> dict[Cut, Posterior]:
        found = ((cut, store.find(cut.path, where[cut])) for cut in cuts)
        return {cut: posterior for cut, posterior in found if posterior is not None}

    kept = find(where) if engine.main else {}
    known: list[Cut] = engine.from_main(lambda: list(kept))
    if not engine.main:
        kept = find(known)
        assert len(kept) == len(known), "all processes see the same cache on disk"
    return kept


def _keep(
    made: Mapping[Cut, Posterior], where: Mapping[Cut, Place], store: LatentStore | None, warn: Warn
) -> LatentStore | None:
    """Keep what was encoded now; returns the store, or None from then on where the disk takes no more."""
    if store is None:
        return None
    try:
        for cut, posterior in made.items():
            store.keep(cut.path, where[cut], posterior)
    except OSError as reason:
        warn("latents_not_kept", f"Latents can no longer be kept on disk ({reason.strerror}). They stay in memory.")
        return None
    return store


def _batches(cuts: Sequence[Cut], pixels: int) -> Iterator[list[Cut]]:
    """Cuts of one bucket together, one at least and as many as have so many pixels."""
    batch: list[Cut] = []
    for cut in cuts:
        full = len(batch) >= max(1, pixels // (cut.bucket[0] * cut.bucket[1]))
        if batch and (full or batch[0].bucket != cut.bucket):
            yield batch
            batch = []
        batch.append(cut)
    if batch:
        yield batch


def _read_ahead(
    batches: Sequence[list[Cut]], where: Mapping[Cut, Place]
) -> Iterator[tuple[list[Cut], list[np.ndarray]]]:
    """Each batch with its pixels; threads read two batches ahead, since decoding leaves the interpreter free."""

    def read(cut: Cut) -> np.ndarray:
        bucket, place = where[cut]
        return pixels_at(read_picture(cut.path), bucket, place)

    with ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="reader") as threads:
        ahead: deque[tuple[list[Cut], list[Future[np.ndarray]]]] = deque()
        for batch in batches:
            ahead.append((batch, [threads.submit(read, cut) for cut in batch]))
            if len(ahead) > 2:
                cuts, futures = ahead.popleft()
                yield cuts, [future.result() for future in futures]
        for cuts, futures in ahead:
            yield cuts, [future.result() for future in futures]


def _padded(
    batches: Iterator[tuple[list[Cut], list[np.ndarray]]], rounds: int
) -> Iterator[tuple[list[Cut], list[np.ndarray] | None]]:
    count = 0
    for batch, rows in batches:
        count += 1
        yield batch, rows
    for _ in range(count, rounds):
        yield [], None
