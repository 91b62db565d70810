"""This machine in one line, as far as training asks of it: graphics cards, processor cores, memory, room on the disk.

Nothing comes in but the studio's home, whose disk counts; text goes out. Asked of the driver and the system, no torch.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from gui.figures import counted, size
from trainer.dataset.room import free_bytes
from trainer.runs.card import Installed, list_cards
from trainer.runs.host_memory import free_and_total
from trainer.runs.launch import cores, has_nvidia


def machine_line(home: Path) -> str:
    """ "This machine: no NVIDIA card found, 8 processor cores, 16.8 GB memory, 212.0 GB free on disk." """
    free = free_bytes(home)
    parts = [
        cards_in_words(list_cards(), hidden=not has_nvidia()),
        counted(cores(), "processor core"),
        f"{size(free_and_total()[1])} memory",
        f"{size(free)} free on disk" if free is not None else "the disk does not say how much is free",
    ]
    return f"This machine: {', '.join(parts)}."


def cards_in_words(cards: Sequence[Installed], *, hidden: bool = False) -> str:
    """The cards with their memory; `hidden` where CUDA_VISIBLE_DEVICES keeps training from those that are there."""
    if not cards:
        return "no NVIDIA card found"
    named = " and ".join(f"{card.name} with {size(card.memory)}" for card in cards)
    if hidden:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return f"{named}, not used because CUDA_VISIBLE_DEVICES is “{visible}”"
    return named
