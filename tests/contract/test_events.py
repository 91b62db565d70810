"""Events: written whole, read once, never in the way of newer or older readers."""

import json
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.control import WishReader, send
from trainer.contract.events import EVENT_TYPES, EventReader, EventWriter, Phase, Saved, Stepped, Warned, decode, encode


def stepped(step: int, loss: float | None = 0.1) -> Stepped:
    return Stepped(step=step, epoch=1, loss=loss, learning_rate={"unet": 1e-6})


@given(st.text(max_size=50), st.integers(0, 10**6), st.floats(allow_nan=True, allow_infinity=True))
def test_an_event_comes_back_as_it_went(text: str, step: int, loss: float) -> None:
    """Any text survives; a number that is not finite becomes null."""
    warned = Warned(code="c", message=text, step=step)
    assert decode(json.loads(encode(warned))) == warned
    again = decode(json.loads(encode(stepped(step, loss))))
    assert isinstance(again, Stepped) and (again.loss is None or again.loss == loss)
    assert encode(warned).count(b"\n") == 1


def test_a_reader_sees_each_event_once(tmp_path: Path) -> None:
    """What was read is not read again; a reader may be there before the file is."""
    reader = EventReader(tmp_path / "events.jsonl")
    assert reader.read() == []
    writer = EventWriter(tmp_path / "events.jsonl")
    writer.write(stepped(1))
    assert [event.step for event in reader.read()] == [1]  # type: ignore[attr-defined]
    assert reader.read() == []
    writer.write(stepped(2))
    writer.write(stepped(3))
    assert len(reader.read()) == 2


def test_a_torn_line_waits_and_is_cut(tmp_path: Path) -> None:
    """Half a line is never read; the next writer removes it, so that it cannot swallow an event."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(stepped(1)) + b'{"type":"stepped","st')
    reader = EventReader(path)
    assert len(reader.read()) == 1
    writer = EventWriter(path)
    writer.write(stepped(2))
    writer.close()
    assert [event.step for event in EventReader(path).read()] == [1, 2]  # type: ignore[attr-defined]


def test_unknown_types_and_keys_are_passed_over(tmp_path: Path) -> None:
    """A newer trainer may say more than this reader knows."""
    path = tmp_path / "events.jsonl"
    lines = [{"type": "danced", "time": 1}, {"type": "phase", "time": 1, "name": "loading", "mood": "calm"}, 7, None]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no json\n", encoding="utf-8")
    (event,) = EventReader(path).read()
    assert isinstance(event, Phase) and event.name == "loading"


def test_the_union_is_closed() -> None:
    """Every type that is written is known to readers under its own name."""
    known = "started phase planned stepped validated sampled saved removed warned finished"
    assert set(EVENT_TYPES) == set(known.split())
    assert Saved.type == "saved"


def test_wishes_arrive_once_and_only_new_ones(tmp_path: Path) -> None:
    """A trainer hears what is wished after it began, in order, from several senders at once."""
    path = tmp_path / "control.jsonl"
    send(path, "stop")
    reader = WishReader(path)
    assert reader.read() == []
    threads = [threading.Thread(target=send, args=(path, "sample")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    send(path, "save")
    with path.open("ab") as file:
        file.write(b'garbage\n{"wish": "dance"}\n[1]\n{"wish": "sto')
    assert reader.read() == ["sample"] * 20 + ["save"]
    assert reader.read() == []
