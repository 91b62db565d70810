"""Figures in words: the same number reads the same on every page."""

import time

import pytest

from gui.figures import ago, clock, counted, duration, gigabytes, loss_text, percent, rate_text, size, spread

NOON = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (1500, "25 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"),
        (120 * 60, "2 h"),
        (47 * 3600, "47 h"),
        (48 * 3600, "2 days"),
        (52 * 3600, "2 days 4 h"),
    ],
)
def test_durations_have_the_unit_that_people_would_say(seconds: float, text: str) -> None:
    """Seconds below a minute and a half, minutes below an hour and a half, then hours and days."""
    assert duration(seconds) == text


def test_a_spread_says_the_unit_once_and_nothing_where_both_are_equal() -> None:
    """Two durations that read the same are no spread; of one unit only the numbers are said."""
    assert spread(1440, 1620) == "24 to 27"
    assert spread(1500, 1510) == ""
    assert spread(80, 130) == "80 s to 2 min"
    assert spread(12_000, 13_200) == "3 h 20 min to 3 h 40 min"
    assert spread(7200, 10_800) == "2 to 3 h".removesuffix(" h")


def test_a_hundred_percent_is_only_said_when_all_is_done() -> None:
    """Shares are rounded down: 3,199 of 3,200 steps are 99 %, and 0.29 is 29 % although it is stored as less."""
    assert (percent(3199 / 3200), percent(1.0), percent(1240 / 3200), percent(0.29)) == (
        "99 %",
        "100 %",
        "38 %",
        "29 %",
    )


def test_a_moment_of_another_day_has_its_date() -> None:
    """Today has only a time of day; the list says yesterday, days, and then the date."""
    assert clock(NOON - 3600, NOON) == "11:00"
    assert clock(NOON - 86_400, NOON) == "21 Nov, 12:00"
    assert ago(NOON - 3600, NOON) == "11:00"
    assert ago(NOON - 13 * 3600, NOON) == "yesterday"
    assert ago(NOON - 36 * 3600 + 60, NOON) == "yesterday"
    assert ago(NOON - 37 * 3600, NOON) == "2 days ago"
    assert ago(NOON - 30 * 86_400, NOON) == "23 Oct 2026"


def test_sizes_are_decimal_and_memory_is_turned_into_them() -> None:
    """Files and memory are told in the same unit: 8 GiB are 8.6 GB."""
    assert (size(2_032_000_000), size(15_400_000), size(900)) == ("2.0 GB", "15 MB", "1 kB")
    assert gigabytes(8) == "8.6"


def test_losses_and_rates_have_the_digits_that_compare() -> None:
    """Three decimals for a loss, two digits for a tiny one; a rate without padding zeros."""
    assert (loss_text(0.1084), loss_text(0.00042), loss_text(0.0)) == ("0.108", "0.00042", "0.000")
    assert (rate_text(2e-6), rate_text(1.42e-6), rate_text(0)) == ("2e-6", "1.42e-6", "0")


def test_one_thing_is_singular() -> None:
    """1 step, 1,240 steps."""
    assert (counted(1, "step"), counted(1240, "step")) == ("1 step", "1,240 steps")
