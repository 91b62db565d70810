"""Random numbers of a step and the noise schedule."""

from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler

from trainer.dataset.batches import Purpose, Use
from trainer.dataset.captions import Entry
from trainer.dataset.scan import Picture
from trainer.training.noise import draw_normal, draw_timesteps
from trainer.training.objective import NoiseSchedule, batch_loss, squared_error

ENTRY = Entry(Picture(Path("a.png"), 64, 64), "", 1, False, Path("1_a"))


def uses(*indices: int) -> list[Use]:
    """Uses with these indices."""
    return [Use(ENTRY, (64, 64), index) for index in indices]


def test_draw_depends_on_seed_epoch_index_and_purpose_alone() -> None:
    """The same use has the same noise in any batch; another seed, epoch, index or purpose has another."""
    alone = draw_normal(1, 2, uses(7), (4, 8, 8), Purpose.NOISE)
    together = draw_normal(1, 2, uses(3, 7, 5), (4, 8, 8), Purpose.NOISE)
    assert torch.equal(alone[0], together[1])
    others = [
        draw_normal(2, 2, uses(7), (4, 8, 8), Purpose.NOISE),
        draw_normal(1, 3, uses(7), (4, 8, 8), Purpose.NOISE),
        draw_normal(1, 2, uses(8), (4, 8, 8), Purpose.NOISE),
        draw_normal(1, 2, uses(7), (4, 8, 8), Purpose.LATENT),
    ]
    assert not any(torch.equal(alone, other) for other in others)
    assert alone.dtype == torch.float32


def test_draw_leaves_the_global_generator_alone() -> None:
    """Who draws noise does not change what others draw."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    draw_normal(1, 0, uses(0, 1), (4, 8, 8), Purpose.NOISE)
    draw_timesteps(1, 0, uses(0, 1))
    assert torch.equal(torch.rand(4), expected)


def test_numbers_are_standard_normal_and_timesteps_uniform() -> None:
    """Mean 0 and variance 1; every tenth of the 1,000 timesteps about equally often, the first and last included."""
    normal = draw_normal(0, 0, uses(*range(64)), (4, 16, 16), Purpose.NOISE)
    assert abs(float(normal.mean())) < 0.02 and abs(float(normal.var()) - 1) < 0.02
    steps = draw_timesteps(0, 0, uses(*range(5000)))
    assert steps.dtype == torch.int64 and 0 <= int(steps.min()) < 5 and 994 < int(steps.max()) <= 999
    counts = torch.histc(steps.float(), bins=10, min=0, max=1000)
    assert float(counts.min()) > 400 and float(counts.max()) < 600


@pytest.fixture
def reference() -> DDPMScheduler:
    """diffusers' schedule with Stable Diffusion's betas."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def test_noise_and_velocity_are_those_of_diffusers(reference: DDPMScheduler) -> None:
    """Noisy latents and the v target agree with diffusers' scheduler at every timestep."""
    torch.manual_seed(0)
    x0, eps, t = torch.randn(1000, 4, 4, 4), torch.randn(1000, 4, 4, 4), torch.arange(1000)
    ours = NoiseSchedule()
    assert torch.allclose(ours.add_noise(x0, eps, t), reference.add_noise(x0, eps, t), atol=1e-6)
    assert torch.allclose(ours.velocity(x0, eps, t), reference.get_velocity(x0, eps, t), atol=1e-6)
    assert torch.equal(ours.target("epsilon", x0, eps, t), eps)
    assert torch.equal(ours.target("v", x0, eps, t), ours.velocity(x0, eps, t))


def test_all_noise_levels_stay_apart() -> None:
    """1,000 different levels, from almost none to almost only noise (0.99915 and 0.00466)."""
    alphas = NoiseSchedule().alphas_cumprod
    assert len(alphas.unique()) == 1000 and bool((alphas.diff() < 0).all())
    assert float(alphas[0]) == pytest.approx(0.99915, abs=1e-6)
    assert float(alphas[-1]) == pytest.approx(0.004660, abs=1e-6)


def test_loss_is_the_mean_of_weighted_errors() -> None:
    """(1/B) sum w_i mse_i: weights are not normalised, and a sample of weight 0 still counts in B."""
    predicted = torch.stack([torch.full((4, 2, 2), float(n)) for n in (1, 2, 3)])
    error = squared_error(predicted, torch.zeros_like(predicted))
    assert error.tolist() == [1, 4, 9]
    assert float(batch_loss(error, torch.tensor([1.0, 0.5, 0.0]))) == pytest.approx(3 / 3)


def test_error_of_half_precision_is_taken_in_fp32() -> None:
    """Squares of what fp16 holds do not overflow."""
    predicted = torch.full((1, 1, 1, 1), 300.0, dtype=torch.float16)
    assert float(squared_error(predicted, torch.zeros_like(predicted))) == 90_000
