"""From pixels to latents, cached and fresh."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from tests.training.conftest import draw_pictures
from trainer.contract.config import CaptionSection, DataSection, ImageSection, ModelSection
from trainer.dataset.batches import Batches
from trainer.dataset.captions import Entry, entries_of
from trainer.dataset.scan import scan
from trainer.model.load import Networks, load_networks
from trainer.training.engine import Engine
from trainer.training.feed import BatchMaker, Feed, Group, Share
from trainer.training.latents import SCALE, CachedLatents, Encoder, FreshLatents, Seen, cache_latents, draw
from trainer.training.outcome import Stopped

IMAGES = ImageSection(resolution="64", enable_bucket=True, min_bucket_reso=64, max_bucket_reso=128, flip_aug=True)
SEED = 3


@pytest.fixture
def engine() -> Engine:
    """One CPU in fp32."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return Engine("no")


@pytest.fixture
def networks(tiny_v1: Path) -> Networks:
    """The tiny model, fresh for each test."""
    return load_networks(ModelSection(pretrained_model_name_or_path=str(tiny_v1)))


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """Five pictures of three shapes."""
    draw_pictures(tmp_path / "2_dog", [(64, 64), (64, 128), (64, 64), (128, 64), (90, 70)])
    data = DataSection(train_data_dir=tmp_path)
    found, problems = entries_of(scan(data), data)
    assert not problems
    return found


def groups_of(batches: Batches, with_pixels: bool) -> list[Group]:
    """The steps of two epochs."""
    feed = Feed(batches, BatchMaker(IMAGES, CaptionSection(), SEED, with_pixels), Share(), 0)
    groups = feed.groups(0)
    return [next(groups) for _ in range(2 * feed.steps_per_epoch)]


def cached(entries: list[Entry], batches: Batches, encoder: Encoder, engine: Engine, **seen: Any) -> CachedLatents:
    """Latents of all entries, encoded now."""
    with_buckets = [(entry, batches.bucket_of(place)) for place, entry in enumerate(entries)]
    watch = Seen(seen.get("progress", lambda done, total: None), seen.get("pause", lambda: None), lambda *_: None)
    return cache_latents(with_buckets, IMAGES, encoder, engine, SEED, watch)


def test_cached_latents_are_the_fresh_ones(entries: list[Entry], networks: Networks, engine: Engine) -> None:
    """With and without a cache the same uses have the same crops, flips and draws, in every epoch."""
    batches = Batches(entries, IMAGES, 2, SEED)
    encoder = Encoder(networks.vae, engine, lambda code, message: None)
    fresh, kept = FreshLatents(encoder, engine, SEED), cached(entries, batches, encoder, engine)
    pairs = list(zip(groups_of(batches, True), groups_of(batches, False), strict=True))
    assert len(pairs) > 6
    for with_pixels, without in pairs:
        ours = kept.latents(without.batches[0], without.epoch)
        theirs = fresh.latents(with_pixels.batches[0], with_pixels.epoch)
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_each_use_draws_anew(entries: list[Entry], networks: Networks, engine: Engine) -> None:
    """A cache keeps the posterior and not one draw of it: two uses of one image have other latents."""
    batches = Batches(entries, replace_flips(), 1, SEED)
    kept = cached(entries, batches, Encoder(networks.vae, engine, lambda *_: None), engine)
    feed = Feed(batches, BatchMaker(replace_flips(), CaptionSection(), SEED, False), Share(), 0)
    groups = feed.groups(0)
    seen: dict[Path, list[torch.Tensor]] = {}
    for group in (next(groups) for _ in range(feed.steps_per_epoch)):
        (use,) = group.batches[0].uses
        seen.setdefault(use.entry.picture.path, []).append(kept.latents(group.batches[0], 0))
    assert all(len(draws) == 2 and not torch.equal(*draws) for draws in seen.values())


def replace_flips() -> ImageSection:
    """The same options without flips."""
    return IMAGES.model_copy(update={"flip_aug": False})


def test_latents_are_diffusers_own(entries: list[Entry], networks: Networks, engine: Engine) -> None:
    """(mean + deviation * normal) * 0.18215 of pixels in -1..1, whatever the VAE's config calls its scale."""
    networks.vae.register_to_config(scaling_factor=0.5)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    found = Encoder(networks.vae, engine, lambda *_: None).encode(pixels, ["a", "b"])
    with torch.no_grad():
        expected = networks.vae.encode(pixels.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist
    assert torch.allclose(found.mean, expected.mean, atol=1e-6)
    normal = torch.randn_like(expected.mean)
    assert torch.allclose(draw(found, normal), (expected.mean + expected.std * normal) * SCALE, atol=1e-6)
    assert SCALE == 0.18215


def test_cache_tells_its_progress_and_sends_the_vae_away(
    entries: list[Entry], networks: Networks, engine: Engine
) -> None:
    """Progress counts images with their flips up to all of them; then the VAE is on the CPU."""
    told: list[tuple[int, int]] = []
    batches = Batches(entries, IMAGES, 2, SEED)
    encoder = Encoder(networks.vae, engine, lambda *_: None)
    cached(entries, batches, encoder, engine, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 10) and told[-1] == (10, 10)
    assert networks.vae.device.type == "cpu"


def test_caching_can_be_stopped(entries: list[Entry], networks: Networks, engine: Engine) -> None:
    """Who asks for the end while latents are encoded does not wait for all of them."""

    def pause() -> None:
        raise Stopped

    batches = Batches(entries, IMAGES, 2, SEED)
    with pytest.raises(Stopped):
        cached(entries, batches, Encoder(networks.vae, engine, lambda *_: None), engine, pause=pause)


class Overflowing:
    """A VAE that gives no numbers under autocast for bright pictures, and never for all-white ones."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def encode(self, images: torch.Tensor) -> Any:
        """The posterior, spoilt where half precision would overflow."""
        found = self._vae.encode(images).latent_dist
        mean, std = found.mean.clone(), found.std.clone()
        bright = images.flatten(1).mean(1) > 0.5
        if torch.is_autocast_enabled("cpu"):
            mean[bright] = torch.inf
        mean[images.flatten(1).mean(1) > 0.99] = torch.nan
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=std))


def test_overflow_is_encoded_again_in_fp32(networks: Networks) -> None:
    """An image that overflows in half precision gets its fp32 latents and one warning; the others are left alone."""
    AcceleratorState._reset_state(reset_partial_state=True)
    engine = Engine("bf16")
    warned: list[tuple[str, str]] = []
    encoder = Encoder(networks.vae, engine, lambda code, message: warned.append((code, message)))
    encoder._vae = Overflowing(networks.vae)  # type: ignore[assignment]
    pixels = torch.from_numpy(np.stack([np.full((64, 64, 3), v, dtype=np.uint8) for v in (60, 230, 255)]))
    for _ in range(2):
        found = encoder.encode(pixels, ["dark.png", "bright.png", "white.png"])
    with torch.no_grad():
        exact = networks.vae.encode(pixels.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mean
    assert torch.allclose(found.mean[1], exact[1], atol=1e-6)
    assert torch.isfinite(found.mean[0]).all() and not torch.isfinite(found.mean[2]).any()
    assert [code for code, _ in warned] == ["latent_overflow", "latent_broken"]
    assert "bright.png" in warned[0][1] and "white.png" in warned[1][1]
    AcceleratorState._reset_state(reset_partial_state=True)
