"""A moving average of the weights (EMA), kept in fp32, in the computer's memory unless it is asked for elsewhere.

bf16 could not hold it: at a decay of 0.9999 each update is smaller than the last bit, and the average never moves.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

DECAY = 0.9999

AsUsed = Callable[[], AbstractContextManager[None]]
"""Opens a block in which the networks hold the weights that a model is used with: averaged ones, if there are any."""


def decay_at(updates: int, most: float = DECAY) -> float:
    """The decay of update number `updates` (from 1): min(most, (1 + n) / (10 + n)), as in CompVis' LitEma."""
    return min(most, (1 + updates) / (10 + updates))


class Average:
    """The average of named weights: after each optimizer step, average = d average + (1 - d) weights."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        start: Mapping[str, Tensor] | None = None,
        updates: int = 0,
        decay: float = DECAY,
        device: torch.device | str = "cpu",
    ) -> None:
        """`weights` are followed; the average begins at `start` where it has a name, else at the weights themselves.

        It lies on `device`, and no decay is larger than `decay`.
        """
        self._weights = dict(weights)
        self._decay = decay
        self._device = device
        self.values = {
            name: (start or {}).get(name, weight).detach().to(device, torch.float32, copy=True)
            for name, weight in self._weights.items()
        }
        self.updates = updates

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights as they are now."""
        self.updates += 1
        new = [self._weights[name].detach().to(self._device, torch.float32) for name in self.values]
        torch._foreach_lerp_(list(self.values.values()), new, 1.0 - decay_at(self.updates, self._decay))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the followed weights are the averaged ones; afterwards they are what they were, to the last bit."""
        kept = {name: weight.detach().to("cpu", copy=True) for name, weight in self._weights.items()}
        try:
            self._fill(self.values)
            yield
        finally:
            self._fill(kept)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._weights[name].copy_(value)
