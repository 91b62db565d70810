"""Recorded steps of independent programs: what went in, what came out, and a learner that is fed with them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from tests.training.conftest import FIXTURES
from trainer.contract.config import ModelSection
from trainer.dataset.batches import Use
from trainer.dataset.captions import Entry
from trainer.dataset.scan import Picture
from trainer.model.load import load_networks
from trainer.training.denoiser import Denoiser
from trainer.training.engine import Engine
from trainer.training.feed import Batch, Group
from trainer.training.learner import Aim, Learner, Taken
from trainer.training.optimizer import make_optimizer
from trainer.training.text import freeze_unread_layers

PRIOR_LOSS_WEIGHT = 0.5


@dataclass(frozen=True)
class Recorded:
    """One case: its figures by step and its tensors."""

    name: str
    steps: list[dict[str, Any]]
    keys: list[str]
    tensors: dict[str, Tensor]

    @property
    def v2(self) -> bool:
        """Whether the model is the 2.x one, which predicts v."""
        return "sd2" in self.name


def read_case(name: str) -> Recorded:
    """Read a case from the fixtures."""
    folder = FIXTURES / "steps" / name
    told = json.loads((folder / "steps.json").read_text())
    with safe_open(folder / "batches.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - this object is no mapping
    return Recorded(name, told["steps"], told["digest_keys"], tensors)


class FedLearner:
    """Our learner, given the recorded latents, noise, timesteps and ids in place of its own draws."""

    def __init__(self, case: Recorded, monkeypatch: Any, clip_skip: int | None = None) -> None:
        self.case = case
        model = FIXTURES / "models" / ("tiny-sd2v" if case.v2 else "tiny-sd1")
        section = ModelSection(pretrained_model_name_or_path=str(model), v2=case.v2, v_parameterization=case.v2)
        networks = load_networks(section)
        networks.unet.requires_grad_(True).train()
        networks.text_encoder.requires_grad_(True).train()
        freeze_unread_layers(networks.text_encoder, clip_skip)
        self.weights = {f"unet.{name}": weight for name, weight in networks.unet.named_parameters()}
        self.weights |= {f"text_encoder.text_model.{n}": w for n, w in networks.text_encoder.named_parameters()}
        assert sorted(self.weights) == case.keys
        engine = Engine("no")
        networks_by_name = {"unet": networks.unet, "text_encoder": networks.text_encoder}
        self.learner = Learner(
            Denoiser(networks.unet, networks.text_encoder, clip_skip),
            make_optimizer(networks_by_name, eight_bit=False),
            engine,
            self,
            self,
            Aim(networks.prediction, PRIOR_LOSS_WEIGHT, seed=0, max_grad_norm=1.0),
        )
        self._step = 0
        monkeypatch.setattr("trainer.training.learner.draw_normal", lambda *_: self.of("noise"))
        monkeypatch.setattr("trainer.training.learner.draw_timesteps", lambda *_: self.of("timesteps"))

    def of(self, what: str) -> Tensor:
        """A recorded tensor of the step that is under way."""
        return self.case.tensors[f"step{self._step:02d}.{what}"]

    def latents(self, batch: Batch, epoch: int) -> Tensor:
        """In place of the VAE."""
        return self.of("latents")

    def ids(self, captions: list[str]) -> Tensor:
        """In place of the tokenizer."""
        return self.of("input_ids")

    def take(self, step: int) -> Taken:
        """Take a recorded step."""
        self._step = step
        told = self.case.steps[step]
        self.learner.set_rate(told["lr"][0])
        weights = (told.get("batch") or {}).get("loss_weights") or [1.0] * len(self.of("timesteps"))
        uses = tuple(Use(_entry(weight), (128, 128), place) for place, weight in enumerate(weights))
        batch = Batch(uses, [""] * len(uses), None, True)
        return self.learner.learn(Group(0, (batch,), 1, len(uses), False), [0.0] * 4)

    def gradient_digests(self) -> Tensor:
        """(sum, L2, dot with a cosine) of each gradient, NaN where there is none: [tensors, 3]."""
        nothing = [math.nan] * 3
        grads = [self.weights[key].grad for key in self.case.keys]
        return torch.tensor([nothing if g is None else digest(g) for g in grads], dtype=torch.float64)

    def weight_digests(self) -> Tensor:
        """The same of each weight."""
        return torch.tensor([digest(self.weights[key]) for key in self.case.keys], dtype=torch.float64)


def digest(tensor: Tensor) -> list[float]:
    """Sum, length, and dot product with cos(0.7 i + 0.3), in fp64."""
    x = tensor.detach().double().flatten()
    wave = torch.cos(torch.arange(x.numel(), dtype=torch.float64) * 0.7 + 0.3)
    return [float(x.sum()), float(x.norm()), float(x @ wave)]


def _entry(weight: float) -> Entry:
    picture = Picture(Path("a.png"), 128, 128)
    return Entry(picture, "", 1, weight != 1.0, Path("1_a"))
