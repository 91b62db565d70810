"""The learning rate of each step, held against recorded schedules of independent programs."""

import json
from typing import Any, get_args

import pytest
import torch
from diffusers.optimization import get_scheduler
from transformers.optimization import (
    get_cosine_with_min_lr_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_wsd_schedule,
)

from tests.training.conftest import FIXTURES
from trainer.contract.rate import RateSection, ScheduleName
from trainer.contract.schedule import curve, rate_at, text_encoder_rate_at, warmup_steps

RECORDED = [case for case in json.loads((FIXTURES / "lr.json").read_text())["cases"] if isinstance(case["v15"], list)]
OF_DIFFUSERS = ["constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]
SCHEDULES = get_args(ScheduleName)


def rate_section(name: str, rate: float = 1e-4, warmup: float = 0) -> RateSection:
    """A section with a schedule, falling over 10 steps where it is one that falls at the end."""
    return RateSection(learning_rate=rate, lr_scheduler=name, lr_warmup_steps=warmup, lr_decay_steps=10)


@pytest.mark.parametrize(
    "case", [case for case in RECORDED if case["lr_scheduler"] != "constant" or not case["lr_warmup_steps"]]
)
def test_rate_is_the_recorded_one(case: dict) -> None:
    """Every step of every schedule has the rate that diffusers' schedule of that name gives."""
    section = rate_section(case["lr_scheduler"], case["learning_rate"], case["lr_warmup_steps"])
    ours = [rate_at(section, step, case["max_train_steps"]) for step in range(len(case["v15"]))]
    assert ours == pytest.approx(case["v15"], rel=1e-12, abs=1e-20)


@pytest.mark.parametrize("cycles", [1, 3])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", OF_DIFFUSERS)
def test_rate_is_that_of_diffusers(name: str, power: float, cycles: int) -> None:
    """Every schedule with a warm-up, cycles and a power is diffusers' own of that name, at each of 100 steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=7, num_training_steps=100, num_cycles=cycles, power=power)
    values = {"lr_scheduler": name, "lr_scheduler_num_cycles": cycles, "lr_scheduler_power": power}
    section = RateSection(learning_rate=1e-3, lr_warmup_steps=7, **values)
    for step in range(101):
        assert rate_at(section, step, 100) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-15), step
        optimizer.step()
        theirs.step()


TABLES: dict[str, tuple[dict[str, Any], dict[int, float]]] = {
    "cosine to a tenth": (
        {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1, "lr_warmup_steps": 20},
        {0: 0, 10: 0.5, 20: 1, 60: 0.55, 100: 0.1, 500: 0.1},
    ),
    "inverse root after a warm-up": (
        {"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 25},
        {0: 0, 20: 0.8, 25: 1, 100: 0.5, 500: 0.5},
    ),
    "inverse root by a timescale": (
        {"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 5, "lr_scheduler_timescale": 12},
        {5: 1, 17: 0.5**0.5, 41: 0.5, 100: (107 / 12) ** -0.5},
    ),
    "inverse root by itself": ({"lr_scheduler": "inverse_sqrt"}, {0: 1, 100: 1.01**-0.5}),
    "falling over the last fifth": (
        {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 10, "lr_decay_steps": 0.2},
        {5: 0.5, 10: 1, 45: 1, 80: 1, 85: 0.5 + 0.5**1.5, 90: 0.5, 100: 0, 101: 0},
    ),
    "falling to a quarter": (
        {"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": 40, "lr_scheduler_min_lr_ratio": 0.25},
        {0: 1, 60: 1, 80: 0.625, 100: 0.25},
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_rate_is_that_of_the_table(case: str) -> None:
    """Shares of the full rate in a run of 100 steps, worked out by hand."""
    values, table = TABLES[case]
    section = RateSection(learning_rate=1e-3, **values)
    assert {step: rate_at(section, step, 100) / 1e-3 for step in table} == pytest.approx(table, abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("name", ["cosine_with_min_lr", "inverse_sqrt", "warmup_stable_decay"])
def test_rate_is_that_of_transformers(name: str, warmup: int, share: float) -> None:
    """Behind the warm-up each of the newer schedules is transformers' own of that name, at each of 100 steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    make, more = {
        "cosine_with_min_lr": (
            get_cosine_with_min_lr_schedule_with_warmup,
            {"num_training_steps": 100, "min_lr_rate": share},
        ),
        "inverse_sqrt": (get_inverse_sqrt_schedule, {}),
        "warmup_stable_decay": (
            get_wsd_schedule,
            {"num_training_steps": 100, "num_decay_steps": 30, "min_lr_ratio": share},
        ),
    }[name]
    theirs = make(optimizer, num_warmup_steps=warmup, **more)
    values = {"lr_decay_steps": 30, "lr_scheduler_min_lr_ratio": share}
    section = RateSection(learning_rate=1e-3, lr_warmup_steps=warmup, lr_scheduler=name, **values)
    for step in range(101):
        if step >= warmup:
            assert rate_at(section, step, 100) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-15), step
        optimizer.step()
        theirs.step()


def test_text_encoder_follows_the_same_schedule() -> None:
    """Its own rate is moved by the same factor; without one it has the other's."""
    section = RateSection(learning_rate=1e-3, learning_rate_te=1e-4, lr_scheduler="cosine", lr_warmup_steps=5)
    for step in range(60):
        assert text_encoder_rate_at(section, step, 50) == pytest.approx(rate_at(section, step, 50) / 10)
    assert text_encoder_rate_at(RateSection(learning_rate=1e-3), 3, 9) == 1e-3


def test_constant_warms_up() -> None:
    """`constant` honours the warm-up instead of passing over it."""
    section = rate_section("constant", 1e-3, 4)
    assert [rate_at(section, step, 10) for step in range(6)] == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])


@pytest.mark.parametrize("name", SCHEDULES)
def test_nothing_rises_after_the_end(name: str) -> None:
    """A run that goes on past its plan stays at the rate at which the schedule ended."""
    section = rate_section(name, warmup=5)
    end = rate_at(section, 50, 50)
    assert {rate_at(section, step, 50) for step in (51, 75, 100, 1000)} == {end}
    assert end <= rate_at(section, 49, 50)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_in_a_straight_line_from_zero(name: str) -> None:
    """The first step of a warm-up has the rate 0, the first one behind it the full rate."""
    section = rate_section(name, 1e-3, 8)
    assert rate_at(section, 0, 100) == 0
    assert rate_at(section, 4, 100) == pytest.approx(5e-4)
    assert rate_at(section, 8, 100) == pytest.approx(1e-3)


def test_warmup_below_one_is_a_share() -> None:
    """0.05 of 200 steps are 10 steps."""
    assert warmup_steps(rate_section("linear", warmup=0.05), 200) == 10
    assert warmup_steps(rate_section("linear", warmup=12), 200) == 12


def test_polynomial_takes_a_rate_below_its_end() -> None:
    """A rate below the 1e-7 at which `polynomial` ends is kept as it is, and is no failure."""
    section = rate_section("polynomial", 5e-8)
    assert {rate_at(section, step, 10) for step in range(12)} == {5e-8}


@pytest.mark.parametrize("total", [1, 2, 199, 200, 1600, 100_000])
def test_curve_goes_from_the_first_to_the_last_step(total: int) -> None:
    """The curve has at most 200 points, the first at step 0 and the last at the end."""
    section = rate_section("linear")
    points = curve(section, total)
    assert 2 <= len(points) <= 200
    assert points[0] == pytest.approx(1e-4) and points[-1] == 0
    assert points == sorted(points, reverse=True)
