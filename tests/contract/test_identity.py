"""A process is known by more than its pid."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from trainer.contract.identity import Identity, identity_of, is_alive, is_of_this_boot, read_identity, write_identity


def test_identity_survives_its_file(tmp_path: Path) -> None:
    """What is read back is the very identity that was written, and it lives."""
    identity = write_identity(tmp_path / "process.json")
    assert identity.pid == os.getpid() and abs(identity.create_time - psutil.Process().create_time()) < 1
    assert read_identity(tmp_path / "process.json") == identity
    assert is_alive(identity) and is_of_this_boot(identity)
    assert json.loads((tmp_path / "process.json").read_text()).keys() >= {"pid", "create_time", "boot_id"}


def test_ended_process_is_not_alive() -> None:
    """A process that ended is gone, and so is one whose pid or start of the machine is another."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    identity = identity_of(process.pid)
    assert is_alive(identity)
    earlier = replace(identity, create_time=identity.create_time - 5, ticks=identity.ticks and identity.ticks - 500)
    assert not is_alive(earlier)
    assert not is_alive(replace(identity, boot_id="another"))
    process.kill()
    process.wait()
    assert not is_alive(identity)


def test_identity_without_ticks_goes_by_the_time() -> None:
    """On systems that tell no ticks the creation time alone tells two processes apart."""
    identity = replace(identity_of(), ticks=None)
    assert is_alive(identity)
    assert not is_alive(replace(identity, create_time=time.time() + 100))
    assert not is_alive(replace(identity, pid=2**22 + 1))


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"pid": "x", "create_time": 1, "boot_id": ""}'])
def test_unreadable_identity_is_none(tmp_path: Path, text: str) -> None:
    """A file that holds no identity, and one that is not there, give None."""
    path = tmp_path / "process.json"
    assert read_identity(path) is None
    path.write_text(text)
    assert read_identity(path) is None


def test_other_keys_are_passed_over(tmp_path: Path) -> None:
    """A file of a newer version, or of a system without ticks, can be read."""
    path = tmp_path / "process.json"
    path.write_text('{"pid": 7, "create_time": 1.5, "boot_id": "b", "run": "cat"}')
    assert read_identity(path) == Identity(7, 1.5, "b", None)
