"""Targets, distances and weights of timesteps, against diffusers, torch and what they are derived from."""

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from tests.training.test_noise import uses
from trainer.contract.loss import LossSection
from trainer.training.noise import Dice
from trainer.training.objective import NoiseSchedule, Objective, Prediction, batch_loss, distance

EVERY = torch.arange(1000)
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def test_noise_and_velocity_are_those_of_diffusers() -> None:
    """Noisy latents and the v target agree with diffusers' scheduler at every timestep."""
    reference = DDPMScheduler(**BETAS)
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 1000, 4, 4, 4)
    ours = NoiseSchedule()
    assert torch.allclose(ours.add_noise(x0, eps, EVERY), reference.add_noise(x0, eps, EVERY), atol=1e-6)
    assert torch.allclose(ours.velocity(x0, eps, EVERY), reference.get_velocity(x0, eps, EVERY), atol=1e-6)
    assert torch.equal(ours.target("epsilon", x0, eps, EVERY), eps)
    assert torch.equal(ours.target("v", x0, eps, EVERY), ours.velocity(x0, eps, EVERY))


def test_all_noise_levels_stay_apart() -> None:
    """1,000 different levels, from almost none to almost only noise (0.99915 and 0.00466)."""
    alphas = NoiseSchedule().alphas_cumprod
    assert len(alphas.unique()) == 1000 and bool((alphas.diff() < 0).all())
    assert float(alphas[0]) == pytest.approx(0.99915, abs=1e-6)
    assert float(alphas[-1]) == pytest.approx(0.004660, abs=1e-6)


def test_zero_terminal_schedule_is_that_of_diffusers() -> None:
    """Nothing of the image is left at the last timestep, the first stays, and between them it is diffusers' rescale."""
    ours, plain = NoiseSchedule(zero_terminal_snr=True).alphas_cumprod, NoiseSchedule().alphas_cumprod
    theirs = DDPMScheduler(**BETAS, rescale_betas_zero_snr=True).alphas_cumprod
    assert float(ours[-1]) == 0
    assert float(ours[0]) == pytest.approx(float(plain[0]), rel=1e-6)
    # diffusers itself puts 2**-24 in place of the last 0.
    assert torch.allclose(ours[:-1], theirs[:-1], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("zero_terminal", [False, True])
def test_signal_to_noise_is_that_of_diffusers(zero_terminal: bool) -> None:
    """The weights of timesteps come from the schedule that is trained with; without options they are exactly 1."""
    objective = Objective("v", LossSection(zero_terminal_snr=zero_terminal, min_snr_gamma=5))
    reference = DDPMScheduler(**BETAS)
    reference.alphas_cumprod = objective.schedule.alphas_cumprod
    snr = compute_snr(reference, EVERY)
    assert torch.allclose(objective.schedule.snr(EVERY), snr, rtol=1e-4)
    assert torch.allclose(objective.weights(EVERY), snr.clamp(max=5) / (snr + 1), rtol=1e-4)
    assert (float(objective.weights(EVERY)[-1]) == 0) == zero_terminal
    assert bool((Objective("v", LossSection(zero_terminal_snr=zero_terminal)).weights(EVERY) == 1).all())


def weighed(prediction: Prediction, guess_x0: Tensor, x0: Tensor, eps: Tensor, **options: Any) -> Tensor:
    """The weighed squared error, [1000] in fp32, of a model that takes the clean latents for `guess_x0`."""
    objective = Objective(prediction, LossSection(**options))
    x_t = objective.schedule.add_noise(x0, eps, EVERY)
    image, noise = objective.schedule.mix(EVERY)
    guess_eps = (x_t - image * guess_x0) / noise
    target = objective.schedule.target(prediction, x0, eps, EVERY)
    guess = objective.schedule.target(prediction, guess_x0, guess_eps, EVERY)
    return objective.errors(guess, target, EVERY) * objective.weights(EVERY)


@pytest.fixture
def guesses() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A guess of the clean latents at every timestep, the latents, the noise, and how far the guess is off, [1000].

    It is as far off as there is noise, so that fp32 holds the errors of all three predictions.
    """
    torch.manual_seed(0)
    x0, eps, slip = torch.randn(3, 1000, 4, 4, 4)
    image, noise = NoiseSchedule().mix(EVERY)
    guess = x0 + slip * noise / image
    return guess, x0, eps, (guess - x0).square().mean(dim=(1, 2, 3))


def test_min_snr_is_one_weight_of_the_image_for_both_predictions(guesses: tuple[Tensor, ...]) -> None:
    """Min-SNR weighs the error of the clean latents by min(SNR, gamma), whichever way the model predicts."""
    *guess, off = guesses
    expected = NoiseSchedule().snr(EVERY).clamp(max=5) * off
    for prediction in ("epsilon", "v"):
        assert torch.allclose(weighed(prediction, *guess, min_snr_gamma=5), expected, rtol=1e-2), prediction


def test_v_weighed_like_noise_is_the_error_of_the_noise(guesses: tuple[Tensor, ...]) -> None:
    """With `scale_v_pred_loss_like_noise_pred` a v-model's loss is that of the same guess by an epsilon-model."""
    *guess, _ = guesses
    ours = weighed("v", *guess, scale_v_pred_loss_like_noise_pred=True)
    assert torch.allclose(ours, weighed("epsilon", *guess), rtol=1e-2)
    assert torch.equal(weighed("epsilon", *guess, scale_v_pred_loss_like_noise_pred=True), weighed("epsilon", *guess))


def test_debiased_estimation_weighs_by_the_root_of_the_signal(guesses: tuple[Tensor, ...]) -> None:
    """The error of the clean latents counts by sqrt(SNR) for epsilon and by 1 for v, SNR up to 1,000."""
    *guess, off = guesses
    snr = NoiseSchedule().snr(EVERY)
    assert int((snr > 1000).sum()) == 1
    epsilon, v = (weighed(kind, *guess, debiased_estimation_loss=True)[1:] for kind in ("epsilon", "v"))
    assert torch.allclose(epsilon, snr.sqrt()[1:] * off[1:], rtol=1e-2)
    assert torch.allclose(v, off[1:], rtol=1e-2)
    assert float(Objective("epsilon", LossSection(debiased_estimation_loss=True)).weights(EVERY[:1])) == pytest.approx(
        1000**-0.5
    )


def test_weights_multiply() -> None:
    """Several weights of timesteps together are their product."""
    options = ("min_snr_gamma", "scale_v_pred_loss_like_noise_pred", "debiased_estimation_loss")
    product = torch.ones(1000)
    for name in options:
        product = product * Objective("v", LossSection(**{name: 1})).weights(EVERY)
    together = Objective("v", LossSection(**dict.fromkeys(options, 1))).weights(EVERY)
    assert torch.allclose(together, product, rtol=1e-5)


def test_distances_are_those_of_torch() -> None:
    """L2 and L1 are torch's own; Huber lies between them: squares near 0, distances far from it."""
    torch.manual_seed(0)
    one, other = torch.randn(2, 3, 4, 8, 8)
    t = torch.tensor([0, 500, 999])
    for kind, theirs in (("l2", mse_loss), ("l1", l1_loss)):
        expected = theirs(one, other, reduction="none").mean(dim=(1, 2, 3))
        assert torch.equal(Objective("epsilon", LossSection(loss_type=kind)).errors(one, other, t), expected)
    d = torch.logspace(-4, 4, 200, dtype=torch.float64)
    for c in (0.01, 1.0):
        root = (d**2 + c**2).sqrt() - c
        for kind, expected in (("huber", 2 * c * root), ("smooth_l1", 2 * root)):
            ours = distance(kind, d.float(), torch.tensor(c)).double()
            assert torch.allclose(ours, expected, rtol=1e-5)
    near, far = torch.tensor([1e-4, 1e4])
    assert float(distance("huber", near, torch.tensor(1.0))) == pytest.approx(1e-8)
    assert float(distance("smooth_l1", far, torch.tensor(1.0))) == pytest.approx(2e4, rel=1e-3)


def test_threshold_moves_as_its_schedule_says() -> None:
    """Constant: c s. Exponential: from s down to c s. By noise: from near 1 down to c, whatever s."""

    def at(schedule: str, t: int, **options: float) -> float:
        loss = LossSection(loss_type="huber", huber_schedule=schedule, huber_c=0.2, **options)
        return float(Objective("epsilon", loss).threshold(torch.tensor([t])))

    for t in (0, 500, 999):
        assert at("constant", t, huber_scale=3) == pytest.approx(0.6)
        assert at("exponential", t, huber_scale=3) == pytest.approx(3 * 0.2 ** (t / 1000), rel=1e-5)
        alpha = float(NoiseSchedule().alphas_cumprod[t])
        sigma = ((1 - alpha) / alpha) ** 0.5
        assert at("snr", t) == at("snr", t, huber_scale=3) == pytest.approx(0.8 / (1 + sigma) ** 2 + 0.2, rel=1e-4)
    zero_terminal = LossSection(loss_type="huber", zero_terminal_snr=True)
    assert float(Objective("v", zero_terminal).threshold(torch.tensor([999]))) == pytest.approx(0.1)


def test_each_sample_has_the_threshold_of_its_timestep() -> None:
    """In a batch of several timesteps each sample is judged as it would be alone."""
    objective = Objective("epsilon", LossSection(loss_type="huber"))
    torch.manual_seed(0)
    one, other = torch.randn(2, 3, 4, 8, 8)
    t = torch.tensor([0, 500, 999])
    together = objective.errors(one, other, t)
    alone = [objective.errors(one[i : i + 1], other[i : i + 1], t[i : i + 1]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone))


def test_loss_is_the_mean_of_weighted_errors() -> None:
    """(1/B) sum w_i mse_i: weights are not normalised, and a sample of weight 0 still counts in B."""
    predicted = torch.stack([torch.full((4, 2, 2), float(n)) for n in (1, 2, 3)])
    error = Objective("epsilon", LossSection()).errors(predicted, torch.zeros_like(predicted), torch.zeros(3).long())
    assert error.tolist() == [1, 4, 9]
    assert float(batch_loss(error, torch.tensor([1.0, 0.5, 0.0]))) == pytest.approx(3 / 3)


def test_error_of_half_precision_is_taken_in_fp32() -> None:
    """Squares of what fp16 holds do not overflow."""
    predicted = torch.full((1, 1, 1, 1), 300.0, dtype=torch.float16)
    error = Objective("epsilon", LossSection()).errors(predicted, torch.zeros_like(predicted), torch.zeros(1).long())
    assert float(error) == 90_000


ACTS_ON: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "min_snr_gamma": ({"min_snr_gamma": 5}, {}, {"weights"}),
    "debiased_estimation_loss": ({"debiased_estimation_loss": True}, {}, {"weights"}),
    "scale_v_pred_loss_like_noise_pred": ({"scale_v_pred_loss_like_noise_pred": True}, {}, {"weights"}),
    "zero_terminal_snr": ({"zero_terminal_snr": True}, {}, {"mixed", "target", "errors"}),
    "zero_terminal_snr refreshes weights": (
        {"zero_terminal_snr": True},
        {"min_snr_gamma": 5},
        {"mixed", "target", "errors", "weights"},
    ),
    "noise_offset": ({"noise_offset": 0.1}, {}, {"asked", "added", "mixed", "target", "errors"}),
    "noise_offset_random_strength": (
        {"noise_offset_random_strength": True},
        {"noise_offset": 0.1},
        {"asked", "added", "mixed", "target", "errors"},
    ),
    "adaptive_noise_scale": (
        {"adaptive_noise_scale": 0.1},
        {"noise_offset": 0.1},
        {"asked", "added", "mixed", "target", "errors"},
    ),
    "multires_noise_iterations": (
        {"multires_noise_iterations": 6},
        {},
        {"asked", "added", "mixed", "target", "errors"},
    ),
    "multires_noise_discount": (
        {"multires_noise_discount": 0.8},
        {"multires_noise_iterations": 6},
        {"asked", "added", "mixed", "target", "errors"},
    ),
    "ip_noise_gamma": ({"ip_noise_gamma": 0.1}, {}, {"added", "mixed"}),
    "ip_noise_gamma_random_strength": (
        {"ip_noise_gamma_random_strength": True},
        {"ip_noise_gamma": 0.1},
        {"added", "mixed"},
    ),
    "min_timestep": ({"min_timestep": 700}, {}, {"timesteps", "mixed", "target", "errors"}),
    "max_timestep": ({"max_timestep": 300}, {}, {"timesteps", "mixed", "target", "errors"}),
    "loss_type": ({"loss_type": "l1"}, {}, {"errors"}),
    "huber_schedule": ({"huber_schedule": "constant"}, {"loss_type": "huber"}, {"errors"}),
    "huber_c": ({"huber_c": 0.3}, {"loss_type": "smooth_l1"}, {"errors"}),
    "huber_scale": ({"huber_scale": 2}, {"loss_type": "huber", "huber_schedule": "exponential"}, {"errors"}),
}
"""Option -> turned on, beside what, and all that it may and must change."""


@pytest.mark.parametrize("option", ACTS_ON)
def test_option_changes_what_it_names_and_nothing_else(option: str) -> None:
    """Of noise, timesteps, mixing, target, errors and weights of a v-model, exactly these are others."""
    on, beside, expected = ACTS_ON[option]
    before, after = aspects(LossSection(**beside)), aspects(LossSection(**beside, **on))
    assert {name for name in before if not torch.equal(before[name], after[name])} == expected


def aspects(loss: LossSection) -> dict[str, Tensor]:
    """All that a step has before the networks, and after an answer that is the latents themselves."""
    batch = uses(*range(8))
    x0 = torch.stack([torch.full((4, 8, 8), 1.0 + n) for n in range(8)])
    dice, objective = Dice(loss, 5, lambda tensor: tensor), Objective("v", loss)
    noise, t = dice.noise(x0, 0, batch), dice.timesteps(0, batch)
    target = objective.schedule.target("v", x0, noise.asked, t)
    return {
        "timesteps": t,
        "asked": noise.asked,
        "added": noise.added,
        "mixed": objective.schedule.add_noise(x0, noise.added, t),
        "target": target,
        "errors": objective.errors(x0, target, t),
        "weights": objective.weights(t),
    }


def test_every_option_of_noise_and_loss_is_tried() -> None:
    """The table above names all but those of masks, which test_masked_loss.py turns on."""
    masks = {"masked_loss", "conditioning_data_dir", "alpha_mask"}
    assert set(LossSection.model_fields) - masks == {name.split()[0] for name in ACTS_ON}
