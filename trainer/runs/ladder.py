"""Which change lets a job fit into memory: the ways of `ways.py`, each measured, from the gentlest on.

Comes in: a `Job`. Goes out: one `Rung` after the other as each is measured, the job as it is asked for first. Where no
single way suffices, the gentlest are taken together, one more each time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trainer.contract.job import Job, make_job
from trainer.runs.crash import ways_for
from trainer.runs.crash_kinds import BY_CODE
from trainer.runs.measure import Measured, NotMeasured
from trainer.runs.ways import Way

AS_ASKED = Way("As asked", "The settings as they are.")


@dataclass(frozen=True, slots=True)
class Rung:
    """One way and what it takes; `measured` is None where it could not be tried, and `why_not` says why."""

    way: Way
    measured: Measured | None
    why_not: str = ""

    @property
    def fits(self) -> bool:
        """Whether the job fits with this way."""
        return self.measured is not None and self.measured.fits


def climb(job: Job, measure: Callable[[Way, Job], Measured], *, every_way: bool = False) -> Iterator[Rung]:
    """Measure the job, and where it does not fit one way after the other, until one does.

    With `every_way` each single way is measured, whatever fits. Raises `NotMeasured` where the job itself cannot be.
    """
    first = Rung(AS_ASKED, measure(AS_ASKED, job))
    yield first
    assert first.measured is not None
    if first.fits and not every_way:
        return
    ways = ways_for(BY_CODE["host_memory" if first.measured.lacks_host else "card_memory"], job.config)
    found = False
    for way in ways:
        rung = _try(job, way, measure)
        yield rung
        found = found or rung.fits
        if found and not every_way:
            return
    for number in range(2, len(ways) + 1):
        if found or first.fits:
            return
        rung = _try(job, together(ways[:number]), measure)
        yield rung
        found = rung.fits


def together(ways: Sequence[Way]) -> Way:
    """Several ways as one."""
    values = {name: value for way in ways for name, value in way.values.items()}
    return Way(f"These {len(ways)} together", ", ".join(way.title for way in ways) + ".", values)


def cheapest(rungs: Sequence[Rung]) -> Rung | None:
    """The first change that fits; None where the job fits as it is, or nothing was found."""
    if not rungs or rungs[0].fits:
        return None
    return next((rung for rung in rungs if rung.fits), None)


def _try(job: Job, way: Way, measure: Callable[[Way, Job], Measured]) -> Rung:
    changed = make_job({**job.config.flat(), **way.values})
    if not isinstance(changed, Job):
        return Rung(way, None, " ".join(problem.message for problem in changed))
    try:
        return Rung(way, measure(way, changed))
    except NotMeasured as reason:
        return Rung(way, None, str(reason))
