"""Recorded steps of independent programs: what went in, what came out, and a learner that is fed with them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from tests.training.conftest import FIXTURES
from trainer.contract.config import ModelSection
from trainer.contract.control import WISHES
from trainer.contract.loss import LossSection
from trainer.dataset.batches import Purpose, Use
from trainer.dataset.captions import Entry
from trainer.dataset.scan import Picture
from trainer.model.load import load_networks
from trainer.training.denoiser import Denoiser
from trainer.training.engine import Engine
from trainer.training.feed import Batch, Group
from trainer.training.latents import Encoder, FreshLatents
from trainer.training.learner import Aim, Learner, Taken
from trainer.training.objective import Objective
from trainer.training.optimizer import make_optimizer
from trainer.training.text import Words, freeze_unread_layers

PRIOR_LOSS_WEIGHT = 0.5

RAW = {Purpose.LATENT: "rng_randn", Purpose.NOISE: "rng_randn_like", Purpose.OFFSET: "rng_randn.2"}
"""Purpose -> the draws as the recorded program got them from torch, in the cases that keep them."""


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

    @property
    def with_text_encoder(self) -> bool:
        """Whether the text encoder is trained as well."""
        return any(key.startswith("text_encoder.") for key in self.keys)


def read_case(name: str) -> Recorded:
    """Read a case from the fixtures."""
    folder = FIXTURES / "steps" / name
    told = json.loads((folder / "steps.json").read_text())
    with safe_open(folder / "batches.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - this object is no mapping
    return Recorded(name, told["steps"], told["digest_keys"], tensors)


class FedLearner:
    """Our learner, given the recorded pictures or latents, draws, timesteps and ids in place of its own."""

    def __init__(
        self, case: Recorded, monkeypatch: Any, clip_skip: int | None = None, loss: Mapping[str, Any] | None = None
    ) -> None:
        self.case = case
        model = FIXTURES / "models" / ("tiny-sd2v" if case.v2 else "tiny-sd1")
        section = ModelSection(pretrained_model_name_or_path=str(model), v2=case.v2, v_parameterization=case.v2)
        networks = load_networks(section)
        networks.unet.requires_grad_(True).train()
        networks.text_encoder.requires_grad_(case.with_text_encoder).train()
        freeze_unread_layers(networks.text_encoder, clip_skip)
        self.weights = {f"unet.{name}": weight for name, weight in networks.unet.named_parameters()}
        if case.with_text_encoder:
            self.weights |= {f"text_encoder.text_model.{n}": w for n, w in networks.text_encoder.named_parameters()}
        assert sorted(self.weights) == case.keys
        engine = Engine("no")
        networks_by_name = {"unet": networks.unet, "text_encoder": networks.text_encoder}
        self.learner = Learner(
            Denoiser(networks.unet, networks.text_encoder, clip_skip),
            make_optimizer(networks_by_name),
            engine,
            self,
            self,
            Aim(
                Objective(networks.prediction, LossSection(**loss or {})), PRIOR_LOSS_WEIGHT, seed=0, max_grad_norm=1.0
            ),
        )
        self._fresh = FreshLatents(Encoder(networks.vae, engine, lambda *_: None), engine, seed=0)
        self._step = 0
        monkeypatch.setattr("trainer.training.noise.draw_normal", self.draw)
        monkeypatch.setattr("trainer.training.latents.draw_normal", self.draw)
        monkeypatch.setattr("trainer.training.noise.draw_timesteps", lambda *_: self.of("timesteps"))

    def of(self, what: str) -> Tensor:
        """A recorded tensor of the step that is under way."""
        return self.case.tensors[f"step{self._step:02d}.{what}"]

    def has(self, what: str) -> bool:
        """Whether the case holds this tensor for the step that is under way."""
        return f"step{self._step:02d}.{what}" in self.case.tensors

    def draw(self, seed: int, epoch: int, uses: Sequence[Use], shape: Sequence[int], purpose: Purpose) -> Tensor:
        """In place of our dice: the recorded program's draws, or the noise that it made of them."""
        drawn = self.of(RAW[purpose] if self.has(RAW[purpose]) or purpose != Purpose.NOISE else "noise")
        assert tuple(drawn.shape) == (len(uses), *shape)
        return drawn

    def latents(self, batch: Batch, epoch: int) -> Tensor:
        """By our VAE from the picture where the case has it, else the recorded ones."""
        pixels = self.case.tensors.get(f"vae{self._step:02d}.image_u8")
        if pixels is None:
            return self.of("latents")
        found = self._fresh.latents(replace(batch, pixels_BHWC=pixels.permute(0, 2, 3, 1)), epoch)
        assert torch.allclose(found, self.of("latents"), atol=3e-5), "of latents up to 6"
        return found

    def read(self, captions: list[str]) -> Words:
        """In place of the tokenizer; no word was weighted in what was recorded."""
        return Words(self.of("input_ids"))

    def take(self, step: int) -> Taken:
        """Take a recorded step."""
        self._step = step
        told = self.case.steps[step]
        self.learner.set_rate(told["lr"][0])
        weights = (told.get("batch") or {}).get("loss_weights") or [1.0] * len(self.of("timesteps"))
        uses = tuple(Use(_entry(weight), (128, 128), place) for place, weight in enumerate(weights))
        batch = Batch(uses, [""] * len(uses), None, True)
        return self.learner.learn(Group(0, (batch,), 1, len(uses), False), [0.0] * len(WISHES))

    def gradient_digests(self) -> Tensor:
        """(sum, L2, dot with a cosine) of each gradient, NaN where there is none: [tensors, 3]."""
        nothing = [math.nan] * 3
        grads = [self.weights[key].grad for key in self.case.keys]
        return torch.tensor([nothing if g is None else digest(g) for g in grads], dtype=torch.float64)

    def weight_digests(self, values: Mapping[str, Tensor] | None = None) -> Tensor:
        """The same of each weight, or of the values given in their place."""
        return torch.tensor([digest((values or self.weights)[key]) for key in self.case.keys], dtype=torch.float64)


def digest(tensor: Tensor) -> list[float]:
    """Sum, length, and dot product with cos(0.7 i + 0.3), in fp64."""
    x = tensor.detach().double().flatten()
    wave = torch.cos(torch.arange(x.numel(), dtype=torch.float64) * 0.7 + 0.3)
    return [float(x.sum()), float(x.norm()), float(x @ wave)]


def _entry(weight: float) -> Entry:
    picture = Picture(Path("a.png"), 128, 128)
    return Entry(picture, "", 1, weight != 1.0, Path("1_a"))
