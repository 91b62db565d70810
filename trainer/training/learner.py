"""One optimizer step: forward and backward over a group of batches, clipping, the optimizer.

A group comes in; the weights move, or stay as they are where loss or gradients are no numbers; what it was like goes
out as a `Taken`, whose figures may still be on their way from the device.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.contract.control import WISHES
from trainer.dataset.batches import Use
from trainer.training.denoiser import Denoiser
from trainer.training.engine import Engine
from trainer.training.feed import Batch, Group
from trainer.training.latents import LatentSource
from trainer.training.noise import Dice
from trainer.training.objective import Objective, batch_loss
from trainer.training.optimizer import drop_group, set_rates, skips_on_device, weights_of
from trainer.training.text import Reader

SMALLEST_SCALE = 1.0
"""fp16 gradients that overflow at this scale overflow by themselves: then the step is not tried again."""


@dataclass(slots=True)
class Learnt:
    """One batch of a step: what it was and how far off each prediction was."""

    uses: tuple[Use, ...]
    timesteps: Tensor
    error_B: Tensor


@dataclass(slots=True)
class Taken:
    """What a step did. `figures` is (loss, gradient norm, applied, *wishes), on the device."""

    figures: Tensor
    learnt: list[Learnt]
    retries: int = 0
    scale: float | None = None
    """The scale of fp16 that the step was taken with in the end."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What the networks are to learn, and how far one step may go."""

    objective: Objective
    prior_loss_weight: float
    """How much regularization images count beside the others."""
    seed: int
    """Of noise, timesteps and latents."""
    max_grad_norm: float
    """Longer gradients are shortened to this length; 0 leaves them as they are."""


class Learner:
    """Networks and optimizer of one process."""

    def __init__(
        self,
        denoiser: Denoiser,
        optimizer: torch.optim.Optimizer,
        engine: Engine,
        source: LatentSource,
        reader: Reader,
        aim: Aim,
    ) -> None:
        self._engine = engine
        self._denoiser = engine.wrap(denoiser)
        self.optimizer = optimizer
        self._source = source
        self._reader = reader
        self._aim = aim
        self._dice = Dice(aim.objective.loss, aim.seed, engine.send)

    def set_rate(self, rate: float, text_encoder: float | None = None) -> dict[str, float]:
        """Set the learning rates of the next step, one for both networks or two; returns what it uses, by group."""
        rates = {"unet": rate, "text_encoder": rate if text_encoder is None else text_encoder}
        return set_rates(self.optimizer, rates)

    def freeze_text_encoder(self) -> None:
        """From the next step on the text encoder stays as it is: no gradients, no optimizer state, no weight decay."""
        plain = self._engine.unwrap(self._denoiser) if self._engine.processes > 1 else self._denoiser
        plain.text_encoder.requires_grad_(False)
        for weight in plain.text_encoder.parameters():
            weight.grad = None
        drop_group(self.optimizer, "text_encoder")
        # The wrapper of several processes waits for gradients of every weight that it knew as trained.
        self._denoiser = self._engine.wrap(plain) if self._engine.processes > 1 else plain

    def learn(self, group: Group, wishes: Sequence[float]) -> Taken:
        """Take one step. `wishes` (one number for each of `WISHES`) travel along, to be the same in every process."""
        assert len(wishes) == len(WISHES)
        scaler = self._engine.scaler
        retries = 0
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            loss, learnt = self._backward(group)
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            told = self._engine.total(torch.cat([loss.view(1), self._engine.send(torch.tensor(wishes))]))
            norm = self._clip()
            finite = torch.isfinite(norm) & torch.isfinite(told[0])
            # fp16 waits for the device here once a step. The loss must be a number, or the scale is not at fault.
            if scaler is not None and not bool(finite) and bool(torch.isfinite(told[0])) and _lowered(scaler):
                retries += 1
                continue
            self._step(finite)
            if scaler is not None:
                scaler.update()
            figures = torch.cat([told[:1], norm.view(1), finite.view(1).to(told.dtype), told[1:]])
            return Taken(figures, learnt, retries, None if scaler is None else scaler.get_scale())

    def _backward(self, group: Group) -> tuple[Tensor, list[Learnt]]:
        """Gradients of the mean over all batches of the group; this process's part of that mean, on the device."""
        loss_sum = torch.zeros((), device=self._engine.device)
        learnt: list[Learnt] = []
        for number, batch in enumerate(group.batches):
            last = number == len(group.batches) - 1
            with nullcontext() if last else self._engine.gathering(self._denoiser):
                error, weight, timesteps = self._judge(batch, group.epoch)
                loss = batch_loss(error, weight) / group.present
                # The wrapper takes the mean over the processes, the step the mean over the batches.
                self._engine.backward(loss * self._engine.processes)
            loss_sum += loss.detach()
            if batch.counts:
                learnt.append(Learnt(batch.uses, timesteps, error.detach()))
        return loss_sum, learnt

    def _judge(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """How far off each sample is and how much that counts, [B] on the device; its timestep, [B] on the CPU."""
        objective, send = self._aim.objective, self._engine.send
        with torch.no_grad():
            x0 = self._source.latents(batch, epoch)
        noise = self._dice.noise(x0, epoch, batch.uses)
        timesteps = self._dice.timesteps(epoch, batch.uses)
        t = send(timesteps)
        noisy = objective.schedule.add_noise(x0, noise.added, t)
        predicted = self._denoiser(noisy, t, *self._reader.read(batch.captions).sent(send))
        target = objective.schedule.target(objective.prediction, x0, noise.asked, t)
        weight = self._weights(batch) * objective.weights(t)
        masks = None if batch.masks_BHW is None else send(batch.masks_BHW)
        return objective.errors(predicted, target, t, masks), weight, timesteps

    def _weights(self, batch: Batch) -> Tensor:
        prior = self._aim.prior_loss_weight
        weights = [(prior if use.entry.regularization else 1.0) * batch.counts for use in batch.uses]
        return self._engine.send(torch.tensor(weights))

    def _clip(self) -> Tensor:
        """The length of all gradients together, before they are shortened to `max_grad_norm` (0: left as they are)."""
        weights = weights_of(self.optimizer)
        if self._aim.max_grad_norm > 0:
            return torch.nn.utils.clip_grad_norm_(weights, self._aim.max_grad_norm)
        return torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])

    def _step(self, finite: Tensor) -> None:
        if skips_on_device(self.optimizer):
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif bool(finite):
            self.optimizer.step()


def _lowered(scaler: torch.amp.GradScaler) -> bool:
    """Lower the scale after an overflow; False where it is as low as it goes, or was not what overflowed."""
    before = scaler.get_scale()
    if before <= SMALLEST_SCALE:
        return False
    scaler.update()
    return scaler.get_scale() < before
