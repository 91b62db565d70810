"""Models of the real sizes, with random weights: nothing is lost on any way, and each way fits into 12 GB of memory."""

import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from functools import cache, partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from trainer.contract.cli import flags_of
from trainer.contract.events import EventReader, Stepped
from trainer.model.checkpoint import read_checkpoint
from trainer.model.kinds import SCHEDULE_BUFFERS
from trainer.model.writing import Outgoing, write_safetensors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOM = 25 * 10**9
MOST_MEMORY = 12 * 10**9
POSITION_IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


@cache
def block() -> torch.Tensor:
    """fp16 [4,194,301], random; none is zero, whose sign an update of 0 does not keep."""
    values = (torch.randn(4_194_301, generator=torch.Generator().manual_seed(0)) * 0.03).half()
    return torch.where(values == 0, torch.tensor(2**-12, dtype=torch.float16), values)


def numbers(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Random weights, cut from one block and repeated: each name begins elsewhere in it.

    Drawing a billion numbers would take longer than loading them. The block is longer than most tensors.
    """
    turned = block().roll(-(zlib.crc32(name.encode()) % len(block())))
    count = torch.Size(shape).numel()
    return turned.repeat(-(-count // len(turned)))[:count].reshape(shape).to(dtype)


def write_real(path: Path, family: str) -> Path:
    """An fp16 file with every name and shape of a real one, the twelve vectors of the noise schedule included."""
    rows = (ROOT / "tests" / "fixtures" / "model" / f"keys-{family}.txt").read_text("utf-8").splitlines()
    shapes = {name: text for name, _, text in (row.partition(" ") for row in rows)}
    tensors = {}
    for name, text in shapes.items():
        shape = () if text == "-" else tuple(map(int, text.split("x")))
        tensors[name] = Outgoing(torch.float16, shape, partial(numbers, name, shape, torch.float16))
    if POSITION_IDS in tensors:
        tensors[POSITION_IDS] = Outgoing(torch.int64, (1, 77), lambda: torch.arange(77)[None])
    for name in SCHEDULE_BUFFERS:
        tensors[name] = Outgoing(torch.float32, (1000,), partial(numbers, name, (1000,), torch.float32))
    words = {"modelspec.prediction_type": "epsilon" if family == "v1" else "v"}
    write_safetensors(path, tensors, words)
    return path


def run(*words: str | Path) -> int:
    """`python -m trainer WORDS` to its good end; returns its peak memory in bytes."""
    command = [sys.executable, "-m", "trainer", *map(str, words)]
    process = psutil.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    began = time.perf_counter()
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.Error:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.communicate()[0].decode("utf-8", "replace")
    ended.set()
    watcher.join()
    assert process.returncode == 0, said
    spent = time.perf_counter() - began
    print(f"\n{' '.join(Path(word).name for word in words[:3])}: peak {peak / 1e9:.2f} GB {spent:.0f} s")
    assert 10**9 < peak < MOST_MEMORY
    return peak


def assert_same_bits(one: Path, other: Path) -> None:
    """The same names, dtypes, shapes and bits, one tensor at a time."""
    with closing(read_checkpoint(one)) as left, closing(read_checkpoint(other)) as right:
        assert set(left) == set(right)
        for name in left:
            mine, theirs = left[name], right[name]
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape, name
            assert torch.equal(mine.reshape(-1).view(torch.uint8), theirs.reshape(-1).view(torch.uint8)), name


@pytest.fixture(scope="module", params=["v1", "v2"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Family and a file of 2.1 or 2.6 GB, gone afterwards."""
    root = tmp_path_factory.mktemp(f"real {request.param}")
    free = shutil.disk_usage(root).free
    if free < ROOM:
        pytest.skip(f"{free / 1e9:.0f} GB are free, and this needs {ROOM / 1e9:.0f} GB")
    if psutil.virtual_memory().total < MOST_MEMORY:
        pytest.skip("this machine has less than 12 GB of memory")
    yield request.param, write_real(root / "real.safetensors", request.param)
    shutil.rmtree(root)


def test_training_at_rate_zero_changes_no_bit(real: tuple[str, Path], tmp_path: Path) -> None:
    """One step of the real trainer at learning rate 0, file to file: every tensor as it was, the VAE's included.

    The rate of the first step of a warm-up is 0. With AdamW, weights, gradients and moments of both networks of 2.x
    would be 19 GB: Adafactor keeps next to nothing. With both networks trained 2.x took 12.9 GB, so there the U-Net is.
    """
    family, source = real
    folder = tmp_path / "images" / "1_a thing"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    values = {
        "pretrained_model_name_or_path": str(source),
        "v2": family == "v2",
        "v_parameterization": family == "v2",
        "train_data_dir": str(tmp_path / "images"),
        "output_dir": str(tmp_path / "out"),
        "resolution": "64",
        "max_train_steps": 1,
        "learning_rate": 1e-4,
        "lr_scheduler": "constant_with_warmup",
        "lr_warmup_steps": 1,
        "optimizer_type": "Adafactor",
        "unetonly": family == "v2",
        "cache_latents": True,
        "save_precision": "fp16",
        "mixed_precision": "no",
        "seed": 1,
    }
    try:
        run("train", "--run_dir", tmp_path / "run", *flags_of(values))
        events = EventReader(tmp_path / "run" / "events.jsonl").read()
        (step,) = [event for event in events if isinstance(event, Stepped)]
        assert set(step.learning_rate.values()) == {0.0}
        assert step.loss is not None and step.grad_norm, "the step was taken, with a gradient"
        assert_same_bits(source, tmp_path / "out" / "last.safetensors")
        assert (tmp_path / "out" / "last.yaml").exists() == (family == "v2")
    finally:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_conversion_changes_no_bit(real: tuple[str, Path], tmp_path: Path) -> None:
    """File to Diffusers folder, to file, to folder, each in a process of its own: both folders are the same."""
    _, source = real
    try:
        run("convert", source, tmp_path / "one")
        run("convert", tmp_path / "one", tmp_path / "between.safetensors")
        run("convert", tmp_path / "between.safetensors", tmp_path / "two")
        parts = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.safetensors"))
        assert len(parts) == 3
        for part in parts:
            assert_same_bits(tmp_path / "one" / part, tmp_path / "two" / part)
    finally:
        for name in ("one", "two"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / "between.safetensors").unlink(missing_ok=True)
