"""The NVIDIA cards of this machine, asked of the driver without torch: which are there, how busy, how warm."""

import os
import time
from dataclasses import dataclass
from functools import lru_cache

import pynvml

from trainer.contract.config import TrainingConfig
from trainer.contract.problems import Mend, Problem


@dataclass(frozen=True, slots=True)
class Card:
    """One look at a card: its load in percent and its temperature in degrees Celsius, as far as it tells them."""

    load: int | None
    celsius: int | None


@dataclass(frozen=True, slots=True)
class Installed:
    """A card of this machine: its name and the bytes of its memory."""

    name: str
    memory: int


def list_cards() -> list[Installed]:
    """All NVIDIA cards that the driver knows, by number; an empty list where there is no driver."""
    try:
        _wake()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        return [
            Installed(str(pynvml.nvmlDeviceGetName(handle)), int(pynvml.nvmlDeviceGetMemoryInfo(handle).total))
            for handle in handles
        ]
    except pynvml.NVMLError:
        return []


def look_at_card(number: int | None = None) -> Card | None:
    """A card by its number, or the first that CUDA_VISIBLE_DEVICES leaves; None where there is no such card.

    Looked at once a second, however many pages ask.
    """
    return _look(number, int(time.monotonic()))


def check_card(config: TrainingConfig) -> list[Problem]:
    """A card that a job names must be there."""
    number = config.hardware.gpu_ids
    if number is None:
        return []
    try:
        _wake()
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        count = 0
    if number < count:
        return []
    there = f"the cards here are 0 to {count - 1}" if count > 1 else "the only card here is 0"
    message = f"There is no card {number}: {there if count else 'no NVIDIA card was found'}. Leave it empty."
    return [Problem("machine.no_such_card", message, ("gpu_ids",), mends=(Mend("Leave it empty", {"gpu_ids": None}),))]


@lru_cache(maxsize=8)
def _look(number: int | None, second: int) -> Card | None:
    """`second` only tells the cache when a look is old."""
    del second
    try:
        _wake()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "-1"
        handle = _handle(first if number is None else str(number))
    except (pynvml.NVMLError, ValueError):
        return None
    return Card(_load(handle), _celsius(handle))


@lru_cache(maxsize=1)
def _wake() -> None:
    """Once a process: it takes longer than all looks of a minute."""
    pynvml.nvmlInit()


def _handle(named: str) -> object:
    """The card with this number, or of this UUID; raises ValueError for -1 and what is neither."""
    if named.startswith(("GPU-", "MIG-")):
        return pynvml.nvmlDeviceGetHandleByUUID(named)
    number = int(named)
    if number < 0:
        raise ValueError(named)
    return pynvml.nvmlDeviceGetHandleByIndex(number)


def _load(handle: object) -> int | None:
    try:
        return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except pynvml.NVMLError:  # a part of a card (MIG) does not tell
        return None


def _celsius(handle: object) -> int | None:
    try:
        return int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError:
        return None
