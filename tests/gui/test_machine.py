"""The line on this machine: what it counts, and what it says where there is nothing to count."""

import re
from pathlib import Path

import pytest

from gui import machine
from gui.figures import size
from gui.machine import cards_in_words, machine_line
from trainer.dataset.room import free_bytes
from trainer.runs.card import Installed
from trainer.runs.host_memory import free_and_total
from trainer.runs.launch import cores


def test_the_line_counts_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores, memory and room are those that the system tells; without a driver no card is found."""
    monkeypatch.setattr(machine, "list_cards", list)
    line = machine_line(tmp_path)
    assert line.startswith("This machine: no NVIDIA card found, ")
    told = re.search(r"(\d+) processor cores?, (.+?) memory, (.+?) free on disk\.$", line)
    assert told is not None
    assert int(told[1]) == cores() and told[2] == size(free_and_total()[1])
    free = free_bytes(tmp_path)
    assert free is not None and abs(float(told[3].split()[0]) - free / 1e9) < 1


def test_a_disk_that_tells_nothing_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk does not say what is free, no figure is made up."""
    monkeypatch.setattr(machine, "free_bytes", lambda folder: None)
    assert machine_line(tmp_path).endswith("memory, the disk does not say how much is free.")


def test_cards_are_named_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One, two, and one that the environment keeps from training."""
    one, two = Installed("NVIDIA RTX 3070", 8 * 2**30), Installed("NVIDIA RTX 4090", 24 * 2**30)
    assert cards_in_words([one]) == "NVIDIA RTX 3070 with 8.6 GB"
    assert cards_in_words([one, two]) == "NVIDIA RTX 3070 with 8.6 GB and NVIDIA RTX 4090 with 25.8 GB"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    hidden = cards_in_words([one], hidden=True)
    assert hidden == "NVIDIA RTX 3070 with 8.6 GB, not used because CUDA_VISIBLE_DEVICES is “-1”"
