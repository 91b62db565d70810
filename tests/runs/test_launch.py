"""The launcher: what accelerate is told, and that it ends the way its trainer ended."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runs.conftest import a_job
from trainer.contract.job import Job
from trainer.runs.folder import RunFolder
from trainer.runs.launch import has_nvidia, launch_command, settle_threads, threads
from trainer.runs.processes import ROOT

RUN = RunFolder(Path("/runs/a run"))
posix = pytest.mark.skipif(os.name == "nt", reason="signals")


def test_command_gives_every_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The precision is the job's, the CPU is named where there is no GPU, the paths are words of their own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    job = a_job("cat")
    hardware = job.config.hardware.model_copy(update={"mixed_precision": "bf16"})
    job = replace(job, config=job.config.model_copy(update={"hardware": hardware}))
    assert isinstance(job, Job)
    command = launch_command(RUN, job)
    assert command[:3] == [sys.executable, "-m", "trainer.runs.launch"]
    pairs = dict(zip(command, command[1:], strict=False))
    assert pairs["--mixed_precision"] == "bf16" and pairs["--num_cpu_threads_per_process"] == "3"
    assert pairs["--num_processes"] == pairs["--num_machines"] == "1" and pairs["--dynamo_backend"] == "no"
    assert "--cpu" in command
    assert command[-6:] == ["-m", "trainer", "--job", str(RUN.job_file), "--run_dir", str(RUN.path)]


def test_no_gpu_is_seen_where_it_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES with nothing in it, or -1, hides all GPUs."""
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not has_nvidia()


def test_threads_lie_between_one_and_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OMP_NUM_THREADS it is at least one thread, at most one for each core."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= threads() <= (os.cpu_count() or 1)


def test_what_a_user_says_of_waiting_threads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word of his they are awake for a moment; with one, nothing is laid over it."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    settle_threads()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]) == ("PASSIVE", "1000")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    settle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE" and "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("import sys; sys.exit(2)", 2),
        pytest.param("import os; os.kill(os.getpid(), 9)", -9, marks=posix),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11, marks=posix),
    ],
)
def test_launcher_ends_like_the_trainer(tmp_path: Path, ending: str, code: int) -> None:
    """A real accelerate launch hands on its child's exit code and signal, whatever the user's accelerate settings."""
    settings = tmp_path / "accelerate"
    settings.mkdir()
    # Without a --config_file of ours this would start torch's elastic launcher, which turns each end into code 1.
    text = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nmixed_precision: fp16\nnum_processes: 2\n"
    (settings / "default_config.yaml").write_text(text + "num_machines: 1\nuse_cpu: false\n")
    script = tmp_path / "trainer.py"
    script.write_text(f"import os; print(os.environ['ACCELERATE_MIXED_PRECISION'], flush=True); {ending}")
    command = launch_command(RUN, a_job("cat"), (str(script),))
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, "no\n"), done.stderr
    assert "CalledProcessError" not in done.stderr


@posix
def test_killed_launcher_is_told_from_a_code() -> None:
    """end_like dies of the signal also where Python has a handler for it."""
    code = "from trainer.runs.launch import end_like; end_like(-2)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -signal.SIGINT
