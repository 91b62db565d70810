"""Faces in names, in the index beside the pictures, and found by the detector."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from trainer.__main__ import main
from trainer.contract.config import DataSection, ImageSection, TrainingConfig
from trainer.contract.problems import Problem
from trainer.dataset.batches import Purpose, rng
from trainer.dataset.check import check_dataset
from trainer.dataset.face_finder import Find, find_faces, folders_of, load_finder
from trainer.dataset.faces import Face, FacesUnreadable, Looked, read_faces, write_faces
from trainer.dataset.placement import face_of, placement
from trainer.dataset.scan import Folder, Picture, scan


def draw_face(size: tuple[int, int], centre: tuple[int, int], radius: int) -> Image.Image:
    """A drawn face: what the detector looks for is dark eyes and brows over brighter cheeks and nose."""
    image = Image.new("RGB", size, (120, 140, 160))
    draw = ImageDraw.Draw(image)
    x, y, r = *centre, radius
    draw.ellipse((x - r, y - 1.3 * r, x + r, y + 1.3 * r), fill=(225, 185, 160))
    for side in (-1, 1):
        ex, ey = x + side * 0.42 * r, y - 0.25 * r
        draw.ellipse((ex - 0.22 * r, ey - 0.12 * r, ex + 0.22 * r, ey + 0.12 * r), fill=(245, 245, 245))
        draw.ellipse((ex - 0.1 * r, ey - 0.11 * r, ex + 0.1 * r, ey + 0.11 * r), fill=(40, 30, 20))
        draw.line((ex - 0.28 * r, ey - 0.25 * r, ex + 0.28 * r, ey - 0.25 * r), fill=(60, 40, 30), width=int(0.1 * r))
    draw.polygon([(x, y - 0.1 * r), (x - 0.14 * r, y + 0.35 * r), (x + 0.14 * r, y + 0.35 * r)], fill=(190, 145, 120))
    draw.ellipse((x - 0.36 * r, y + 0.6 * r, x + 0.36 * r, y + 0.78 * r), fill=(150, 60, 60))
    draw.chord((x - 1.1 * r, y - 1.5 * r, x + 1.1 * r, y + 0.3 * r), 190, 350, fill=(50, 35, 25))
    return image.filter(ImageFilter.GaussianBlur(3))


@pytest.fixture
def find() -> Find:
    """The detector that ships inside OpenCV's package, where this one ships it."""
    found = load_finder()
    if isinstance(found, Problem):
        pytest.skip(found.message)
    return found


def folder_of(root: Path) -> Folder:
    (folder,) = scan(DataSection(train_data_dir=root)).folders
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Faces and the pictures without one come back; the file is plain JSON that a person may correct."""
    rows = {"ö b.png": Looked(Face(10, 20, 30, 40), 99), "a.png": Looked(None, 5)}
    path = write_faces(tmp_path, rows)
    assert read_faces(tmp_path) == rows
    assert json.loads(path.read_text(encoding="utf-8"))["images"]["ö b.png"] == {"face": [10, 20, 30, 40], "bytes": 99}
    assert [file.name for file in tmp_path.iterdir()] == ["faces.json"]
    assert read_faces(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 9, "images": {}}',
        '{"version": 1, "images": {"a": {"face": [1, 2], "bytes": 3}}}',
        "é",
    ],
)
def test_a_file_that_is_no_list_of_faces_is_named(text: str, tmp_path: Path) -> None:
    """Its path stands in what is raised."""
    (tmp_path / "faces.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FacesUnreadable, match=r"faces\.json"):
        read_faces(tmp_path)


def test_the_name_goes_before_the_list(tmp_path: Path, make_tree: Callable) -> None:
    """A name that tells a face is believed; a picture without one takes the list's; a changed file takes none."""
    names = ("a_120_80_60_50.png", "b.png", "c.png")
    root = make_tree(tmp_path, {f"1_x/{name}": (300, 200) for name in names})
    sizes = {name: (root / "1_x" / name).stat().st_size for name in names}
    rows = {name: Looked(Face(200, 100, 50, 60), size) for name, size in sizes.items()}
    write_faces(root / "1_x", rows | {"c.png": Looked(Face(1, 1, 9, 9), sizes["c.png"] + 1)})
    faces = [face_of(picture) for picture in folder_of(root).pictures]
    assert faces == [Face(120, 80, 60, 50), Face(200, 100, 50, 60), None]


def test_cuts_around_a_face_of_the_list_are_those_of_a_name() -> None:
    """The same face gives the same cut, wherever it is told."""
    images = ImageSection(face_crop_aug_range="2,4", random_crop=True)
    for index in range(20):
        named = Picture(Path("a_300_200_90_90.png"), 900, 700)
        listed = Picture(Path("a.png"), 900, 700, face=Face(300, 200, 90, 90))
        cuts = [placement(p, (512, 512), images, rng(1, 0, index, Purpose.PIXELS)) for p in (named, listed)]
        assert cuts[0] == cuts[1]


def test_images_without_a_face_are_counted_with_what_to_do(tmp_path: Path, make_tree: Callable) -> None:
    """One warning with the number and the command; where all have been looked at, it says that none was found."""
    root = make_tree(tmp_path / "img", {f"1_x/{n}.png": None for n in range(3)})
    config = TrainingConfig.from_flat({"train_data_dir": str(root), "face_crop_aug_range": "2,4"})
    (problem,) = check_dataset(config).problems
    assert problem.message == (
        "3 images (0.png, 1.png and 2.png) have no known face and will be cut like any other. "
        f'To find them: python -m trainer faces "{root / "1_x"}".'
    )
    sizes = {picture.name: picture.size_bytes for picture in folder_of(root).pictures}
    write_faces(root / "1_x", {name: Looked(None, size) for name, size in sizes.items()})
    (problem,) = check_dataset(config).problems
    assert problem.message.endswith(" None was found there: write it into faces.json, or leave it so.")
    write_faces(root / "1_x", {name: Looked(Face(250, 250, 99, 99), size) for name, size in sizes.items()})
    assert check_dataset(config).problems == ()


def test_only_new_and_changed_pictures_are_looked_at(tmp_path: Path, make_tree: Callable) -> None:
    """Rows stay while the files do; those of removed files go; `again` looks at all; bad files are named."""
    root = make_tree(tmp_path, {"a.png": (64, 64), "b.png": (64, 64), "bad.png": b"x"})
    looked: list[tuple[int, int]] = []

    def find(picture: Image.Image) -> Face | None:
        looked.append(picture.size)
        return Face(5, 6, 7, 8)

    found = find_faces(root, find)
    assert (found.images, found.faces, found.unreadable, len(looked)) == (3, 2, ("bad.png",), 2)
    assert find_faces(root, find).faces == 2 and len(looked) == 2
    make_tree(root, {"b.png": (80, 70), "c.png": (64, 64)})
    (root / "a.png").unlink()
    assert find_faces(root, find).faces == 2 and len(looked) == 4
    assert sorted(read_faces(root)) == ["b.png", "c.png"]
    assert find_faces(root, find, again=True).faces == 2 and len(looked) == 6
    assert sorted(path.name for path in root.iterdir()) == ["b.png", "bad.png", "c.png", "faces.json"]


def test_folders_to_look_through(tmp_path: Path, make_tree: Callable) -> None:
    """The folder itself, the numbered ones in it, or a problem that says what is wrong."""
    make_tree(tmp_path, {"img/1_x/a.png": (64, 64), "img/2_y/b.png": (64, 64), "none/t.txt": "x"})
    assert folders_of(tmp_path / "img") == [tmp_path / "img/1_x", tmp_path / "img/2_y"]
    assert folders_of(tmp_path / "img/1_x") == [tmp_path / "img/1_x"]
    for path, code in ((tmp_path / "none", "disk.no_images"), (tmp_path / "gone", "disk.folder_missing")):
        problem = folders_of(path)
        assert isinstance(problem, Problem) and problem.code == code


def test_without_a_detector_the_way_to_one_is_said(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    """No OpenCV: exit code 2, the command that installs it, and nothing written."""
    draw_face((400, 400), (200, 200), 90).save(tmp_path / "a.png")
    monkeypatch.setattr("trainer.dataset.face_finder.importlib.util.find_spec", lambda name: None)
    assert main(["faces", str(tmp_path)]) == 2
    assert "python -m pip install" in capsys.readouterr().err
    assert not (tmp_path / "faces.json").exists()


@pytest.mark.parametrize(
    ("size", "centre", "radius"), [((512, 512), (256, 230), 110), ((1600, 1000), (1100, 400), 160)]
)
def test_a_face_is_found_where_it_is(size: tuple, centre: tuple, radius: int, find: Find) -> None:
    """Its centre to a tenth of its size, in pixels of the picture; a field of one colour and noise have none."""
    face = find(draw_face(size, centre, radius))
    assert face is not None
    assert abs(face.x - centre[0]) < radius / 5 and abs(face.y - centre[1]) < radius / 5
    assert 1.5 * radius < face.side < 3.5 * radius
    assert find(Image.new("RGB", (300, 300), "red")) is None
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert find(Image.fromarray(noise)) is None


def test_the_verb_writes_what_training_reads(find: Find, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """`python -m trainer faces FOLDER` on numbered folders with spaces and umlauts: the scan then knows the faces."""
    inner = tmp_path / "Jörgs Bilder/3_sks mädchen"
    inner.mkdir(parents=True)
    draw_face((600, 500), (320, 240), 100).save(inner / "ä 1.png")
    Image.new("RGB", (300, 300), "red").save(inner / "b.png")
    assert main(["faces", str(tmp_path / "Jörgs Bilder")]) == 0
    assert "a face in 1 of 2 images" in capsys.readouterr().out
    faces = {picture.name: picture.face for picture in folder_of(tmp_path / "Jörgs Bilder").pictures}
    assert faces["b.png"] is None and faces["ä 1.png"] is not None
    assert abs(faces["ä 1.png"].x - 320) < 20
