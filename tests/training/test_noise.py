"""Random numbers of a step, and the noise that the options make of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import avg_pool2d

from trainer.contract.loss import LossSection
from trainer.dataset.batches import Purpose, Use
from trainer.dataset.captions import Entry
from trainer.dataset.scan import Picture
from trainer.training.noise import Dice, draw_normal, draw_pyramid, draw_timesteps

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


def dice(seed: int = 5, **options: Any) -> Dice:
    """Dice of a run with these options of noise."""
    return Dice(LossSection(**options), seed, lambda tensor: tensor)


def test_timesteps_stay_within_their_range() -> None:
    """All of low, ..., high - 1 and no other; where none is left, the upper end for all."""
    assert set(draw_timesteps(0, 0, uses(*range(200)), 20, 25).tolist()) == {20, 21, 22, 23, 24}
    assert set(draw_timesteps(0, 0, uses(*range(20)), 400, 400).tolist()) == {400}
    assert torch.equal(draw_timesteps(3, 1, uses(*range(99)), 0, 1000), draw_timesteps(3, 1, uses(*range(99))))
    assert set(dice(min_timestep=7, max_timestep=8).timesteps(0, uses(*range(20))).tolist()) == {7}


EVERYTHING: dict[str, Any] = {
    "noise_offset": 0.2,
    "noise_offset_random_strength": True,
    "adaptive_noise_scale": 0.3,
    "multires_noise_iterations": 8,
    "multires_noise_discount": 0.7,
    "ip_noise_gamma": 0.1,
    "ip_noise_gamma_random_strength": True,
}


def test_neighbours_in_a_batch_change_no_noise() -> None:
    """With every option of noise on, an image's noise depends on itself, the seed and the epoch alone."""
    torch.manual_seed(1)
    x0 = torch.randn(3, 4, 16, 8)
    together = dice(**EVERYTHING).noise(x0, 2, uses(3, 7, 5))
    alone = dice(**EVERYTHING).noise(x0[1:2], 2, uses(7))
    assert torch.equal(together.asked[1], alone.asked[0]) and torch.equal(together.added[1], alone.added[0])
    for seed, epoch, index in ((6, 2, 7), (5, 3, 7), (5, 2, 8)):
        other = dice(seed, **EVERYTHING).noise(x0[1:2], epoch, uses(index))
        assert not torch.equal(other.asked, alone.asked)
        assert not torch.equal(other.added - other.asked, alone.added - alone.asked)


def test_offset_shifts_each_channel_as_a_whole() -> None:
    """The noise is the plain one plus a normal number of the asked size for each channel; the networks are asked so."""
    x0 = torch.zeros(500, 4, 8, 8)
    batch = uses(*range(500))
    plain, shifted = dice().noise(x0, 0, batch), dice(noise_offset=0.1).noise(x0, 0, batch)
    assert shifted.asked is shifted.added
    shift = shifted.asked - plain.asked
    assert float((shift - shift.mean(dim=(2, 3), keepdim=True)).abs().max()) < 1e-6
    channels = shift[:, :, 0, 0]
    assert abs(float(channels.mean())) < 0.01 and float(channels.std()) == pytest.approx(0.1, rel=0.05)
    weaker = dice(noise_offset=0.1, noise_offset_random_strength=True).noise(x0, 0, batch).asked - plain.asked
    share = weaker[:, :, 0, 0] / channels
    # One strength for all channels of an image, anywhere between none and the whole.
    assert float((share - share[:, :1]).abs().max()) < 1e-2
    assert float(share.min()) > -1e-2 and float(share.max()) < 1 + 1e-2 and 0.4 < float(share.mean()) < 0.6


def test_offset_grows_with_the_mean_of_a_channel() -> None:
    """o + a |mean| for each channel, and never below 0."""
    x0 = torch.zeros(1, 4, 8, 8) + torch.tensor([0.0, 1.0, -2.0, 4.0]).view(1, 4, 1, 1)
    plain = dice().noise(x0, 0, uses(0)).asked

    def shift(**options: float) -> torch.Tensor:
        return (dice(**options).noise(x0, 0, uses(0)).asked - plain).mean(dim=(2, 3))[0]

    unit = shift(noise_offset=1)
    grown, shrunk = shift(noise_offset=0.1, adaptive_noise_scale=0.2), shift(noise_offset=0.1, adaptive_noise_scale=-1)
    assert torch.allclose(grown / unit, torch.tensor([0.1, 0.3, 0.5, 0.9]), atol=1e-4)
    assert torch.allclose(shrunk / unit, torch.tensor([0.1, 0.0, 0.0, 0.0]), atol=1e-4)


def test_perturbation_is_seen_but_not_asked_for() -> None:
    """The networks are asked for the plain noise, and see it with a little more of another."""
    x0, batch = torch.zeros(50, 4, 8, 8), uses(*range(50))
    plain, perturbed = dice().noise(x0, 0, batch), dice(ip_noise_gamma=0.1).noise(x0, 0, batch)
    assert torch.equal(perturbed.asked, plain.asked) and plain.asked is plain.added
    more = perturbed.added - perturbed.asked
    assert float(more.std()) == pytest.approx(0.1, rel=0.05)
    assert abs(float((more * plain.asked).mean())) < 0.005
    weaker = dice(ip_noise_gamma=0.1, ip_noise_gamma_random_strength=True).noise(x0, 0, batch)
    share = (weaker.added - weaker.asked).std(dim=(1, 2, 3)) / more.std(dim=(1, 2, 3))
    assert float(share.min()) >= 0 and float(share.max()) <= 1.001 and 0.3 < float(share.mean()) < 0.7


def test_levels_get_coarser_and_weaker() -> None:
    """Level i is an enlarged picture of at most 1/2**i of the size, and weighs discount**i; a side of 1 ends it."""
    shape, size = (4, 64, 32), 32
    sums = [draw_pyramid(0, 0, uses(0), shape, (number, 0.5))[0] for number in range(12)]
    assert not sums[0].any()
    for level in range(1, 12):
        added = sums[level] - sums[level - 1]
        if not added.any():
            break
        rank = int(torch.linalg.matrix_rank(added[0].double(), rtol=1e-4))
        assert max(1, size // 4 ** (level - 1)) <= rank <= max(1, size // 2 ** (level - 1))
        assert float(added.std()) < 1.5 * 0.5 ** (level - 1)
    assert rank == 1 and level < 8, "the last level has one pixel on its shorter side"
    assert torch.equal(sums[level], sums[11])
    narrow = [draw_pyramid(0, 0, uses(0), (4, 64, 2), (number, 0.5)) for number in (1, 2, 9)]
    assert not torch.equal(narrow[0], narrow[1]) and torch.equal(narrow[1], narrow[2])


def test_multiresolution_noise_has_unit_size_and_large_shapes() -> None:
    """Each image's noise is divided by its own deviation, and its means over quarters vary more than plain noise's."""
    x0, batch = torch.zeros(40, 4, 32, 32), uses(*range(40))
    plain = dice().noise(x0, 0, batch).asked
    coarse = dice(multires_noise_iterations=6, multires_noise_discount=0.5).noise(x0, 0, batch).asked
    assert torch.allclose(coarse.std(dim=(1, 2, 3)), torch.ones(40), atol=1e-5)
    quarters = [avg_pool2d(noise, 16).std() for noise in (plain, coarse)]
    assert quarters[1] > 2 * quarters[0]
