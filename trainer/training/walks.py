"""The ways from noise to a picture (samplers): at which noise levels the U-Net is asked, and the step between two.

A sampler's name and the number of steps go in. With x = a x0 + s eps (a^2 + s^2 = 1, sigma = s / a) every step here is
x' = a' x0 + s' eps, DDIM's with eta 0; the samplers differ in their levels and in what they put for x0 and eps.
"""

import torch
from torch import Tensor

from trainer.training.objective import TIMESTEPS, NoiseSchedule

STEPS_OFFSET = 1
"""DDIM of Stable Diffusion walks the timesteps 1, 1 + n, 1 + 2 n, ... and not from 0."""

LEAST_IMAGE = 2**-12
"""What is left of the picture at the last timestep of a zero terminal SNR, for samplers that count in sigmas."""

RHO = 7.0


class Walk:
    """One way from noise to a picture. `times` [N] is what the U-Net is told, noisiest first; sigmas lie between."""

    def __init__(self, sampler: str, steps: int, schedule: NoiseSchedule, zero_terminal_snr: bool = False) -> None:
        self._sampler = sampler
        self._seen: Tensor | None = None
        device = schedule.alphas_cumprod.device
        if sampler == "DDIM":
            times = torch.tensor(walk_from_noise(steps, zero_terminal_snr), device=device)
            # It ends at the first timestep, whose picture counts as clean.
            self.image, self.noise = schedule.mix(torch.cat([times, times.new_zeros(1)]))
        else:
            times, sigmas = levels(steps, schedule.alphas_cumprod, karras=sampler.endswith("Karras"))
            image = (1 + sigmas.square()).rsqrt()
            self.image, self.noise = (v.float().to(device).view(-1, 1, 1, 1) for v in (image, sigmas * image))
        self.times: Tensor = times.to(device)

    def start(self, noise: Tensor) -> Tensor:
        """Where the walk begins: pure noise, of the first level's strength."""
        return noise if self._sampler == "DDIM" else self.noise[:1] * noise

    def step(self, place: int, x0: Tensor, eps: Tensor, generator: torch.Generator) -> Tensor:
        """From level `place` to the next, given what the U-Net takes for picture and noise there.

        Only an ancestral sampler draws on the generator, which lives on the CPU.
        """
        image, noise = self.image[place + 1], self.noise[place + 1]
        if self._sampler == "Euler a":
            up = self._ancestral(place)
            down = (noise.square() - (image * up).square()).clamp(min=0).sqrt()
            fresh = torch.randn(x0.shape, generator=generator).to(x0.device)
            return image * x0 + down * eps + image * up * fresh
        if self._sampler.startswith("DPM++ 2M"):
            x0, eps = self._second_order(place, x0, eps)
        return image * x0 + noise * eps

    def _second_order(self, place: int, x0: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """DPM-Solver++ (2M) of Lu et al. 2022, algorithm 2: x0 led on along its last change. First and last as DDIM."""
        before, self._seen = self._seen, x0
        if before is None or place == len(self.times) - 1:
            return x0, eps
        x = self.image[place] * x0 + self.noise[place] * eps
        last, now, then = ((self.image[n] / self.noise[n]).log() for n in (place - 1, place, place + 1))
        led_on = x0 + (x0 - before) * (then - now) / (now - last) / 2
        return led_on, (x - self.image[place] * led_on) / self.noise[place]

    def _ancestral(self, place: int) -> Tensor:
        """The sigma of the noise that is added anew (Karras et al. 2022, algorithm 2, with all that can be)."""
        now, then = (self.noise[n] / self.image[n] for n in (place, place + 1))
        return then * (1 - (then / now).square()).clamp(min=0).sqrt()


def walk_from_noise(steps: int, from_the_end: bool) -> list[int]:
    """DDIM's timesteps, noisiest first.

    With a zero terminal SNR it must begin at the very last one ("trailing" in Lin et al. 2024, table 2): the first
    step from noise alone is the one that such a model was trained for.
    """
    if from_the_end:
        return [round(TIMESTEPS - step * TIMESTEPS / steps) - 1 for step in range(steps)]
    return list(range(STEPS_OFFSET, TIMESTEPS, TIMESTEPS // steps)[:steps][::-1])


def levels(steps: int, alphas_cumprod: Tensor, karras: bool) -> tuple[Tensor, Tensor]:
    """Timesteps [N] (fp32), which may lie between whole ones, and sigmas [N + 1] (fp64) with 0 at the end, on the CPU.

    Timesteps evenly spaced from 999 to 0, or the sigmas as Karras et al. 2022 space them (eq. 5, rho 7).
    """
    image = alphas_cumprod.double().cpu().sqrt().clamp(min=LEAST_IMAGE)
    table = ((1 - image.square()).sqrt() / image).log()
    share = torch.linspace(0, 1, steps, dtype=torch.float64)
    if karras:
        high, low = (table[n].exp() ** (1 / RHO) for n in (-1, 0))
        logs = (high + share * (low - high)).log() * RHO
        above = torch.searchsorted(table, logs.clamp(table[0], table[-1])).clamp(1, TIMESTEPS - 1)
        times = above - 1 + (logs - table[above - 1]) / (table[above] - table[above - 1])
    else:
        times = (1 - share) * (TIMESTEPS - 1)
        below = times.long().clamp(max=TIMESTEPS - 2)
        logs = torch.lerp(table[below], table[below + 1], times - below)
    return times.clamp(0, TIMESTEPS - 1).float(), torch.cat([logs.exp(), logs.new_zeros(1)])
