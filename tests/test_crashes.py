"""Real processes that die: killed, fallen over, broken installations, each with its card."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.test_end_to_end import wait_for
from trainer.contract.events import EventReader, Stepped
from trainer.contract.identity import read_identity
from trainer.contract.job import Job, make_job
from trainer.runs.crash import Crash, diagnose
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.processes import end_tree
from trainer.runs.runner import start_run
from trainer.runs.status import status_of

pytestmark = pytest.mark.slow


@pytest.fixture
def ask(home: Path, demo_values: Callable[..., dict[str, object]]) -> Iterator[Callable[..., RunFolder]]:
    """Ask for a long run of the demo, as the page does; what is left of it is ended after the test."""
    asked: list[RunFolder] = []

    def new(**changes: object) -> RunFolder:
        job = make_job(demo_values(max_train_steps=20000, sample_at_first=False, **changes), home)
        assert isinstance(job, Job), job
        asked.append(new_run(home / "runs", job))
        start_run(asked[-1])
        return asked[-1]

    yield new
    found = [read_identity(file) for run in asked for file in (run.process_file, run.launch_file)]
    end_tree(*[one for one in found if one is not None], grace_s=1)


def trainer_of(run: RunFolder) -> psutil.Process:
    """The trainer's process, once it has made a step."""
    wait_for(lambda: any(isinstance(event, Stepped) for event in EventReader(run.events_file).read()), 90)
    identity = read_identity(run.process_file)
    assert identity is not None
    return psutil.Process(identity.pid)


def crash_of(run: RunFolder) -> Crash:
    """Why it died, once that is known."""
    wait_for(lambda: status_of(run).is_over, 90)
    crash = diagnose(run, status_of(run))
    assert crash is not None, status_of(run)
    return crash


@pytest.mark.skipif(os.name == "nt", reason="signals are Linux's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "fault")])
def test_a_signal(ask: Callable[..., RunFolder], number: signal.Signals, code: str) -> None:
    """kill -9 is somebody's doing, a segmentation fault is the program's own; the signal and the step are told."""
    run = ask()
    trainer_of(run).send_signal(number)
    crash = crash_of(run)
    assert crash.code == code and f"signal {number.value} at step" in crash.evidence


@pytest.mark.parametrize(
    ("package", "changes", "code"),
    [
        ("bitsandbytes", {"use_8bit_adam": True}, "bitsandbytes_broken"),
        ("diffusers", {}, "package"),
    ],
)
def test_a_broken_package(
    ask: Callable[..., RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    package: str, changes: dict[str, object], code: str,
) -> None:  # fmt: skip
    """A package that cannot be loaded ends the run before the first step, with what to do about it."""
    broken = tmp_path / "broken" / package
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(f"raise ImportError('DLL load failed while importing {package}')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    crash = crash_of(ask(**changes))
    assert crash.code == code
    assert code == "package" or any(way.values.get("optimizer_type") == "AdamW" for way in crash.ways)
