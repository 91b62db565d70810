"""Every option of the contract is turned on by a test that could see it act."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from trainer.contract.config import DEFAULTS, OPTIONS

ACTING = ("tests/training", "tests/dataset", "tests/model", "tests/test_end_to_end.py")
"""Where options act: tests of the form, the flags and the presets only pass them on."""

UNKNOWN = object()
"""A value that is computed."""


def given(source: str) -> Iterator[tuple[str, Any]]:
    """(name, value) of every keyword of a call and every key of a dict: words in comments and texts are none."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg is not None:
                    yield keyword.arg, literal(keyword.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, literal(value)


def literal(node: ast.expr) -> Any:
    """The value of an expression where it is a plain one."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def turned_on(sources: list[str]) -> set[str]:
    """The options that get another value than their default somewhere in these sources."""
    return {
        name
        for source in sources
        for name, value in given(source)
        if name in OPTIONS and value is not None and value != DEFAULTS[name] and value != OPTIONS[name].default
    }


def sources() -> list[str]:
    """The tests of what options do."""
    paths = [Path(ROOT / place) for place in ACTING]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    return [file.read_text("utf-8") for file in files]


def test_every_option_is_turned_on_by_a_test() -> None:
    """An option without a test that gives it another value than its default may do anything, or nothing."""
    assert not sorted(set(OPTIONS) - turned_on(sources()))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("train(use_ema=True)", {"use_ema"}),
        ("values = {'clip_skip': 2} | more", {"clip_skip"}),
        ("train(seed=drawn)", {"seed"}),
        ("train(use_ema=False)", set()),
        ("train(max_train_steps=1600)", set()),
        ("train(clip_skip=None)", set()),
        ("# train(use_ema=True)", set()),
        ("def test() -> None:\n    'train(use_ema=True)'", set()),
        ("use_ema = True", set()),
        ("train(use_emma=True)", set()),
    ],
)
def test_only_a_value_in_code_counts(source: str, found: set[str]) -> None:
    """A default value, a comment, a text or a variable turns nothing on."""
    assert turned_on([source]) == found
