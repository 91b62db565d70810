"""The picker: what it lists, what it lets through, where it opens."""

import os
from pathlib import Path

import pytest

from gui.picker import Place, answer, draw, look, places, start_at
from gui.studio import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A home, and a root with folders, a hidden one, two models, a picture and a text."""
    root = tmp_path / "root"
    for name in ("b", "a folder", ".hidden", "model/unet"):
        (root / name).mkdir(parents=True)
    for name in ("x.safetensors", "y.ckpt", ".z.ckpt", "notes.txt", "p.png"):
        (root / name).write_bytes(b"")
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    return Studio(home=tmp_path / "home", roots=(root,))


def at(name: str, folder: Path) -> dict[str, str]:
    return {"name": name, "folder": str(folder)}


def test_folders_for_a_folder(studio: Studio) -> None:
    """A folder option lists folders alone, sorted, without hidden ones; any folder can be used."""
    place = look(studio, studio.roots[0], "train_data_dir")
    assert place.folders == ("a folder", "b", "model") and place.files == () and place.usable and place.images == 1


def test_models_for_a_model(studio: Studio) -> None:
    """The model option lists model files too; only a folder that is a model can be used."""
    place = look(studio, studio.roots[0], "pretrained_model_name_or_path")
    assert place.files == ("x.safetensors", "y.ckpt") and not place.usable
    assert look(studio, studio.roots[0] / "model", "pretrained_model_name_or_path").usable


def test_nothing_outside_is_listed(studio: Studio, tmp_path: Path) -> None:
    """A folder outside the roots shows a note and no name, also by dots and by a link in a root."""
    for path in (tmp_path, tmp_path / "elsewhere", studio.roots[0] / ".." / "elsewhere"):
        place = look(studio, path, "train_data_dir")
        assert place.note and not place.folders and not place.usable
        assert answer(studio, {"act": "use"}, at("train_data_dir", path)) != path
    if os.name != "nt":
        (studio.roots[0] / "out").symlink_to(tmp_path / "elsewhere")
        place = look(studio, studio.roots[0], "train_data_dir")
        assert place.outside == ("out",) and "out" not in place.folders
        assert "leads outside" in draw(studio, place, "train_data_dir")


def test_unreadable_and_missing_folders_are_named(studio: Studio) -> None:
    """What cannot be listed says so with its name."""
    place = look(studio, studio.roots[0] / "gone", "train_data_dir")
    assert "gone is not there" in place.note
    assert "is no folder" in look(studio, studio.roots[0] / "notes.txt", "train_data_dir").note


def test_clicks(studio: Studio) -> None:
    """Enter shows a folder, use gives it, choose gives a listed file and no other one, close gives nothing."""
    root = studio.roots[0]
    entered = answer(studio, {"act": "enter", "to": str(root / "b")}, at("train_data_dir", root))
    assert isinstance(entered, Place) and entered.path == root / "b"
    assert answer(studio, {"act": "use"}, at("train_data_dir", root / "b")) == root / "b"
    here = at("pretrained_model_name_or_path", root)
    assert answer(studio, {"act": "choose", "to": str(root / "y.ckpt")}, here) == root / "y.ckpt"
    for wrong in ("notes.txt", "gone.ckpt", "../home/y.ckpt"):
        assert isinstance(answer(studio, {"act": "choose", "to": str(root / wrong)}, here), Place)
    assert isinstance(answer(studio, {"act": "use"}, here), Place)
    assert answer(studio, {"act": "close"}, here) is None


def test_opens_near_what_stands_in_the_box(studio: Studio) -> None:
    """The panel opens at the box's folder, at the nearest one above it that exists, else at the first root."""
    root = studio.roots[0]
    assert start_at(studio, str(root / "b" / "gone" / "deeper")) == root / "b"
    assert start_at(studio, str(root / "x.safetensors")) == root
    for text in ("", None, "/", "owner/name"):
        assert start_at(studio, text) in (root.resolve(), studio.home)
    assert places(studio) == [root.resolve(), studio.home.resolve()]


def test_names_are_text(studio: Studio) -> None:
    """A folder called like a tag is drawn as its name."""
    name = "<img src=x onerror=alert(1)>" if os.name != "nt" else "&lt;img&gt;"
    (studio.roots[0] / name).mkdir()
    html = draw(studio, look(studio, studio.roots[0], "train_data_dir"), "train_data_dir")
    assert name not in html and "onerror" in html or os.name == "nt"


def test_folder_dialog_uses_a_long_list(studio: Studio) -> None:
    """Of many folders the first 500 are drawn and the others counted."""
    for number in range(510):
        (studio.roots[0] / f"f{number:03}").mkdir()
    html = draw(studio, look(studio, studio.roots[0], "train_data_dir"), "train_data_dir")
    assert html.count('class="at-folder"') == 500 and "and 13 more" in html
