"""Draws with checkpoints, and keeps the last one loaded: the part of drawing that needs torch.

A checkpoint and a prompt go in; a PNG with its settings goes out. Networks, attention, precision and painter are those
of training, so the picture is the sample that the run itself would draw.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from trainer.contract.config import TrainingConfig
from trainer.contract.problems import Problem
from trainer.contract.prompts import Prompt, parameters
from trainer.dataset.png import write_png
from trainer.drawing.checkpoints import HOW, Checkpoint, options_of, section_of
from trainer.drawing.request import picture_file
from trainer.model.attention import set_attention
from trainer.model.inspect import inspect_model
from trainer.model.load import load_networks
from trainer.model.probe import probe_prediction
from trainer.model.refusals import UnusableModel
from trainer.training.hardware import default_device
from trainer.training.latents import in_fp32
from trainer.training.painter import Painter, drawing_of
from trainer.training.trained import spare_threads

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}

_THREADS = torch.get_num_threads()
"""As many as there are cores: a small model takes one only, and the next one may be large."""

Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where is drawn: a device, and the precision of the run."""

    device: torch.device
    half: torch.dtype | None

    def autocast(self) -> AbstractContextManager[Any]:
        """As accelerate has it: half precision where the operation allows it."""
        return torch.autocast(self.device.type, self.half) if self.half is not None else nullcontext()


class Artist:
    """Keeps at most one model."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._loaded: tuple[Checkpoint, torch.device] | None = None
        self._painter: Painter | None = None
        self._words: dict[str, Any] = {}

    def has(self, checkpoint: Checkpoint) -> bool:
        """Whether this model is the one in memory."""
        return self._loaded is not None and self._loaded[0] == checkpoint

    def load(self, checkpoint: Checkpoint, on_cpu: bool = False) -> None:
        """Have this model in memory, and no other. Raises `UnusableModel`, OSError."""
        device = torch.device("cpu") if on_cpu else default_device()
        if self._loaded == (checkpoint, device):
            return
        # The old one goes first: two models of full size may not fit.
        self._loaded = self._painter = None
        if device.type == "cuda":
            torch.cuda.empty_cache()
        self._painter, self._words = _painter(checkpoint, device)
        self._loaded = (checkpoint, device)

    def draw(self, checkpoint: Checkpoint, prompt: Prompt, tell: Tell | None = None, out: Path | None = None) -> Path:
        """Draw with the loaded model and return where the picture lies. What `tell` raises ends the drawing."""
        assert self._painter is not None and self.has(checkpoint) and prompt.seed is not None
        path = out or picture_file(checkpoint, prompt, self._home)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = self._painter.picture(prompt, prompt.seed, tell)
        said = parameters(prompt, prompt.seed, self._painter.size(prompt), **self._words)
        write_png(path, Image.fromarray(pixels), {"parameters": said})
        return path


def _painter(checkpoint: Checkpoint, device: torch.device) -> tuple[Painter, dict[str, Any]]:
    """The loaded model, ready to draw, and what a picture says of it."""
    facts = inspect_model(checkpoint.path)
    if isinstance(facts, Problem):
        raise UnusableModel(facts)
    options = options_of(checkpoint, facts)
    networks = load_networks(section_of(checkpoint, facts))
    if networks.scheduler.get("rescale_betas_zero_snr"):
        options["zero_terminal_snr"] = True
    config = TrainingConfig.from_flat({name: options[name] for name in HOW if name in options and name != "vae"})
    torch.set_num_threads(_THREADS)
    spare_threads(networks, device)
    for network in (networks.unet, networks.text_encoder):
        # Not frozen: on a processor bf16 takes other kernels for frozen weights, and the picture is not the run's own.
        network.to(device).eval()
    in_fp32(networks.vae, device).eval().requires_grad_(False)
    set_attention(networks.unet, config.hardware, device)
    if facts.prediction is None and not options.get("v_parameterization"):
        networks.prediction = probe_prediction(networks) or networks.prediction
    words: dict[str, Any] = {"Model": facts.name, "RNG": "CPU"}
    if config.networks.clip_skip:
        words["Clip skip"] = config.networks.clip_skip
    drawing = drawing_of(config, 0, networks.prediction)
    return Painter(networks, drawing, Spot(device, _half(checkpoint, options, device))), words


def _half(checkpoint: Checkpoint, options: Mapping[str, Any], device: torch.device) -> torch.dtype | None:
    """The precision of the run; a model of no run is drawn in fp16 on a card. A processor computes no fp16."""
    asked = options.get("mixed_precision", "no" if checkpoint.run or device.type == "cpu" else "fp16")
    return None if asked == "fp16" and device.type == "cpu" else HALVES.get(asked)
