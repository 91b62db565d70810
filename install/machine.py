"""What this machine is, as far as the choice of packages goes: system, processor, Python, NVIDIA GPUs.

Nothing comes in; `look` returns a `Machine`. The GPUs are asked for through the driver's own library, since a
driver that answers is what torch needs too; `nvidia-smi` may be missing or left over from another driver.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Version = tuple[int, int]

# Attribute numbers of cuDeviceGetAttribute, from NVIDIA's cuda.h.
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True, slots=True)
class Nvidia:
    """The NVIDIA side of a machine: the newest CUDA its driver speaks, and each GPU's compute capability."""

    driver_cuda: Version
    capabilities: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """`system` is linux, windows or darwin; `processor` as wheels name it (x86_64, amd64, aarch64, arm64)."""

    system: str
    processor: str
    python: Version
    nvidia: Nvidia | None = None

    def describe(self) -> str:
        """One line for people."""
        gpu = "no NVIDIA GPU"
        if self.nvidia is not None:
            count = len(self.nvidia.capabilities)
            major, minor = self.nvidia.driver_cuda
            gpu = f"{count} NVIDIA GPU{'s' if count > 1 else ''}, driver for CUDA {major}.{minor}"
        return f"{self.system} {self.processor}, Python {self.python[0]}.{self.python[1]}, {gpu}"


def look() -> Machine:
    """This machine, with the Python that runs us (the one that .venv is made from)."""
    return Machine(
        system=platform.system().lower(),
        processor=platform.machine().lower(),
        python=sys.version_info[:2],
        nvidia=ask_driver(),
    )


def ask_driver() -> Nvidia | None:
    """What the NVIDIA driver says about its GPUs; None without a driver or without a GPU."""
    driver = load_driver("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    if driver is None:
        return None
    # A hidden GPU (CUDA_VISIBLE_DEVICES="") is still in the machine and will be used another day.
    with without_variable("CUDA_VISIBLE_DEVICES"):
        return read_driver(driver)


def read_driver(driver: ctypes.CDLL) -> Nvidia | None:
    """Ask a loaded driver library; any call that does not return 0 means that CUDA cannot be used here."""
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    answers = (
        driver.cuInit(0),
        driver.cuDriverGetVersion(ctypes.byref(version)),
        driver.cuDeviceGetCount(ctypes.byref(count)),
    )
    if any(answers) or count.value == 0:
        return None
    # The driver's number is 1000 * major + 10 * minor: 13020 is CUDA 13.2.
    driver_cuda = (version.value // 1000, version.value % 1000 // 10)
    return Nvidia(driver_cuda, tuple(read_capability(driver, index) for index in range(count.value)))


def read_capability(driver: ctypes.CDLL, index: int) -> Version:
    """Compute capability of one GPU, for example (8, 6)."""
    device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device)
    return major.value, minor.value


def load_driver(name: str) -> ctypes.CDLL | None:
    """The shared library `name`, or None where it is not installed."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


@contextmanager
def without_variable(name: str) -> Iterator[None]:
    """Take one environment variable away for the length of a with-block."""
    kept = os.environ.pop(name, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[name] = kept
