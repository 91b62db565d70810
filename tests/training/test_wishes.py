"""Wishes by file and by signal."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from trainer.contract.control import WISHES, send
from trainer.contract.identity import identity_of
from trainer.training.wishes import Wishes


def test_wishes_are_read_once_as_flags(tmp_path: Path) -> None:
    """Each wish raises its own flag in the next step, and only there."""
    wishes = Wishes(tmp_path)
    assert wishes.flags() == [0] * len(WISHES)
    send(tmp_path / "control.jsonl", "save")
    send(tmp_path / "control.jsonl", "sample")
    assert dict(zip(WISHES, wishes.flags(), strict=True)) == {
        "stop": 0,
        "stop_without_saving": 0,
        "pause": 0,
        "save": 1,
        "sample": 1,
        "state": 0,
    }
    assert wishes.flags() == [0] * len(WISHES)


def test_looking_for_the_end_loses_no_wish(tmp_path: Path) -> None:
    """While latents are cached the wish to stop is heard, and others wait for the first step."""
    wishes = Wishes(tmp_path)
    send(tmp_path / "control.jsonl", "sample")
    assert not wishes.wants_end()
    send(tmp_path / "control.jsonl", "stop")
    assert wishes.wants_end() and wishes.wants_end()
    assert sorted(wishes.read()) == ["sample", "stop"]


def test_wish_from_between_launch_and_start_is_heard(tmp_path: Path) -> None:
    """A click on Stop while the trainer was still loading counts; one from before the launch does not."""
    now = time.time()
    lines = [{"wish": "save", "time": now - 100}, {"wish": "stop", "time": now}]
    (tmp_path / "control.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    launch = {"pid": os.getpid(), "create_time": now - 10, "boot_id": identity_of().boot_id}
    (tmp_path / "launch.json").write_text(json.dumps(launch))
    assert Wishes(tmp_path).read() == ["stop"]


def test_process_without_a_folder_hears_signals_alone() -> None:
    """Other processes of a run read no file."""
    assert Wishes(None).flags() == [0] * len(WISHES)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process at once")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_the_wish_to_stop(number: signal.Signals) -> None:
    """Ctrl+C and SIGTERM finish the step; afterwards the signals mean what they meant before."""
    before = signal.getsignal(number)
    wishes = Wishes(None)
    with wishes.heard():
        signal.raise_signal(number)
        assert wishes.wants_end()
        assert wishes.read() == ["stop"] and wishes.read() == []
    assert signal.getsignal(number) is before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process at once")
def test_second_ctrl_c_ends_at_once() -> None:
    """Who presses Ctrl+C again before it was heard does not want to wait."""
    with Wishes(None).heard():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
