"""The plan against recorded facts and against counting by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.datasets import datasets
from trainer.contract.config import TrainingConfig
from trainer.dataset.batches import Batches
from trainer.dataset.captions import Entry
from trainer.dataset.plan import make_plan, steps_in_epoch
from trainer.dataset.scan import Picture


def config(**values: Any) -> TrainingConfig:
    if "max_train_epochs" in values:
        values.setdefault("max_train_steps", None)
    return TrainingConfig.from_flat(values)


@settings(max_examples=100, deadline=None)
@given(
    datasets,
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.one_of(st.tuples(st.just("epochs"), st.integers(1, 5)), st.tuples(st.just("steps"), st.integers(1, 60))),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(1, 7)),
)
def test_the_plan_is_what_a_loop_counts(
    entries: list[Entry],
    buckets: bool,
    batch: int,
    gather: int,
    world: int,
    length: tuple[str, int],
    every: int,
    by_steps: int | None,
) -> None:
    """Walking the epochs batch by batch, with processes and gathered batches, ends at the plan's steps and epochs,
    and saves where the plan says."""
    asked = {"max_train_epochs": length[1]} if length[0] == "epochs" else {"max_train_steps": length[1]}
    settings_ = config(
        enable_bucket=buckets,
        train_batch_size=batch,
        gradient_accumulation_steps=gather,
        save_every_n_epochs=every,
        save_every_n_steps=by_steps,
        **asked,
    )
    plan = make_plan(settings_, entries, world)
    batches = Batches(entries, settings_.images, batch, seed=11)
    step = epoch = 0
    ends = []
    while step < asked.get("max_train_steps", 10**9) and epoch < asked.get("max_train_epochs", 10**9):
        order = batches.epoch(epoch)
        for start in range(0, len(order), world * gather):
            assert order[start : start + world * gather]
            step += 1
            if step == asked.get("max_train_steps"):
                break
        epoch += 1
        ends.append((epoch, step))
    assert (plan.total_steps, plan.epochs) == (step, epoch)
    between = {end for end in ends[:-1] if end[0] % every == 0}
    if by_steps:
        between |= {(-(-at // plan.steps_per_epoch), at) for at in range(by_steps, step, by_steps)}
    assert plan.saves == [*sorted(between, key=lambda save: save[1]), ends[-1]]
    assert plan.save_count == plan.models_on_disk == len(plan.saves)


def test_models_on_disk_are_those_that_stay() -> None:
    """With rotation there is room for those that are kept, one that is being written, the last, and raw ones twice."""
    asked = {"train_batch_size": 1, "max_train_epochs": 10, "save_every_n_epochs": 1, "save_every_n_steps": 2}
    keep = {"save_last_n_epochs": 2, "save_last_n_steps": 4}
    assert make_plan(config(**asked), entries(5)).models_on_disk == 10 + 24 - 4
    assert make_plan(config(**asked, **keep), entries(5)).models_on_disk == (2 + 1) + (3 + 1) + 1
    raw = make_plan(config(**asked, **keep, save_raw=True, use_ema=True), entries(5))
    assert raw.models_on_disk == 16 and raw.save_count == 10 + 24 - 4


def test_plan_facts(facts: Path) -> None:
    """Epochs and saved epochs are the recorded ones; the recorded programs write the last model apart."""
    for label, case in json.loads((facts / "steps.json").read_text())["cases"].items():
        entries = [
            Entry(Picture(Path(kind, folder, str(n)), *size), "", int(folder.split("_")[0]), kind == "reg", Path())
            for kind in ("train", "reg")
            for folder, sizes in case[kind]
            for n, size in enumerate(sizes)
        ]
        values = {key: case[key] for key in ("enable_bucket", "max_train_steps")} | {"train_batch_size": case["batch"]}
        recorded = case["v15"]
        for every in (1, 2):
            plan = make_plan(config(**values, save_every_n_epochs=every), entries)
            assert [epoch for epoch, _ in plan.saves[:-1]] == recorded[f"saved_epochs_every_{every}"], label
            assert plan.saves[-1] == (recorded["epochs"], case["max_train_steps"]), label
        assert plan.uses_per_epoch == sum(recorded["bucket_counts"]), label
        assert plan.uses_per_epoch - plan.reg_uses_per_epoch == recorded["num_train_images"], label
        assert sorted(row.uses for row in plan.buckets) == sorted(recorded["bucket_counts"]), label
        assert sum(row.batches for row in plan.buckets) == plan.batches_per_epoch == recorded["batches_per_epoch"]
        if not case["reg"]:
            assert plan.batches_per_epoch == case["HEAD"]["batches_per_epoch"], label


def entries(number: int, size: tuple[int, int] = (512, 512), repeats: int = 1) -> list[Entry]:
    return [Entry(Picture(Path(f"{size[0]}/{n}.png"), *size), "", repeats, False, Path()) for n in range(number)]


def test_batches_of_a_known_report() -> None:
    """Batch 4 and buckets of 2, 3, 22, 17, 5, 9, 2 and 3 images make 20 steps an epoch, 500 in 25 epochs."""
    shapes = [(256, 1024), (320, 768), (384, 640), (448, 576), (512, 512), (576, 448), (640, 384), (768, 320)]
    rows = [entry for size, n in zip(shapes, (2, 3, 22, 17, 5, 9, 2, 3), strict=True) for entry in entries(n, size)]
    plan = make_plan(config(enable_bucket=True, train_batch_size=4, max_train_epochs=25), rows)
    assert (plan.images, plan.steps_per_epoch, plan.total_steps) == (63, 20, 500)
    assert {row.size: row.missing_to_fill for row in plan.buckets}[(384, 640)] == 2


def test_bucket_rows_count_files_uses_and_gaps() -> None:
    """A row tells files, uses with repeats, batches, and how many uses would fill the last one."""
    plan = make_plan(config(train_batch_size=4, max_train_epochs=1), entries(3, repeats=3))
    (row,) = plan.buckets
    assert (row.size, row.images, row.uses, row.batches, row.missing_to_fill) == ((512, 512), 3, 9, 3, 3)


@pytest.mark.parametrize(
    ("values", "samples"),
    [
        ({"sample_every_n_steps": 4}, [4, 8, 10]),
        ({"sample_every_n_epochs": 2, "sample_at_first": True}, [0, 6, 10]),
        ({"sample_every_n_epochs": 1, "sample_every_n_steps": 5}, [3, 5, 6, 9, 10]),
        ({"sample_every_n_epochs": 4}, [10]),
        ({}, [10]),
    ],
)
def test_samples_by_steps_and_epochs(values: dict[str, Any], samples: list[int]) -> None:
    """Three steps an epoch, ten in all: the last epoch is cut short. The last step always has samples."""
    plan = make_plan(config(max_train_steps=10, sample_prompts="a cat", **values), entries(3))
    assert plan.samples == samples


def test_without_prompts_nothing_is_sampled() -> None:
    """Intervals without a prompt draw nothing."""
    assert make_plan(config(sample_every_n_steps=1, sample_at_first=True), entries(3)).samples == []


def test_processes_and_gathered_batches_share_the_batches() -> None:
    """10 batches by 2 processes and 3 gathered: 2 steps, the second one of 4 batches only."""
    assert steps_in_epoch(10, 2, 3) == 2
    plan = make_plan(config(gradient_accumulation_steps=3, max_train_epochs=2), entries(10), world_size=2)
    assert (plan.steps_per_epoch, plan.total_steps, plan.images_per_step) == (2, 4, 6)


def test_a_plan_is_json() -> None:
    """What the command line prints survives JSON, with the buckets as rows."""
    plan = make_plan(config(max_train_epochs=2, save_every_n_epochs=1), entries(3))
    data = json.loads(json.dumps(plan.as_dict()))
    assert data["saves"] == [[1, 3], [2, 6]] and data["buckets"][0]["size"] == [512, 512]


def test_a_hundred_million_steps_are_planned_at_once() -> None:
    """Counting saves needs no list of them: a slip of the finger must not freeze the page."""
    plan = make_plan(config(max_train_steps=100_000_000, save_every_n_epochs=1), entries(1))
    assert plan.save_count == 100_000_000
