"""A run in a process of its own that is killed on its way, by the one signal that no process can hear."""

import multiprocessing
import multiprocessing.context
import os
import signal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import run_to_the_end, wishing
from trainer.contract.events import Event, Stepped
from trainer.training.session import Teller


@cache
def forks() -> multiprocessing.context.ForkServerContext:
    """A server that imports the libraries once and learns nothing itself.

    What it forks starts within milliseconds, and torch's backward pass works there, which it does not in a fork of a
    process that has already learnt.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.killed", "trainer.training.session"])
    return context


def die(values: dict[str, Any], run: Path, *, state_after: int, dies_after: int, in_write: bool = False) -> None:
    """Train, write a state after one step, and be killed after a later one; with `in_write` while writing its state."""
    child = forks().Process(target=_train, args=(values, run, state_after, dies_after, in_write))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, f"it ended with {child.exitcode}"


def _train(values: dict[str, Any], run: Path, state_after: int, dies_after: int, in_write: bool) -> None:
    os.setsid()  # The processes that read images are to die with it.
    multiprocessing.set_start_method("fork", force=True)  # for them, as in a run that was started in the usual way
    with pytest.MonkeyPatch.context() as patch, wishing(state_after, "state"):
        if not in_write:
            write = Teller.write

            def and_die(teller: Teller, event: Event) -> None:
                write(teller, event)
                if isinstance(event, Stepped) and event.step == dies_after:
                    os.killpg(os.getpid(), signal.SIGKILL)

            patch.setattr(Teller, "write", and_die)
            run_to_the_end(values, run)
            return
        save, written = torch.save, []

        def save_or_die(content: Any, file: Any) -> None:
            written.append(file)
            if len(written) > 1:
                file.write(b"PK")  # half a file
                file.flush()
                os.killpg(os.getpid(), signal.SIGKILL)
            save(content, file)

        patch.setattr(torch, "save", save_or_die)
        with wishing(dies_after, "state"):
            run_to_the_end(values, run)
