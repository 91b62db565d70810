"""How busy and how warm the card is, asked of the driver without torch; None where there is no NVIDIA card."""

import os
import time
from dataclasses import dataclass
from functools import lru_cache

import pynvml


@dataclass(frozen=True, slots=True)
class Card:
    """One look at a card: its load in percent and its temperature in degrees Celsius, as far as it tells them."""

    load: int | None
    celsius: int | None


def look_at_card() -> Card | None:
    """The first card that CUDA_VISIBLE_DEVICES leaves; looked at once a second, however many pages ask."""
    return _look(int(time.monotonic()))


@lru_cache(maxsize=1)
def _look(second: int) -> Card | None:
    """`second` only tells the cache when a look is old."""
    del second
    try:
        _wake()
        handle = _handle(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "-1")
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
