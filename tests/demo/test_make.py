"""The demo is made whole, quickly and without torch; what lay in its place before is kept."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from trainer.demo.make import MODELS, make_demo, not_made
from trainer.demo.pictures import IN_INK, ORDINARY, STYLED, SUBJECTS, UNSTYLED, draw_pictures
from trainer.demo.place import demo_folder, is_made
from trainer.model.inspect import ModelFacts, inspect_model

ROOT = Path(__file__).parents[2]


def test_a_home_gets_two_models_and_three_folders_of_pictures(tmp_path: Path) -> None:
    """Both models are whole on their own, every picture has its caption, and the mark says that all is there."""
    home = tmp_path / "Jörg's home"
    folder = make_demo(home)
    assert folder == demo_folder(home) and is_made(home)
    for name, family in MODELS.items():
        facts = inspect_model(str(folder / name))
        assert isinstance(facts, ModelFacts) and facts.family == family and facts.has_vae
        assert (folder / name / "tokenizer" / "vocab.json").is_file()
    counts = {"images/10_sks star": SUBJECTS, "reg/1_star": ORDINARY, "style": STYLED + UNSTYLED}
    for place, count in counts.items():
        pictures = sorted((folder / place).glob("*.png"))
        assert len(pictures) == count
        assert all(Image.open(picture).size == (128, 128) for picture in pictures)
        assert all(picture.with_suffix(".txt").read_text("utf-8").startswith(("a ", IN_INK)) for picture in pictures)
    assert sorted(path.name for path in home.iterdir()) == ["demo"]


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    """Every file is the same, byte for byte; another seed draws others."""
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        draw_pictures(tmp_path / name, seed=seed)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png")]
    one, again, other = ([(tmp_path / n / f).read_bytes() for f in files] for n in ("one", "again", "other"))
    assert one == again and one != other


def test_an_older_demo_is_set_aside(tmp_path: Path) -> None:
    """Nothing that lay in the demo's folder is lost, however often it is made anew."""
    for number in (1, 2):
        demo_folder(tmp_path).mkdir(exist_ok=True)
        (demo_folder(tmp_path) / "mine.png").write_bytes(b"%d" % number)
        assert number == 2 or not is_made(tmp_path)
        make_demo(tmp_path)
        assert (tmp_path / f"demo-before-{number}" / "mine.png").read_bytes() == b"%d" % number
    assert is_made(tmp_path) and not (demo_folder(tmp_path) / "mine.png").exists()


def test_a_demo_cut_short_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of it: the message says where and why, and the home is as it was."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.demo.make.draw_pictures", full)
    with pytest.raises(OSError, match="No space") as caught:
        make_demo(tmp_path)
    assert list(tmp_path.iterdir()) == [] and not is_made(tmp_path)
    told = not_made(tmp_path, caught.value)
    assert "No space left on device" in told and str(tmp_path) in told


def test_it_needs_no_torch(tmp_path: Path) -> None:
    """The studio makes it before its window opens."""
    words = (
        "import sys; from pathlib import Path; from trainer.demo.make import make_demo; make_demo(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", words + "; print('torch' in sys.modules)", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_home_that_cannot_be_written_is_named(flags: list[str], tmp_path: Path) -> None:
    """A file where the home should be: one sentence, and nothing behind it."""
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "trainer", "demo", "--make", *flags, "--home", str(tmp_path / "file" / "home")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "The demo cannot be made in" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
