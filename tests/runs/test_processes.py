"""Ending a process with its children, and processes that outlive their starter."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.runs.conftest import wait_for
from trainer.contract.identity import identity_of, is_alive
from trainer.runs.lock import take_lock
from trainer.runs.processes import ROOT, end_tree, find_process, start_detached

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]).wait()"


def test_end_tree_ends_the_children_that_do_not_listen() -> None:
    """A child that ignores the polite signal is gone too."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.readline().strip() == b"up"
    identity = identity_of(parent.pid)
    tree = [identity, *(identity_of(child.pid) for child in psutil.Process(parent.pid).children(recursive=True))]
    assert len(tree) >= 2
    end_tree(identity, grace_s=0.5)
    assert not any(is_alive(one) for one in tree)
    parent.stdout.close()
    parent.wait()


def test_end_tree_leaves_a_recycled_pid_alone() -> None:
    """A process that merely has the pid of another one is not touched."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    identity = identity_of(other.pid)
    earlier = replace(identity, create_time=identity.create_time - 50, ticks=None if identity.ticks is None else 1)
    end_tree(earlier, grace_s=0.2)
    assert is_alive(identity)
    end_tree(identity, grace_s=2)
    assert not is_alive(identity)
    other.wait()


def test_detached_process_outlives_its_starter(tmp_path: Path) -> None:
    """It goes on, in a session of its own and writing to its file, when its starter is killed."""
    long = "import time\nwhile True: print('ü tick'); time.sleep(0.05)"
    code = f"""
import sys, time
from pathlib import Path
from trainer.runs.processes import start_detached
print(start_detached([sys.executable, "-c", {long!r}], Path({str(tmp_path / "log.txt")!r})).pid, flush=True)
time.sleep(99)
"""
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert starter.stdout is not None
    started = identity_of(int(starter.stdout.readline()))
    starter.kill()
    starter.wait()
    starter.stdout.close()
    try:
        size = (tmp_path / "log.txt").stat().st_size
        wait_for(lambda: (tmp_path / "log.txt").stat().st_size > size + 20)
        assert is_alive(started)
        assert "ü tick" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    finally:
        end_tree(started, grace_s=1)
    assert not is_alive(started)


def test_find_process_by_its_words(tmp_path: Path) -> None:
    """A process is found by words that stand side by side in its command line, and no longer when it is gone."""
    word = str(tmp_path / "a run")
    process = start_detached([sys.executable, "-c", "import time; time.sleep(99)", "--run_dir", word], tmp_path / "log")
    wait_for(lambda: find_process("--run_dir", word))
    found = find_process("--run_dir", word)
    assert found is not None
    assert find_process(word, "--run_dir") is None
    end_tree(found, identity_of(process.pid), grace_s=2)
    process.wait()
    assert find_process("--run_dir", word) is None


def test_lock_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    """One process has the lock; SIGKILL frees it without anybody cleaning up."""
    path = tmp_path / "runner.lock"
    code = f"""
import time
from pathlib import Path
from trainer.runs.lock import take_lock
lock = take_lock(Path({str(path)!r}))
print(lock is not None, flush=True)
time.sleep(99)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout is not None and holder.stdout.readline().strip() == b"True"
    assert take_lock(path) is None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    lock = take_lock(path)
    assert lock is not None
    assert take_lock(path) is None
    lock.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no zombies")
def test_zombie_is_not_alive() -> None:
    """A process that ended and was not collected by its parent does not run any more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    identity = identity_of(process.pid)
    deadline = time.monotonic() + 10
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert psutil.pid_exists(process.pid) and not is_alive(identity)
    process.wait()
