"""Latents on disk: a later run encodes exactly what has changed."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from tests.training.conftest import Train, draw_pictures, of
from trainer.contract.config import DataSection, ImageSection, ModelSection
from trainer.contract.events import Phase, Stepped, Warned
from trainer.dataset.batches import Batches
from trainer.dataset.captions import Entry, entries_of
from trainer.dataset.scan import scan
from trainer.model.load import load_networks
from trainer.training import latent_store
from trainer.training.engine import Engine
from trainer.training.latent_store import KEPT_DAYS, LatentStore, open_store
from trainer.training.latents import CachedLatents, Cut, Encoder, Seen, cache_latents

IMAGES = ImageSection(resolution="64", enable_bucket=True, min_bucket_reso=64, max_bucket_reso=128, flip_aug=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, empty."""
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "latents"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four pictures in three shapes."""
    draw_pictures(tmp_path / "images" / "2_dog", [(64, 64), (64, 128), (90, 70), (128, 64)])
    return tmp_path / "images" / "2_dog"


class Run:
    """One run's caching: what it encoded, and what it has."""

    def __init__(self, folder: Path, vae_of: Path, images: ImageSection = IMAGES, precision: str = "no") -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        engine = Engine(precision)
        entries = entries_in(folder)
        batches = Batches(entries, images, 2, 3)
        networks = load_networks(ModelSection(pretrained_model_name_or_path=str(vae_of)))
        encoder = Encoder(networks.vae, engine, lambda *_: None)
        self.encoded: list[str] = []
        self.warned: list[str] = []
        encode = encoder.encode

        def and_note(pixels: torch.Tensor, names: list[str]) -> object:
            self.encoded += names
            return encode(pixels, names)

        encoder.encode = and_note  # type: ignore[method-assign]
        self.store = open_store([entry.picture for entry in entries], encoder.vae, precision)
        seen = Seen(lambda *_: None, lambda: None, lambda code, _: self.warned.append(code), self.store)
        with_buckets = [(entry, batches.bucket_of(place)) for place, entry in enumerate(entries)]
        self.latents: CachedLatents = cache_latents(with_buckets, images, encoder, engine, 3, seen)

    @property
    def kept(self) -> dict[Cut, tuple[torch.Tensor, torch.Tensor]]:
        return {cut: (p.mean, p.deviation) for cut, p in self.latents._kept.items()}


def entries_in(folder: Path) -> list[Entry]:
    data = DataSection(train_data_dir=folder.parent)
    found, problems = entries_of(scan(data), data)
    assert not problems
    return found


def same(one: Run, other: Run) -> bool:
    pairs = [(one.kept[cut], other.kept[cut]) for cut in one.kept]
    return one.kept.keys() == other.kept.keys() and all(
        torch.equal(a, b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True)
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_second_run_encodes_nothing(folder: Path, tiny_v1: Path, cache: Path) -> None:
    """What was kept comes back to the last bit, mirrored cuts too, and nothing lies among the user's images."""
    before = sorted(path.name for path in folder.iterdir())
    first, second = Run(folder, tiny_v1), Run(folder, tiny_v1)
    assert sorted(first.encoded) == sorted(2 * names(folder)) and second.encoded == []
    assert same(first, second)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert len(list(cache.glob("*/*.safetensors"))) == 8 and not list(cache.glob("*/.*"))


def test_edited_image_alone_is_encoded_again(folder: Path, tiny_v1: Path) -> None:
    """An image with other pixels is encoded anew, one that was only touched or moved is not; the old one comes back."""
    Run(folder, tiny_v1)
    edited = folder / names(folder)[1]
    old = edited.read_bytes()
    Image.open(edited).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(edited)
    assert Run(folder, tiny_v1).encoded == 2 * [edited.name]
    edited.write_bytes(old)
    os.utime(folder / names(folder)[0], (1, 1))
    assert Run(folder, tiny_v1).encoded == []
    moved = folder.rename(folder.with_name("2_cat"))
    assert Run(moved, tiny_v1).encoded == []


def another_vae(source: Path, place: Path) -> Path:
    """The model of `source` with a VAE that differs in one weight."""
    from diffusers import StableDiffusionPipeline  # noqa: PLC0415 - only this case needs all of diffusers

    pipeline = StableDiffusionPipeline.from_pretrained(source, safety_checker=None)
    with torch.no_grad():
        pipeline.vae.encoder.conv_in.bias[0] += 0.5
    pipeline.save_pretrained(place)
    return place


def test_another_vae_resolution_or_precision_is_another_cache(folder: Path, tiny_v1: Path, tmp_path: Path) -> None:
    """Each of these encodes everything once more, and leaves what was kept for the others."""
    Run(folder, tiny_v1)
    others: list[Callable[[], Run]] = [
        lambda: Run(folder, another_vae(tiny_v1, tmp_path / "other")),
        lambda: Run(folder, tiny_v1, IMAGES.model_copy(update={"resolution": "128,128"})),
        lambda: Run(folder, tiny_v1, precision="bf16"),
    ]
    for other in others:
        assert sorted(other().encoded) == sorted(2 * names(folder))
        assert other().encoded == []
    assert Run(folder, tiny_v1).encoded == []


def test_without_mirrored_cuts_nothing_new_is_needed(folder: Path, tiny_v1: Path) -> None:
    """Turning mirroring off uses what is there, turning it on encodes the mirrored cuts alone."""
    plain = IMAGES.model_copy(update={"flip_aug": False})
    assert sorted(Run(folder, tiny_v1, plain).encoded) == names(folder)
    assert sorted(Run(folder, tiny_v1).encoded) == names(folder)
    assert Run(folder, tiny_v1, plain).encoded == []


def test_damaged_file_is_made_anew(folder: Path, tiny_v1: Path, cache: Path) -> None:
    """A file that is cut short, empty, of another shape or of another bit is as one that is not there."""
    first = Run(folder, tiny_v1)
    short, empty, other, spoilt, zeros, *_ = sorted(cache.glob("*/*.safetensors"))
    short.write_bytes(short.read_bytes()[:-9])
    empty.write_bytes(b"")
    spoilt.write_bytes(spoilt.read_bytes()[:-2] + bytes([spoilt.read_bytes()[-2] ^ 1]) + spoilt.read_bytes()[-1:])
    zeros.write_bytes(zeros.read_bytes()[:-1000] + bytes(1000))
    other.write_bytes(next(f for f in cache.glob("*/*") if f.stat().st_size != other.stat().st_size).read_bytes())
    second = Run(folder, tiny_v1)
    assert len(second.encoded) == 5 and same(first, second)
    assert Run(folder, tiny_v1).encoded == []


def test_full_disk_costs_the_cache_and_not_the_run(
    folder: Path, tiny_v1: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be written the run says so once and has its latents in memory."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LatentStore, "keep", full)
    run = Run(folder, tiny_v1)
    assert run.warned == ["latents_not_kept"] and len(run.kept) == 8


def test_image_that_changes_meanwhile_is_not_kept(
    folder: Path, tiny_v1: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who edits an image while it is encoded, and puts the old one back later, gets the old one's latents."""
    exact = Run(folder, tiny_v1)
    for file in cache.glob("*/*"):
        file.unlink()
    edited = folder / names(folder)[1]
    old = edited.read_bytes()
    opened = latent_store.content_digests

    def then_edit(*given: Any) -> list[bytes]:
        digests = list(opened(*given))
        Image.open(edited).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(edited)
        return digests

    with monkeypatch.context() as patch:
        patch.setattr(latent_store, "content_digests", then_edit)
        Run(folder, tiny_v1)
    edited.write_bytes(old)
    again = Run(folder, tiny_v1)
    assert again.encoded == 2 * [edited.name] and same(exact, again)


def test_what_is_no_number_is_not_kept(folder: Path, tiny_v1: Path, cache: Path) -> None:
    """Latents that overflowed are never served to a later run."""
    run = Run(folder, tiny_v1)
    cut, (mean, deviation) = next(iter(run.kept.items()))
    assert run.store is not None
    files = len(list(cache.glob("*/*")))
    broken = type(run.latents._kept[cut])(mean.clone().fill_(torch.nan), deviation)
    run.store.keep(cut.path, (cut.bucket, None), broken)  # type: ignore[arg-type]
    assert len(list(cache.glob("*/*"))) == files


def test_files_of_long_ago_are_deleted(folder: Path, tiny_v1: Path, cache: Path) -> None:
    """What no run has read for 60 days goes; reading a file makes it young again."""
    Run(folder, tiny_v1)
    old = time.time() - (KEPT_DAYS + 1) * 86_400
    *aged, young = cache.glob("*/*")
    for file in aged:
        os.utime(file, (old, old))
    assert len(Run(folder, tiny_v1).encoded) == 7
    os.utime(young, (time.time() - (KEPT_DAYS - 1) * 86_400,) * 2)
    assert Run(folder, tiny_v1).encoded == []
    assert time.time() - young.stat().st_mtime < 60


def test_training_is_the_same_with_the_cache_on_disk(train: Train, tmp_path: Path) -> None:
    """The option alone caches; the losses are those of the cache in memory, of the first run and of the next."""
    plain = train("plain", flip_aug=True)
    runs = [train(name, flip_aug=True, cache_latents=False, cache_latents_to_disk=True) for name in ("one", "two")]
    for events in runs:
        assert [e.loss for e in of(Stepped, events)] == [e.loss for e in of(Stepped, plain)]
        assert of(Warned, events) == of(Warned, plain)
    first = [next(e for e in of(Phase, events) if e.name == "caching") for events in runs]
    assert (first[0].done, first[1].done) == (0, first[1].total)
