"""What the system's memory killer takes is told apart from what somebody ended."""

import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.runs.conftest import FAKE_TRAINER, wait_for
from trainer.contract.identity import read_identity
from trainer.runs import memory_killer, runner
from trainer.runs.crash import diagnose
from trainer.runs.ending import last_words
from trainer.runs.folder import RunFolder
from trainer.runs.status import status_of


@pytest.mark.parametrize(("text", "count"), [("pgfault 7\noom_kill 3\nswap 1\n", 3), ("pgfault 7\n", 0), ("", 0)])
def test_the_kernel_s_counter_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, count: int) -> None:
    """Linux counts its victims in one line among many; without that line, or without the file, there are none."""
    monkeypatch.setattr(memory_killer, "_COUNTERS", tmp_path / "vmstat")
    assert memory_killer.killed_so_far() == 0
    (tmp_path / "vmstat").write_text(text)
    assert memory_killer.killed_so_far() == count


@pytest.mark.parametrize(("after", "code"), [(4, "host_memory"), (3, "killed")])
def test_a_kill_while_the_counter_rises(
    home: Path, ask: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, after: int, code: str
) -> None:
    """A trainer that dies of signal 9 while the kernel counts a victim died of memory; without one, somebody did it."""
    counts = iter([3, after])
    monkeypatch.setattr(runner, "killed_so_far", lambda: next(counts))
    run = ask("harbour", 5000)
    work = threading.Thread(target=runner.work_through, args=(home, "0", FAKE_TRAINER))
    work.start()
    wait_for(lambda: last_words(run.events_file).step)
    identity = read_identity(run.process_file)
    assert identity is not None
    psutil.Process(identity.pid).kill()
    work.join()
    crash = diagnose(run, status_of(run))
    assert crash is not None and crash.code == code and "signal 9 at step" in crash.evidence
