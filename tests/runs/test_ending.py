"""From exit code, events and wishes to a cause in plain words."""

from pathlib import Path

import pytest

from tests.runs.conftest import a_job
from trainer.contract.events import Event, EventWriter, Finished, Phase, Sampled, Started, Stepped
from trainer.runs.ending import judge, last_words, read_ending, record_exit
from trainer.runs.folder import RunFolder, new_run

STARTED = Started(pid=1, version="test", device="cpu", seed=0)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return new_run(tmp_path, a_job("cat"))


def tell(run: RunFolder, *events: Event) -> None:
    writer = EventWriter(run.events_file)
    for event in events:
        writer.write(event)
    writer.close()


def step(number: int) -> Stepped:
    return Stepped(step=number, epoch=1, loss=0.1, learning_rate={"unet": 1e-6})


@pytest.mark.parametrize(
    ("code", "events", "result", "cause"),
    [
        (0, [step(9), Finished(result="completed", step=9)], "completed", ""),
        (0, [step(4), Finished(result="stopped", step=4)], "stopped", ""),
        (-9, [step(40), step(41)], None, "killed by signal 9 at step 41"),
        (-9, [STARTED], None, "killed by signal 9 before the first step"),
        (1, [step(3), Finished(result="failed", step=3, message="the disk is full")], "failed", "the disk is full"),
        (7, [step(3)], None, "ended with code 7 at step 3"),
        (0xC0000005, [step(3)], None, "ended with code 0xc0000005 at step 3"),
        (2, [], None, "refused before it began (code 2): log.txt says why"),
        (0, [step(3)], None, "ended at step 3 without saying that it was done"),
        (None, [step(3)], None, "gone without a word at step 3: nobody was there to see how it ended"),
        (None, [step(9), Finished(result="completed", step=9)], "completed", ""),
    ],
)
def test_judge(run: RunFolder, code: int | None, events: list[Event], result: str | None, cause: str) -> None:
    """The trainer's last word counts; without one the code tells, at the step that the events name."""
    tell(run, *events)
    ending = judge(run, code)
    assert (ending.result, ending.cause) == (result, cause)
    assert (ending.code, ending.signal) == ((None, -code) if code and code < 0 else (code, None))


def test_death_after_the_last_word_is_told(run: RunFolder) -> None:
    """A run that said "completed" and then died in its clean-up is complete, and the death is not kept back."""
    tell(run, step(9), Finished(result="completed", step=9))
    ending = judge(run, -11)
    assert (ending.result, ending.signal) == ("completed", 11)
    assert "killed by signal 11" in ending.cause


def test_demanded_death_is_being_stopped(run: RunFolder) -> None:
    """Killed by the second click is stopped; a run that failed by itself meanwhile failed."""
    tell(run, step(3))
    assert judge(run, -15, demanded=True).result == "stopped"
    assert judge(run, None, demanded=True).result == "stopped"
    assert judge(run, 7, demanded=True).result is None


def test_last_step_is_found_far_back(run: RunFolder) -> None:
    """The newest step counts, however much was told after it, and a torn last line does not hide it."""
    tell(run, step(41), *[Sampled(step=41, index=i, prompt="p" * 200, seed=i, path="x.png") for i in range(600)])
    assert run.events_file.stat().st_size > 128 * 1024
    with run.events_file.open("ab") as file:
        file.write(b'{"type":"stepped","step":42')
    assert (last_words(run.events_file).step, last_words(run.events_file).finished) == (41, None)


def test_end_of_an_earlier_process_does_not_count(run: RunFolder) -> None:
    """A run that was resumed and killed did not finish, although its first part said that it stopped."""
    resumed = Started(pid=2, version="test", device="cpu", seed=0, resumed_step=4)
    tell(run, step(4), Finished(result="stopped", step=4), resumed, Phase(name="loading"))
    assert (last_words(run.events_file).step, last_words(run.events_file).finished) == (4, None)
    assert judge(run, -9).cause == "killed by signal 9 at step 4"


def test_first_to_see_the_end_knows_best(run: RunFolder) -> None:
    """exit.json is written once and never changed; without one there is no ending."""
    assert read_ending(run.exit_file) is None
    record_exit(run, 1, "failed", "the first")
    record_exit(run, 0, "completed", "")
    ending = read_ending(run.exit_file)
    assert ending is not None and (ending.code, ending.result, ending.cause) == (1, "failed", "the first")
