"""Make the demo's models from nothing but drawings: the VAE, the text encoders, then the U-Nets by the trainer itself.

    python -m benchmarks.make_demo_model               1 h 40 min to 3 h on two CPU cores; goes on if cut short
    python -m benchmarks.make_demo_model --quick       a minute of each part, to see that everything fits together
    python -m benchmarks.make_demo_model --ship        the same; then models and card go to presets/demo

A work folder (outputs/demo-model, or --work) keeps every part as soon as it is done: vae, text-v1 and text-v2, the
models in unet-v1-out/last and unet-v2-out/last, diary.json with steps, seconds and how well they draw, and card.md.
The diary of the shipped models is benchmarks/results/demo_model.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel

from benchmarks.demo_model.card import card
from benchmarks.demo_model.folder import ship, write_parts
from benchmarks.demo_model.networks import make_unet, start_from
from benchmarks.demo_model.vae import fold, psnr, round_trip, train_vae
from benchmarks.demo_model.words import Family, train_text_encoder
from benchmarks.page import RESULTS, ROOT, machine
from tests.demo.scorer import scores
from trainer.contract.cli import flags_of
from trainer.contract.config import ModelSection
from trainer.contract.prompts import Prompt
from trainer.demo.make import MODELS, SHIPPED
from trainer.demo.scenes import Scene, caption, draw_caption, draw_scene, render
from trainer.model.load import load_networks
from trainer.training.engine import Engine
from trainer.training.painter import Drawing, Painter

SIDE = 128
GUIDANCE = 4.0
DRAWING_STEPS = 25
DRAWN_WITH = f"DDIM, {DRAWING_STEPS} steps, guidance {GUIDANCE}, seeds 0 and up"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    vae_steps: int = 5_200
    text_steps: int = 600
    pictures: int = 12_000
    unet_steps: int = 4_500
    sibling_steps: int = 1_200
    prompts: int = 200


QUICK = Size(vae_steps=60, text_steps=60, pictures=64, unet_steps=12, sibling_steps=6, prompts=4)


class Diary:
    """What was done and how long it took, kept in the work folder; the card is made of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.told: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def done(self, part: str) -> bool:
        """Whether a part was finished, in this run or an earlier one."""
        return part in self.told

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Count the seconds of a block towards a part, also where it is cut short by an exception."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = self.told.setdefault("seconds", {})
            seconds[part] = round(seconds.get(part, 0.0) + time.monotonic() - began, 1)
            self._write()

    def note(self, part: str, **facts: Any) -> None:
        """A part is finished."""
        self.told[part] = facts
        self._write()

    def _write(self) -> None:
        self._path.write_text(json.dumps(self.told, indent=1) + "\n", encoding="utf-8")


def tell(words: str) -> None:
    """A line of progress, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def make_parts(work: Path, size: Size, seed: int, diary: Diary) -> None:
    """VAE and text encoders."""
    if not diary.done("vae"):
        with diary.timing("vae"):
            vae = train_vae(size.vae_steps, seed, work / "vae.pt", tell)
            fold(vae, seed)
            vae.save_pretrained(work / "vae")
        diary.note("vae", steps=size.vae_steps, psnr=psnr(vae, 100))
    start = None
    for family in ("v1", "v2"):
        name = f"text-{family}"
        if not diary.done(name):
            with diary.timing(name):
                encoder = train_text_encoder(family, size.text_steps, seed, tell, start)
                encoder.save_pretrained(work / name)
            diary.note(name, steps=size.text_steps)
        start = CLIPTextModel.from_pretrained(work / name)


def draw_pictures(work: Path, size: Size, seed: int, diary: Diary) -> Path:
    """The pictures that the U-Nets learn, with captions beside them: combinations held out are not among them."""
    folder = work / "pictures"
    if diary.done("pictures"):
        return folder
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng([seed, 2])
    for number in range(size.pictures):
        scene = draw_scene(rng)
        Image.fromarray(render(scene, SIDE)).save(folder / f"{number:05d}.png", compress_level=1)
        (folder / f"{number:05d}.txt").write_text(draw_caption(rng, scene)[0] + "\n", encoding="utf-8")
    diary.note("pictures", count=size.pictures)
    return folder


def learn(work: Path, family: Family, steps: int, seed: int, diary: Diary) -> Path:
    """Train a U-Net with the trainer, as a user would; returns the model. Goes on from the newest state there is."""
    name = f"unet-{family}"
    model = work / f"{name}-out" / "last"
    if diary.done(name):
        return model
    runs = sorted(work.glob(f"{name}-run-*"))
    resume = next((run for run in reversed(runs) if any(run.glob("state/step-*"))), None)
    values = options(work, family, steps, seed)
    if resume is not None:
        values["resume"] = str(resume)
    run = work / f"{name}-run-{len(runs) + 1}"
    with diary.timing(name):
        command = [sys.executable, "-m", "trainer", "train", "--run_dir", str(run), *flags_of(values)]
        subprocess.run(command, cwd=ROOT, check=True)
    diary.note(name, steps=steps, options=values)
    return model


def options(work: Path, family: Family, steps: int, seed: int) -> dict[str, Any]:
    """The job that trains a U-Net on the drawn pictures."""
    return {
        "pretrained_model_name_or_path": str(work / f"base-{family}"),
        "v2": family == "v2",
        "v_parameterization": family == "v2",
        "train_data_dir": str(work / "pictures"),
        "fine_tuning": True,
        "caption_extension": ".txt",
        "resolution": f"{SIDE},{SIDE}",
        "cache_latents": True,
        "cache_latents_to_disk": True,
        "train_batch_size": 32,
        "max_train_steps": steps,
        "learning_rate": 1e-3,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": min(150, steps // 4),
        "optimizer_args": "betas=0.9,0.99 weight_decay=0.01",
        "min_snr_gamma": 5,
        # Without it the net reads the ground off the noise, whose mean over 16 x 16 is nearly 0, and draws it grey.
        "noise_offset": 0.25,
        "ucg": 0.1,
        "unetonly": True,
        "use_ema": True,
        "ema_decay": 0.998,
        "mixed_precision": "no",
        "seed": seed,
        "output_dir": str(work / f"unet-{family}-out"),
        "save_model_as": "diffusers_safetensors",
        "save_precision": "fp16",
        "save_state_every_minutes": 5,
        "save_last_n_states": 1,
    }


def make_base(work: Path, family: Family, seed: int) -> Path:
    """The model that training starts from: learnt VAE and text encoder, and a U-Net of no use yet."""
    unet = make_unet(family, seed)
    if family == "v2":
        start_from(unet, UNet2DConditionModel.from_pretrained(work / "unet-v1-out" / "last" / "unet"))
    parts = CLIPTextModel.from_pretrained(work / f"text-{family}"), AutoencoderKL.from_pretrained(work / "vae")
    return write_parts(work / f"base-{family}", family, "v" if family == "v2" else "epsilon", unet, *parts)


def held_out(count: int) -> list[Scene]:
    """Scenes that no picture of the training showed."""
    rng = np.random.default_rng(97)
    return [draw_scene(rng, held_out=True) for _ in range(count)]


def drawn(model: Path, prompts: list[str]) -> list[np.ndarray]:
    """One picture for each prompt, seeds 0 and up, as the studio draws them."""
    section = ModelSection(pretrained_model_name_or_path=str(model))
    networks = load_networks(section)
    for network in (networks.unet, networks.text_encoder, networks.vae):
        network.float().eval()
    painter = Painter(networks, Drawing((SIDE, SIDE), 0, None, networks.prediction), Engine("no"))
    return [
        painter.picture(Prompt(text, "", SIDE, SIDE, seed, DRAWING_STEPS, GUIDANCE), seed)
        for seed, text in enumerate(prompts)
    ]


def judge(work: Path, models: Mapping[Family, Path], count: int, diary: Diary) -> None:
    """The scores of both models over held-out captions, beside those of the VAE's round trip of the true pictures."""
    scenes = held_out(count)
    true = np.stack([render(scene, SIDE) for scene in scenes])
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    told = {"true pictures": scores(list(true), scenes), "VAE round trip": scores(list(round_trip(vae, true)), scenes)}
    for family, model in models.items():
        pictures = drawn(model, [caption(scene) for scene in scenes])
        told[family] = scores(pictures, scenes)
        rows = [np.concatenate(pictures[row : row + 10], axis=1) for row in range(0, min(count, 40) // 10 * 10, 10)]
        if rows:
            Image.fromarray(np.concatenate(rows)).save(work / f"drawn-{family}.png")
    diary.note("scores", prompts=count, **told)
    for name, row in told.items():
        tell(f"{name}: " + ", ".join(f"{attribute} {share:.3f}" for attribute, share in row.items()))


def main() -> None:
    """All parts in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "demo-model")
    parser.add_argument("--quick", action="store_true", help="a little of each part, to see that all fits together")
    parser.add_argument("--ship", action="store_true", help="take the models and their card into presets/demo")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = QUICK if arguments.quick else Size()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    diary = Diary(work / "diary.json")
    here = machine(torch=torch.__version__)
    diary.note("machine", **here, threads=arguments.threads, seed=arguments.seed, day=date.today().isoformat())
    make_parts(work, size, arguments.seed, diary)
    draw_pictures(work, size, arguments.seed, diary)
    models: dict[Family, Path] = {}
    for family, steps in (("v1", size.unet_steps), ("v2", size.sibling_steps)):
        if not diary.done(f"unet-{family}"):
            make_base(work, family, arguments.seed)
        models[family] = learn(work, family, steps, arguments.seed, diary)
    judge(work, models, size.prompts, diary)
    told = card(diary.told, DRAWN_WITH)
    (work / "card.md").write_text(told, encoding="utf-8")
    if arguments.ship:
        shutil.copyfile(work / "diary.json", RESULTS / "demo_model.json")
        for name, family in MODELS.items():
            ship(models[family], SHIPPED / name, with_vae=name == "model")
        (SHIPPED / "README.md").write_text(told, encoding="utf-8")


if __name__ == "__main__":
    main()
