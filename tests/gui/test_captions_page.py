"""The Captions page: nothing typed is lost, nothing is overwritten unseen, nothing outside is written."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from gui.caption_cards import Reading, draw_cards, draw_chips, draw_undo, is_shown
from gui.journal import CaptionChanged, CaptionUnwritable, Journal
from gui.pages.captions import (
    JOURNAL,
    Captions,
    Sight,
    captions_of,
    count_tokens,
    looking,
    saving,
    still_looking,
    undoing,
)
from gui.review import review
from gui.studio import Studio
from tests.gui.boxes import type_into, wait_for_form

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = "word " * 90
V1 = Reading("v1", 75)
ATTACK = "<img src=x onerror=\"document.title='owned'\"> {{x}} ${y} `z`"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Four images: a caption, a long one, one like a tag, and one that only has its folder's name."""
    folder = tmp_path / "home" / "images" / "2_a hill"
    folder.mkdir(parents=True)
    for name, text in (("a", "a green hill"), ("b", LONG.strip()), ("c", ATTACK), ("d", None)):
        Image.new("RGB", (64, 64)).save(folder / f"{name}.png")
        if text is not None:
            (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return Studio(home=tmp_path / "home")


@pytest.fixture
def journal(studio: Studio) -> Journal:
    return Journal(studio.home / JOURNAL)


def found(studio: Studio) -> Captions:
    values = {"train_data_dir": str(studio.home / "images"), "caption_extension": ".txt"}
    seen = captions_of(review(values, studio.home))
    assert seen is not None
    return seen


def picture(studio: Studio, name: str) -> str:
    return str(studio.home / "images" / "2_a hill" / f"{name}.png")


def caption(studio: Studio, name: str) -> Path:
    return Path(picture(studio, name)).with_suffix(".txt")


def test_saving_writes_file_and_journal(studio: Studio, journal: Journal) -> None:
    """A saved caption stands in its file, and old and new stand in the journal, written before the file was."""
    sent = {"picture": picture(studio, "a"), "text": "a blue\nhill ä", "was": "a green hill"}
    after, sight, saved = saving(studio, journal, found(studio), Sight(), sent)
    assert saved and not sight.held and after.entries[picture(studio, "a")].caption == "a blue hill ä"
    assert caption(studio, "a").read_text(encoding="utf-8") == "a blue hill ä\n"
    (line,) = (json.loads(line) for line in journal.path.read_text().splitlines())
    assert (line["old"], line["new"], line["file"]) == ("a green hill", "a blue hill ä", str(caption(studio, "a")))


def test_undo_after_a_restart(studio: Studio, journal: Journal) -> None:
    """Another process sees the list, newest first, and undoing them in turn gives the first text back."""
    journal.save(caption(studio, "a"), "a green hill", "one")
    journal.save(caption(studio, "a"), "one", "two")
    again = Journal(journal.path)
    assert [(edit.old, edit.new) for edit in again.open_edits()] == [("one", "two"), ("a green hill", "one")]
    for _ in range(2):
        _, sight, undone = undoing(studio, again, found(studio), Sight(), again.open_edits()[0])
        assert undone and not sight.message
    assert caption(studio, "a").read_text() == "a green hill\n" and again.open_edits() == []
    assert len(again.edits()) == 4


def test_a_new_file_is_taken_away_by_undo(studio: Studio, journal: Journal) -> None:
    """Where there was no caption file, undo leaves none, and the folder's name counts again."""
    journal.save(caption(studio, "d"), "", "mine")
    assert found(studio).entries[picture(studio, "d")].captioned
    journal.undo(journal.open_edits()[0])
    assert not caption(studio, "d").exists()
    assert found(studio).entries[picture(studio, "d")].caption == "a hill"


def test_lines_below_the_first_survive(studio: Studio, journal: Journal) -> None:
    """Only the first line is a caption; what stands below it is kept by saving and by undoing."""
    caption(studio, "a").write_text("a green hill\nnotes of mine\n")
    journal.save(caption(studio, "a"), "a green hill", "new")
    assert caption(studio, "a").read_text() == "new\nnotes of mine\n"
    journal.undo(journal.open_edits()[0])
    assert caption(studio, "a").read_text() == "a green hill\nnotes of mine\n"


def test_a_change_on_disk_is_not_overwritten(studio: Studio, journal: Journal) -> None:
    """The other text stays in the file, the typed one in its box, and only a second, explicit save replaces it."""
    caption(studio, "a").write_text("by another program\n")
    sent = {"picture": picture(studio, "a"), "text": "mine", "was": "a green hill"}
    seen, sight, saved = saving(studio, journal, found(studio), Sight(), sent)
    held = sight.held[picture(studio, "a")]
    assert not saved and held.typed == "mine" and held.changed and "by another program" in held.message
    assert caption(studio, "a").read_text() == "by another program\n" and journal.edits() == []
    html = draw_cards(studio, [seen.entries[picture(studio, "a")]], sight.held, V1, 1, True)
    assert 'data-was="by another program" data-text="mine"' in html and "Keep mine" in html
    _, sight, saved = saving(studio, journal, seen, sight, {**sent, "was": "by another program"})
    assert saved and not sight.held and caption(studio, "a").read_text() == "mine\n"
    assert journal.edits()[0].old == "by another program"


def test_a_write_that_fails_is_said(studio: Studio, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the file as it was, the typed text in its box, and no edit that could be undone."""

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gui.journal.write_caption", full)
    sent = {"picture": picture(studio, "a"), "text": "mine", "was": "a green hill"}
    _, sight, saved = saving(studio, journal, found(studio), Sight(), sent)
    assert not saved and sight.held[picture(studio, "a")].typed == "mine"
    assert "no space left" in sight.held[picture(studio, "a")].message
    assert caption(studio, "a").read_text() == "a green hill\n" and journal.open_edits() == []


def test_without_a_journal_nothing_is_written(studio: Studio) -> None:
    """What cannot be written down first is not done."""
    (studio.home / "file").write_text("in the way")
    journal = Journal(studio.home / "file" / JOURNAL)
    with pytest.raises(CaptionUnwritable, match="journal"):
        journal.save(caption(studio, "a"), "a green hill", "mine")
    assert caption(studio, "a").read_text() == "a green hill\n"


def test_a_torn_journal_line_costs_nothing_else(studio: Studio, journal: Journal) -> None:
    """After a crash in the middle of a line, older edits are still there and newer ones are added whole."""
    journal.save(caption(studio, "a"), "a green hill", "one")
    with journal.path.open("ab") as file:
        file.write(b'{"id": "torn", "time": 17')
    journal.save(caption(studio, "a"), "one", "two")
    assert [edit.new for edit in journal.edits()] == ["one", "two"]


def test_only_the_data_set_is_written(studio: Studio, journal: Journal, tmp_path: Path) -> None:
    """Neither an undo of another folder's file nor a caption outside the roots is written."""
    foreign = tmp_path / "other.txt"
    foreign.write_text("now\n")
    line = {"id": "1", "time": 0.0, "file": str(foreign), "old": "before", "new": "now"}
    journal.path.write_text(json.dumps(line) + "\n")
    _, sight, undone = undoing(studio, journal, found(studio), Sight(), journal.open_edits()[0])
    assert not undone and "does not belong" in sight.message and foreign.read_text() == "now\n"
    elsewhere = Studio(home=tmp_path / "another home")
    sent = {"picture": picture(studio, "a"), "text": "x", "was": "a green hill"}
    _, sight, saved = saving(elsewhere, journal, found(studio), Sight(), sent)
    assert not saved and "outside" in sight.held[picture(studio, "a")].message


def test_other_encodings_are_not_touched(studio: Studio, journal: Journal) -> None:
    """A file in Latin-1 keeps its bytes; the message says what to do."""
    caption(studio, "a").write_bytes("Hügel".encode("latin-1"))
    with pytest.raises(CaptionUnwritable, match="UTF-8"):
        journal.save(caption(studio, "a"), "", "mine")
    assert caption(studio, "a").read_bytes() == b"H\xfcgel"


def test_an_older_edit_waits_for_the_newer_one(studio: Studio, journal: Journal) -> None:
    """Undoing an edit whose text no longer stands in the file is refused and named."""
    journal.save(caption(studio, "a"), "a green hill", "one")
    journal.save(caption(studio, "a"), "one", "two")
    older = journal.open_edits()[1]
    with pytest.raises(CaptionChanged):
        journal.undo(older)
    html = draw_undo(journal.open_edits())
    assert html.count('data-act="undo"') == 1 and "changed again" in html


def test_nothing_new_is_no_edit(studio: Studio, journal: Journal) -> None:
    """Leaving a box as it was writes neither file nor journal, nor does an empty box make an empty file."""
    assert journal.save(caption(studio, "a"), "a green hill", " a green hill ") is None
    assert journal.save(caption(studio, "d"), "", "  ") is None
    assert not caption(studio, "d").exists() and not journal.path.exists()


def test_half_a_surrogate_can_be_saved(studio: Studio, journal: Journal) -> None:
    """A browser may send half of an emoji; the rest of the text is saved all the same."""
    edit = journal.save(caption(studio, "a"), "a green hill", "a \ud83d hill")
    assert edit is not None and edit.new == "a ? hill" == caption(studio, "a").read_text().strip()


def test_cards_stay_while_captions_change(studio: Studio, journal: Journal) -> None:
    """Editing a card away from its chip leaves it in place; another folder or a new image brings new cards."""
    seen = found(studio)
    sight = looking(seen, Sight(chip="long"))
    assert sight.pictures == (picture(studio, "b"),)
    seen, sight, _ = saving(
        studio, journal, seen, sight, {"picture": picture(studio, "b"), "text": "short", "was": LONG.strip()}
    )
    assert still_looking(seen, sight).pictures == (picture(studio, "b"),)
    assert looking(seen, sight).pictures == ()
    sight = looking(seen, Sight())
    Image.new("RGB", (64, 64)).save(caption(studio, "e").with_suffix(".png"))
    assert len(still_looking(found(studio), sight).pictures) == 5


def test_search_and_chips(studio: Studio) -> None:
    """All words of a search must stand in the caption or the file's name; chips count what they show."""
    entries = list(found(studio).entries.values())
    names = {entry.picture.path.stem for entry in entries if is_shown(entry, "all", "HILL green", V1)}
    assert names == {"a"}
    assert [e.picture.path.stem for e in entries if is_shown(e, "all", "d.png", V1)] == ["d"]
    assert [e.picture.path.stem for e in entries if is_shown(e, "words", "", V1)] == ["d"]
    assert [e.picture.path.stem for e in entries if is_shown(e, "long", "", V1)] == ["b"]
    html = draw_chips(entries, "all", V1)
    assert "All <span>4<" in html and "No caption <span>1<" in html and "Over 75 tokens <span>1<" in html


def test_cards_show_what_is_lost_and_escape(studio: Studio) -> None:
    """The lost tail is struck, the folder's name stands in for no caption, and a tag stays text."""
    seen = found(studio)
    html = draw_cards(studio, list(seen.entries.values()), {}, V1, 4, True)
    assert "90 / 75" in html and "The last 15 tokens are not read." in html
    assert f"<s>{'word ' * 14}word</s>" in html
    assert "Learnt as “a hill”" in html and "<img src=x" not in html and "${y}" in html
    assert 'data-act="more"' not in html


def test_a_longer_limit_reads_more(studio: Studio) -> None:
    """With 150 tokens read nothing of a caption of 90 is lost, and the page counts against 150."""
    values = {"train_data_dir": str(studio.home / "images"), "caption_extension": ".txt", "max_token_length": "150"}
    seen = captions_of(review(values, studio.home))
    assert seen is not None and seen.reading == Reading("v1", 150)
    html = draw_cards(studio, list(seen.entries.values()), {}, seen.reading, 4, True)
    assert "90 / 150" in html and "not read" not in html and "<s>" not in html
    assert "Over 150 tokens" not in draw_chips(list(seen.entries.values()), "all", seen.reading)
    assert count_tokens({"text": LONG, "family": "v1", "limit": "150"}) == [90, ""]
    assert count_tokens({"text": LONG, "family": "v1", "limit": "9"})[1].split() == ["word"] * 15


def test_tokens_are_counted_for_anything() -> None:
    """The page may ask about any text, and whatever else arrives gives figures as well."""
    assert count_tokens({"text": "a photo of a cat", "family": "v1"}) == [5, ""]
    assert count_tokens({"text": "!", "family": "v2"})[0] == 1
    for odd in (None, [], "x", {"text": None}, {"text": "x" * 10**6}):
        assert isinstance(count_tokens(odd)[0], int)


@pytest.mark.browser
def test_editing_in_the_browser(page: "Page", studio_home: Path) -> None:
    """Leaving a box saves it while the next is typed in; a second window, which keeps the form, can undo it."""
    folder = studio_home / "captions page" / "1_hill"
    folder.mkdir(parents=True)
    for name, text in (("a", "first"), ("b", "second"), ("c", ATTACK)):
        Image.new("RGB", (64, 64)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(text + "\n")
    wait_for_form(page)
    type_into(page, "train_data_dir", str(folder.parent))
    type_into(page, "caption_extension", ".txt")
    page.locator(".at-row strong", has_text="1_hill").wait_for()
    page.get_by_role("tab", name="Captions").click()
    boxes = page.locator(".at-caption textarea")
    page.wait_for_function("document.querySelectorAll('.at-caption textarea').length === 3")
    assert boxes.nth(2).input_value() == ATTACK and page.title() == "Atelier"
    boxes.nth(0).fill("first, changed")
    boxes.nth(0).press("Tab")
    page.keyboard.type("typed at once, ")
    page.locator(".at-undo b", has_text="Edited a.txt").wait_for()
    assert (folder / "a.txt").read_text() == "first, changed\n"
    assert "typed at once, " in boxes.nth(1).input_value()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Caption of b.png"
    page.keyboard.press("Escape")
    page.locator(".at-undo b", has_text="Edited b.txt").wait_for()
    assert "typed at once, " in (folder / "b.txt").read_text()
    again = page.context.new_page()
    again.goto(page.url)
    again.locator(".at-row strong", has_text="1_hill").wait_for()
    again.get_by_role("tab", name="Captions").click()
    again.locator(".at-undo li", has_text="a.txt").locator("button").click()
    again.wait_for_function("document.querySelector('.at-caption textarea').value === 'first'")
    assert (folder / "a.txt").read_text() == "first\n"
    assert page.locator("img[onerror]").count() == 0 and page.title() == "Atelier"
    assert os.listdir(studio_home).count(JOURNAL) == 1


@pytest.mark.browser
def test_a_changed_file_is_asked_about(page: "Page", studio_home: Path) -> None:
    """The typed text stays in its box beside the question; taking the other one shows it and writes nothing."""
    folder = studio_home / "changed page" / "1_hill"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    (folder / "a.txt").write_text("first\n")
    wait_for_form(page)
    type_into(page, "train_data_dir", str(folder.parent))
    type_into(page, "caption_extension", ".txt")
    page.locator(".at-row strong", has_text="1_hill").wait_for()
    page.get_by_role("tab", name="Captions").click()
    box = page.locator(".at-caption textarea")
    box.fill("mine")
    (folder / "a.txt").write_text("theirs\n")
    box.press("Escape")
    page.locator(".at-held", has_text="theirs").wait_for()
    assert box.input_value() == "mine" and (folder / "a.txt").read_text() == "theirs\n"
    page.locator(".at-held [data-act=drop]").click()
    page.wait_for_function("document.querySelector('.at-caption textarea').value === 'theirs'")
    page.locator(".at-held").wait_for(state="detached")
    assert (folder / "a.txt").read_text() == "theirs\n"
