"""The cards of the Try it page say how far a task is, and show every text as text."""

from pathlib import Path

import pytest

from gui.drawing_cards import Shown, grid, newest, result
from trainer.contract.prompts import Prompt
from trainer.contract.records import write_record
from trainer.drawing.checkpoints import Checkpoint
from trainer.drawing.request import Request
from trainer.drawing.tasks import State, Task

NASTY = '"><img src=x onerror=alert(1)>'
CHECKPOINTS = (
    Checkpoint("/m0", f"{NASTY} · before training", "/r"),
    Checkpoint("/m1", f"{NASTY} · epoch 1, step 3", "/r"),
)


def shown(state: State, *, grid: bool = False) -> Shown:
    prompts = tuple(Prompt(f"{text} {NASTY}", "", 64, 32, 5, 10) for text in ("a", "b"))
    return Shown(Task(Path("/t/1")), Request(CHECKPOINTS, prompts, grid=grid), state)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(), "Waits for its turn."),
        (State("waiting", NASTY), " is training."),
        (State("loading", checkpoint=1), "Picture 1 of 4: loads epoch 1, step 3"),
        (State("drawing", step=5, steps=10, pictures={"0-0": "/x.png"}), 'aria-valuenow="37"'),
        (State("failed", f"damaged {NASTY}"), "This could not be drawn."),
        (State("cancelled"), "Called off."),
        (State("done", seconds=4.13), "4.1 s"),
    ],
)
def test_every_state_is_said(state: State, words: str) -> None:
    """Each phase has its words, in both cards, and no text from outside becomes HTML."""
    for html in (result(shown(state)), grid(shown(state, grid=True))):
        assert "<img src=x" not in html and "&lt;img src=x" in html
        assert words in html or state.phase == "done"
        assert ('data-act="cancel"' in html) == (not state.is_over)
    assert words in result(shown(state))


def test_the_newest_of_each_kind_is_shown(tmp_path: Path) -> None:
    """The newest grid and the newest other task; a record that is no request is passed over."""
    tasks = []
    for number, is_grid in enumerate((False, True, False)):
        task = Task(tmp_path / str(number))
        task.path.mkdir()
        write_record(task.path / "request.json", shown(State(), grid=is_grid).request.as_dict())
        tasks.insert(0, task)
    (tasks[0].path / "request.json").write_text("{}", encoding="utf-8")
    found = [newest(tasks, grid=wanted) for wanted in (False, True)]
    assert [one.task.path.name if one else None for one in found] == ["0", "1"]
    assert newest([], grid=True) is None and "Nothing has been drawn yet" in result(None) and grid(None) == ""
