"""Which build of torch belongs on a machine, and who can fetch it. Pure decisions: nothing is run or read here.

In come a `Machine`, the torch release of requirements.txt and the wheels that pip is configured to find; out comes a
`TorchChoice`. Without an NVIDIA GPU it is never a CUDA build: those are several GB that such a machine cannot use.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from install.machine import Machine, Nvidia

# uv knows the download site of PyTorch, where the builds lie that the package registry does not have.
UV = "uv==0.13.9"
XFORMERS = "xformers==0.0.35"

# torch 2.13 is published for CPU, CUDA 12.6, 13.0 and (experimental, not used) 13.2. Compute capabilities after the
# support matrix in PyTorch's RELEASE.md: the 12.6 build holds 5.0 to 9.0, the 13.0 build 7.5 to 12.0.
CUDA_13_NEEDS = (7, 5)
CUDA_12_ENDS = (9, 0)
CUDA_12_NEEDS = (5, 0)

# A wheel's last tag begins like this on a system, and ends with the processor.
SYSTEM_TAGS = {"linux": ("manylinux", "linux"), "windows": ("win",), "darwin": ("macosx",)}


class SetupStopped(Exception):
    """Setup cannot go on. The text says in plain words what happened and what to do."""


@dataclass(frozen=True, slots=True)
class TorchChoice:
    """`backend` is cpu, cu126 or cu130; `requirement` is what is asked of `installer`; `reason` is for people."""

    backend: str
    installer: Literal["pip", "uv"]
    requirement: str
    reason: str

    @property
    def release(self) -> str:
        """The release without the label of a build."""
        return self.requirement.removeprefix("torch==").partition("+")[0]

    @property
    def build(self) -> str:
        """cpu or cuda."""
        return "cpu" if self.backend == "cpu" else "cuda"


def choose_torch(machine: Machine, release: str, wheels: Iterable[str] = (), asked: str | None = None) -> TorchChoice:
    """Choose build and source of torch `release` ("2.13.0").

    `wheels` are file names in the folders of pip's find-links; `asked` is a backend that the user insists on
    (UV_TORCH_BACKEND). Raises SetupStopped where no build of this release can use the GPU.
    """
    backend = asked if asked not in (None, "", "auto") else choose_backend(machine)
    local = find_wheel(machine, release, wheels, backend)
    if local is not None:
        return TorchChoice(
            backend, "pip", f"torch=={local}", f"a wheel of {local} lies in a folder that pip is told of"
        )
    if backend == registry_backend(machine):
        return TorchChoice(backend, "pip", f"torch=={release}", f"the registry's own build is {backend}")
    return TorchChoice(backend, "uv", f"torch=={release}", f"the {backend} build lies on PyTorch's own download site")


def choose_backend(machine: Machine) -> str:
    """cpu, cu126 or cu130 for this machine; raises SetupStopped when its driver is too old for every build."""
    return "cpu" if machine.nvidia is None else choose_cuda(machine.nvidia)


def choose_cuda(nvidia: Nvidia) -> str:
    """The CUDA build for the newest of the GPUs: trainings run on it, and one build rarely serves all generations."""
    driver = ".".join(map(str, nvidia.driver_cuda))
    newest = max(nvidia.capabilities)
    if newest >= CUDA_13_NEEDS and nvidia.driver_cuda >= (13, 0):
        return "cu130"
    if newest > CUDA_12_ENDS or nvidia.driver_cuda < (12, 0):
        raise SetupStopped(
            f"The NVIDIA driver here speaks CUDA {driver}, which is too old for this GPU with the PyTorch that Atelier "
            "uses. Install the current NVIDIA driver, restart the computer and run setup again. "
            "To train on the CPU instead, set the environment variable UV_TORCH_BACKEND=cpu first."
        )
    if newest < CUDA_12_NEEDS:
        raise SetupStopped(
            "This NVIDIA GPU is older than the oldest that the PyTorch of Atelier supports (GeForce 750 Ti and 900 "
            "series, compute capability 5.0). To train on the CPU, set the environment variable UV_TORCH_BACKEND=cpu "
            "and run setup again."
        )
    return "cu126"


def registry_backend(machine: Machine) -> str | None:
    """The build that the package registry serves under the plain release; None where we do not rely on it.

    On Linux x86_64 torch 2.13.0 depends on cuda-toolkit 13.0 there; macOS has only one build.
    """
    if machine.system == "darwin":
        return "cpu"
    if machine.system == "linux" and machine.processor == "x86_64":
        return "cu130"
    return None


def find_wheel(machine: Machine, release: str, wheels: Iterable[str], backend: str) -> str | None:
    """The full version ("2.13.0+cpu") of the first wheel that fits release, backend, Python and machine."""
    for name in sorted(wheels):
        parts = name.removesuffix(".whl").split("-")
        if not name.endswith(".whl") or len(parts) < 5 or parts[0] != "torch":
            continue
        version, python, system = parts[1], parts[-3], parts[-1]
        base, _, label = version.partition("+")
        # An unlabelled wheel is the registry's own build, whatever that is on this machine.
        if base != release or (label or registry_backend(machine)) != backend:
            continue
        fits_system = system.startswith(SYSTEM_TAGS.get(machine.system, ())) and system.endswith(machine.processor)
        if python == "cp{}{}".format(*machine.python) and fits_system:
            return version
    return None


def read_torch_release(requirements: str) -> str:
    """The release in the line "torch==..." of a requirements file."""
    found = re.search(r"^torch==([\w.]+)", requirements, re.MULTILINE)
    assert found, "requirements.txt pins torch"
    return found.group(1)


def torch_fits(installed: dict[str, str | None] | None, release: str, backend: str) -> bool:
    """Whether the torch that is there (`version`, `cuda` of its version.py) may stay: same release and CUDA major."""
    if installed is None or installed["version"] is None:
        return False
    cuda = installed["cuda"]
    present = "cpu" if cuda is None else f"cu{cuda.partition('.')[0]}"
    return installed["version"].partition("+")[0] == release and backend.startswith(present)
