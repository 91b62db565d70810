"""Caching latents beside a plain loop over `vae.encode`: images per second, as a ratio in one interleaved run.

    python -m benchmarks.latent_cache                  12 images of about 256 pixels, three runs of each way in turn
    python -m benchmarks.latent_cache --images 100 --side 512

The VAE has the size and layout of Stable Diffusion's, with random weights. Plain: each image decoded, cut and encoded
by itself. Memory: `cache_latents`. Disk, first: `cache_latents_to_disk` with an empty cache. Disk, again: the same once
more. Writes benchmarks/results/latent_cache.json and its section of docs/benchmarks.md.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import psutil
import torch
from diffusers import AutoencoderKL
from PIL import Image

from benchmarks.page import ROOT, machine, write
from trainer.contract.config import DataSection, ImageSection
from trainer.dataset.batches import Batches
from trainer.dataset.captions import Entry, entries_of
from trainer.dataset.pixels import pixels_at, read_picture
from trainer.dataset.placement import placement
from trainer.dataset.scan import scan
from trainer.training.engine import Engine
from trainer.training.latent_store import open_store
from trainer.training.latents import Encoder, Seen, cache_latents

WAYS = ("plain", "memory", "disk_first", "disk_again")
NAMES = {
    "plain": "plain loop",
    "memory": "cached in memory",
    "disk_first": "cached on disk, first run",
    "disk_again": "cached on disk, next run",
}


def make_images(folder: Path, number: int, side: int) -> list[Entry]:
    """JPEG files of soft colours in folder/1_thing, a little larger than they are learnt; their entries."""
    inner = folder / "1_thing"
    inner.mkdir(parents=True)
    for n in range(number):
        coarse = np.random.default_rng(n).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        size = (side + 40, side + 20 * (n % 3))
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(inner / f"{n:04}.jpg", quality=90)
    data = DataSection(train_data_dir=folder)
    return entries_of(scan(data), data)[0]


def make_vae() -> AutoencoderKL:
    """A VAE of the real size and layout, random weights."""
    torch.manual_seed(0)
    config = json.loads((ROOT / "trainer" / "model" / "layout" / "v1" / "vae.json").read_text(encoding="utf-8"))
    return AutoencoderKL.from_config(config)


def ways_of(entries: list[Entry], images: ImageSection, vae: AutoencoderKL, engine: Engine) -> dict[str, Callable]:
    """Each way as a function without arguments that goes once through all images."""
    batches = Batches(entries, images, 1, 0)
    with_buckets = [(entry, batches.bucket_of(place)) for place, entry in enumerate(entries)]
    encoder = Encoder(vae, engine, lambda *_: None)

    @torch.no_grad()
    def plain() -> None:
        for entry, bucket in with_buckets:
            place = placement(entry.picture, bucket, images, np.random.default_rng(0))
            pixels = torch.from_numpy(np.stack([pixels_at(read_picture(entry.picture.path), bucket, place)]))
            posterior = vae.encode(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist
            posterior.mean.cpu(), posterior.std.cpu()

    def cached(on_disk: bool) -> Callable[[], None]:
        def run() -> None:
            store = open_store([entry.picture for entry in entries], vae, "no") if on_disk else None
            seen = Seen(lambda *_: None, lambda: None, lambda *_: None, store)
            cache_latents(with_buckets, images, encoder, engine, 0, seen)

        return run

    return {"plain": plain, "memory": cached(False), "disk_first": cached(True), "disk_again": cached(True)}


def run(number: int, side: int, repeat: int) -> dict[str, Any]:
    """All ways in turn, `repeat` times."""
    load = [round(x, 2) for x in psutil.getloadavg()]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="atelier-latents-") as place:
        entries = make_images(Path(place) / "images", number, side)
        ways = ways_of(entries, ImageSection(resolution=str(side)), make_vae().eval(), Engine("no"))
        for turn in range(repeat):
            # A cache of its own for each turn: only then is the first run on disk a first one.
            os.environ["ATELIER_HOME"] = str(Path(place) / f"home {turn}")
            for way in WAYS:
                start = time.perf_counter()
                ways[way]()
                seconds[way].append(time.perf_counter() - start)
                print(f"{NAMES[way]:<28} {number / seconds[way][-1]:>8.2f} images/s", flush=True)
    on = machine(torch=torch.__version__, diffusers=diffusers.__version__, threads=str(torch.get_num_threads()))
    return {
        "date": date.today().isoformat(),
        "machine": {**on, "load_before": load},
        "images": number,
        "side": side,
        "seconds": seconds,
    }


def section(result: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    on, number, seconds = result["machine"], result["images"], result["seconds"]
    plain = min(seconds["plain"])
    rows = [
        f"| {NAMES[way]} | {number / min(seconds[way]):.2f} | {plain / min(seconds[way]):.2f} "
        f"| {plain / max(seconds[way]):.2f} to {max(seconds['plain']) / min(seconds[way]):.2f} |"
        for way in WAYS
    ]
    return "\n".join(
        [
            "## Caching latents",
            "",
            f"{number} JPEG images learnt at {result['side']} pixels, through a VAE of the real size with random "
            f"weights in fp32. Each figure is the fastest of {len(seconds['plain'])} runs, all ways in turn in one "
            "process; the last column is from the worst to the best pairing of runs.",
            "",
            "| | images/s | : plain loop | |",
            "|---|--:|--:|--:|",
            *rows,
            "",
            f"{on['processor']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}; Python {on['python']}, "
            f"torch {on['torch']} with {on['threads']} threads, diffusers {on['diffusers']}. The cores were shared "
            f"with other work: load {on['load_before'][0]} before the start. "
            f"`python -m benchmarks.latent_cache --images {number} --side {result['side']} "
            f"--repeat {len(seconds['plain'])}`, "
            f"{result['date']}; raw figures in benchmarks/results/latent_cache.json. Not measured on a card.",
        ]
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each way; the fastest counts")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    given = parser.parse_args()
    result = run(given.images, given.side, given.repeat)
    if not given.dry:
        write("latent_cache", result, section(result))


if __name__ == "__main__":
    main()
