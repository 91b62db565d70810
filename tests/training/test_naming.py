"""The names of what a run writes."""

from trainer.contract.saves import SaveSection
from trainer.training.naming import epoch_name, last_name, state_name, step_name


def test_names_follow_the_output_name() -> None:
    """Without a name: last, epoch-000001, at-step00000120; with one it takes the place of the words."""
    plain, named = SaveSection(), SaveSection(output_name="my dog")
    assert (last_name(plain), epoch_name(plain, 1), step_name(plain, 120)) == (
        "last",
        "epoch-000001",
        "at-step00000120",
    )
    assert (last_name(named), epoch_name(named, 1)) == ("my dog", "my dog-000001")
    assert step_name(named, 120) == "my dog-step00000120"


def test_states_sort_by_step() -> None:
    """In a listing the newest state comes last."""
    assert sorted(map(state_name, (9, 120, 10))) == ["step-00000009", "step-00000010", "step-00000120"]
