"""From an empty folder to a trained model with every real part: launcher, processes, files, loaders of others."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open

from tests.conftest import ROOT, trainer
from tests.demo.looks import shows_subject
from tests.tiny_models import Shape, write_model
from tests.waiting import wait_for
from trainer.contract.cli import flags_of
from trainer.contract.events import Event, EventReader, Finished, Planned, Sampled, Saved, Started, Stepped
from trainer.contract.job import Job, make_job
from trainer.model.inspect import ModelFacts, inspect_model
from trainer.runs.folder import RunFolder, list_runs, new_run
from trainer.runs.runner import start_run, stop_run
from trainer.runs.status import status_of

DEEP = {
    family: Shape(unet=(16, 32, 64, 64), unet_groups=8, layers_per_block=2, vae_layers=2, text_layers=layers)
    for family, layers in (("v1", 12), ("v2", 23))
}
"""Narrow models with every block of the real ones, so that their files have exactly the real files' names."""


def events_of(run: RunFolder) -> list[Event]:
    return EventReader(run.events_file).read()


def only(kind: type[Event], events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def queued(home: Path, demo_values: Callable[..., dict[str, object]]) -> Callable[..., RunFolder]:
    """A run of the demo with changes, asked for as the page asks for it."""

    def ask(**changes: object) -> RunFolder:
        job = make_job(demo_values(**changes), home)
        assert isinstance(job, Job), job
        run = new_run(home / "runs", job)
        start_run(run)
        return run

    return ask


@pytest.mark.slow
def test_the_demo_ends_with_a_checkpoint(home: Path) -> None:
    """`python -m trainer demo` trains under accelerate launch to the end: a subject learnt, a file that others know."""
    done = trainer("demo", "--home", home)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(home / "runs")
    events = events_of(run)
    (planned,) = only(Planned, events)
    steps = only(Stepped, events)
    assert [event.step for event in steps] == list(range(1, planned.total_steps + 1))
    assert all(event.loss is not None for event in steps)
    assert only(Finished, events)[-1].result == "completed"
    assert status_of(run).state == "finished"
    samples = only(Sampled, events)
    assert {event.step for event in samples} >= {0, planned.total_steps}
    shown = {event.step: [] for event in samples}
    for event in samples:
        shown[event.step].append(shows_subject(np.asarray(Image.open(run.path / event.path).convert("RGB"))))
    assert shown[0] == [False, False] and shown[planned.total_steps] == [True, True], "the subject is learnt"
    written = home / "outputs" / "demo.safetensors"
    assert str(written) in {event.path for event in only(Saved, events)}
    facts = inspect_model(str(written))
    assert isinstance(facts, ModelFacts) and facts.family == "v1" and facts.has_vae
    assert str(home / "outputs") in done.stdout
    drawn = run.path / "before-after.png"
    assert done.stdout.splitlines()[-1] == f"What it drew before and after: {drawn}"
    with Image.open(drawn) as picture:
        assert picture.format == "PNG"
        assert len(picture.text["prompts"].splitlines()) == len({event.index for event in samples}) == 2


@pytest.mark.parametrize(("family", "prediction"), [("v1", "epsilon"), ("v2", "v")])
def test_what_is_trained_opens_elsewhere(home: Path, family: str, prediction: str, demo_values: Callable) -> None:
    """A trained folder draws in diffusers' own pipeline; the single file has exactly the real files' names."""
    model = write_model(home / "model", family, prediction, shape=DEEP[family])
    values = demo_values(
        pretrained_model_name_or_path=str(model),
        v2=family == "v2",
        v_parameterization=prediction == "v",
        max_train_steps=2,
        sample_at_first=False,
        sample_every_n_epochs=None,
        sample_prompts=None,
        save_model_as="diffusers_safetensors",
        resolution="64,64",
    )
    done = trainer("train", *flags_of(values), "--home", home)
    assert done.returncode == 0, done.stderr
    pipeline = StableDiffusionPipeline.from_pretrained(home / "outputs" / "demo", safety_checker=None)
    assert pipeline.scheduler.config.prediction_type == ("epsilon" if prediction == "epsilon" else "v_prediction")
    image = pipeline("a sks star", num_inference_steps=2, height=64, width=64).images[0]
    assert image.size == (64, 64)

    again = {**values, "pretrained_model_name_or_path": str(home / "outputs" / "demo"), "save_model_as": "safetensors"}
    done = trainer("train", *flags_of({**again, "output_name": "file"}), "--home", home)
    assert done.returncode == 0, done.stderr
    rows = (ROOT / "tests" / "fixtures" / "model" / f"keys-{family}.txt").read_text("utf-8").splitlines()
    names = {row.split(" ")[0] for row in rows}
    with safe_open(home / "outputs" / "file.safetensors", "pt") as file:
        assert set(file.keys()) == names
        assert {file.get_slice(name).get_dtype() for name in file.keys()} <= {"F16", "I64"}  # noqa: SIM118
    assert (home / "outputs" / "file.yaml").exists() == (family == "v2")


def test_the_ancestors_launch_line_trains(home: Path, demo_values: Callable) -> None:
    """`accelerate launch --num_cpu_threads_per_process N -m trainer FLAGS` trains, as the contract's examples say."""
    values = demo_values(sample_at_first=False, sample_every_n_epochs=None, sample_prompts=None, max_train_steps=2)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_cpu_threads_per_process", "1", "--cpu"]
    command = [*launch, "-m", "trainer", *flags_of(values), "--home", str(home)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (home / "outputs" / "demo.safetensors").is_file()
    (run,) = list_runs(home / "runs")
    assert status_of(run).state == "finished"


@pytest.mark.slow
def test_stop_leaves_a_state_that_goes_on(home: Path, queued: Callable[..., RunFolder]) -> None:
    """Stop ends the step and saves; `resume` makes the remaining steps in a new run, counted on."""
    run = queued(max_train_steps=5000, sample_prompts=None, sample_at_first=False, sample_every_n_epochs=None)
    wait_for(lambda: len(only(Stepped, events_of(run))) >= 3, 90)
    stop_run(run)
    wait_for(lambda: status_of(run).state not in ("running", "stopping"), 60)
    assert status_of(run).state == "stopped", run.log_file.read_text("utf-8")
    reached = only(Stepped, events_of(run))[-1].step
    (state,) = [event for event in only(Saved, events_of(run)) if event.kind == "state"]
    assert state.step == reached
    done = trainer("resume", run.path.name, "--max_train_steps", str(reached + 2), "--home", home)
    assert done.returncode == 0, done.stderr
    more = list_runs(home / "runs")[0]
    assert status_of(more).state == "finished", more.log_file.read_text("utf-8")
    assert [event.step for event in only(Stepped, events_of(more))] == [reached + 1, reached + 2]
    assert only(Started, events_of(more))[0].resumed_step == reached


@pytest.mark.slow
def test_a_paused_run_goes_on_in_its_own_folder(home: Path, queued: Callable[..., RunFolder]) -> None:
    """`pause` leaves the card with a state and no model; `resume` makes the other steps in the same run."""
    # Without samples or saves on the way: a busy machine makes these steps in some seconds.
    run = queued(max_train_steps=60, sample_prompts=None, sample_at_first=False, sample_every_n_epochs=None)
    wait_for(lambda: len(only(Stepped, events_of(run))) >= 2, 90)
    assert trainer("pause", run.path.name, "--home", home).returncode == 0
    wait_for(lambda: status_of(run).state == "paused", 60)
    assert [event.kind for event in only(Saved, events_of(run))] == ["state"]
    done = trainer("resume", run.path.name, "--home", home)
    assert done.returncode == 0, done.stderr
    assert list_runs(home / "runs") == [run] and status_of(run).state == "finished"
    assert [event.step for event in only(Stepped, events_of(run))] == list(range(1, 61))


BAD = {
    "a missing model": ({"pretrained_model_name_or_path": "{tmp}/none.safetensors"}, "pretrained_model_name_or_path"),
    "an empty folder": ({"train_data_dir": "{tmp}/empty"}, "train_data_dir"),
    "a hostile file": ({"pretrained_model_name_or_path": "{tmp}/hostile.ckpt"}, "pretrained_model_name_or_path"),
    "a wrong v2": ({"v2": "true"}, "v2"),
    "an unwritable folder": ({"output_dir": "{tmp}/a-file/out"}, "output_dir"),
    "an unknown flag": ({"lerning_rate": "1"}, "lerning_rate"),
    "text for a number": ({"train_batch_size": "four"}, "train_batch_size"),
}


class Hostile:
    """What a hostile checkpoint holds: reading it as a pickle would make a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.canary,))


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_on_its_box(case: str, home: Path, tmp_path: Path, demo_values: Callable) -> None:
    """Each kind of bad input gives one problem on the right option and exit code 2, and nothing is left behind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").touch()
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Hostile(tmp_path / "canary")}, tmp_path / "hostile.ckpt")
    changes, field = BAD[case]
    flags = flags_of(demo_values())
    for name, value in changes.items():
        flags += [f"--{name}", value.format(tmp=tmp_path)]
    done = trainer("train", *flags, "--home", home, "--json")
    assert done.returncode == 2, done.stderr
    problems = [p for p in json.loads(done.stdout) if p["severity"] == "error"]
    assert len(problems) == 1 and field in problems[0]["fields"], problems
    assert problems[0]["message"].endswith((".", "?"))
    assert not (tmp_path / "canary").exists()
    assert not (home / "runs").exists() or list_runs(home / "runs") == []
    assert "torch" not in done.stderr
