"""The memory card of the training page: measured in a process of its own, told in plain words, mended with a click."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gui.bench import Bench, Standing
from gui.memory_card import fitting, memory_card
from gui.review import Review, review
from trainer.contract.job import Job

if TYPE_CHECKING:
    from playwright.sync_api import Page

Values = Callable[..., dict[str, object]]


@pytest.fixture
def found(home: Path, demo_values: Values) -> Review:
    """The demo's form, with nothing to mend."""
    return review(demo_values(), home)


def row(need: float, title: str = "As asked", *, fits: bool = True, **more: Any) -> dict[str, Any]:
    """One measurement as the probe tells it, of a computer with 16 GiB of which 8 are free."""
    memory = {"need_gib": need, "free_gib": 8.0, "total_gib": 16.0}
    return {
        "way": {"title": title, "about": "", "values": {}}, "fits": fits, "why_not": "", "host": memory, "card": None,
        "complete": True, "on_card": False, "most_while": "training", "seconds_per_step": 1.0,
        "seconds_in_all": 2460.0, **more,
    }  # fmt: skip


def standing(found: Review, rows: list[dict[str, Any]], mend: Mapping[str, Any] | None = None) -> Standing:
    """The measurement of the form as it stands."""
    assert found.config is not None
    told = {"fits": rows[0]["fits"], "mend": mend, "measured": rows}
    return Standing(found.config.flat(), found=told, ended=time.time())


def test_what_is_not_measured_can_be(found: Review, home: Path, demo_values: Values) -> None:
    """A button where it can be measured; why not yet, where something is to mend or the machine is in use."""
    assert 'data-act="measure">Measure memory' in memory_card(found, Standing(), "")
    html = memory_card(found, Standing(), "harbour <b>")
    assert 'data-act="measure" disabled' in html and "harbour &lt;b&gt; is using this machine" in html
    broken = review(demo_values(learning_rate="fast"), home)
    assert "when nothing is to mend" in memory_card(broken, Standing(), "")
    assert "It fell &lt;over&gt;." in memory_card(found, Standing(trouble="It fell <over>."), "")


def test_what_fits_is_said_with_what_is_left(found: Review) -> None:
    """Need, free and total, what is left, when most is needed and how long the run takes."""
    html = memory_card(found, standing(found, [row(5.0)]), "")
    for words in (
        "It fits",
        "Needs <strong>5.4 GB",
        "8.6 GB of 17.2 GB are free",
        "3.2 GB",
        "while training",
        "41 min",
    ):
        assert words in html, words
    assert "Measured before boxes were changed" not in html


def test_changed_boxes_make_it_old(found: Review, home: Path, demo_values: Values) -> None:
    """A measurement of other settings says so and gives no verdict."""
    other = review(demo_values(train_batch_size=1), home)
    html = memory_card(other, standing(found, [row(5.0)]), "")
    assert "Measured before boxes were changed" in html and "It fits" not in html


def test_what_does_not_fit_is_mended_with_a_click(found: Review) -> None:
    """Each way that was tried has its figures, and the one that fits is a button."""
    mend = {"title": "Mixed precision bf16", "about": "Half the room.", "values": {"mixed_precision": "bf16"}}
    told = standing(
        found,
        [
            row(9.0, fits=False),
            row(8.5, "Gradient checkpointing", fits=False, complete=False, seconds_in_all=None),
            {"way": {"title": "8-bit Adam"}, "fits": False, "why_not": "needs a card"},
            row(6.0, "Mixed precision bf16"),
        ],
        mend,
    )
    html = memory_card(found, told, "")
    for words in (
        "It does not fit",
        "Missing",
        "more than 9.1 GB",
        "not possible here",
        'data-act="fit"',
        "Half the room.",
    ):
        assert words in html, words
    assert fitting(told) == {"mixed_precision": "bf16"} and fitting(Standing()) == {}
    hopeless = standing(found, [row(9.0, fits=False)])
    assert "None of these lets it fit" in memory_card(found, hopeless, "") and fitting(hopeless) == {}


def bench_with(home: Path, code: str) -> Bench:
    """A bench whose measurement is a short program."""
    return Bench(home, (sys.executable, "-u", "-c", "import json, sys, time\n" + code))


def wait(bench: Bench, until: Callable[[Standing], bool]) -> Standing:
    """How it stands once that is so."""
    deadline = time.monotonic() + 30
    while not until(bench.standing):
        assert time.monotonic() < deadline, bench.standing
        time.sleep(0.02)
    return bench.standing


def job_of(found: Review) -> Job:
    """The job of the form."""
    assert found.job is not None
    return found.job


def test_a_bench_tells_how_it_stands_and_what_was_found(found: Review, home: Path) -> None:
    """Its last sentence while it measures, then the answer; a second click meanwhile changes nothing."""
    answer = json.dumps({"fits": True, "mend": None, "measured": [row(5.0)]})
    code = f"print('As asked: learns', file=sys.stderr); time.sleep(1); print({answer!r})"
    bench = bench_with(home, code)
    bench.start(job_of(found))
    first = wait(bench, lambda now: now.said == "As asked: learns")
    bench.start(job_of(found))
    assert first.running and bench.standing is first
    assert "As asked: learns" in memory_card(found, first, "") and 'data-act="cancel"' in memory_card(found, first, "")
    last = wait(bench, lambda now: not now.running)
    assert last.found is not None and last.found["fits"] and "It fits" in memory_card(found, last, "")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("""print(json.dumps([{"message": "harbour is running."}])); sys.exit(2)""", "harbour is running."),
        ("print('out of ideas', file=sys.stderr); sys.exit(1)", "out of ideas"),
        ("sys.exit(1)", "The measuring ended without a word."),
    ],
)
def test_a_bench_says_why_nothing_was_found(found: Review, home: Path, code: str, said: str) -> None:
    """A refusal, a fall with a last word, and one without."""
    bench = bench_with(home, code)
    bench.start(job_of(found))
    assert wait(bench, lambda now: not now.running).trouble == said


def test_a_cancelled_measurement_is_gone(found: Review, home: Path) -> None:
    """Its process has ended when Cancel returns, nothing is told of it, and the next one can begin."""
    bench = bench_with(home, "time.sleep(60)")
    bench.start(job_of(found))
    process = bench._process
    bench.cancel()
    assert process is not None and process.poll() is not None and bench.standing == Standing()
    bench.cancel()
    bench.start(job_of(found))
    assert bench.standing.running
    bench.cancel()


@pytest.mark.browser
@pytest.mark.slow
def test_memory_is_measured_on_the_page(page: "Page") -> None:
    """A click measures the demo while the page goes on; Cancel ends it; the figures come by themselves."""
    page.click("#at-tab-train-button")
    page.click('[data-act="measure"]')
    page.click('[data-act="cancel"]')
    page.click('[data-act="measure"]')
    page.fill("#at-train_batch_size input, #at-train_batch_size textarea", "2")
    page.wait_for_selector("text=Measured before boxes were changed", timeout=120_000)
    page.fill("#at-train_batch_size input, #at-train_batch_size textarea", "8")
    page.wait_for_selector(".at-memory-good", timeout=60_000)
    assert "Needs" in page.inner_text(".at-memory") and "The run takes about" in page.inner_text(".at-memory")
