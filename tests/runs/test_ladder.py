"""Which change lets a job fit: the gentlest that does, each really measured."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.runs.conftest import a_job
from trainer.contract.job import Job, make_job
from trainer.runs.crash import ways_for
from trainer.runs.crash_kinds import BY_CODE
from trainer.runs.ladder import cheapest, climb
from trainer.runs.measure import Measured, Memory, NotMeasured
from trainer.runs.ways import Way

FREE = 8.0


def job_with(**values: Any) -> Job:
    """A job of batches of four."""
    job = make_job({**a_job("harbour", 10).config.flat(), "train_batch_size": 4, **values})
    assert isinstance(job, Job), job
    return job


def costing(saves: Mapping[str, float], asked: list[Way], start: float = 12.0) -> Callable[[Way, Job], Measured]:
    """A card on which a job takes `start` GiB less what each option that was changed saves."""

    def measure(way: Way, job: Job) -> Measured:
        asked.append(way)
        if way.values.get("optimizer_type") == "AdamW8bit" and len(way.values) == 2:
            raise NotMeasured([])
        need = start - sum(saves.get(name, 0.0) for name in way.values)
        return Measured(Memory(3.0, 9.0, 16.0), Memory(need, FREE, 10.0), True, 3.0)

    return measure


def test_a_job_that_fits_is_measured_once() -> None:
    """Nothing else is tried, and there is nothing to mend."""
    asked: list[Way] = []
    rungs = list(climb(job_with(), costing({}, asked, start=7.0)))
    assert len(asked) == 1 and rungs[0].fits and cheapest(rungs) is None


def test_the_gentlest_way_that_fits_is_found() -> None:
    """Ways are tried in the order of the crash card, and the first that fits ends it."""
    asked: list[Way] = []
    rungs = list(climb(job_with(), costing({"mixed_precision": 5.0, "train_batch_size": 6.0}, asked)))
    offered = [way.title for way in ways_for(BY_CODE["card_memory"], job_with().config)]
    assert [way.title for way in asked[1:]] == offered[: offered.index("Mixed precision bf16") + 1]
    found = cheapest(rungs)
    assert found is not None and found.way.values == {"mixed_precision": "bf16"}


def test_ways_are_taken_together_where_none_suffices() -> None:
    """Then the gentlest are added up one by one; one that cannot be measured is passed over alone."""
    asked: list[Way] = []
    saves = {"gradient_checkpointing": 2.0, "cache_latents": 1.0, "mixed_precision": 2.0}
    rungs = list(climb(job_with(), costing(saves, asked)))
    found = cheapest(rungs)
    assert found is not None and found is rungs[-1]
    assert found.way.values == {"gradient_checkpointing": True, "cache_latents": True, "mixed_precision": "bf16"}
    assert [rung.way.title for rung in rungs if rung.measured is None] == ["8-bit Adam"]


def test_every_way_can_be_measured() -> None:
    """For the crash card: each single way has its figures, also when the job itself fits now."""
    asked: list[Way] = []
    rungs = list(climb(job_with(), costing({}, asked, start=7.0), every_way=True))
    assert len(rungs) == 1 + len(ways_for(BY_CODE["card_memory"], job_with().config))


def test_the_computers_memory_has_its_own_ways() -> None:
    """Where the computer's memory is the narrow one, helpers and the average go as well."""

    def measure(way: Way, job: Job) -> Measured:
        return Measured(Memory(5.0, 4.0, 16.0), None, True, 5.0)

    titles = [rung.way.title for rung in climb(job_with(use_ema=True), measure)]
    assert "Read images without helpers" in titles and "No averaging of the weights" in titles


def test_smaller_batches_keep_the_size_of_a_step() -> None:
    """A batch is split into equal parts and as many more batches are gathered; a single image cannot be split."""
    for size, gathered in ((4, 1), (9, 2), (25, 1), (1, 3)):
        config = job_with(train_batch_size=size, gradient_accumulation_steps=gathered).config
        found = [way.values for way in ways_for(BY_CODE["card_memory"], config) if "train_batch_size" in way.values]
        products = [values["train_batch_size"] * values["gradient_accumulation_steps"] for values in found]
        assert products == ([] if size == 1 else [size * gathered])
