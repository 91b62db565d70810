"""What is said of the card, with a driver that answers as NVIDIA's does, and without any."""

import types
from collections.abc import Iterator

import pynvml
import pytest

from trainer.runs import card
from trainer.runs.card import Card, Installed, list_cards, look_at_card


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No look of another test is remembered."""
    for kept in (card._look, card._wake):
        kept.cache_clear()
    yield
    for kept in (card._look, card._wake):
        kept.cache_clear()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A driver with cards 0 to 3; the list holds which of them were looked at."""
    looked: list[object] = []

    def by_index(number: int) -> int:
        if number > 3:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        looked.append(number)
        return number

    def by_name(name: str) -> str:
        looked.append(name)
        return name

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", by_index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", by_name)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda handle: types.SimpleNamespace(gpu=97))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda handle, sensor: 71)
    return looked


@pytest.mark.parametrize(
    ("visible", "looked"),
    [(None, [0]), ("2,0", [2]), ("GPU-1a2b", ["GPU-1a2b"]), ("", []), ("-1", []), ("x", []), ("9", [])],
)
def test_the_card_that_trains_is_looked_at(
    visible: str | None, looked: list[object], driver: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one that CUDA_VISIBLE_DEVICES leaves, by number or by name; none where it leaves none."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert look_at_card() == (Card(97, 71) if looked else None)
    assert driver == looked


def test_a_run_s_own_card_is_looked_at(driver: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number, whatever the environment leaves; one that is not there tells nothing."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert look_at_card(2) == Card(97, 71) and driver == [2]
    assert look_at_card(9) is None


def test_many_pages_are_one_look(driver: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second the driver is asked once."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(card.time, "monotonic", lambda: 5.5)
    assert [look_at_card() for _ in range(4)] == [Card(97, 71)] * 4 and len(driver) == 1
    monkeypatch.setattr(card.time, "monotonic", lambda: 6.1)
    look_at_card()
    assert len(driver) == 2


def test_what_a_card_does_not_tell_is_left_out(driver: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a card tells no load; the temperature is told all the same."""

    def refuse(handle: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", refuse)
    assert look_at_card() == Card(None, 71)


def test_no_driver_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver there is nothing to say."""

    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert look_at_card() is None
    assert list_cards() == []


def test_all_cards_are_listed(driver: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, each with its name and its memory, whatever the environment hides from training."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: f"NVIDIA RTX {handle}")
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: types.SimpleNamespace(total=(handle + 1) * 2**30)
    )
    assert list_cards() == [Installed("NVIDIA RTX 0", 2**30), Installed("NVIDIA RTX 1", 2 * 2**30)]
