"""Draw one picture: a prompt and a seed in, pixels out, with the networks as they are.

Classifier-free guidance (Ho and Salimans 2022) in the family's own noise schedule, along one of the walks. Nothing is
drawn from random numbers that others use. While training and afterwards pictures come from here.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from trainer.contract.config import TrainingConfig
from trainer.contract.prompts import Prompt
from trainer.model.load import Networks
from trainer.training.latents import SCALE
from trainer.training.objective import NoiseSchedule, Prediction
from trainer.training.text import INNER, Reader, states_of
from trainer.training.walks import Walk


@dataclass(frozen=True, slots=True)
class Drawing:
    """How prompts are drawn where they do not say it themselves."""

    size: tuple[int, int]
    """Width and height in pixels."""
    seed: int
    clip_skip: int | None
    prediction: Prediction
    zero_terminal_snr: bool = False
    token_limit: int = INNER
    """How many tokens of a prompt are read: as many as of a caption."""
    weighted: bool = False
    """Whether words in brackets are weighted, as in captions."""


class Place(Protocol):
    """Where networks compute: a device, and the precision of the run."""

    device: torch.device

    def autocast(self) -> AbstractContextManager[Any]: ...


class Painter:
    """Draws with one model. The networks lie on the place's device, in eval mode."""

    def __init__(self, networks: Networks, drawing: Drawing, place: Place) -> None:
        self._networks = networks
        self._drawing = drawing
        self._place = place
        self._reader = Reader(networks.tokenizer, limit=drawing.token_limit, weighted=drawing.weighted)
        self._schedule = NoiseSchedule(place.device, drawing.zero_terminal_snr)

    def size(self, prompt: Prompt) -> tuple[int, int]:
        """Width and height of the prompt's picture, multiples of 8."""
        width, height = prompt.width or self._drawing.size[0], prompt.height or self._drawing.size[1]
        return width // 8 * 8, height // 8 * 8

    def picture(self, prompt: Prompt, seed: int, tell: Callable[[int], None] | None = None) -> np.ndarray:
        """One picture, uint8 [H, W, 3]. `tell` hears how many steps are done; what it raises ends the drawing."""
        return self.levels(prompt, seed, tell).round().to("cpu", torch.uint8).numpy()

    @torch.no_grad()
    def levels(self, prompt: Prompt, seed: int, tell: Callable[[int], None] | None = None) -> Tensor:
        """One picture before it is rounded: fp32 [H, W, 3], 0 to 255."""
        device = self._place.device
        width, height = self.size(prompt)
        channels = self._networks.unet.config.in_channels
        # A generator of its own: the one that others draw from is left as it was.
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn((1, channels, height // 8, width // 8), generator=generator).to(device)
        states = self._states(prompt)
        walk = Walk(prompt.sampler, prompt.steps, self._schedule, self._drawing.zero_terminal_snr)
        latents = walk.start(noise)
        for place, time in enumerate(walk.times):
            x0, eps = self._look(latents, states, time, (walk.image[place], walk.noise[place]), prompt.scale)
            latents = walk.step(place, x0, eps, generator)
            if tell is not None:
                tell(place + 1)
        return self._decode(latents)

    def _states(self, prompt: Prompt) -> Tensor:
        """What the U-Net reads: of the prompt alone, or of the unwanted words and the prompt."""
        words = [prompt.negative, prompt.text] if prompt.scale > 1 else [prompt.text]
        device = self._place.device
        with self._place.autocast():
            read = self._reader.read(words).sent(lambda values: values.to(device))
            return states_of(self._networks.text_encoder, read, self._drawing.clip_skip)

    def _look(
        self, x_t: Tensor, states: Tensor, time: Tensor, mix: tuple[Tensor, Tensor], scale: float
    ) -> tuple[Tensor, Tensor]:
        """Picture and noise that the U-Net sees in x_t = image x0 + noise eps, with `mix` = (image, noise)."""
        count = len(states)
        with self._place.autocast():
            out = self._networks.unet(x_t.repeat(count, 1, 1, 1), time.expand(count), encoder_hidden_states=states)
        told = out.sample.float()
        guided = told if count == 1 else told[:1] + scale * (told[1:] - told[:1])
        image, noise = mix
        if self._drawing.prediction == "v":
            return image * x_t - noise * guided, image * guided + noise * x_t
        return (x_t - noise * guided) / image, guided

    def _decode(self, latents: Tensor) -> Tensor:
        vae = self._networks.vae
        with self._place.autocast():
            out = vae.decode(latents / SCALE).sample.float()
        if not bool(out.isfinite().all()):  # half precision overflows in some VAEs
            out = vae.decode(latents / SCALE).sample.float()
        return (out[0].permute(1, 2, 0) * 127.5 + 127.5).nan_to_num(0).clamp(0, 255)


def drawing_of(config: TrainingConfig, seed: int, prediction: Prediction) -> Drawing:
    """How a run with these options draws."""
    return Drawing(
        config.images.size,
        seed,
        config.networks.clip_skip,
        prediction,
        config.loss.zero_terminal_snr,
        config.captions.token_limit,
        config.captions.weighted_captions,
    )
