"""Train the demo's model in one way or another, and see in its pictures what it has learnt and what it has lost.

A `Trial` goes in: a preset and what is changed of it. Shares of pictures come out, read by `tests.demo.looks` and
`tests.demo.scorer`. Training is the real `python -m trainer train`; the saved folder is opened by diffusers' own
pipeline, which draws in batches.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from tests.demo.looks import shows_ink, shows_subject
from tests.demo.scorer import scores
from trainer.contract.cli import flags_of
from trainer.contract.job import absolute_paths
from trainer.contract.presets import Preset, load_preset
from trainer.demo.pictures import IN_INK, SIDE, UNTEXTURED, WHOLE
from trainer.demo.place import demo_folder
from trainer.demo.scenes import GROUNDS, POSITIONS, Scene, caption, draw_scene, render

ROOT = Path(__file__).parents[2]
GUIDANCE, BATCH = 4.0, 16
WORD = "zvx"
"""A word without meaning, to be taught for what the model can draw already: a large red star."""
WORD_FOLDER = "word"
"""In the home of the trials; drawn when it is first needed."""
BEFORE = "before"

Asked = list[tuple[str, Scene | None]]
"""Prompts, and what their pictures should show where the world has words for it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A preset and what is changed of it."""

    preset: str
    changes: Mapping[str, Any] = field(default_factory=dict)


ALONE = {"reg_data_dir": None, "max_train_epochs": None, "max_train_steps": 180}
"""Without regularization images an epoch has half the steps: here as many steps as with them."""
UNET_ALONE = {**ALONE, "max_train_steps": 100, "unetonly": True}
"""So few that a name is learnt and what comes without words is not yet."""
AVERAGED = {
    **{"train_data_dir": "demo/reg", "reg_data_dir": None, "max_train_epochs": None, "max_train_steps": 400},
    **{"train_batch_size": 1, "learning_rate_te": None, "lr_scheduler": "constant"},
    **{"use_ema": True, "ema_decay": 0.98, "save_raw": True},
}
"""Ordinary pictures alone, where nothing new is to be learnt, one a step and at a rate that never falls: every step
pulls towards its own picture, and the weights of the last one are as good as chance has it."""

TRIALS = {
    "subject": Trial("demo"),
    "no regularization": Trial("demo", ALONE),
    "prior_loss_weight 0.05": Trial("demo", {"prior_loss_weight": 0.05}),
    "unetonly": Trial("demo", {"unetonly": True}),
    "encoderonly": Trial("demo", {"encoderonly": True}),
    "stop_text_encoder_training 10": Trial("demo", {"stop_text_encoder_training": 10}),
    "U-Net alone, no regularization": Trial("demo", UNET_ALONE),
    "U-Net alone, no regularization, ucg 0.9": Trial("demo", UNET_ALONE | {"ucg": 0.9}),
    "use_ema": Trial("demo", AVERAGED),
    "style": Trial("demo-captioned"),
    "word": Trial("demo-captioned", {"train_data_dir": WORD_FOLDER, "encoderonly": True}),
}


class Trials:
    """Models of trials in one home with the demo in it, and the shares of their pictures; each is made once."""

    def __init__(
        self, home: Path, prompts: int, steps: int, at_once: int = 2, trials: Mapping[str, Trial] = TRIALS
    ) -> None:
        """`prompts` pictures of each kind are drawn, in so many steps; `at_once` runs train side by side."""
        self._trials = trials
        self._home, self._prompts, self._steps, self._at_once = home, prompts, steps, at_once
        self._models: dict[str, Path] = {BEFORE: demo_folder(home) / "model"}
        self._shares: dict[tuple[Path, str], dict[str, float]] = {}
        self.seconds: dict[str, float] = {}
        """Of each trial that was trained, from the start of the process to its end."""

    def train(self, *names: str) -> list[Path]:
        """The folders that the trials save; those that are not there yet are trained."""
        todo = [name for name in names if name not in self._models]
        with ThreadPoolExecutor(self._at_once) as pool:
            for name, (model, seconds) in zip(todo, pool.map(self._trained, todo), strict=True):
                self._models[name], self.seconds[name] = model, seconds
        return [self._models[name] for name in names]

    def shares(self, name: str, kind: str) -> dict[str, float]:
        """Shares of the pictures that a trial's model draws for a kind of `PROMPTS`; `name` may be "before"."""
        (model,) = self.train(name)
        return self.shares_of(model, kind)

    def shares_of(self, model: Path, kind: str) -> dict[str, float]:
        """The same for a folder."""
        if (model, kind) not in self._shares:
            asked = PROMPTS[kind](self._prompts)
            self._shares[model, kind] = judged(drawn(model, [words for words, _ in asked], self._steps), asked)
        return self._shares[model, kind]

    def _trained(self, name: str) -> tuple[Path, float]:
        trial = self._trials[name]
        preset = load_preset(ROOT / "presets" / f"{trial.preset}.json", base=self._home)
        assert isinstance(preset, Preset)
        out = self._home / "trials" / name.replace(" ", "-")
        unsampled = {
            "sample_prompts": None,
            "sample_every_n_epochs": None,
            "sample_at_first": None,
        }
        saved = {"output_dir": str(out), "output_name": "model", "save_model_as": "diffusers_safetensors"}
        values = {**preset.values, **unsampled, **saved, **trial.changes}
        if values["train_data_dir"] == WORD_FOLDER:
            _teach_a_word(self._home / WORD_FOLDER)
        values = absolute_paths(values, self._home)
        flags = flags_of({name: value for name, value in values.items() if value is not None})
        command = [sys.executable, "-m", "trainer", "train", *flags, "--run_dir", str(out / "run")]
        threads = max(1, (os.cpu_count() or 1) // self._at_once)
        began = os.times().elapsed
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return out / "model", os.times().elapsed - began


def subject(count: int) -> Asked:
    """The subject by name: alone, on each ground, and in each place, a third of the prompts each."""
    grounds, places = list(GROUNDS), list(POSITIONS)
    kinds: list[Callable[[int], str]] = [
        lambda _: "a sks star",
        lambda number: f"a sks star on a {grounds[number % len(grounds)]} ground",
        lambda number: f"a sks star {places[number % len(places)]}",
    ]
    return [(kinds[number % 3](number // 3), None) for number in range(count)]


def general(count: int) -> Asked:
    """Whole captions of scenes held out."""
    return [(caption(scene), scene) for scene in _held_out(97, count)]


def stars(count: int) -> Asked:
    """Ordinary stars, twice as many: named by their ground, their place or neither; of two in three the colour too."""
    said = [
        {"shape", *more, *colour} for more in ({}, {"ground"}, {"position"}) for colour in ({}, {"colour"}, {"colour"})
    ]
    scenes = [replace(scene, shape="star") for scene in _held_out(98, 2 * count)]
    return [(caption(scene, said[number % len(said)]), None) for number, scene in enumerate(scenes)]


def unstyled(count: int) -> Asked:
    """Scenes of one flat colour as the style's are, never small and never on black; every second says "plain"."""
    plain = [
        replace(
            scene,
            texture="plain",
            size=("medium", "large")[number % 2],
            ground="sky" if scene.ground == "black" else scene.ground,
        )
        for number, scene in enumerate(_held_out(97, count))
    ]
    return [(caption(scene, (UNTEXTURED, WHOLE)[number % 2]), scene) for number, scene in enumerate(plain)]


def in_ink(count: int) -> Asked:
    """The same in ink."""
    return [(IN_INK + caption(scene, UNTEXTURED), scene) for _, scene in unstyled(count) if scene]


def without_words(count: int) -> Asked:
    """Nothing is asked for."""
    return [("", None)] * count


def by_word(count: int) -> Asked:
    """The word that the trial "word" teaches, in other places than it was taught in."""
    scenes = [_red_star(scene) for scene in _held_out(99, count)]
    return [(_with_word(scene), scene) for scene in scenes]


PROMPTS: dict[str, Callable[[int], Asked]] = {
    "subject": subject,
    "stars": stars,
    "general": general,
    "in ink": in_ink,
    "unstyled": unstyled,
    "without words": without_words,
    "word": by_word,
}


def judged(pictures: Sequence[np.ndarray], asked: Asked) -> dict[str, float]:
    """Shares that show the subject and the ink, and where scenes were asked for, those that have each attribute."""
    told = {
        "subject": float(np.mean([shows_subject(picture) for picture in pictures])),
        "ink": float(np.mean([shows_ink(picture) for picture in pictures])),
    }
    scenes = [scene for _, scene in asked if scene is not None]
    return told | (scores(pictures, scenes) if scenes else {})


def drawn(model: Path, prompts: Sequence[str], steps: int) -> list[np.ndarray]:
    """One picture for each prompt by diffusers' own pipeline with DDIM, seeds 0 and up."""
    pipeline = _pipeline(model)
    pictures: list[np.ndarray] = []
    for first in range(0, len(prompts), BATCH):
        part = list(prompts[first : first + BATCH])
        seeds = [torch.Generator().manual_seed(first + number) for number in range(len(part))]
        asked = {"num_inference_steps": steps, "guidance_scale": GUIDANCE, "height": SIDE, "width": SIDE}
        pictures += list(pipeline(part, generator=seeds, output_type="np", **asked).images)
    return [(picture * 255).round().astype(np.uint8) for picture in pictures]


@cache
def _pipeline(model: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    # DDIM would clip latents to -1 to 1, as it does pixels, unless it is told not to.
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    return pipeline


@cache
def _held_out(seed: int, count: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [draw_scene(rng, held_out=True) for _ in range(count)]


def _red_star(scene: Scene) -> Scene:
    return replace(scene, shape="star", colour="red", size="large", texture="plain")


def _with_word(scene: Scene) -> str:
    return caption(scene, {"position", "ground"}).replace("a shape", f"a {WORD} shape")


def _teach_a_word(folder: Path, count: int = 48) -> None:
    """Large red stars, called by the word alone."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in range(count):
        scene = _red_star(draw_scene(rng))
        Image.fromarray(render(scene, SIDE)).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(_with_word(scene) + "\n", encoding="utf-8")
