"""Figures in words, the same on every page: counts, times, sizes, losses, rates.

Comes in: a number. Goes out: the text that people read, with commas, units, and no more digits than they compare.
"""

import math
import time

from trainer.contract.events import GIB_IN_GB
from trainer.dataset.wording import size as size


def count(number: float) -> str:
    """1,240"""
    return f"{int(number):,}"


def counted(number: int, noun: str) -> str:
    """ "1 step", "1,240 steps"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def percent(fraction: float) -> str:
    """Rounded down: 100 % is only said when all is done."""
    return f"{math.floor(100 * fraction + 1e-9)} %"


def duration(seconds: float) -> str:
    """ "45 s", "25 min", "3 h 20 min", "2 days 4 h"."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    hours = round(minutes / 60)
    return f"{hours // 24} days {hours % 24} h" if hours % 24 else f"{hours // 24} days"


def spread(low: float, high: float) -> str:
    """ "24 to 27" where both have the same unit, "80 s to 2 min", empty where both read the same."""
    first, second = duration(low), duration(high)
    if first == second:
        return ""
    number, _, unit = first.partition(" ")
    other, _, other_unit = second.partition(" ")
    return f"{number} to {other}" if unit == other_unit else f"{first} to {second}"


def clock(moment: float, now: float | None = None) -> str:
    """ "13:02" today, else "21 Nov, 13:02" (of this machine's clock)."""
    today = time.localtime(time.time() if now is None else now)
    local = time.localtime(moment)
    if (local.tm_year, local.tm_yday) == (today.tm_year, today.tm_yday):
        return time.strftime("%H:%M", local)
    return f"{local.tm_mday} {time.strftime('%b, %H:%M', local)}"


def ago(moment: float, now: float | None = None) -> str:
    """ "13:02" today, "yesterday", "2 days ago", then the date."""
    today = time.time() if now is None else now
    start = time.mktime((*time.localtime(today)[:3], 0, 0, 0, 0, 0, -1))
    if moment >= start:
        return time.strftime("%H:%M", time.localtime(moment))
    days = math.ceil((start - moment) / 86_400)
    if days == 1:
        return "yesterday"
    local = time.localtime(moment)
    return f"{days} days ago" if days < 8 else f"{local.tm_mday} {time.strftime('%b %Y', local)}"


def gigabytes(gib: float) -> str:
    """GiB as told by events, in GB with one decimal, without the unit."""
    return f"{gib * GIB_IN_GB:.1f}"


def loss_text(value: float) -> str:
    """0.108, and 0.00042 where three decimals would say nothing."""
    return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.2g}"


def rate_text(value: float) -> str:
    """2e-6, 1.42e-6, 0"""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
