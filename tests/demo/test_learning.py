"""What each way of training leaves in the pictures that the demo's model draws: real trainings, a minute each.

The figures stand in docs/benchmarks.md (`python -m benchmarks.learning`); here are the bounds that they have to keep.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.demo.trials import BEFORE, TRIALS, Trials
from trainer.demo.make import make_demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROMPTS, STEPS = 48, 12


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory, two_threads: None) -> Trials:
    """A home with the demo, in which each trial is trained once: all in one go, so that no core waits for a pair."""
    home = tmp_path_factory.mktemp("learning")
    make_demo(home)
    trials = Trials(home, PROMPTS, STEPS)
    trials.train(*TRIALS)
    return trials


def weights(model: Path, part: str) -> dict[str, torch.Tensor]:
    """What a saved folder holds of one network."""
    (file,) = (model / part).glob("*.safetensors")
    return load_file(file)


def test_the_subject_is_learnt_and_the_rest_is_kept(trials: Trials) -> None:
    """In at most 5 % of 48 pictures before and at least 80 % after; stars stay themselves, colours and places too."""
    assert trials.shares(BEFORE, "subject")["subject"] <= 0.05
    assert trials.shares("subject", "subject")["subject"] >= 0.8
    assert trials.shares("subject", "stars")["subject"] <= trials.shares(BEFORE, "stars")["subject"] + 0.05
    before, after = trials.shares(BEFORE, "general"), trials.shares("subject", "general")
    assert after["colour"] >= before["colour"] - 0.05
    assert after["position"] >= before["position"] - 0.1


def test_without_regularization_stars_take_on_the_subjects_look(trials: Trials) -> None:
    """By more than the 5 % that regularization allows; with a weight of a twentieth they are hardly protected."""
    with_it, little, without = (
        trials.shares(name, "stars")["subject"] for name in ("subject", "prior_loss_weight 0.05", "no regularization")
    )
    assert without > trials.shares(BEFORE, "stars")["subject"] + 0.05
    assert with_it + 0.1 <= little


def test_a_style_comes_when_it_is_asked_for(trials: Trials) -> None:
    """Four of five pictures in ink with the words, hardly one in four without; before, none."""
    assert trials.shares(BEFORE, "in ink")["ink"] <= 0.05
    assert trials.shares("style", "in ink")["ink"] >= 0.8
    assert trials.shares("style", "unstyled")["ink"] <= 0.25
    assert trials.shares("style", "in ink")["colour"] >= 0.85


def test_words_alone_teach_no_new_look_but_a_new_name(trials: Trials) -> None:
    """`encoderonly` leaves the U-Net as it is: it only comes near a star it never drew, and calls another by a word."""
    (word,) = trials.train("word")
    base = weights(trials.train(BEFORE)[0], "unet")
    assert all(torch.equal(tensor, base[name]) for name, tensor in weights(word, "unet").items())
    assert trials.shares("encoderonly", "subject")["subject"] <= trials.shares("subject", "subject")["subject"] - 0.25
    before, after = trials.shares(BEFORE, "word"), trials.shares("word", "word")
    assert min(before["shape"], before["colour"]) < 0.5 and min(after["shape"], after["colour"]) >= 0.9


def test_the_unet_alone_learns_the_subject_too(trials: Trials) -> None:
    """`unetonly` leaves the text encoder as it is, and stopped early it hardly moves; both still teach the look."""
    unetonly, stopped = trials.train("unetonly", "stop_text_encoder_training 10")
    base = weights(trials.train(BEFORE)[0], "text_encoder")
    assert all(torch.equal(tensor, base[name]) for name, tensor in weights(unetonly, "text_encoder").items())
    little, wholly = (moved_by(weights(model, "text_encoder"), base) for model in (stopped, *trials.train("subject")))
    assert 0 < little < 0.5 * wholly
    assert trials.shares("unetonly", "subject")["subject"] >= 0.5


def test_dropped_captions_teach_what_comes_without_words(trials: Trials) -> None:
    """With `ucg` at nine tenths the subject comes where nothing is asked for, more often than with all captions."""
    said = trials.shares("U-Net alone, no regularization", "without words")["subject"]
    dropped = trials.shares("U-Net alone, no regularization, ucg 0.9", "without words")["subject"]
    assert dropped >= said + 0.1


def test_the_average_is_calmer_than_the_last_step(trials: Trials) -> None:
    """One picture a step, at a rate that never falls: the averaged weights keep more of what the model knew."""
    (average,) = trials.train("use_ema")
    last = average.with_name(average.name + "-raw")
    calm, rough = (trials.shares_of(model, "general")["colour + shape + position"] for model in (average, last))
    assert calm >= rough + 0.05


def moved_by(now: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> float:
    """The distance between two states of a network's weights."""
    return sum(float((now[name].float() - before[name].float()).square().sum()) for name in now) ** 0.5
