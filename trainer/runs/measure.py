"""How much memory and time a job needs, measured: real steps of its largest batch in processes thrown away.

Comes in: a `Job` that passed the gates, and the studio's folder, where the throw-away folder lies meanwhile. Goes out:
a `Measured`, also where memory ran out; the folder is deleted, nothing else was written. Needs no torch.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainer.contract.events import Event, EventReader, Finished
from trainer.contract.identity import Identity, identity_of, is_alive, read_identity, write_identity
from trainer.contract.job import Job, write_job
from trainer.contract.problems import Mend, Problem
from trainer.contract.records import read_record
from trainer.runs.crash import end_of_log
from trainer.runs.crash_kinds import BY_CODE, sign_in
from trainer.runs.folder import RunFolder
from trainer.runs.host_memory import free_and_total
from trainer.runs.launch import launch_command
from trainer.runs.memory_killer import killed_so_far
from trainer.runs.processes import end_tree, start_detached

REHEARSAL = ("-m", "trainer", "rehearse")
"""What accelerate starts in place of the trainer."""

PREFIX = "measuring-"
"""How throw-away folders are called, so that those of a process that was killed are found."""

MARGIN = 0.05
"""A run may need so much more than was measured: over ten configurations the two differed by less."""

_LOOK_EVERY_S = 0.1
_WEIGH_EVERY_S = 0.5
_LEAST_FREE = 0.02
"""Below this share of the computer's memory the measuring is ended: other programs must not be hurt by it."""

_GIB = 2**30
_GRACE_S = 1.0

Told = Callable[[Event], None]


class NotMeasured(Exception):
    """It could not be measured, for another reason than memory; `problems` say what is to mend."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run needs at most of one kind of memory, and what there was of it before; in GiB."""

    need_gib: float
    free_gib: float
    total_gib: float

    @property
    def spare_gib(self) -> float:
        """What is left at the worst moment; below zero where it does not fit."""
        return self.free_gib - self.need_gib

    @property
    def fits(self) -> bool:
        """Whether it fits, with room for what a measurement may miss."""
        return self.need_gib * (1 + MARGIN) <= self.free_gib


@dataclass(frozen=True, slots=True)
class Measured:
    """What the steps took. `complete` is False where memory ran out first: `need_gib` is then what it had by then."""

    host: Memory
    """The computer's memory: the trainer at its peak, and the processes that help it."""
    card: Memory | None
    """None where no card is used."""
    complete: bool
    trainer_gib: float
    """The peak of the trainer alone, as a run tells it at its end."""
    before_gib: float | None = None
    """What the trainer held before the first weight was read: the program itself."""
    most_while: str = ""
    """The phase in which the peak came."""
    seconds_per_step: float | None = None
    """A step of the largest batch."""
    seconds_in_all: float | None = None
    """About how long the run takes."""

    @property
    def fits(self) -> bool:
        """Whether the run fits into both memories."""
        return self.complete and self.host.fits and (self.card is None or self.card.fits)

    @property
    def lacks_host(self) -> bool:
        """Whether it is the computer's memory that does not suffice, and not the card's."""
        return self.card is None or (self.card.fits and not self.host.fits)

    @property
    def narrow(self) -> Memory:
        """The memory to tell of: the card's, but for where only the computer's is too small."""
        return self.host if self.card is None or self.lacks_host else self.card


def measure(
    job: Job,
    home: Path,
    told: Told | None = None,
    *,
    within_gib: float | None = None,
    trainer: Sequence[str] = REHEARSAL,
) -> Measured:
    """Measure a job in processes of its own; `told` hears their events. With `within_gib` as if no more were free.

    Raises `NotMeasured`, and OSError where not even the throw-away folder can be written. However it ends, also by an
    exception of `told` or a KeyboardInterrupt, its processes are ended and the folder is deleted.
    """
    clear_leftovers(home)
    folder = RunFolder(Path(tempfile.mkdtemp(prefix=PREFIX, dir=home if home.is_dir() else None)))
    try:
        # Whoever finds the folder later can tell whether it is still in use.
        write_identity(folder.launch_file)
        write_job(folder.job_file, job)
        return _Rehearsal(folder, told or (lambda event: None), within_gib).judge(launch_command(folder, job, trainer))
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)


def clear_leftovers(home: Path) -> None:
    """Delete the throw-away folders of processes that were killed."""
    for folder in home.glob(f"{PREFIX}*"):
        owner = read_identity(RunFolder(folder).launch_file)
        if owner is not None and not is_alive(owner):
            shutil.rmtree(folder, ignore_errors=True)


class _Rehearsal:
    """The processes of one measurement, and what is seen of them from outside."""

    def __init__(self, run: RunFolder, told: Told, within_gib: float | None) -> None:
        self._run = run
        self._told = told
        self._within = within_gib
        self._free, self._total = free_and_total()
        self._events = EventReader(run.events_file)
        self._finished: Finished | None = None
        self._helpers = 0
        self._held = 0
        self._weighed = 0.0

    def judge(self, command: Sequence[str]) -> Measured:
        """Run the command to its end and say what it took."""
        starved_before = killed_so_far()
        process = start_detached(command, self._run.log_file)
        starved = False
        try:
            launcher = identity_of(process.pid)
            while process.poll() is None and not starved:
                self._hear()
                self._weigh(launcher)
                starved = free_and_total()[0] < _LEAST_FREE * self._total
                time.sleep(_LOOK_EVERY_S)
        except psutil.NoSuchProcess:
            pass
        finally:
            with suppress(psutil.NoSuchProcess):
                end_tree(identity_of(process.pid), grace_s=_GRACE_S)
            process.wait()
        self._hear()
        return self._result(starved or killed_so_far() > starved_before)

    def _hear(self) -> None:
        for event in self._events.read():
            if isinstance(event, Finished):
                self._finished = event
            self._told(event)

    def _weigh(self, launcher: Identity) -> None:
        """The trainer tells its own peak at its end; what helps it is weighed from here, by what is theirs alone."""
        if time.monotonic() - self._weighed < _WEIGH_EVERY_S:
            return
        self._weighed = time.monotonic()
        trainer = read_identity(self._run.process_file)
        helpers = 0
        with suppress(psutil.Error):
            root = psutil.Process(launcher.pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    if trainer is not None and process.pid == trainer.pid:
                        self._held = max(self._held, process.memory_info().rss)
                    else:
                        helpers += process.memory_full_info().uss
        self._helpers = max(self._helpers, helpers)

    def _result(self, starved: bool) -> Measured:
        record = read_record(self._run.path / "measured.json") or {}
        complete = self._finished is not None and self._finished.result == "completed" and "host_gib" in record
        if not complete and not (starved or self._ran_out()):
            raise NotMeasured([self._trouble()])
        trainer = float(record.get("host_gib") or self._held / _GIB)
        free = self._free / _GIB
        card = None
        if record.get("card_gib") is not None:
            card_free = float(record["card_free_gib"])
            limit = card_free if self._within is None else min(card_free, self._within)
            card = Memory(float(record["card_gib"]), limit, float(record["card_total_gib"]))
        elif self._within is not None:
            free = min(free, self._within)
        return Measured(
            host=Memory(trainer + self._helpers / _GIB, free, self._total / _GIB),
            card=card,
            complete=complete,
            trainer_gib=trainer,
            before_gib=record.get("host_before_gib"),
            most_while=str(record.get("most_while") or ""),
            seconds_per_step=record.get("seconds_per_step"),
            seconds_in_all=record.get("seconds_in_all"),
        )

    def _ran_out(self) -> bool:
        """Whether the trainer itself said that memory was full."""
        if self._finished is None:
            return False
        kind = BY_CODE.get(self._finished.code)
        if kind is None and (found := sign_in(self._finished.message)) is not None:
            kind = found[0]
        return kind is not None and kind.code in ("card_memory", "host_memory")

    def _trouble(self) -> Problem:
        """Why it could not be measured."""
        said = self._finished
        if said is not None and said.result == "failed":
            mends = tuple(Mend(str(mend["label"]), dict(mend["values"])) for mend in said.mends)
            return Problem(said.code or "probe.failed", said.message, mends=mends)
        lines = [line.strip() for line in end_of_log(self._run).splitlines() if line.strip()]
        last = f" Its last line was: {lines[-1]}" if lines else ""
        return Problem("probe.ended", f"The measuring ended by itself before it was done.{last}")
