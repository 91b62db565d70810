"""The disk gate: broken data sets with their exact codes, good ones with none."""

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.__main__ import main
from trainer.contract.config import TrainingConfig
from trainer.contract.problems import errors_of
from trainer.dataset.caption_problems import lost_tail
from trainer.dataset.check import Report, check_dataset, output_problems


def image_bytes(size: tuple[int, int] = (512, 512), format: str = "PNG", seed: int = 0, **options: Any) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, 0).save(stream, format, **options)
    return stream.getvalue()


def animation(format: str) -> bytes:
    frames = [Image.new("RGB", (512, 512), colour) for colour in ("red", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, format, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def damaged() -> bytes:
    """A PNG with a sound head and end, and rubbish in its pixels."""
    content = bytearray(image_bytes(seed=7))
    middle = content.index(b"IDAT") + 10
    content[middle : middle + 30] = bytes(30)
    return bytes(content)


def photo(quality: int = 95, size: tuple[int, int] = (512, 512), format: str = "JPEG") -> bytes:
    """A smooth picture, as photos are, saved one way or another."""
    pixels = np.random.default_rng(3).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(pixels).resize((900, 900), Image.Resampling.BICUBIC).resize(size)
    image.save(stream, format, quality=quality)
    return stream.getvalue()


def bomb() -> bytes:
    """A BMP that claims 60000 x 60000 pixels and holds none of them."""
    head = bytearray(image_bytes((8, 8), "BMP"))
    head[18:26] = (60_000).to_bytes(4, "little") * 2
    return bytes(head)


GOOD, OTHER = {"3_sks dog/a.png": None}, {"3_sks dog/b.png": None}
JPEG = image_bytes(format="JPEG")

# Label: (files below the folder, options, codes). The folder itself is train_data_dir unless the options say "@...".
BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "missing folder": ({}, {"train_data_dir": "@nope"}, ["disk.folder_missing"]),
    "a file, not a folder": (GOOD, {"train_data_dir": "@3_sks dog/a.png"}, ["disk.not_a_folder"]),
    "empty folder": ({}, {}, ["disk.no_images"]),
    "only text": ({"readme.txt": "x"}, {}, ["disk.no_images"]),
    "empty folder, captioned": ({}, {"fine_tuning": True}, ["disk.no_images"]),
    "one numbered folder itself": (GOOD, {"train_data_dir": "@3_sks dog"}, ["disk.numbered_folder_itself"]),
    "numbered folders one down": ({"img/3_x/a.png": None}, {}, ["disk.numbered_folders_below"]),
    "images without a folder": ({"a.png": None}, {}, ["disk.no_numbered_folder"]),
    "folder without a number": ({"dogs/a.png": None}, {}, ["disk.no_numbered_folder"]),
    "numbered but empty": ({"3_x/readme.txt": "x"}, {}, ["disk.no_images"]),
    "no repeats": ({"0_x/a.png": None}, {}, ["disk.no_numbered_folder"]),
    "numbered, captioned": (GOOD, {"fine_tuning": True}, ["disk.folders_are_numbered"]),
    "numbered below, captioned": ({"i/3_x/a.png": None}, {"fine_tuning": True}, ["disk.folders_are_numbered"]),
    "captioned one down": ({"d/a.png": None, "d/a.txt": "x"}, {"fine_tuning": True}, ["disk.images_below"]),
    "one folder skipped": (GOOD | {"dogs/b.png": None}, {}, ["disk.folder_skipped"]),
    "one folder empty": (GOOD | {"2_x/t.txt": "x"}, {}, ["disk.folder_empty"]),
    "images beside": (GOOD | {"b.png": None}, {}, ["disk.images_beside"]),
    "folder inside": (GOOD | {"3_sks dog/old/b.png": None}, {}, ["disk.folders_inside"]),
    "folder inside, captioned": (
        {"a.png": None, "a.txt": "x", "sub/b.png": None},
        {"fine_tuning": True},
        ["disk.folders_inside"],
    ),
    "other kinds": (GOOD | {"3_sks dog/b.gif": b"x", "3_sks dog/c.heic": b"x"}, {}, ["disk.images_of_other_kinds"]),
    "zero bytes": (GOOD | {"3_sks dog/z.png": b""}, {}, ["disk.image_zero_bytes"]),
    "all zero bytes": ({"3_x/z.png": b""}, {}, ["disk.image_zero_bytes", "disk.no_readable_image"]),
    "a web page as jpg": (GOOD | {"3_sks dog/w.jpg": b"<html>not found</html>"}, {}, ["disk.image_not_an_image"]),
    "a program as png": (GOOD | {"3_sks dog/w.png": b"MZ" + bytes(100)}, {}, ["disk.image_not_an_image"]),
    "png cut in the head": (GOOD | {"3_sks dog/t.png": image_bytes()[:20]}, {}, ["disk.image_truncated"]),
    "png cut in the middle": (GOOD | {"3_sks dog/t.png": image_bytes()[:-200]}, {}, ["disk.image_truncated"]),
    "jpg cut in the head": (GOOD | {"3_sks dog/t.jpg": JPEG[:30]}, {}, ["disk.image_truncated"]),
    "jpg cut in the middle": (GOOD | {"3_sks dog/t.jpg": JPEG[: len(JPEG) // 2]}, {}, ["disk.image_truncated"]),
    "webp cut": (GOOD | {"3_sks dog/t.webp": image_bytes(format="WEBP")[:-30]}, {}, ["disk.image_truncated"]),
    "bmp cut": (GOOD | {"3_sks dog/t.bmp": image_bytes(format="BMP")[:-999]}, {}, ["disk.image_truncated"]),
    "far too many pixels": (GOOD | {"3_sks dog/h.bmp": bomb()}, {}, ["disk.image_too_large"]),
    "moving gif as png": (
        GOOD | {"3_sks dog/m.png": animation("GIF")},
        {},
        ["disk.image_animated", "disk.image_wrong_ending"],
    ),
    "moving webp": (GOOD | {"3_sks dog/m.webp": animation("WEBP")}, {}, ["disk.image_animated"]),
    "moving png": (GOOD | {"3_sks dog/m.png": animation("PNG")}, {}, ["disk.image_animated"]),
    "jpg called png": (GOOD | {"3_sks dog/j.png": JPEG}, {}, ["disk.image_wrong_ending"]),
    "png called webp": (GOOD | {"3_sks dog/j.webp": image_bytes(seed=5)}, {}, ["disk.image_wrong_ending"]),
    "small": ({"3_x/s.png": (300, 300)}, {}, ["disk.image_small"]),
    "small in its bucket": ({"3_x/s.png": (200, 100)}, {"enable_bucket": True}, ["disk.image_small"]),
    "the same twice": ({"3_x/a.png": image_bytes(), "3_x/b.png": image_bytes()}, {}, ["disk.image_duplicate"]),
    "the same in two folders": ({"3_x/a.png": image_bytes(), "2_y/b.png": image_bytes()}, {}, ["disk.image_duplicate"]),
    "one stem": ({"3_x/a.png": None, "3_x/a.jpg": None}, {}, ["disk.shared_stem"]),
    "no captions": ({"a.png": None, "b.png": None}, {"fine_tuning": True}, ["disk.captions_missing"]),
    "captions of another ending": ({"a.png": None, "a.cap": "x"}, {"fine_tuning": True}, ["disk.captions_missing"]),
    "unread captions": (GOOD | {"3_sks dog/a.caption": "x"}, {}, ["disk.captions_of_other_ending"]),
    "empty caption": ({"a.png": None, "a.txt": ""}, {"fine_tuning": True}, ["disk.caption_empty"]),
    "blank first line": ({"a.png": None, "a.txt": "\nx"}, {"fine_tuning": True}, ["disk.caption_empty"]),
    "empty caption in a numbered folder": (GOOD | {"3_sks dog/a.txt": " "}, {}, ["disk.caption_empty"]),
    "number without a name": ({"3/a.png": None}, {}, ["disk.caption_empty"]),
    "latin-1 caption": (GOOD | {"3_sks dog/a.txt": b"caf\xe9"}, {}, ["disk.caption_not_utf8"]),
    "utf-16 caption": (GOOD | {"3_sks dog/a.txt": "x".encode("utf-16")}, {}, ["disk.caption_not_utf8"]),
    "long caption": (GOOD | {"3_sks dog/a.txt": "word " * 76}, {}, ["disk.caption_long"]),
    "no regularization folder": (GOOD, {"reg_data_dir": "@nope"}, ["disk.folder_missing"]),
    "regularization folder empty": (GOOD | {"../reg/t.txt": "x"}, {"reg_data_dir": "@../reg"}, ["disk.reg_empty"]),
    "regularization folders empty": (GOOD | {"../reg/1_d/t.txt": "x"}, {"reg_data_dir": "@../reg"}, ["disk.reg_empty"]),
    "regularization folder itself": (
        GOOD | {"../reg/1_d/r.png": None},
        {"reg_data_dir": "@../reg/1_d"},
        ["disk.numbered_folder_itself"],
    ),
    "regularization without a number": (
        GOOD | {"../reg/r.png": None},
        {"reg_data_dir": "@../reg"},
        ["disk.no_numbered_folder"],
    ),
    "bad regularization image": (
        GOOD | {"../reg/1_d/r.png": None, "../reg/1_d/z.png": b""},
        {"reg_data_dir": "@../reg"},
        ["disk.image_zero_bytes"],
    ),
    "the same folder for both": (GOOD, {"reg_data_dir": "@."}, ["disk.same_folder"]),
    "output is a file": (GOOD | {"out": "x"}, {"output_dir": "@out"}, ["disk.output_not_a_folder"]),
    "output below a file": (GOOD | {"out": "x"}, {"output_dir": "@out/deep"}, ["disk.output_not_a_folder"]),
    "resolution off the grid": ({"3_x/a.png": None}, {"resolution": "500"}, ["disk.resolution_rounded"]),
    "bucket side off the grid": (
        GOOD,
        {"enable_bucket": True, "min_bucket_reso": 300},
        ["disk.bucket_side_rounded"],
    ),
    "damaged inside": (GOOD | {"3_sks dog/d.png": damaged()}, {"deep": True}, ["disk.image_undecodable"]),
    "all damaged inside": (
        {"3_x/d.png": damaged()},
        {"deep": True},
        ["disk.image_undecodable", "disk.no_readable_image"],
    ),
    "saved again": (
        {"3_x/a.jpg": photo(), "3_x/b.jpg": photo(60)},
        {"deep": True},
        ["disk.image_near_duplicate"],
    ),
    "saved again in another format and size": (
        {"3_x/a.png": photo(format="PNG"), "3_x/b.webp": photo(80, (700, 700), "WEBP")},
        {"deep": True},
        ["disk.image_near_duplicate"],
    ),
    "one copied, one saved again": (
        {"3_x/a.jpg": photo(), "3_x/b.jpg": photo(), "3_x/c.jpg": photo(50)},
        {"deep": True},
        ["disk.image_duplicate", "disk.image_near_duplicate"],
    ),
    "saved again in another folder": (
        {"3_x/a.jpg": photo(), "1_y/b.jpg": photo(60)},
        {"deep": True},
        ["disk.image_near_duplicate"],
    ),
    "bad images are to be left out": (
        GOOD | {"3_sks dog/z.png": b"", "3_sks dog/t.png": image_bytes()[:-200]},
        {"skip_bad_images": True},
        ["disk.image_truncated", "disk.image_zero_bytes"],
    ),
    "none is left": (
        {"3_x/z.png": b""},
        {"skip_bad_images": True},
        ["disk.image_zero_bytes", "disk.no_readable_image"],
    ),
    "damaged inside, to be left out": (
        GOOD | {"3_sks dog/d.png": damaged()},
        {"deep": True, "skip_bad_images": True},
        ["disk.image_undecodable"],
    ),
    "no faces known": (GOOD, {"face_crop_aug_range": "2,4"}, ["disk.face_missing"]),
    "a face known for one": (
        GOOD | {"3_sks dog/b_200_200_90_90.png": None},
        {"face_crop_aug_range": "2,4"},
        ["disk.face_missing"],
    ),
    "a list of faces that is none": (
        GOOD | {"3_sks dog/faces.json": "[1]"},
        {"face_crop_aug_range": "2,4"},
        ["disk.face_missing", "disk.faces_unreadable"],
    ),
    "bucket side off a longer grid": (
        GOOD,
        {"enable_bucket": True, "bucket_reso_steps": 128, "min_bucket_reso": 320},
        ["disk.bucket_side_rounded"],
    ),
    "never enlarged, too narrow": (
        {"3_x/a.png": (512, 30)},
        {"enable_bucket": True, "bucket_no_upscale": True},
        ["disk.image_small"],
    ),
    "regularization image saved again": (
        GOOD | {"../reg/1_d/r.jpg": photo(), "../reg/1_d/s.jpg": photo(60)},
        {"reg_data_dir": "@../reg", "deep": True},
        ["disk.image_near_duplicate"],
    ),
    "two at once": (
        GOOD | {"3_sks dog/z.png": b"", "3_sks dog/w.jpg": b"hello"},
        {"reg_data_dir": "@nope"},
        ["disk.folder_missing", "disk.image_not_an_image", "disk.image_zero_bytes"],
    ),
}
WARNINGS = {
    *("disk.folder_skipped", "disk.folder_empty", "disk.images_beside", "disk.folders_inside"),
    *("disk.images_of_other_kinds", "disk.image_animated", "disk.image_wrong_ending", "disk.image_small"),
    *("disk.image_duplicate", "disk.shared_stem", "disk.captions_of_other_ending", "disk.caption_long"),
    *("disk.resolution_rounded", "disk.bucket_side_rounded", "disk.image_near_duplicate", "disk.face_missing"),
    *("disk.faces_unreadable",),
}

FOLDER_CAPTIONS = {"a.png": None, "a.txt": "a dog", "b.png": (700, 600), "b.txt": "a cat"}
GOOD_SETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one numbered folder": (GOOD, {}),
    "two numbered folders": (GOOD | {"1_zwx cat/c.png": None}, {}),
    "captions beside": (GOOD | {"3_sks dog/a.txt": "a dog, grass"}, {}),
    "one captioned folder": (FOLDER_CAPTIONS, {"fine_tuning": True}),
    "repeats": (FOLDER_CAPTIONS, {"fine_tuning": True, "dataset_repeats": 20}),
    "buckets": (GOOD | {"3_sks dog/w.png": (900, 500)}, {"enable_bucket": True}),
    "all endings": ({f"2_x/{n}{e}": None for n, e in enumerate((".png", ".jpg", ".jpeg", ".webp", ".bmp"))}, {}),
    "capitals": ({"2_x/A.PNG": None, "2_x/B.JPG": None}, {}),
    "umlauts and spaces": ({"2_grüne äpfel/ö ß.png": None, "2_grüne äpfel/ö ß.txt": "äpfel"}, {}),
    "hidden things": (GOOD | {".cache/x.png": b"", "3_sks dog/.x.png": b"", "3_sks dog/._a.png": b"x"}, {}),
    "face names": ({"2_x/a_200_200_90_90.png": None, "2_x/a.txt": "one", "2_x/b_1.png": None}, {}),
    "regularization": (GOOD | {"../reg/1_dog/r.png": None, "../reg/1_dog/s.png": None}, {"reg_data_dir": "@../reg"}),
    "output to be made": (GOOD, {"output_dir": "@../out/deep/er"}),
    "odd resolution on the grid": (GOOD, {"resolution": "640,448"}),
    "byte-order mark": (GOOD | {"3_sks dog/a.txt": b"\xef\xbb\xbfa dog"}, {}),
    "notes below the caption": (GOOD | {"3_sks dog/a.txt": "a dog\nseen in May"}, {}),
    "75 tokens": (GOOD | {"3_sks dog/a.txt": "word " * 75}, {}),
    "a photo with a trailer": (GOOD | {"3_sks dog/p.jpg": JPEG + b"camera data" * 30}, {}),
    "a photo in two views": (GOOD | {"3_sks dog/p.jpg": animation("MPO")}, {}),
    "epochs": (GOOD, {"max_train_steps": None, "max_train_epochs": 3}),
    "a little small": ({"3_x/s.png": (400, 400)}, {}),
    "every file looked into": (GOOD | OTHER | {"1_zwx cat/c.png": None}, {"deep": True}),
    "different photos": ({"3_x/a.jpg": photo(), "3_x/b.png": None}, {"deep": True}),
    "faces in names": ({"2_x/a_200_200_90_90.png": None}, {"face_crop_aug_range": "2,4"}),
    "small but never enlarged": ({"3_x/s.png": (200, 130)}, {"enable_bucket": True, "bucket_no_upscale": True}),
    "longer steps": (GOOD, {"enable_bucket": True, "bucket_reso_steps": 128}),
    "nothing to leave out": (GOOD, {"skip_bad_images": True}),
    "captions dropped and tags kept": (
        GOOD | {"3_sks dog/a.txt": "a dog, grass"},
        {"caption_dropout_rate": 0.1, "ucg": 0.06, "keep_tokens": 1, "shuffle_caption": True},
    ),
    "a text file beside": (GOOD | {"readme.md": "x", "3_sks dog/list.csv": "x"}, {}),
}


def report(tmp_path: Path, make_tree: Callable, files: dict[str, Any], options: dict[str, Any]) -> Report:
    root = make_tree(tmp_path / "img", files)
    values = {"caption_extension": ".txt", "train_data_dir": "@."} | options
    deep = values.pop("deep", False)
    flat = {k: str(root / v[1:]) if isinstance(v, str) and v.startswith("@") else v for k, v in values.items()}
    return check_dataset(TrainingConfig.from_flat(flat), count_tokens=lambda text: len(text.split()), deep=deep)


@pytest.mark.parametrize("label", BROKEN)
def test_broken(label: str, tmp_path: Path, make_tree: Callable) -> None:
    """Each broken data set has exactly its codes, each on a box, in a full sentence without words of blame."""
    files, options, codes = BROKEN[label]
    problems = report(tmp_path, make_tree, files, options).problems
    assert sorted(problem.code for problem in problems) == codes
    for problem in problems:
        assert problem.fields and problem.message.endswith(".")
        assert not any(word in problem.message.lower() for word in ("error", "invalid", "oops"))
        left_out = options.get("skip_bad_images") and problem.code.startswith("disk.image_")
        if problem.code != "disk.caption_empty":
            assert (problem.severity == "warning") == (problem.code in WARNINGS or bool(left_out))


@pytest.mark.parametrize("label", GOOD_SETS)
def test_good(label: str, tmp_path: Path, make_tree: Callable) -> None:
    """A good data set has nothing to say and a plan."""
    found = report(tmp_path, make_tree, *GOOD_SETS[label])
    assert found.problems == ()
    assert found.plan is not None and found.plan.total_steps > 0


def mended(found: Report, values: dict[str, Any]) -> Report:
    (problem,) = found.problems
    flat = {"caption_extension": ".txt"} | values | dict(problem.mends[0].values)
    return check_dataset(TrainingConfig.from_flat(flat))


@pytest.mark.parametrize(
    ("files", "folder", "options"),
    [
        (GOOD, "3_sks dog", {}),
        ({"img/3_x/a.png": None}, ".", {}),
        (GOOD, "3_sks dog/a.png", {"fine_tuning": True}),
        (GOOD, ".", {"fine_tuning": True}),
        ({"i/3_x/a.png": None}, ".", {"fine_tuning": True}),
        ({"d/a.png": None, "d/a.txt": "x"}, ".", {"fine_tuning": True}),
        ({"a.png": None, "a.caption": "x"}, ".", {"fine_tuning": True}),
        ({"a.png": None, "a.txt": "x"}, ".", {}),
    ],
)
def test_the_first_mend_mends(
    files: dict[str, Any], folder: str, options: dict[str, Any], tmp_path: Path, make_tree: Callable
) -> None:
    """One click on the first mend leaves no error, or, from a file, the next mistake with its own mend."""
    root = make_tree(tmp_path / "img", files)
    values = {"train_data_dir": str(root / folder)} | options
    found = check_dataset(TrainingConfig.from_flat({"caption_extension": ".txt"} | values))
    after = mended(found, values)
    if folder.endswith(".png"):
        assert [problem.code for problem in after.problems] == ["disk.captions_missing"]
    else:
        assert errors_of(after.problems) == []


def test_files_and_numbers_are_named(tmp_path: Path, make_tree: Callable) -> None:
    """Of many bad files the message names five and counts the rest."""
    files = GOOD | {f"3_sks dog/bad{n}.png": b"" for n in range(8)}
    (problem,) = report(tmp_path, make_tree, files, {}).problems
    assert problem.message.startswith(
        "8 images (bad0.png, bad1.png, bad2.png, bad3.png, bad4.png and 3 more) are empty, 0 bytes long. Copy them "
    )


def test_small_images_are_named_with_their_factor(tmp_path: Path, make_tree: Callable) -> None:
    """340 x 260 in a bucket of 576 x 448 is enlarged 1.7 times."""
    (problem,) = report(tmp_path, make_tree, {"1_x/attic.png": (340, 260)}, {"enable_bucket": True}).problems
    assert problem.message == "attic.png is small: 340 × 260, enlarged 1.7 times for its bucket."


def test_without_counting_tokens_length_is_not_judged(tmp_path: Path, make_tree: Callable) -> None:
    """No tokenizer, no word about long captions."""
    root = make_tree(tmp_path, GOOD | {"3_sks dog/a.txt": "word " * 500})
    config = TrainingConfig.from_flat({"train_data_dir": str(root), "caption_extension": ".txt"})
    assert check_dataset(config).problems == ()


def test_an_unwritable_output_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file can be made the folder is named, with the system's reason; where one can, none is left behind."""
    assert output_problems(tmp_path / "new") == [] and list(tmp_path.iterdir()) == []

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (problem,) = output_problems(tmp_path)
    assert problem.code == "disk.output_unwritable" and "read-only file system" in problem.message
    assert problem.fields == ("output_dir",)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no files")
def test_a_folder_that_takes_no_files_is_said() -> None:
    """The probe finds by writing what permissions do not tell."""
    assert [problem.code for problem in output_problems(Path("/proc/self/out"))] == ["disk.output_unwritable"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_said(tmp_path: Path, make_tree: Callable) -> None:
    """A folder without the right to list it is an error that names it."""
    root = make_tree(tmp_path / "img", GOOD)
    (root / "3_sks dog").chmod(0)
    try:
        found = check_dataset(TrainingConfig.from_flat({"train_data_dir": str(root)}))
    finally:
        (root / "3_sks dog").chmod(0o755)
    assert [problem.code for problem in found.problems] == ["disk.folder_unreadable"]


def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path, make_tree: Callable, monkeypatch) -> None:
    """The same for whoever may read everything: the system's refusal becomes a problem."""
    root = make_tree(tmp_path / "img", GOOD)
    real = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("3_sks dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("trainer.dataset.listing.os.scandir", refuse)
    found = check_dataset(TrainingConfig.from_flat({"train_data_dir": str(root)}))
    assert [problem.code for problem in found.problems] == ["disk.folder_unreadable"] and found.plan is None


def test_nothing_on_disk_is_changed(tmp_path: Path, make_tree: Callable) -> None:
    """After a check every file has the bytes and the time it had, and no file is new."""
    files = GOOD | {"3_sks dog/a.txt": "x", "3_sks dog/z.png": b"", "3_sks dog/t.jpg": JPEG[:99]}
    root = make_tree(tmp_path / "img", files)

    def state() -> dict[str, tuple[bytes, int]]:
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}

    before = state()
    check_dataset(TrainingConfig.from_flat({"train_data_dir": str(root), "output_dir": str(tmp_path / "out")}))
    assert state() == before and not (tmp_path / "out").exists()


def test_the_lost_tail_of_a_long_caption_is_shown(tmp_path: Path, make_tree: Callable) -> None:
    """The words behind the 75th token, not those before, a very long tail shortened."""
    words = " ".join(f"w{n}" for n in range(80))
    files = {"3_x/a.png": None, "3_x/a.txt": words, "3_x/b.png": None, "3_x/b.txt": "v " * 75 + "x" * 100}
    (problem,) = report(tmp_path, make_tree, files, {}).problems
    assert problem.message == (
        "2 captions are longer than 75 tokens, and what comes after is not learnt: "
        f"a.png loses “w75 w76 w77 w78 w79” and b.png loses “{'x' * 59}…”."
    )
    assert [mend.values for mend in problem.mends] == [{"max_token_length": "150"}]
    assert report(tmp_path / "more", make_tree, files, {"max_token_length": "150"}).problems == ()


@given(st.lists(st.sampled_from(["a", "bb", "ccc,", "d-e-f"]), max_size=30), st.integers(0, 40))
def test_a_tail_and_what_is_kept_are_the_caption(words: list[str], most: int) -> None:
    """Nothing is lost between the two, what is kept fits, and one word more would not."""
    text = " ".join(words)
    tail = lost_tail(text, len, most)
    kept = text.removesuffix(tail).rstrip() if tail else text
    assert (f"{kept} {tail}".strip() if tail else kept) == text
    assert len(kept) <= most
    if tail:
        first = f"{kept} {tail.split(' ')[0]}".strip()
        assert len(f"{first} " if first != text else first) > most


def test_skipped_images_are_out_of_the_plan_and_named(tmp_path: Path, make_tree: Callable) -> None:
    """With skip_bad_images the job goes on without the bad ones, in numbers too; without it, it does not start."""
    files = GOOD | OTHER | {"3_sks dog/z.png": b"", "3_sks dog/d.png": damaged()}
    stopped = report(tmp_path, make_tree, files, {"deep": True})
    assert {problem.code for problem in errors_of(stopped.problems)} == {
        "disk.image_zero_bytes",
        "disk.image_undecodable",
    }
    assert all(problem.mends[0].values == {"skip_bad_images": True} for problem in stopped.problems)
    found = report(tmp_path, make_tree, files, {"deep": True, "skip_bad_images": True})
    assert errors_of(found.problems) == [] and found.plan is not None and found.plan.images == 2
    assert [problem.message for problem in found.problems] == [
        "z.png is empty, 0 bytes long, and is left out.",
        "d.png is damaged inside, and is left out.",
    ]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_in_a_circle_and_to_nowhere_are_said(tmp_path: Path, make_tree: Callable) -> None:
    """A folder that leads back to where it lies, and a picture that is not there, each with its code."""
    root = make_tree(tmp_path / "img", GOOD)
    (root / "3_sks dog/round").symlink_to(root)
    (root / "3_sks dog/gone.png").symlink_to(tmp_path / "nowhere.png")
    found = check_dataset(TrainingConfig.from_flat({"train_data_dir": str(root)}))
    assert sorted(problem.code for problem in found.problems) == ["disk.link_broken", "disk.link_loop"]


def test_there_are_enough_of_both() -> None:
    """At least 60 broken data sets and 20 good ones."""
    assert len(BROKEN) >= 60 and len(GOOD_SETS) >= 20


def test_the_deep_check_is_a_flag_of_the_command_line(
    tmp_path: Path, make_tree: Callable, capsys: pytest.CaptureFixture
) -> None:
    """`python -m trainer check --deep` names what only decoding tells; without the flag nothing is decoded."""
    root = make_tree(tmp_path / "img", GOOD | {"3_sks dog/d.png": damaged()})
    words = ["check", "--train_data_dir", str(root), "--json"]
    for flags, found in ([], False), (["--deep"], True):
        main([*words, *flags])
        assert ("disk.image_undecodable" in capsys.readouterr().out) is found
