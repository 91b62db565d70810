"""Optimizers by name and their arguments, read before anything is loaded."""

import pytest
from pydantic import ValidationError

from trainer.contract.config import TrainingConfig
from trainer.contract.optimizers import OPTIMIZERS, read_arguments
from trainer.contract.rules import broken_rules


def codes(**values: object) -> set[str]:
    """The codes of broken rules, without those about missing folders."""
    found = broken_rules(TrainingConfig.from_flat(values))
    return {problem.code for problem in found if not problem.code.endswith("_missing")}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_are_known_in_any_letter_case(name: str) -> None:
    """`adamw8bit` and `ADAMW8BIT` are AdamW8bit."""
    for written in (name.lower(), name.upper()):
        assert TrainingConfig.from_flat({"optimizer_type": written}).rate.optimizer == name


def test_arguments_become_values() -> None:
    """Numbers, pairs, switches and None are read as what they are; a list of them is as good as a line."""
    line = "weight_decay=0.05 betas=0.9,0.99 beta3=None decouple=false slice_p=11 growth_rate=inf"
    expected = {"weight_decay": 0.05, "betas": (0.9, 0.99), "beta3": None, "decouple": False, "slice_p": 11}
    expected["growth_rate"] = float("inf")
    assert read_arguments("Prodigy", line) == expected
    config = TrainingConfig.from_flat({"optimizer_type": "Prodigy", "optimizer_args": line.split()})
    assert config.rate.arguments == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("weight_decy=0.1", "did you mean weight_decay"),
        ("cheese=1", "it takes betas, eps, weight_decay"),
        ("weight_decay", "name=value"),
        ("weight_decay=__import__('os')", "a number such as"),
        ("weight_decay=nan", "a number such as"),
        ("betas=0.9", "two numbers"),
        ("betas=0.9,nan", "two numbers"),
        ("amsgrad=perhaps", "True or False"),
        ("eps=1e-8 eps=1e-6", "given twice"),
    ],
)
def test_what_cannot_be_read_is_named_at_its_box(line: str, said: str) -> None:
    """The value gate says what is wrong and what would be right, at the box of the arguments."""
    with pytest.raises(ValidationError, match=said) as refusal:
        TrainingConfig.from_flat({"optimizer_args": line})
    assert refusal.value.errors()[0]["loc"] == ("rate", "optimizer_args")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"use_8bit_adam": True, "optimizer_type": "Lion"}, "two_optimizers"),
        ({"optimizer_type": "Prodigy", "learning_rate": 1e-5}, "rate_not_one"),
        ({"learning_rate": 1.0}, "rate_of_one"),
        ({"optimizer_type": "DAdaptAdam", "learning_rate": 1.0, "learning_rate_te": 0.5}, "two_rates"),
        ({"learning_rate_te": 0}, "text_encoder_rate_zero"),
        ({"learning_rate_te": 1e-6, "unetonly": True}, "text_encoder_rate_unused"),
        ({"optimizer_type": "Adafactor", "optimizer_args": "relative_step=True"}, "relative_step"),
        ({"optimizer_type": "Adafactor", "optimizer_args": "warmup_init=True"}, "warmup_init_alone"),
        ({"lr_scheduler_num_cycles": 3}, "cycles_unused"),
        ({"lr_scheduler_power": 2.0}, "power_unused"),
    ],
)
def test_rule_is_broken_alone_and_each_mend_keeps_it(values: dict[str, object], code: str) -> None:
    """Exactly this rule is broken, and after any of its mends none is."""
    (problem,) = [p for p in broken_rules(TrainingConfig.from_flat(values)) if not p.code.endswith("_missing")]
    assert problem.code == f"rule.{code}" and problem.mends
    for mend in problem.mends:
        assert f"rule.{code}" not in codes(**(values | dict(mend.values)))


def test_options_that_belong_together_break_no_rule() -> None:
    """Prodigy at 1, the older name of 8-bit Adam, and two rates for AdamW are all fine."""
    assert not codes(optimizer_type="Prodigy", learning_rate=1.0, optimizer_args="d_coef=2")
    assert not codes(use_8bit_adam=True, optimizer_type="AdamW8bit", learning_rate_te=1e-6)
