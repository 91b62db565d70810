"""Folders and files as they lie on disk: what is found, in which order, and what is named instead."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, features

from trainer.contract.config import DataSection
from trainer.dataset.headers import read_header
from trainer.dataset.layout import repeats_and_name
from trainer.dataset.listing import list_folder
from trainer.dataset.scan import scan


def codes(data: DataSection) -> list[str]:
    return sorted(problem.code for problem in scan(data).problems)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10_sks star", (10, "sks star")),
        ("20_asd_dog", (20, "asd_dog")),
        ("5_", (5, "")),
        ("5", (5, "")),
        (" 3_x", (3, "x")),
        ("+3_x", (3, "x")),
        ("0_x", (0, "x")),
        ("-2_x", None),
        ("x_10", None),
        ("1.5_x", None),
        ("", None),
    ],
)
def test_folder_names(name: str, expected: tuple[int, str] | None) -> None:
    """The number before the first underscore is the repeats, all behind it the caption."""
    assert repeats_and_name(name) == expected


def test_numbered_folders_are_read_in_order(tmp_path: Path, make_tree: Callable) -> None:
    """Folders and images come sorted by name, with any letter case of the endings, without hidden files."""
    make_tree(
        tmp_path / "img",
        {
            "10_sks star/b.PNG": (64, 48),
            "10_sks star/a.Jpg": (48, 64),
            "10_sks star/c.jpeg": (64, 64),
            "10_sks star/.hidden.png": (64, 64),
            "10_sks star/a.txt": "caption",
            "2_other/x.webp": (70, 50),
            "2_other/y.bmp": (70, 51),
            ".git/z.png": (64, 64),
        },
    )
    found = scan(DataSection(train_data_dir=tmp_path / "img"))
    assert found.problems == ()
    assert [(folder.name, folder.repeats) for folder in found.folders] == [("sks star", 10), ("other", 2)]
    assert [p.path.name for p in found.folders[0].pictures] == ["a.Jpg", "b.PNG", "c.jpeg"]
    assert [(p.width, p.height) for p in found.folders[1].pictures] == [(70, 50), (70, 51)]
    assert found.pictures == 5


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read_where_pillow_can(tmp_path: Path, make_tree: Callable) -> None:
    """An .avif counts like any other image."""
    make_tree(tmp_path, {"1_x/a.avif": (64, 48)})
    (folder,) = scan(DataSection(train_data_dir=tmp_path)).folders
    assert (folder.pictures[0].width, folder.pictures[0].height) == (64, 48)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_sizes_are_upright(orientation: int, ending: str, tmp_path: Path, make_image: Callable) -> None:
    """A photo that lies on its side (EXIF 5 to 8) has its sides exchanged."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    make_image(tmp_path / f"1_x/a{ending}", (80, 60), exif=exif)
    (folder,) = scan(DataSection(train_data_dir=tmp_path)).folders
    expected = (60, 80) if orientation >= 5 else (80, 60)
    assert (folder.pictures[0].width, folder.pictures[0].height) == expected


def test_odd_names(tmp_path: Path, make_tree: Callable) -> None:
    """Brackets, umlauts, spaces, dots and percent signs in names are only letters."""
    make_tree(tmp_path, {"3_grün [neu] (1)/ä.b [x]%20.png": (64, 64)})
    (folder,) = scan(DataSection(train_data_dir=tmp_path)).folders
    assert folder.name == "grün [neu] (1)" and len(folder.pictures) == 1


def test_progress_ends_at_the_total(tmp_path: Path, make_tree: Callable) -> None:
    """The callback counts up to the number of files."""
    make_tree(tmp_path, {f"1_x/{n}.bmp": (8, 8) for n in range(150)})
    calls: list[tuple[int, int]] = []
    scan(DataSection(train_data_dir=tmp_path), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (150, 150) and calls == sorted(calls) and len(calls) > 1


def test_regularization_folders_are_marked(tmp_path: Path, make_tree: Callable) -> None:
    """Folders under reg_data_dir are regularization, also beside a captioned folder."""
    make_tree(tmp_path, {"flat/a.png": (64, 64), "flat/a.txt": "x", "reg/1_dog/r.png": (64, 64)})
    data = DataSection(train_data_dir=tmp_path / "flat", reg_data_dir=tmp_path / "reg", fine_tuning=True)
    found = scan(data)
    assert [(folder.regularization, folder.name) for folder in found.folders] == [(False, ""), (True, "dog")]


def test_nothing_given_is_nothing_found() -> None:
    """Without folders there is nothing to say here: the rules ask for them."""
    assert scan(DataSection()) == scan(DataSection()) and scan(DataSection()).folders == ()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_are_followed_but_never_in_a_circle(tmp_path: Path, make_tree: Callable) -> None:
    """A linked folder counts; one that leads back up, to itself, or nowhere is named and left out."""
    make_tree(tmp_path, {"away/a.png": (64, 64), "img/1_x/b.png": (64, 64)})
    (tmp_path / "img/2_away").symlink_to(tmp_path / "away")
    (tmp_path / "img/3_up").symlink_to(tmp_path)
    (tmp_path / "img/4_self").symlink_to(tmp_path / "img/4_self")
    (tmp_path / "img/1_x/gone.png").symlink_to(tmp_path / "nowhere.png")
    data = DataSection(train_data_dir=tmp_path / "img")
    assert [folder.path.name for folder in scan(data).folders] == ["1_x", "2_away"]
    assert codes(data) == ["disk.link_broken", "disk.link_loop"]
    assert list_folder(tmp_path / "img").looping_folders == ("3_up", "4_self")


def test_a_file_that_goes_away_is_unreadable(tmp_path: Path) -> None:
    """A file that vanishes between listing and reading is a flaw of that file, not the end of the scan."""
    assert read_header(tmp_path / "gone.png").flaw == "unreadable"
