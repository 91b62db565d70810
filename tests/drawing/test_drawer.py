"""The process that draws: it keeps its model, hears a cancel, makes room for a run at once, and ends by itself."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gui.written_runs import Course, end, write_run
from tests.waiting import wait_for
from trainer.contract.identity import read_identity
from trainer.contract.prompts import Prompt
from trainer.contract.records import write_record
from trainer.drawing.checkpoints import Checkpoint, checkpoints_of
from trainer.drawing.drawer import MOST_ATTEMPTS, Drawer
from trainer.drawing.request import Request
from trainer.drawing.tasks import State, Task, _drawer_file, ask, drawer_lives, tasks_in, tend, unfinished
from trainer.runs.folder import RunFolder

QUICK = Prompt("a dog", "", 64, 64, 1, 2, 1.0)
ENDLESS = replace(QUICK, steps=1000, seed=2, width=512, height=512)


def done(task: Task) -> State:
    """The state of a task once it is over."""
    wait_for(lambda: task.state().is_over)
    return task.state()


def drawer_of(home: Path) -> int:
    """The pid of the process that draws."""
    identity = read_identity(_drawer_file(home))
    assert identity is not None and drawer_lives(home)
    return identity.pid


@pytest.mark.slow
def test_one_process_draws_all(trained: RunFolder, home: Path) -> None:
    """Pictures come, in any number, from one process; what was drawn once is kept; a cancel ends at a step.

    kill -9 in mid-picture: the next look starts another process, which takes the same task again.
    """
    checkpoint = checkpoints_of(trained)[0]
    first = ask(home, Request((checkpoint,), (QUICK, replace(QUICK, seed=3))))
    state = done(first)
    assert (state.phase, state.message, state.attempts) == ("done", "", 1)
    assert sorted(state.pictures) == ["0-0", "0-1"] and Path(state.sheet).parent == trained.path / "drawings"
    pid = drawer_of(home)
    written = Path(state.pictures["0-0"]).stat().st_mtime_ns
    again = done(ask(home, Request((checkpoint,), (QUICK,))))
    assert again.pictures["0-0"] == state.pictures["0-0"] and again.seconds < 1
    assert Path(again.pictures["0-0"]).stat().st_mtime_ns == written

    long = ask(home, Request((checkpoint,), (ENDLESS,)))
    behind = ask(home, Request((checkpoint,), (QUICK,)))
    wait_for(lambda: long.state().step > 0)
    assert long.state().phase == "drawing" and long.state().steps == 1000 and behind.state().phase == "waiting"
    long.cancel()
    assert done(long).phase == "cancelled" and not long.state().pictures
    assert done(behind).phase == "done"
    missing = done(ask(home, Request((Checkpoint(str(home / "gone.ckpt"), "gone"),), (QUICK,))))
    assert missing.phase == "failed" and "gone.ckpt" in missing.message
    assert drawer_of(home) == pid
    assert [task.path.name for task in tasks_in(home)][-1] == first.path.name

    task = ask(home, Request((checkpoint,), (ENDLESS,)))
    wait_for(lambda: task.state().step > 0)
    subprocess.run(["kill", "-9", str(pid)], check=True)
    wait_for(lambda: not drawer_lives(home))
    tend(home)
    assert drawer_of(home) != pid
    wait_for(lambda: task.state().attempts == 2)
    task.cancel()


@pytest.mark.slow
def test_a_run_gets_the_machine_at_once(trained: RunFolder, home: Path) -> None:
    """A run that begins ends the drawing in mid-picture; the rest waits for its end, but for what may run beside it."""
    checkpoint = checkpoints_of(trained)[0]
    task = ask(home, Request((checkpoint,), (replace(ENDLESS, seed=9, width=256, height=256),)))
    wait_for(lambda: task.state().step > 0)
    first = drawer_of(home)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as trainer:
        run = write_run(home / "runs", Course(steps=3), name="harbour", pid=trainer.pid)
        wait_for(lambda: drawer_lives(home) and drawer_of(home) != first, 5)
        wait_for(lambda: (task.state().phase, task.state().message) == ("waiting", "harbour"), 20)
        beside = done(ask(home, Request((checkpoint,), (replace(QUICK, seed=4),), on_cpu=True)))
        assert beside.phase == "done"
        assert not task.state().is_over
        task.cancel()
        after = ask(home, Request((checkpoint,), (replace(QUICK, seed=5),)))
        wait_for(lambda: after.state().message == "harbour")
        trainer.kill()
    end(run, "stopped", 3)
    assert done(after).phase == "done"
    assert task.state().phase == "cancelled"


def test_a_task_that_kills_twice_has_failed(tmp_path: Path) -> None:
    """A task during which the process ended by itself again and again is not taken once more."""
    fatal = Task(tmp_path / "drawings" / "tasks" / "20261128-000000-000000000")
    fatal.path.mkdir(parents=True)
    write_record(fatal.path / "request.json", Request((Checkpoint("/m", "m"),), (QUICK,)).as_dict())
    fatal.tell(State(phase="drawing", attempts=MOST_ATTEMPTS))
    Drawer(tmp_path)._take(fatal)
    assert fatal.state().phase == "failed" and "ended by itself" in fatal.state().message


def test_an_idle_process_ends(tmp_path: Path) -> None:
    """With nothing to draw it ends after its time, and a second one for the same home finds the first and ends."""
    (tmp_path / "drawings").mkdir()
    code = "import sys; from pathlib import Path; from trainer.drawing.drawer import main; main(Path(sys.argv[1]), 1.5)"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=True)
    assert done.returncode == 0 and time.monotonic() - began > 1.5
    assert not drawer_lives(tmp_path) and not unfinished(tmp_path)
