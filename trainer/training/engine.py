"""The machine that a run is on: device, processes, autocast. The only file that talks to accelerate.

Everything here works the same for one CPU, one GPU and several processes, so that the loop needs no "if main process".
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from torch import Tensor, nn

from trainer.training.outcome import Refused


class Engine:
    """One process's view of the machine. `main` is the process that writes files and events."""

    def __init__(self, mixed_precision: str) -> None:
        self._accelerator = Accelerator(
            mixed_precision=mixed_precision,
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )
        self.half: bool = mixed_precision != "no"
        self.device: torch.device = self._accelerator.device
        self.main: bool = self._accelerator.is_main_process
        self.rank: int = self._accelerator.process_index
        self.processes: int = self._accelerator.num_processes

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The gradient scaler of fp16, None in other precisions."""
        return self._accelerator.scaler

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module on the device, its forward under autocast, its gradients averaged over the processes."""
        return self._accelerator.prepare_model(module)

    def unwrap(self, module: nn.Module) -> nn.Module:
        """The module as it was before `wrap`."""
        return self._accelerator.unwrap_model(module, keep_fp32_wrapper=False)

    def send(self, values: Tensor) -> Tensor:
        """A tensor of the CPU on the device, without waiting for what the device is at."""
        if self.device.type != "cuda":
            return values.to(self.device)
        # Only from pinned memory does a copy really run beside the computer.
        return values.pin_memory().to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """The compute precision of the run, for what is called outside of a wrapped module."""
        return self._accelerator.autocast()

    def backward(self, loss: Tensor) -> None:
        """Backward pass, scaled where fp16 needs it."""
        self._accelerator.backward(loss)

    def gathering(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Inside, gradients are added up in this process only; the next backward outside averages them over all."""
        return self._accelerator.no_sync(module)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, on each of them."""
        return values if self.processes == 1 else self._accelerator.reduce(values, reduction="sum")

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process. All processes must ask."""
        return flag if self.processes == 1 else bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, in the order of their ranks."""
        return items if self.processes == 1 else gather_object(items)

    def from_main(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in the main process, in all of them. A `Refused` there is raised in all of them."""
        box: list[Any] = [None]
        if self.main:
            try:
                box = [make()]
            except Refused as refusal:
                if self.processes == 1:
                    raise
                box = [refusal.problems, "refused"]
        if self.processes > 1:
            box = broadcast_object_list([box if self.main else None])[0]
        if len(box) == 2:
            raise Refused(box[0])
        return box[0]

    def wait(self) -> None:
        """Go on only when all processes are here."""
        self._accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the group of processes."""
        self._accelerator.end_training()
