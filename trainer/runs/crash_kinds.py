"""The ways in which runs die, as data: what to call each, the lines of a log that tell it, and what mends it.

The likeliest and most particular come first: of two signs that a log holds, the first kind in this order counts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from trainer.contract.config import TrainingConfig
from trainer.runs.ways import (
    Way,
    calmer,
    less_host_memory,
    less_memory,
    smaller_saves,
    without_bad_images,
    without_bitsandbytes,
    without_helpers,
)

Ways = Callable[[TrainingConfig], list[Way]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A cause: `signs` are regular expressions for a line of the log or of the trainer's last word."""

    code: str
    title: str
    about: str
    signs: tuple[str, ...] = ()
    ways: Ways = lambda config: []


KINDS: tuple[Kind, ...] = (
    Kind(
        "card_memory",
        "The graphics card ran out of memory",
        "A step asked for more than was free. Other programs that draw on the card take part of it, too.",
        (
            r"CUDA out of memory",
            r"OutOfMemoryError",
            r"CUDA_ERROR_OUT_OF_MEMORY",
            r"CUBLAS_STATUS_ALLOC_FAILED",
            r"CUDNN_STATUS_ALLOC_FAILED",
            r"HIP out of memory",
        ),
        less_memory,
    ),
    Kind(
        "shared_memory",
        "The helpers that read images ran out of shared memory",
        "Helper processes hand images over in /dev/shm, which is small here, as it is in most containers.",
        (r"killed by signal: Bus error", r"insufficient shared memory", r"unable to (open|mmap|resize).*shared memory"),
        without_helpers,
    ),
    Kind(
        "host_memory",
        "The computer ran out of memory",
        "The system ended the trainer, or refused it more, because the computer's own memory was full.",
        (
            r"DefaultCPUAllocator: (can't allocate|not enough) memory",
            r"^MemoryError",
            r"std::bad_alloc",
            r"could not create a (primitive|memory object)",
            r"Cannot allocate memory",
            r"paging file is too small",
            r"WinError 1455",
            r"Unable to allocate .*B for an array",
            r"DataLoader worker .* killed by signal: Killed",
        ),
        less_host_memory,
    ),
    Kind(
        "disk_full",
        "The disk is full",
        "There was no room for what was to be written. What was written whole before is whole still. Make room, "
        "or write less.",
        (
            r"No space left on device",
            r"not enough space on the disk",
            r"Disk quota exceeded",
            r"\[Errno 28\]",
            r"WinError 112",
        ),
        smaller_saves,
    ),
    Kind(
        "bad_image",
        "An image cannot be read",
        "It is damaged, or it was changed or taken away since it was counted. Mend it or take it out.",
        (
            r"PictureUnreadable",
            r"image file is truncated",
            r"UnidentifiedImageError",
            r"broken data stream when reading image",
        ),
        without_bad_images,
    ),
    Kind(
        "diverged",
        "The numbers ran away",
        "Loss or gradients stopped being numbers three steps in a row. None of it reached the weights.",
        (r"were not finite \d+ steps in a row",),
        calmer,
    ),
    Kind(
        "driver",
        "The driver of the graphics card does not fit",
        "PyTorch and the driver do not understand each other. Install the newest driver of the card's maker, start the "
        "computer anew, then try again.",
        (
            r"NVIDIA driver on your system is too old",
            r"CUDA driver version is insufficient",
            r"driver/library version mismatch",
            r"forward compatibility was attempted on non supported HW",
            r"CUDA driver initialization failed",
            r"Found no NVIDIA driver",
            r"cudaErrorInsufficientDriver",
        ),
    ),
    Kind(
        "card_too_old",
        "PyTorch as installed does not know this graphics card",
        "The installed PyTorch has no programs for this card: it is newer or older than that version supports. Run the "
        "setup script again, which installs the build for the card.",
        (
            r"no kernel image is available for execution on the device",
            r"is not compatible with the current PyTorch installation",
        ),
    ),
    Kind(
        "bitsandbytes_broken",
        "bitsandbytes does not run",
        "The package behind 8-bit optimizers is missing, or does not fit this card or its driver.",
        (
            r"libbitsandbytes\S* .*(not found|cannot open)",
            r"bitsandbytes.*(CUDA Setup failed|binary is missing|not compiled with)",
            r"CUDA Setup failed despite",
            r"Error: .*(importing |No module named ')bitsandbytes",
            r"cget_managed_ptr",
            r"cadam\w*_8bit\w*.* not found",
        ),
        without_bitsandbytes,
    ),
    Kind(
        "nccl",
        "Training on several cards does not work on this system",
        "The programs by which cards talk to each other are missing or failed; Windows has none. Train on one card.",
        (
            r"doesn't have NCCL built in",
            r"doesn't have NCCL",
            r"ncclSystemError",
            r"ncclUnhandledCudaError",
            r"NCCL error",
            r"built without libuv support",
        ),
    ),
    Kind(
        "port",
        "A port is in use",
        "Another program, often a run that has not ended yet, holds the port by which the processes of a run meet. "
        "End it, then try again.",
        (r"EADDRINUSE", r"[Aa]ddress already in use", r"WinError 10048"),
    ),
    Kind(
        "card_lost",
        "The graphics card stopped answering",
        "It met a fault on the way, as happens with too high a clock, heat, a weak power supply or a driver that was "
        "renewed meanwhile. Start the computer anew before you go on.",
        (
            r"CUDA error: (unspecified launch failure|an illegal (memory access|instruction)|misaligned address)",
            r"fallen off the bus",
            r"CUDA error: unknown error",
            r"CUDA-capable device\(s\) is/are busy",
            r"device-side assert",
            r"GPU is lost",
            r"uncorrectable ECC error",
        ),
    ),
    Kind(
        "package",
        "A package is missing or broken",
        "Part of the installation cannot be loaded. Run the setup script again; it puts back what is missing.",
        (
            r"ModuleNotFoundError",
            r"ImportError",
            r"DLL load failed",
            r"undefined symbol",
            r"GLIBC(XX)?_[\d.]+' not found",
            r"WinError 126",
            r"WinError 127",
        ),
    ),
    Kind(
        "no_permission",
        "A file or folder may not be written",
        "The system refused it: it belongs to another user, is read-only, or another program holds it open.",
        (r"^PermissionError", r"\[Errno 13\]", r"\[Errno 30\]", r"WinError (5|32)\b"),
    ),
    Kind(
        "interrupted",
        "Ended by Ctrl+C",
        "A second Ctrl+C ended it at once, or its window was closed, before it could save.",
        (r"^KeyboardInterrupt",),
    ),
    Kind(
        "refused.model",
        "The model cannot be used as it is set",
        "The trainer looked at the model and did not begin.",
    ),
    Kind(
        "refused.data",
        "The images cannot be used as they are",
        "The trainer looked at the folders and did not begin.",
    ),
    Kind(
        "refused.output",
        "The folder for the saves cannot be used",
        "The trainer looked at it and did not begin.",
    ),
    Kind(
        "refused.resume",
        "The run cannot go on from this state",
        "The trainer compared the state with the settings and did not begin.",
    ),
    Kind(
        "refused.machine",
        "This machine cannot do what is set",
        "The trainer tried the settings on this machine and did not begin.",
    ),
    Kind(
        "refused",
        "Something is to be mended first",
        "The trainer looked the job through and did not begin.",
    ),
    Kind(
        "killed",
        "Somebody ended the trainer",
        "Another program or person ended its process, or the system did, which often means that memory was short.",
    ),
    Kind(
        "fault",
        "A program the trainer is built on fell over",
        "It ended in compiled code, without a chance to save: often a driver or a package that does not fit, sometimes "
        "weak memory in the computer.",
    ),
    Kind(
        "no_power",
        "The computer went off",
        "It was switched off or started anew in the middle of the run.",
    ),
    Kind(
        "gone",
        "It is gone, and nobody saw why",
        "Neither the trainer nor whoever started it is there any more, and no ending was written.",
    ),
    Kind(
        "unknown",
        "The trainer ended by itself",
        "The reason is none that is known here. The line below is the last word of the program.",
    ),
)

BY_CODE: dict[str, Kind] = {kind.code: kind for kind in KINDS}


def sign_in(text: str) -> tuple[Kind, str] | None:
    """The first kind of which a line of the text is a sign, with its last such line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for kind in KINDS:
        for sign in kind.signs:
            found = [line for line in lines if re.search(sign, line)]
            if found:
                return kind, found[-1]
    return None
