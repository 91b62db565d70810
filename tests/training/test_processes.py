"""Several processes: the same steps as one process that gathers as many batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Train, job_of, of
from trainer.contract.events import EventReader, Finished, Saved, Started, Stepped, Validated
from trainer.contract.job import write_job

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo between processes is tried on Linux")
def test_two_processes_learn_what_one_learns(train: Train, values: dict[str, Any], tmp_path: Path) -> None:
    """Through the real `accelerate launch`, two processes have the losses and gradients of one that gathers twice.

    With a short last step (one process has no batch left), a text encoder that stops, clip skip, and an average.
    """
    options: dict[str, Any] = {
        "clip_skip": 2,
        "stop_text_encoder_training": 3,
        "use_ema": True,
        "train_batch_size": 3,
        "max_train_steps": 5,
        "sample_prompts": "a dog --s 1",
        "save_every_n_epochs": 1,
        "save_state_every_minutes": 1e-9,
        "validation_split": 0.2,
    }
    run = tmp_path / "two"
    run.mkdir()
    write_job(run / "job.json", job_of(values | options))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--num_cpu_threads_per_process", "1", "--main_process_port", str(port)]
    command += ["-m", "trainer", "--job", str(run / "job.json"), "--run_dir", str(run)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    two = EventReader(run / "events.jsonl").read()
    assert of(Started, two)[0].processes == 2 and len(of(Started, two)) == 1
    assert of(Finished, two)[0].result == "completed"
    # By the clock of one process, written when all have taken the step.
    states = [saved.step for saved in of(Saved, two) if saved.kind == "state"]
    assert states == [2, 3, 4]

    one = train("one", **options, gradient_accumulation_steps=2)
    assert len(of(Stepped, two)) == 5
    for ours, theirs in zip(of(Validated, two), of(Validated, one), strict=True):
        assert ours.step == theirs.step and ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    for ours, theirs in zip(of(Stepped, two), of(Stepped, one), strict=True):
        assert (ours.step, ours.epoch, ours.learning_rate) == (theirs.step, theirs.epoch, theirs.learning_rate)
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-3)
