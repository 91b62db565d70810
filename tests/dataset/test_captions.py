"""Which caption an image gets, against recorded layouts; writing; shuffling and leaving out."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.config import CaptionSection, DataSection, TrainingConfig
from trainer.dataset.captions import Entry, caption_file, caption_for, entries_of, read_caption, write_caption
from trainer.dataset.scan import Picture, scan

FACTS = json.loads((Path(__file__).parents[1] / "fixtures/dataset/captions.json").read_text(encoding="utf-8"))
BROKEN = ("15_not_utf8", "22_ft_missing_caption")


def layout_files(layout: dict[str, str | None]) -> dict[str, str | bytes | tuple[int, int] | None]:
    """Recorded text "b'...'" stands for bytes; images are small."""
    files: dict[str, str | bytes | tuple[int, int] | None] = {}
    for name, text in layout.items():
        files[name] = (64, 64) if text is None else ast.literal_eval(text) if text.startswith("b'") else text
    return files


def data_of(label: str, root: Path, recorded: dict) -> DataSection:
    options = recorded["options"]
    return DataSection(
        train_data_dir=root / "train",
        reg_data_dir=root / "reg" if recorded["reg_layout"] else None,
        fine_tuning="_ft_" in label,
        dataset_repeats=int(options[options.index("--dataset_repeats") + 1]) if "--dataset_repeats" in options else 1,
        caption_extension=options[1],
    )


@pytest.mark.parametrize("label", [label for label in FACTS["layouts"] if label not in BROKEN])
def test_captions_and_repeats_equal_the_recorded_ones(label: str, tmp_path: Path, make_tree: Callable) -> None:
    """Captions and repeats are today's, or v15's where today has none; but for the byte-order mark, which is stripped,
    the endings that v15 did not read, and repeats of regularization images, which are balanced by the epoch's draw."""
    recorded = FACTS["layouts"][label]
    make_tree(tmp_path / "train", layout_files(recorded["layout"]))
    if recorded["reg_layout"]:
        make_tree(tmp_path / "reg", layout_files(recorded["reg_layout"]))
    data = data_of(label, tmp_path, recorded)
    entries, _ = entries_of(scan(data), data)
    got = [
        [entry.picture.path.relative_to(tmp_path).as_posix(), entry.caption, entry.repeats]
        for entry in entries
        if not entry.regularization
    ]
    if label == "20_ft_flat":
        assert [row[0] for row in got] == ["train/a.png", "train/b.jpg", "train/c.jpeg"]
        got.pop()  # v15 did not read .jpeg
    expected = recorded["v15" if "_ft_" in label else "HEAD"]["train"]
    assert sorted(got) == sorted([path, caption.removeprefix("\ufeff"), n] for path, caption, n in expected)
    reg = {entry.picture.path.relative_to(tmp_path).as_posix(): entry for entry in entries if entry.regularization}
    for path, caption, repeats in recorded["v15"]["reg"]:
        assert (reg[path].caption, reg[path].repeats) == (caption, repeats)


@pytest.mark.parametrize(
    ("label", "code"), [(BROKEN[0], "disk.caption_not_utf8"), (BROKEN[1], "disk.captions_missing")]
)
def test_layouts_that_ended_the_recorded_programs_are_named(
    label: str, code: str, tmp_path: Path, make_tree: Callable
) -> None:
    """What was a traceback is one problem that names the file."""
    recorded = FACTS["layouts"][label]
    make_tree(tmp_path / "train", layout_files(recorded["layout"]))
    data = data_of(label, tmp_path, recorded)
    _, problems = entries_of(scan(data), data)
    assert [problem.code for problem in problems] == [code]
    assert ("a.txt" if "utf8" in label else "b.jpg") in problems[0].message


def test_all_missing_captions_are_one_problem_with_its_mend(tmp_path: Path, make_tree: Callable) -> None:
    """Captions in .txt while .caption is asked for: one error with the number, and a mend that sets .txt."""
    make_tree(tmp_path, {f"{n}.png": (64, 64) for n in range(7)} | {f"{n}.txt": "a cat" for n in range(7)})
    data = DataSection(train_data_dir=tmp_path, fine_tuning=True)
    _, problems = entries_of(scan(data), data)
    assert [problem.code for problem in problems] == ["disk.captions_missing"]
    assert "7 images" in problems[0].message
    assert problems[0].mends[0].values == {"caption_extension": ".txt"}
    mended = DataSection(train_data_dir=tmp_path, fine_tuning=True, caption_extension=".txt")
    assert entries_of(scan(mended), mended)[1] == []


def test_unread_captions_beside_numbered_folders_are_said(tmp_path: Path, make_tree: Callable) -> None:
    """In numbered folders captions of another ending are a warning: the folder's name is used instead."""
    make_tree(tmp_path, {"3_sks dog/a.png": (64, 64), "3_sks dog/a.txt": "a dog"})
    data = DataSection(train_data_dir=tmp_path)
    entries, problems = entries_of(scan(data), data)
    assert entries[0].caption == "sks dog" and not entries[0].captioned
    assert [(problem.code, problem.severity) for problem in problems] == [("disk.captions_of_other_ending", "warning")]
    assert problems[0].mends[0].values == {"caption_extension": ".txt"}


@pytest.mark.parametrize(
    ("name", "present", "expected"),
    [
        ("a.png", [], "a.txt"),
        ("a_1_2_3_4.png", ["a.txt"], "a.txt"),
        ("a_1_2_3_4.png", ["a.txt", "a_1_2_3_4.txt"], "a_1_2_3_4.txt"),
        ("a_1_2_3_4.png", [], "a_1_2_3_4.txt"),
        ("a_1_2_3.png", ["a.txt"], "a_1_2_3.txt"),
        ("käse küche.jpg", [], "käse küche.txt"),
    ],
)
def test_caption_file_is_the_first_candidate_that_exists(
    name: str, present: list[str], expected: str, tmp_path: Path
) -> None:
    """The plain name first, then without the four numbers of a face, else the plain one to be written."""
    for file in present:
        (tmp_path / file).write_text("x")
    assert caption_file(tmp_path / name, ".txt") == tmp_path / expected


def test_no_file_is_no_caption_and_an_empty_file_an_empty_one(tmp_path: Path) -> None:
    """None and "" are different answers."""
    assert read_caption(tmp_path / "none.txt") is None
    (tmp_path / "empty.txt").touch()
    assert read_caption(tmp_path / "empty.txt") == ""


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=80))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Any one-line caption comes back stripped, with no byte-order mark in the file and no temporary file left."""
    folder = tmp_path_factory.mktemp("captions")
    path = folder / "a.txt"
    write_caption(path, text)
    # A mark at the very start would be taken for the file's own.
    assert read_caption(path) == text.strip().removeprefix("\ufeff").strip()
    assert [file.name for file in folder.iterdir()] == ["a.txt"]


def test_writing_keeps_the_lines_below_and_drops_the_mark(tmp_path: Path) -> None:
    """Only the first line is the caption: notes under it survive an edit; a line break in the text becomes a space."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfold\r\nnotes\r\nmore\n")
    write_caption(path, "new\ncaption ")
    assert path.read_bytes() == b"new caption\nnotes\r\nmore\n"


def test_a_failed_write_leaves_the_old_caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last move fails, the file is as it was and nothing lies beside it."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr("trainer.dataset.captions.os.replace", refuse)
    with pytest.raises(PermissionError):
        write_caption(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def entry(caption: str) -> Entry:
    return Entry(Picture(Path("a.png"), 64, 64), caption, 1, False, Path("."))


@pytest.mark.parametrize("case", FACTS["shuffle_caption"])
def test_shuffling_permutes_the_stripped_parts(case: dict) -> None:
    """The parts are those of the recorded shuffle, in an order of our own generator's."""
    shuffled = caption_for(entry(case["caption"]), CaptionSection(shuffle_caption=True), np.random.default_rng(0))
    assert sorted(shuffled.split(", ")) == sorted(case["HEAD"].split(", "))


def test_every_order_comes_up() -> None:
    """Over many uses each of the six orders of three parts appears about equally often."""
    section = CaptionSection(shuffle_caption=True)
    seen = [caption_for(entry("a, b, c"), section, np.random.default_rng(n)) for n in range(3000)]
    counts = {order: seen.count(order) for order in set(seen)}
    assert len(counts) == 6 and min(counts.values()) > 400


def test_ucg_leaves_out_its_share_with_and_without_shuffling() -> None:
    """6 % of the uses have the empty caption, and shuffling does not change which."""
    section = TrainingConfig.from_flat({"ucg": True}).captions
    shuffled = TrainingConfig.from_flat({"ucg": True, "shuffle_caption": True}).captions
    left_out = [caption_for(entry("a, b"), section, np.random.default_rng(n)) == "" for n in range(10_000)]
    assert 500 < sum(left_out) < 700  # 600 +- 4 standard deviations
    assert left_out == [caption_for(entry("a, b"), shuffled, np.random.default_rng(n)) == "" for n in range(10_000)]


def test_without_options_the_caption_is_untouched() -> None:
    """No shuffle, no ucg: the very text, commas and all."""
    assert caption_for(entry("b,  a ,, c"), CaptionSection(), np.random.default_rng(1)) == "b,  a ,, c"


@given(st.integers(0, 8), st.integers(0, 1000))
def test_kept_tags_stay_in_front_in_their_order(keep: int, seed: int) -> None:
    """The first keep_tokens parts stay; the others are shuffled as they would be by themselves."""
    section = CaptionSection(shuffle_caption=True, keep_tokens=keep)
    parts = caption_for(entry("a, b, c, d, e"), section, np.random.default_rng(seed)).split(", ")
    assert parts[:keep] == list("abcde")[:keep] and sorted(parts) == list("abcde")
    rest = caption_for(
        entry(", ".join("abcde"[keep:])), CaptionSection(shuffle_caption=True), np.random.default_rng(seed)
    )
    assert parts[keep:] == (rest.split(", ") if keep < 5 else [])


def test_a_kept_tag_leaves_the_others_every_order() -> None:
    """With one of four kept, each of the six orders of the rest comes up about equally often."""
    section = CaptionSection(shuffle_caption=True, keep_tokens=1)
    seen = [caption_for(entry("sks, b, c, d"), section, np.random.default_rng(n)) for n in range(3000)]
    assert len(set(seen)) == 6 and min(seen.count(order) for order in set(seen)) > 400


@pytest.mark.parametrize(("ucg", "rate", "share"), [(0.0, 0.1, 0.1), (0.06, 0.1, 0.154), (0.06, 0.0, 0.06), (0, 1, 1)])
def test_either_of_the_two_leaves_a_caption_out(ucg: float, rate: float, share: float) -> None:
    """caption_dropout_rate and ucg are independent: 1 - (1 - 0.06)(1 - 0.1) = 15.4 % of the uses."""
    section = CaptionSection(ucg=ucg, caption_dropout_rate=rate)
    left_out = sum(caption_for(entry("a"), section, np.random.default_rng(n)) == "" for n in range(10_000))
    assert abs(left_out - 10_000 * share) <= 4 * (10_000 * share * (1 - share)) ** 0.5


def test_a_dropout_rate_of_none_changes_no_old_run() -> None:
    """Which captions ucg leaves out is the same as before there was the other option: one throw decides."""
    section = TrainingConfig.from_flat({"ucg": 0.3}).captions
    left_out = [caption_for(entry("a"), section, np.random.default_rng(n)) == "" for n in range(1000)]
    assert left_out == [np.random.default_rng(n).random() < 0.3 for n in range(1000)]


def test_captions_are_left_out_in_every_so_manieth_epoch() -> None:
    """With 3, in the epochs 3, 6, 9, ... counted from 1, and by chance in the others as without it."""
    section = CaptionSection(caption_dropout_every_n_epochs=3)
    seen = [caption_for(entry("a"), section, np.random.default_rng(n), epoch=n) for n in range(9)]
    assert seen == ["a", "a", "", "a", "a", "", "a", "a", ""]
    both = CaptionSection(caption_dropout_every_n_epochs=3, caption_dropout_rate=0.5)
    alone = CaptionSection(caption_dropout_rate=0.5)
    for n in (0, 1, 3, 4, 6, 7):
        rows = [caption_for(entry("a"), section, np.random.default_rng(n), epoch=n) for section in (both, alone)]
        assert rows[0] == rows[1]


@pytest.mark.parametrize("shuffled", [False, True])
def test_tags_are_left_out_by_themselves(shuffled: bool) -> None:
    """A quarter of the tags goes each time, each by itself; those that keep their place stay, and so does the order."""
    section = CaptionSection(caption_tag_dropout_rate=0.25, keep_tokens=1, shuffle_caption=shuffled)
    seen = [caption_for(entry("sks, b, c,d"), section, np.random.default_rng(n)).split(", ") for n in range(4000)]
    assert all(tags[0] == "sks" for tags in seen)
    for tag in "bcd":
        assert abs(sum(tag in tags for tags in seen) / 4000 - 0.75) < 0.03
    assert abs(sum(len(tags) == 4 for tags in seen) / 4000 - 0.75**3) < 0.03
    assert all(tags[1:] == sorted(tags[1:]) for tags in seen) != shuffled


def test_tag_dropout_changes_no_order() -> None:
    """Tags that stay stand in the order that shuffling alone gives, and the same captions are left out as a whole."""
    options = {"shuffle_caption": True, "ucg": 0.2}
    plain, dropped = CaptionSection(**options), CaptionSection(**options, caption_tag_dropout_rate=0.5)
    for n in range(200):
        whole, part = (caption_for(entry("a, b, c, d, e"), s, np.random.default_rng(n)) for s in (plain, dropped))
        order = [tag for tag in whole.split(", ") if tag in part.split(", ")]
        assert part == ", ".join(order) and (whole != "" or part == "")
