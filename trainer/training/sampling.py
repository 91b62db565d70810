"""Sample pictures while training: the prompts of the job, drawn with the weights as they are now.

DDIM (Song et al. 2021, eta 0) with classifier-free guidance, in the family's own noise schedule. The same prompt has
the same seed at every step, so that pictures of different steps can be compared; the random numbers of training are
not touched. PNG files in RUN/samples and `Sampled` events go out.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from trainer.contract.events import Phase, Sampled
from trainer.contract.prompts import Prompt
from trainer.model.load import Networks
from trainer.training.ema import Average
from trainer.training.engine import Engine
from trainer.training.latents import SCALE, in_fp32
from trainer.training.ledger import Writer
from trainer.training.objective import TIMESTEPS, NoiseSchedule, Prediction
from trainer.training.text import INNER, Reader, text_states, weighed

STEPS_OFFSET = 1
"""Stable Diffusion's own samplers walk the timesteps 1, 1 + n, 1 + 2 n, ... and not from 0."""


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


class Sampler:
    """Draws the prompts of one run."""

    def __init__(
        self, networks: Networks, average: Average | None, prompts: Sequence[Prompt], drawing: Drawing, engine: Engine
    ) -> None:
        self._networks = networks
        self._average = average
        self._prompts = list(prompts)
        self._drawing = drawing
        self._engine = engine
        self._reader = Reader(networks.tokenizer, limit=drawing.token_limit, weighted=drawing.weighted)
        self._schedule = NoiseSchedule(engine.device, drawing.zero_terminal_snr)
        self._drawn_at: int | None = None

    def draw(self, step: int, run: Path, events: Writer) -> None:
        """Draw every prompt once, in the main process; the others wait. Without prompts nothing happens."""
        if not self._prompts or self._drawn_at == step:
            return
        self._drawn_at = step
        events.write(Phase(name="sampling", done=0, total=len(self._prompts), unit="pictures"))
        if self._engine.main:
            (run / "samples").mkdir(exist_ok=True)
            with self._as_shown(), torch.no_grad():
                for index, prompt in enumerate(self._prompts, start=1):
                    seed = self._seed(index, prompt)
                    name = f"step-{step:08d}-{index}.png"
                    write_png(run / "samples" / name, self.picture(prompt, seed), _words(prompt, seed, step))
                    told = Sampled(step=step, index=index, prompt=prompt.text, seed=seed, path=f"samples/{name}")
                    events.write(told)
                    events.write(Phase(name="sampling", done=index, total=len(self._prompts), unit="pictures"))
        self._engine.wait()

    def picture(self, prompt: Prompt, seed: int) -> np.ndarray:
        """One picture, uint8 [H, W, 3]."""
        return self.levels(prompt, seed).round().to("cpu", torch.uint8).numpy()

    def levels(self, prompt: Prompt, seed: int) -> Tensor:
        """One picture before it is rounded: fp32 [H, W, 3], 0 to 255."""
        device = self._engine.device
        width, height = self._size(prompt)
        channels = self._networks.unet.config.in_channels
        # A generator of its own: the one that others draw from is left as it was.
        generator = torch.Generator("cpu").manual_seed(seed)
        latents = torch.randn((1, channels, height // 8, width // 8), generator=generator).to(device)
        with self._engine.autocast():
            words = [prompt.negative, prompt.text] if prompt.scale > 1 else [prompt.text]
            ids, weights = self._reader.ids(words).to(device), self._reader.emphasis(words)
            states = text_states(self._networks.text_encoder, ids, self._drawing.clip_skip)
            states = weighed(states, None if weights is None else weights.to(device))
        walk = walk_from_noise(prompt.steps, self._drawing.zero_terminal_snr)
        for now, then in zip(walk, [*walk[1:], 0], strict=True):
            latents = self._step(latents, states, now, then, prompt.scale)
        return self._decode(latents)

    def _step(self, x_t: Tensor, states: Tensor, now: int, then: int, scale: float) -> Tensor:
        """From timestep `now` to the less noisy `then`: eq. 12 of Song et al. 2021 with sigma 0."""
        count = len(states)
        t = torch.full((count,), now, device=x_t.device)
        with self._engine.autocast():
            out = self._networks.unet(x_t.repeat(count, 1, 1, 1), t, encoder_hidden_states=states).sample.float()
        guided = out if count == 1 else out[:1] + scale * (out[1:] - out[:1])
        image, noise = self._schedule.mix(t[:1])
        if self._drawing.prediction == "v":
            x0, eps = image * x_t - noise * guided, image * guided + noise * x_t
        else:
            x0, eps = (x_t - noise * guided) / image, guided
        return self._schedule.add_noise(x0, eps, torch.full((1,), then, device=x_t.device))

    def _decode(self, latents: Tensor) -> Tensor:
        vae = self._networks.vae
        with self._engine.autocast():
            out = vae.decode(latents / SCALE).sample.float()
        if not bool(out.isfinite().all()):  # half precision overflows in some VAEs
            out = vae.decode(latents / SCALE).sample.float()
        return (out[0].permute(1, 2, 0) * 127.5 + 127.5).nan_to_num(0).clamp(0, 255)

    @contextmanager
    def _as_shown(self) -> Iterator[None]:
        """Inside, networks are as they would be saved and used: averaged weights, eval mode, VAE on the device."""
        nets = self._networks
        trained = {network: network.training for network in (nets.unet, nets.text_encoder)}
        vae_home = nets.vae.device
        in_fp32(nets.vae, self._engine.device)
        for network in trained:
            network.eval()
        try:
            with self._average.in_place() if self._average is not None else nullcontext():
                yield
        finally:
            for network, mode in trained.items():
                network.train(mode)
            nets.vae.to(vae_home)

    def _size(self, prompt: Prompt) -> tuple[int, int]:
        width, height = prompt.width or self._drawing.size[0], prompt.height or self._drawing.size[1]
        return width // 8 * 8, height // 8 * 8

    def _seed(self, index: int, prompt: Prompt) -> int:
        return prompt.seed if prompt.seed is not None else (self._drawing.seed + index) % 2**32


def walk_from_noise(steps: int, from_the_end: bool) -> list[int]:
    """The timesteps of a picture, noisiest first.

    With a zero terminal SNR it must begin at the very last one ("trailing" in Lin et al. 2024, table 2): the first
    step from noise alone is the one that such a model was trained for.
    """
    if from_the_end:
        return [round(TIMESTEPS - step * TIMESTEPS / steps) - 1 for step in range(steps)]
    return list(range(STEPS_OFFSET, TIMESTEPS, TIMESTEPS // steps)[:steps][::-1])


def write_png(path: Path, pixels: np.ndarray, words: dict[str, str]) -> None:
    """A PNG that appears whole; `words` stand in it as text, where web UIs look for prompt and seed."""
    info = PngImagePlugin.PngInfo()
    for key, value in words.items():
        info.add_text(key, value)
    temporary = path.with_name(f".{path.name}.partial")
    Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=info)
    temporary.replace(path)


def _words(prompt: Prompt, seed: int, step: int) -> dict[str, str]:
    negative = f"\nNegative prompt: {prompt.negative}" if prompt.negative else ""
    settings = f"Steps: {prompt.steps}, Sampler: DDIM, CFG scale: {prompt.scale:g}, Seed: {seed}"
    return {"parameters": f"{prompt.text}{negative}\n{settings}", "training_step": str(step)}
