"""The form: every option has one box, values go there and back unchanged, problems stand where they belong."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gui.form import Form, default_in_words, differing, is_changed, keyed, mend_of, written
from gui.studio import Studio
from gui.window import build
from trainer.contract.config import DEFAULTS, OPTIONS, TrainingConfig
from trainer.contract.job import check_values
from trainer.contract.options import Option, Shown
from trainer.contract.presets import list_presets
from trainer.contract.problems import Mend, Problem

PRESETS = list_presets(Path(__file__).resolve().parents[2] / "presets", Path("nowhere"))


@pytest.fixture(scope="module")
def form() -> Form:
    """A form with every option in it."""
    with gr.Blocks(analytics_enabled=False):
        made = Form()
        for name in OPTIONS:
            made.draw(name)
    return made


def there_and_back(form: Form, values: dict[str, Any]) -> dict[str, Any]:
    """What the form reads after it was filled."""
    return form.values(form.fill(values))


def test_every_option_has_one_box_in_the_window(tmp_path: Path) -> None:
    """The window has a box for every option of the contract, and no other."""
    studio = Studio(home=tmp_path)
    build(studio)
    assert set(studio.form.boxes) == set(OPTIONS)


def test_a_new_option_appears_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that is only declared has its box on the training page, its default in it."""
    row = Option("wobble", "rate", "Learning rate", "number", 0.25, False, "How far it wobbles.", Shown("Wobble"))
    monkeypatch.setitem(OPTIONS, "wobble", row)
    monkeypatch.setitem(DEFAULTS, "wobble", 0.25)
    studio = Studio(home=tmp_path)
    build(studio)
    assert studio.form.boxes["wobble"].page == "train"
    assert studio.form.boxes["wobble"].component.value == "0.25"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_survives_the_form(form: Form, preset: Any) -> None:
    """What the form reads after a preset was loaded makes the same config as the preset itself."""
    config, problems = check_values(there_and_back(form, dict(preset.values)))
    assert config == check_values(preset.values)[0] is not None, problems


@given(st.data())
def test_any_allowed_value_survives_the_form(form: Form, data: st.DataObject) -> None:
    """Zero, off, tiny and huge numbers, and "not given" come back from their boxes as what they were."""
    name = data.draw(
        st.sampled_from([n for n, o in OPTIONS.items() if o.kind in ("switch", "whole", "number", "choice")])
    )
    option = OPTIONS[name]
    low = option.minimum if option.minimum is not None else option.above if option.above is not None else 0
    high = option.maximum if option.maximum is not None else 10**9
    allowed = {
        "switch": st.booleans(),
        "choice": st.sampled_from(option.choices or ("",)),
        "whole": st.integers(int(low), int(high)),
        "number": st.floats(low, high, exclude_min=option.above is not None),
    }[option.kind]
    value = data.draw(st.one_of(allowed, st.none()) if option.optional else allowed)
    read = there_and_back(form, {name: value})[name]
    try:
        wanted = TrainingConfig.from_flat({name: value})
    except ValueError:
        return  # a share above one step and the like: rules inside one field, not the form's business
    assert TrainingConfig.from_flat({name: read}) == wanted


@pytest.mark.parametrize("name", ["max_grad_norm", "prior_loss_weight", "ucg", "lr_warmup_steps"])
def test_zero_is_a_value(form: Form, name: str) -> None:
    """A zero in a box is zero, neither the default nor "not given"."""
    assert there_and_back(form, {name: 0})[name] == "0"


def test_filling_starts_from_the_defaults(form: Form) -> None:
    """Whatever stood in the form, a preset is laid over the defaults and nothing else."""
    first = form.fill({"train_batch_size": 7, "flip_aug": True})
    second = form.fill({"seed": 3})
    assert set(first) == set(second) == form.inputs
    assert differing(form.values(second), {}) == ["seed"]


def test_a_value_that_is_no_choice_leaves_the_default(form: Form) -> None:
    """A choice that this version does not know cannot stand in a box: its default does."""
    assert there_and_back(form, {"lr_scheduler": "adafactor"})["lr_scheduler"] == DEFAULTS["lr_scheduler"]


def test_an_emptied_box_is_named(form: Form) -> None:
    """An empty box of an option that needs a value is a problem at that box."""
    values = there_and_back(form, {}) | {"train_batch_size": None}
    assert ("train_batch_size",) in [problem.fields for problem in check_values(values)[1]]


def test_a_word_in_a_number_box_is_told_at_that_box(form: Form) -> None:
    """Text in a number box gives its sentence under this box, red edges included, and under no other."""
    values = there_and_back(form, {"learning_rate": "fast"})
    assert values["learning_rate"] == "fast"
    notes = form.mark(values, [p for p in check_values(values)[1] if p.code.startswith("value.")])
    assert [name for name, note in notes.items() if note["bad"] or note["problems"]] == ["learning_rate"]


def test_a_problem_marks_all_its_boxes_and_speaks_at_the_first(form: Form) -> None:
    """All boxes of a problem get red edges; the sentence with its mends stands at the one it names first."""
    problem = Problem("rule.x", "No.", ("random_crop", "cache_latents"), mends=(Mend("Mend", {"random_crop": False}),))
    notes = form.mark({}, [problem])
    assert {name for name, note in notes.items() if note["bad"]} == {"random_crop", "cache_latents"}
    assert [p["mends"] for p in notes["random_crop"]["problems"]] == [["Mend"]]
    assert notes["cache_latents"]["problems"] == []


def test_a_warning_leaves_the_edges_alone(form: Form) -> None:
    """What does not keep the run from starting marks no box red."""
    notes = form.mark({}, [Problem("rule.y", "Look.", ("seed",), "warning")])
    assert not notes["seed"]["bad"] and len(notes["seed"]["problems"]) == 1


def test_a_click_finds_its_mend() -> None:
    """The key of a button leads to its own problem, also among several of one code, and to nothing once it is gone."""
    problems = [Problem("disk.a", str(n), ("seed",), mends=(Mend(str(n), {"seed": n}),)) for n in range(3)]
    for number, key in enumerate(keyed(problems)):
        found = mend_of(problems, key, 0)
        assert found is not None and found.values == {"seed": number}
    assert mend_of(problems[:1], list(keyed(problems))[2], 0) is None
    assert mend_of(problems, next(iter(keyed(problems))), 1) is None


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("learning_rate", "2e-06", False),
        ("learning_rate", "0.000002", False),
        ("resolution", "512", False),
        ("resolution", "512 x 512", False),
        ("resolution", "512,640", True),
        ("max_train_steps", None, True),
        ("max_train_steps", "1600", False),
        ("lr_warmup_steps", "0.0", False),
        ("flip_aug", True, True),
        ("output_name", "", False),
    ],
)
def test_another_spelling_of_the_default_is_no_change(name: str, value: Any, changed: bool) -> None:
    """A box counts as changed only when it means something else than the default."""
    assert is_changed(OPTIONS[name], value) is changed


def test_numbers_look_like_what_people_write() -> None:
    """2e-6 and not 2e-06, 1600 and not 1600.0, and nothing for "not given"."""
    assert [written(value) for value in (2e-6, 1600.0, 0.0, None, 1e20, 0.1 + 0.2)] == [
        "2e-6", "1600", "0", "", "1e20", "0.30000000000000004",
    ]  # fmt: skip


def test_the_way_back_names_the_default() -> None:
    """The link says what it puts back, in the words of the box."""
    words = {name: default_in_words(OPTIONS[name]) for name in ("lr_scheduler", "seed", "sdpa", "resolution")}
    assert words == {"lr_scheduler": "constant", "seed": "none", "sdpa": "on", "resolution": "512"}
