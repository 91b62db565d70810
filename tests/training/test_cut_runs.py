"""Cut off at any step and continued, a run is the one that was never cut: to the last bit, and in what it tells."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gui.monitor import Story
from tests.training.alike import assert_same_state, told
from tests.training.conftest import of, run_to_the_end, wishing
from tests.training.killed import die
from trainer.contract.events import Event, Finished, Started, Stepped

STEPS = 6
"""Of which four are an epoch."""

EVERYTHING: dict[str, Any] = {
    "max_train_steps": STEPS,
    "use_ema": True,
    "gradient_accumulation_steps": 2,
    "resolution": "128,64",
    "enable_bucket": True,
    "min_bucket_reso": 64,
    "max_bucket_reso": 128,
    "ucg": 0.3,
    "shuffle_caption": True,
    "flip_aug": True,
    "stop_text_encoder_training": 3,
    "lr_scheduler": "linear",
    "lr_warmup_steps": 2,
    "save_state": True,
    "save_state_every_minutes": 0,
    "prior_loss_weight": 0.5,
    "max_data_loader_n_workers": 1,
    "noise_offset": 0.1,
}

stops = st.tuples(st.just("stopped"), st.integers(1, STEPS - 1), st.just(0))
kills = st.integers(1, STEPS - 2).flatmap(
    lambda state: st.tuples(
        st.sampled_from(["killed", "killed in a write"]), st.just(state), st.integers(state + 1, STEPS - 1)
    )
)


@pytest.fixture(scope="module")
def asked(lasting_values: dict[str, Any], pictures: Path) -> dict[str, Any]:
    """A job with everything on that has a place or a chance in it."""
    return lasting_values | EVERYTHING | {"reg_data_dir": str(pictures / "reg")}


@pytest.fixture(scope="module")
def straight(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], Path]:
    """The run that is never cut: its events, and its last state."""
    home = tmp_path_factory.mktemp("straight")
    events = run_to_the_end(asked | {"output_dir": str(home / "out")}, home / "run")
    assert of(Finished, events)[0].result == "completed"
    return events, home / "out" / "last-state"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that kills a group of processes")
# Without shrinking, which would make a hundred runs more: an example is as small as it can be.
@settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.one_of(stops, kills, kills))
def test_cut_run_is_the_straight_one(
    asked: dict[str, Any],
    straight: tuple[list[Event], Path],
    tmp_path_factory: pytest.TempPathFactory,
    cut: tuple[str, int, int],
) -> None:
    """Losses, rates, weights, average and moments are the same; steps that were lost are made again, the same.

    Whether it was stopped, killed some steps after its state was written, or killed while it wrote the next one.
    """
    how, state, dies = cut
    home = tmp_path_factory.mktemp("cut")
    values, run = asked | {"output_dir": str(home / "out")}, home / "run"
    run.mkdir()
    if how == "stopped":
        with wishing(state, "stop"):
            run_to_the_end(values, run)
    else:
        die(values, run, state_after=state, dies_after=dies, in_write=how == "killed in a write")
    assert [path.name for path in (run / "state").glob("step-*")] == [f"step-{state:08d}"]
    events = run_to_the_end(values | {"resume": str(run)}, run)

    expected, last_state = straight
    assert of(Started, events)[-1].resumed_step == state
    assert_same_state(home / "out" / "last-state", last_state)
    # Every step was told once, or twice in the same words; the page shows it once.
    steps = [state, STEPS] if how == "stopped" else [dies, STEPS]
    assert [step.step for step in of(Stepped, events)] == [*range(1, steps[0] + 1), *range(state + 1, STEPS + 1)]
    assert set(told(events)) == set(told(expected))
    shown, plain = Story(), Story()
    for story, part in ((shown, events), (plain, expected)):
        for event in part:
            story.tell(event)
    for name in ("loss", "smooth", "grad_norm"):
        ours, theirs = getattr(shown.view(), name), getattr(plain.view(), name)
        assert ours.steps.tolist() == theirs.steps.tolist() and ours.values.tolist() == theirs.values.tolist(), name
    assert not list((run / "state").iterdir())
