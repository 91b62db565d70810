"""What is in view on the training page."""

import pytest

from gui.groups import Group, fits, head_of, sight_of, style_of
from trainer.contract.config import OPTIONS
from trainer.contract.problems import Problem

GROUPS = [
    Group("rate", "Learning rate", ("learning_rate", "lr_scheduler", "max_grad_norm", "use_8bit_adam")),
    Group("captions", "Captions", ("shuffle_caption", "ucg")),
]


def test_basic_shows_the_basic_ones() -> None:
    """Basic shows basic options; a group without any is there, closed, with all that it holds."""
    sight = sight_of(GROUPS, {}, (), "basic", "")
    assert sight.boxes == {"learning_rate", "lr_scheduler", "shuffle_caption", "ucg"}
    assert not sight.open_groups


def test_what_is_to_mend_is_always_in_view() -> None:
    """A box with a problem is shown, and its group opened, in every view and whatever is searched for."""
    for view, words in (("basic", ""), ("changed", ""), ("all", "shuffle")):
        sight = sight_of(GROUPS, {}, ("max_grad_norm",), view, words)
        assert "max_grad_norm" in sight.boxes and "rate" in sight.open_groups


def test_changed_shows_what_differs() -> None:
    """Changed shows the boxes that differ from their defaults, zero included, and names those of other pages."""
    sight = sight_of(GROUPS, {"max_grad_norm": "0", "ucg": "0", "resolution": "768,768"}, (), "changed", "")
    assert sight.boxes == {"max_grad_norm"}
    assert sight.elsewhere == ("resolution",)
    assert sight.open_groups == {"rate"}


@pytest.mark.parametrize("words", ["lr_scheduler", "lr scheduler", "SCHEDULE", "cosine", "rate moves"])
def test_a_search_finds_by_label_name_help_and_value(words: str) -> None:
    """An option is found by its label, its flag, its help and the words of its choices, in any case."""
    assert fits(OPTIONS["lr_scheduler"], words.lower().replace("_", " ").split())
    assert "lr_scheduler" in sight_of(GROUPS, {}, (), "basic", words).boxes


def test_a_search_looks_through_all_pages() -> None:
    """A search also names what stands on other pages, and hides what does not fit."""
    sight = sight_of(GROUPS, {}, (), "basic", "bucket")
    assert "enable_bucket" in sight.elsewhere and not sight.boxes


def test_the_style_hides_the_rest_and_nothing_else() -> None:
    """Every box out of view is hidden, no box in view is, and a group without boxes in view goes as well."""
    sight = sight_of(GROUPS, {}, (), "basic", "scheduler")
    style = style_of(GROUPS, sight)
    hidden = style.partition("{")[0]
    for group in GROUPS:
        for name in group.names:
            assert (f"#at-box-{name}" in hidden.replace(" ", "").split(",")) is (name not in sight.boxes)
    assert "#at-group-captions" in hidden and "#at-group-rate" not in hidden
    assert "#at-group-rate .at-group-body" in style


def test_the_head_of_a_group_counts() -> None:
    """A group says how many options it holds, how many differ, and how much is to mend in it."""
    assert head_of(GROUPS[0], {}, ())["aside"] == "4 options, all default"
    assert head_of(GROUPS[0], {"learning_rate": "1e-5", "use_8bit_adam": True}, ())["aside"] == "2 changed"
    both = Problem("rule.x", "No.", ("learning_rate", "lr_scheduler"))
    assert head_of(GROUPS[0], {}, [both])["bad"] == 1
    assert head_of(GROUPS[1], {}, [both])["bad"] == 0
