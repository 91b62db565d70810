"""Sample pictures: the right ones, at the right time, without a trace in the training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from tests.training.conftest import Train, of, wishing
from trainer.contract.config import ModelSection
from trainer.contract.events import Sampled, Stepped
from trainer.contract.prompts import Prompt
from trainer.model.load import load_networks
from trainer.training.engine import Engine
from trainer.training.sampling import Drawing, Sampler

PROMPTS = "a sks dog --s 2 --d 5\na cat --n blurry --w 128 --h 64 --s 3 --l 4"


ZERO_TERMINAL = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize(("family", "zero_terminal"), [("v1", False), ("v2", False), ("v2", True)])
@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_picture_is_the_one_that_diffusers_draws(
    family: str, zero_terminal: bool, scale: float, tiny_v1: Path, tiny_v2: Path
) -> None:
    """Prompt, unwanted words, size, seed, steps and scale give the picture of diffusers' pipeline with DDIM.

    With a zero terminal SNR it is drawn in that schedule, from its last timestep on.
    """
    path = {"v1": tiny_v1, "v2": tiny_v2}[family]
    pipeline = StableDiffusionPipeline.from_pretrained(path, safety_checker=None, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, **(ZERO_TERMINAL if zero_terminal else {})
    )
    prompt = Prompt("a harbour at dawn", "blurry", 128, 64, 11, 4, scale)
    expected = pipeline(
        prompt.text,
        negative_prompt=prompt.negative,
        width=128,
        height=64,
        num_inference_steps=4,
        guidance_scale=scale,
        generator=torch.Generator("cpu").manual_seed(11),
        output_type="np",
    ).images[0]
    AcceleratorState._reset_state(reset_partial_state=True)
    networks = load_networks(ModelSection(pretrained_model_name_or_path=str(path)))
    drawing = Drawing((64, 64), 0, None, networks.prediction, zero_terminal)
    sampler = Sampler(networks, None, [prompt], drawing, Engine("no"))
    with torch.no_grad():
        ours = sampler.picture(prompt, 11)
    assert ours.shape == (64, 128, 3)
    assert int(np.abs(ours.astype(int) - np.round(expected * 255).astype(int)).max()) <= 1


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


def test_sampling_changes_no_step(train: Train) -> None:
    """A run with samples has the losses of a run without: modes, weights and random numbers are put back."""
    quiet = train("quiet", max_train_steps=5, use_ema=True, gradient_checkpointing=True)
    options = {"sample_prompts": PROMPTS, "sample_at_first": True, "sample_every_n_steps": 1}
    drawn = train("drawn", max_train_steps=5, use_ema=True, gradient_checkpointing=True, **options)
    assert [step.loss for step in of(Stepped, quiet)] == [step.loss for step in of(Stepped, drawn)]
