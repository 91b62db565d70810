"""Sample pictures: the right ones, at the right time, without a trace in the training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import Train, of, wishing
from trainer.contract.events import Sampled, Stepped

PROMPTS = "a sks dog --s 2 --d 5\na cat --n blurry --w 128 --h 64 --s 3 --l 4"


def test_pictures_come_when_asked_for(train: Train, tmp_path: Path) -> None:
    """A baseline, every so many steps and epochs, on a wish, and at the end; each once, with the same seeds."""
    with wishing(3, "sample"):
        events = train(
            sample_prompts=PROMPTS,
            sample_at_first=True,
            sample_every_n_steps=2,
            sample_every_n_epochs=1,
            max_train_steps=7,
        )
    told = of(Sampled, events)
    # Four steps are an epoch.
    assert [(sample.step, sample.index) for sample in told] == [(s, i) for s in (0, 2, 3, 4, 6, 7) for i in (1, 2)]
    assert {(sample.index, sample.seed) for sample in told} == {(1, 5), (2, 7 + 2)}
    for sample in told:
        with Image.open(tmp_path / "run" / sample.path) as picture:
            assert picture.size == ((64, 64) if sample.index == 1 else (128, 64))
            assert sample.prompt in picture.text["parameters"]
    assert told[0].path == "samples/step-00000000-1.png"
    first, last = (np.asarray(Image.open(tmp_path / "run" / f"samples/step-{n:08d}-1.png")) for n in (0, 7))
    assert not np.array_equal(first, last), "training shows"


@pytest.mark.parametrize("every", [{"sample_every_n_steps": 2}, {"sample_every_n_epochs": 1}])
def test_resumed_run_draws_the_same(every: dict[str, int], train: Train, tmp_path: Path) -> None:
    """Samples due after the step of a stop are drawn by the run that goes on: a stop waits for no picture."""
    options = {"sample_prompts": "a dog --s 1", "sample_at_first": True, "max_train_steps": 6, "use_ema": True} | every
    straight = of(Sampled, train("straight", **options))
    with wishing(4, "stop"):
        part = of(Sampled, train("part", **options))
    rest = of(Sampled, train("rest", **options, resume=str(tmp_path / "part")))
    assert [sample.step for sample in part] == [sample.step for sample in straight if sample.step < 4]
    assert [sample.step for sample in part + rest] == [sample.step for sample in straight]
    for run, samples in (("part", part), ("rest", rest)):
        for sample in samples:
            pictures = [np.asarray(Image.open(tmp_path / name / sample.path)) for name in (run, "straight")]
            assert np.array_equal(*pictures)


def test_sampling_changes_no_step(train: Train) -> None:
    """A run with samples has the losses of a run without: modes, weights and random numbers are put back."""
    quiet = train("quiet", max_train_steps=5, use_ema=True, gradient_checkpointing=True)
    options = {"sample_prompts": PROMPTS, "sample_at_first": True, "sample_every_n_steps": 1}
    drawn = train("drawn", max_train_steps=5, use_ema=True, gradient_checkpointing=True, **options)
    assert [step.loss for step in of(Stepped, quiet)] == [step.loss for step in of(Stepped, drawn)]
