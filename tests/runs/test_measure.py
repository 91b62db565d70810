"""A measurement seen from outside: whatever its processes do, one answer comes and nothing is left behind."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.conftest import a_job
from trainer.contract.identity import is_alive, read_identity
from trainer.runs import measure as measuring
from trainer.runs.host_memory import free_and_total
from trainer.runs.measure import PREFIX, Measured, Memory, NotMeasured, clear_leftovers, measure

SETTING = """
import json, os, signal, sys, time
from pathlib import Path
from trainer.contract.events import EventWriter, Finished, Phase
from trainer.contract.identity import write_identity
run = Path(sys.argv[1])
write_identity(run / "process.json")
events = EventWriter(run / "events.jsonl")
events.write(Phase(name="training"))
def measured(**more):
    (run / "measured.json").write_text(json.dumps({"host_gib": 2.0, "most_while": "training", **more}))
"""

Measure = Callable[..., Measured]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Measures with a short program in place of the trainer, in a studio's folder that must be empty afterwards."""

    def run(code: str, **how: object) -> Measured:
        command = [sys.executable, "-c", SETTING + code]
        monkeypatch.setattr(measuring, "launch_command", lambda folder, job, trainer: [*command, str(folder.path)])
        try:
            return measure(a_job("harbour", 10), tmp_path, **how)  # type: ignore[arg-type]
        finally:
            assert list(tmp_path.iterdir()) == []

    return run


def test_what_the_trainer_measured_is_told(measured: Measure) -> None:
    """A rehearsal that ends well gives its own peak; what helps it comes on top."""
    found = measured('measured(seconds_per_step=2.5); events.write(Finished(result="completed", step=2))')
    assert found.complete and found.card is None and found.lacks_host
    assert found.trainer_gib == 2.0 and 2.0 <= found.host.need_gib < 2.2
    assert (found.most_while, found.seconds_per_step) == ("training", 2.5)


def test_room_may_be_given(measured: Measure) -> None:
    """`within_gib` counts for the card where there is one, else for the computer's memory."""
    end = 'events.write(Finished(result="completed", step=2))'
    assert not measured("measured();" + end, within_gib=2.05).fits
    card = "measured(card_gib=5.0, card_free_gib=7.0, card_total_gib=8.0);" + end
    assert measured(card).fits and not measured(card).lacks_host
    assert not measured(card, within_gib=5.1).fits


@pytest.mark.parametrize("code", ["card_memory", "host_memory", ""])
def test_memory_that_runs_out_is_an_answer(measured: Measure, code: str) -> None:
    """Where the trainer says that memory is full, the job does not fit."""
    words = "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    found = measured(
        f'measured(); events.write(Finished(result="failed", step=0, code="{code}", message="""{words}"""))'
    )
    assert not found.complete and not found.fits and found.trainer_gib == 2.0


def test_scarce_memory_ends_it(measured: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the computer's memory is nearly full the processes are ended at once, before others are hurt."""
    monkeypatch.setattr(measuring, "_LEAST_FREE", 1.0)
    assert not measured("time.sleep(60)").fits


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            'events.write(Finished(result="failed", step=0, code="disk.model", message="No such model."))',
            "No such model.",
        ),
        ('print("out of ideas", flush=True); os._exit(3)', "out of ideas"),
    ],
)
def test_other_endings_are_no_measurement(measured: Measure, code: str, said: str) -> None:
    """A refusal and a fall are told as what they are, never as a figure."""
    with pytest.raises(NotMeasured, match=said):
        measured(code)


def test_ending_it_leaves_nothing(measured: Measure) -> None:
    """Ctrl+C in mid-measurement ends the processes and deletes the folder."""
    seen = []

    def interrupt(event: object) -> None:
        seen.append(event)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured("time.sleep(60)", told=interrupt)
    assert seen


def test_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    """The folder of a process that was killed is deleted by the next; one in use and foreign ones stay."""
    for name, pid in ((f"{PREFIX}dead", 1), (f"{PREFIX}mine", None)):
        (tmp_path / name).mkdir()
        if pid is None:
            measuring.write_identity(tmp_path / name / "launch.json")
        else:
            record = '{"pid": 1, "create_time": 1.0, "boot_id": "another", "ticks": 1}'
            (tmp_path / name / "launch.json").write_text(record)
    (tmp_path / f"{PREFIX}foreign").mkdir()
    mine = read_identity(tmp_path / f"{PREFIX}mine" / "launch.json")
    assert mine is not None and is_alive(mine)
    clear_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{PREFIX}mine", f"{PREFIX}foreign"}


def test_a_fit_leaves_room_for_what_a_measurement_may_miss() -> None:
    """5 % above what was measured must be free."""
    assert Memory(1.0, 1.05, 8.0).fits and not Memory(1.0, 1.04, 8.0).fits
    assert Memory(1.0, 0.9, 8.0).spare_gib == pytest.approx(-0.1)


def test_a_container_has_what_it_is_allowed(tmp_path: Path) -> None:
    """The limit of a container counts, and what it read from files is free; without one the machine's own counts."""
    machine = free_and_total(tmp_path)
    assert 0 < machine[0] <= machine[1]
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("600000000\n")
    assert free_and_total(tmp_path)[1] == machine[1]
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000000\n")
    assert free_and_total(tmp_path) == (450_000_000, 1_000_000_000)
