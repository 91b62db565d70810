"""How a trainer is started: the command line, and a launcher that ends the way the trainer ended.

`python -m trainer.runs.launch ...` is `accelerate launch ...` itself, but for its end: accelerate's launcher turns
every death of the trainer into exit code 1, and "killed by signal 9" would be lost. Comes in: a run and its job.
"""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pynvml

from trainer.contract.job import Job
from trainer.runs.ending import is_paused
from trainer.runs.folder import RunFolder

TRAINER = ("-m", "trainer")
"""What accelerate starts: the trainer, as a module."""

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
"""How the trainer's threads wait: see `settle_threads`."""

_CONFIG = Path(__file__).with_name("accelerate.yaml")


def launch_command(run: RunFolder, job: Job, trainer: Sequence[str] = TRAINER) -> list[str]:
    """The command that trains a run: accelerate's launcher with every default given, then the trainer.

    A run that was paused goes on from its own newest state.
    """
    return [
        *(sys.executable, "-m", "trainer.runs.launch"),
        *("--config_file", str(_CONFIG), "--num_processes", "1", "--num_machines", "1"),
        *("--mixed_precision", job.config.hardware.mixed_precision, "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(threads())),
        *(() if has_nvidia() else ("--cpu",)),
        *(("--gpu_ids", str(job.config.hardware.gpu_ids)) if job.config.hardware.gpu_ids is not None else ()),
        *trainer,
        *("--job", str(run.job_file), "--run_dir", str(run.path)),
        *(("--resume", str(run.path)) if is_paused(run) else ()),
    ]


def threads() -> int:
    """Threads for the arithmetic: OMP_NUM_THREADS where it is set, else one for each core that we may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 0 else cores()


def cores() -> int:
    """Cores of the processor that we may use.

    A second thread on the same core (hyper-threading) gains nothing in matrix products, so those are not counted.
    """
    logical, physical = psutil.cpu_count() or 1, psutil.cpu_count(logical=False) or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return max(1, min(physical, usable))


def settle_threads() -> None:
    """How threads of the arithmetic wait for one another: awake for a moment, then asleep. Torch is not loaded yet.

    A thousand turns awake (GNU's OpenMP; two cores, a step of the demo's U-Net with 32 images, fastest of 3 looks on
    a machine that wavered by half): 1.02 s alone, 1.86 s beside one busy program. Asleep at once: 1.24 s, 1.54 s; as
    long as is usual: 0.95 s, 3.13 s. `python -m benchmarks.threads` measures it. What a user has set himself stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)


def has_nvidia() -> bool:
    """Whether there is an NVIDIA GPU that CUDA_VISIBLE_DEVICES does not hide, asked without torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return False
    return count > 0


def end_like(code: int) -> None:
    """End this process as another one ended: with its exit code, or killed by the same signal."""
    if code < 0 and os.name != "nt":
        # A second core dump of the launcher would only hide the trainer's.
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    # Windows codes are unsigned, sys.exit takes signed ones.
    sys.exit(code if code < 0x8000_0000 else code - 0x1_0000_0000)


def main() -> None:
    """accelerate's own launcher, as `python -m accelerate.commands.launch` would run it."""
    if "--gpu_ids" in sys.argv:
        # Else CUDA counts the fastest card first, and nvidia-smi by the slots.
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    try:
        runpy.run_module("accelerate.commands.launch", run_name="__main__", alter_sys=True)
    except subprocess.CalledProcessError as failure:
        end_like(failure.returncode)


if __name__ == "__main__":
    main()
