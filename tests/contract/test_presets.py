"""Presets: the shipped ones are sound, one's own are kept, and loading always starts from the defaults."""

import json
from pathlib import Path

import pytest

from trainer.contract.config import OPTIONS
from trainer.contract.job import check_values
from trainer.contract.presets import Preset, delete_preset, list_presets, load_preset, save_preset
from trainer.contract.problems import Problem, errors_of

SHIPPED = Path(__file__).parents[2] / "presets"
CHOSEN_LATER = {"rule.model_missing", "rule.images_missing", "rule.output_missing"}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_preset_is_sound(path: Path) -> None:
    """Every shipped preset says what it is for, and only paths are left to choose."""
    preset = load_preset(path)
    assert isinstance(preset, Preset) and preset.about.endswith(".")
    assert {problem.code for problem in errors_of(check_values(preset.values)[1])} <= CHOSEN_LATER


def test_presets_for_each_kind_of_work_are_there() -> None:
    """Both families, both kinds of folders, a small card, averaging: each has its example."""
    names = {path.stem for path in SHIPPED.glob("*.json")}
    assert names >= {"demo", "sd15-dreambooth", "sd15-captioned", "sd2-512", "sd2-768-v", "12-gb", "ema-ucg"}


def test_saving_keeps_what_differs(tmp_path: Path) -> None:
    """A preset holds what differs from the defaults, zero included, and comes back the same."""
    values = {"max_grad_norm": 0.0, "seed": 0, "train_batch_size": 1, "max_train_steps": None, "vae": "ü.pt"}
    saved = save_preset(tmp_path / "own", "Meine Sterne (2)", values, "For tests.")
    assert isinstance(saved, Preset)
    assert saved.values == {"max_grad_norm": 0.0, "seed": 0, "max_train_steps": None, "vae": "ü.pt"}
    (listed,) = list_presets(tmp_path / "none", tmp_path / "own")
    assert listed == saved and listed.own


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "con|", "x" * 90, "dot."])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    """A preset's name can never leave its folder."""
    assert isinstance(save_preset(tmp_path, name, {}), Problem)
    assert list(tmp_path.iterdir()) == []


def test_deleting_can_be_undone_by_hand(tmp_path: Path) -> None:
    """A deleted preset is moved aside, not destroyed."""
    saved = save_preset(tmp_path, "a", {"seed": 3})
    assert isinstance(saved, Preset)
    delete_preset(saved)
    assert list_presets(tmp_path / "none", tmp_path) == []
    assert json.loads((tmp_path / "deleted" / "a.json").read_text("utf-8"))["seed"] == 3


@pytest.mark.parametrize("text", ["no", "[]", '{"sead": 1}', '{"schema": 99}', '{"schema": "x"}'])
def test_what_is_no_preset_is_said(tmp_path: Path, text: str) -> None:
    """A file that cannot be read, or that names what is no option, is a problem and never half a preset."""
    (tmp_path / "p.json").write_text(text, encoding="utf-8")
    found = load_preset(tmp_path / "p.json")
    assert isinstance(found, list) and found


def test_old_names_are_taken_up(tmp_path: Path) -> None:
    """The misspelt flag of the contract is the option that it means."""
    (tmp_path / "p.json").write_text('{"caption_extention": ".txt"}', encoding="utf-8")
    preset = load_preset(tmp_path / "p.json")
    assert isinstance(preset, Preset) and preset.values == {"caption_extension": ".txt"}
    assert set(preset.values) <= set(OPTIONS)


def test_folders_of_a_preset_begin_at_the_studios_home(tmp_path: Path) -> None:
    """The demo's preset means the demo of the home that it is loaded in."""
    (tmp_path / "demo" / "model").mkdir(parents=True)
    preset = load_preset(SHIPPED / "demo.json", base=tmp_path)
    assert isinstance(preset, Preset)
    assert preset.values["pretrained_model_name_or_path"] == str(tmp_path / "demo" / "model")
    assert preset.values["output_dir"] == str(tmp_path / "outputs")
