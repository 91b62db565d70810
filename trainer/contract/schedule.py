"""The learning rate of each step: a pure function of the options, the step and the number of steps.

The trainer sets what `rate_at` says before each optimizer step, and the page draws `curve` from the same function.
Steps are optimizer steps from 0, whatever the number of processes or of gathered batches.
"""

import math

from trainer.contract.rate import RateSection

POLYNOMIAL_END = 1e-7
"""The rate at which `polynomial` ends, as in diffusers' schedule of that name."""

TIMESCALE = 10_000
"""Of the inverse square root, where neither it nor a warm-up is given, as in transformers' schedule of that name."""

ENDS_AT_A_SHARE = ("cosine_with_min_lr", "warmup_stable_decay")

CURVE_POINTS = 200


def warmup_steps(rate: RateSection, total_steps: int) -> int:
    """The length of the warm-up in steps; a value below 1 is a share of the whole run."""
    return _steps(rate.lr_warmup_steps, total_steps)


def decay_steps(rate: RateSection, total_steps: int) -> int:
    """The steps at the end over which the rate falls; a value below 1 is a share of the whole run."""
    return _steps(rate.lr_decay_steps, total_steps)


def _steps(value: float, total_steps: int) -> int:
    return round(value * total_steps) if value < 1 else int(value)


def text_encoder_rate_at(rate: RateSection, step: int, total_steps: int) -> float:
    """The same for the text encoder, by its own rate where one is given."""
    own = rate.learning_rate if rate.learning_rate_te is None else rate.learning_rate_te
    return rate_at(rate.model_copy(update={"learning_rate": own}), step, total_steps)


def rate_at(rate: RateSection, step: int, total_steps: int) -> float:
    """The learning rate that optimizer step `step` (from 0) uses.

    From 0 it rises in a straight line over the warm-up. Behind the last step every schedule stays where it ended, so
    that a run that goes on past its plan never sees the rate rise again.
    """
    warmup = warmup_steps(rate, total_steps)
    if step < warmup:
        return rate.learning_rate * (step / warmup)
    left = max(1, total_steps - warmup)
    passed = min(step - warmup, left)
    done = passed / left
    if rate.lr_scheduler == "polynomial":
        end = min(POLYNOMIAL_END, rate.learning_rate)
        return (rate.learning_rate - end) * (1 - done) ** rate.lr_scheduler_power + end
    if rate.lr_scheduler == "inverse_sqrt":
        timescale = rate.lr_scheduler_timescale or warmup or TIMESCALE
        return rate.learning_rate / math.sqrt(1 + passed / timescale)
    if rate.lr_scheduler == "cosine_with_restarts" and done < 1:
        done = rate.lr_scheduler_num_cycles * done % 1.0
    if rate.lr_scheduler == "warmup_stable_decay":
        falling = min(left, decay_steps(rate, total_steps))
        done = max(0, passed - (left - falling)) / falling if falling else 0.0
    lowest = rate.lr_scheduler_min_lr_ratio if rate.lr_scheduler in ENDS_AT_A_SHARE else 0.0
    return rate.learning_rate * (lowest + (1 - lowest) * _share(rate.lr_scheduler, done))


def curve(rate: RateSection, total_steps: int, points: int = CURVE_POINTS) -> list[float]:
    """The rate at up to `points` evenly spaced steps, the first at step 0 and the last at `total_steps`."""
    count = max(2, min(points, total_steps + 1))
    steps = [round(index * total_steps / (count - 1)) for index in range(count)]
    return [rate_at(rate, step, total_steps) for step in steps]


def _share(name: str, done: float) -> float:
    """The share of the full rate when `done` (0 to 1) of the way after the warm-up is gone."""
    if name in ("constant", "constant_with_warmup"):
        return 1.0
    if name == "linear":
        return 1.0 - done
    if name in ("cosine", "cosine_with_restarts", *ENDS_AT_A_SHARE):
        # Each cycle of restarts is a plain cosine, and so is a fall at the end.
        return 0.5 * (1.0 + math.cos(math.pi * done))
    raise AssertionError(f"the schedule {name} has no formula")
