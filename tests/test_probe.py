"""`python -m trainer probe`: what it measures is what runs need, and it leaves nothing behind."""

import json
import math
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, trainer
from tests.tiny_models import Shape, write_model
from trainer.__main__ import main
from trainer.contract.events import GIB_IN_GB, EventReader, Finished
from trainer.contract.identity import write_identity
from trainer.contract.job import Job, make_job
from trainer.probe_verb import told
from trainer.runs.folder import new_run
from trainer.runs.launch import launch_command
from trainer.runs.measure import MARGIN, Measured, Memory, measure
from trainer.runs.ways import Way

LARGER = Shape(unet=(64, 128, 128, 128), text=64, vae=(16, 32, 32, 32))
"""Large enough that what is measured is not only the program itself: 8 million weights."""

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch of 4, cached": {"train_batch_size": 4, "cache_latents": True},
    "gradient checkpointing, larger pictures": {"gradient_checkpointing": True, "resolution": "224"},
    "average, samples": {"use_ema": True, "cache_latents": True, "sample_prompts": "a dog --s 2 --l 7"},
    "Adafactor, U-Net only": {"optimizer_type": "Adafactor", "unetonly": True, "train_batch_size": 2},
    "text encoder only": {"encoderonly": True, "train_batch_size": 2, "cache_latents": True},
    "gathered, regularization": {"gradient_accumulation_steps": 2, "train_batch_size": 2, "reg_data_dir": "reg"},
    "masks, long captions": {"alpha_mask": True, "max_token_length": "225", "train_batch_size": 2},
    "plain attention, mirrored, a save each epoch": {
        "sdpa": False, "cache_latents": True, "flip_aug": True, "save_every_n_epochs": 1, "save_state": True,
    },
    "average, held out, raw weights": {
        "use_ema": True, "save_raw": True, "validation_split": 0.25, "train_batch_size": 2, "logging_dir": "curves",
    },
}  # fmt: skip


@contextmanager
def untouched(*folders: Path) -> Iterator[None]:
    """Inside, no file in these folders comes, goes or is written."""

    def seen() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}

    before = seen()
    yield
    assert seen() == before


@pytest.mark.slow
def test_a_job_that_does_not_fit_is_mended(home: Path) -> None:
    """With too little room the gentlest change that fits is measured and named; no file in the studio comes or goes."""
    large = ("--train_batch_size", "20", "--resolution", "192", "--max_data_loader_n_workers", "0")
    job = ("--preset", "demo", "--home", home, *large)
    needs = [_need_gib(*job), _need_gib(*job, "--gradient_checkpointing")]
    # The two are some 20 % apart; what the program itself holds, which is most of both, depends on the machine.
    room_gib = math.sqrt(needs[0] * needs[1]) * (1 + MARGIN)
    with untouched(home):
        done = trainer("probe", *job, "--within", str(room_gib * GIB_IN_GB), "--json")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    asked, mended = found["measured"]
    assert not found["fits"] and not asked["fits"] and mended["fits"]
    assert found["mend"] == mended["way"] and found["mend"]["values"] == {"gradient_checkpointing": True}
    assert mended["host"]["need_gib"] < asked["host"]["need_gib"] - 0.02
    assert "Gradient checkpointing: learns" in done.stderr and "it fits, with" in done.stderr


def test_a_measurement_is_a_sentence() -> None:
    """What is needed, of which memory, when, what is free, whether it fits, and how long it takes."""
    way, host = Way("As asked", ""), Memory(5.0, 8.0, 16.0)
    known = {"most_while": "training", "seconds_per_step": 2.5, "seconds_in_all": 4000.0}
    assert told(way, Measured(host, None, True, 4.8, **known)) == (
        "As asked: 5.4 GB of the computer's memory at most, while training; 8.6 GB of 17.2 GB are free: "
        "it fits, with 3.2 GB to spare. 2.5 s a step, about 67 min in all."
    )
    card = Memory(7.0, 7.2, 8.0)
    assert "7.5 GB of card memory" in told(way, Measured(host, card, True, 4.8, **known))
    assert "it does not fit safely." in told(way, Measured(host, card, True, 4.8, **known))
    assert told(way, Measured(host, card, False, 4.8)) == "As asked: card memory ran out at 7.5 GB, with 7.7 GB free."


def test_what_cannot_be_measured_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A job with something to mend, one that trains nothing, a size that is none, and a machine that is in use."""
    there = ["--preset", "demo", "--home", str(home)]
    said = []
    for words in (["--train_data_dir", "/none"], ["--debug_dataset"], ["--within", "much"], ["--nonsense", "1"]):
        assert main(["probe", *there, *words]) == 2
        said.append(capsys.readouterr().err)
    assert "/none" in said[0] and "only shows its batches" in said[1] and "much" in said[2] and "nonsense" in said[3]
    assert main(["probe", "no-such-run", "--home", str(home)]) == 2
    assert "no-such-run" in capsys.readouterr().err
    job = make_job({"train_data_dir": "/d", "pretrained_model_name_or_path": "/m", "output_dir": "/o"})
    assert isinstance(job, Job)
    write_identity(new_run(home / "runs", job, queued=False).process_file)
    assert main(["probe", *there]) == 2
    assert "is running. Measure when it is done" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_peak_is_foretold_within_five_percent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On ten configurations, of which each changes what a run holds: all that the trainer occupies differs by less
    than 5 %, and what it takes above the bare program, which is 0.39 GiB of it, by less than 10 %."""
    write_model(tmp_path / "model", shape=LARGER)
    _draw(tmp_path / "data" / "2_sks dog", [(192, 192), (256, 160), (160, 256), (200, 200)])
    _draw(tmp_path / "reg" / "1_dog", [(192, 192), (256, 160)])

    def both(name: str) -> tuple[str, float, float, float]:
        job = _job(tmp_path, name)
        found = measure(job, tmp_path)
        assert found.before_gib is not None and found.complete
        return name, found.trainer_gib, _peak_of_run(tmp_path / "runs", job), found.before_gib

    with ThreadPoolExecutor(2) as two:
        rows = list(two.map(both, CONFIGURATIONS))
    lines = [
        f"{name:46} foretold {foretold:.3f} GiB, was {was:.3f} ({foretold / was - 1:+.1%}); "
        f"above the program {foretold - program:.3f}, was {was - program:.3f} "
        f"({(foretold - program) / (was - program) - 1:+.1%})"
        for name, foretold, was, program in rows
    ]
    with capsys.disabled():
        print("", *lines, sep="\n")
    for line, (_, foretold, was, program) in zip(lines, rows, strict=True):
        assert abs(foretold / was - 1) < 0.05, line
        assert abs((foretold - program) / (was - program) - 1) < 0.10, line
    assert not list(tmp_path.glob("measuring-*")) and len(rows) == 10


def _need_gib(*words: str | Path) -> float:
    """What a job that fits takes of the computer's memory."""
    measured = json.loads(trainer("probe", *words, "--json", check=True).stdout)["measured"]
    return float(measured[0]["host"]["need_gib"])


def _draw(folder: Path, sizes: list[tuple[int, int]]) -> None:
    folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 4), dtype=np.uint8)
        Image.fromarray(coarse).resize(size).save(folder / f"{number}.png")


def _job(home: Path, name: str) -> Job:
    values = {
        "pretrained_model_name_or_path": "model", "train_data_dir": "data", "resolution": "192", "enable_bucket": True,
        "min_bucket_reso": 64, "max_train_epochs": 2, "seed": 1, "output_dir": f"out/{name}",
    }  # fmt: skip
    job = make_job(values | CONFIGURATIONS[name], home)
    assert isinstance(job, Job), job
    return job


def _peak_of_run(home: Path, job: Job) -> float:
    """Train the job as the runner does; the peak that it tells at its end."""
    run = new_run(home, job)
    with run.log_file.open("wb") as log:
        subprocess.run(launch_command(run, job), cwd=ROOT, stdout=log, stderr=log, check=True)
    last = EventReader(run.events_file).read()[-1]
    assert isinstance(last, Finished) and last.result == "completed" and last.ram_peak_gib is not None, last
    return last.ram_peak_gib
