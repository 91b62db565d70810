"""What the Try it page offers, and what typed texts mean."""

from dataclasses import replace
from pathlib import Path

import pytest

from gui.drawing_choices import Typed, asked, asked_grid, before_of, choices, chosen, described, first_choice, size_of
from gui.studio import Studio
from tests.gui.written_runs import Course, write_run
from tests.tiny_models import make_tiny
from trainer.contract.events import EventWriter, Saved
from trainer.contract.problems import Problem
from trainer.drawing.checkpoints import Checkpoint
from trainer.drawing.request import Request

TYPED = Typed("", "a star", "", "7", "64 × 128", 3, 5.0, "Euler a", compare=True)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """A studio with a model in models/ and two runs of one name, the second with a save."""
    home = tmp_path_factory.mktemp("home")
    model = make_tiny(home / "models" / "tiny", "v2", "v")
    studio = Studio(home=home)
    for number in range(2):
        course = Course(steps=2, sample_every=0)
        run = write_run(
            studio.runs, course, name="dogs", pretrained_model_name_or_path=str(model), sample_prompts="a dog --s 3\nb"
        )
        writer = EventWriter(run.events_file)
        writer.write(Saved(kind="model", step=2, epoch=1, path=str(make_tiny(run.path / f"m{number}")), size_bytes=1))
        writer.close()
    return studio


@pytest.mark.parametrize(
    ("text", "size"), [("512 × 768", "512x768"), ("512x768", "512x768"), ("640", "640x640"), ("big", "big"), ("", "")]
)
def test_sizes_are_read_as_typed(text: str, size: str) -> None:
    """Two numbers, whatever lies between them; one is a square; the rest is said to be wrong later."""
    assert size_of(text) == size


def test_saves_and_models_are_offered(studio: Studio) -> None:
    """Runs of one name are told apart by their time; models of the studio come last; the newest save is the first."""
    labels = [label for label, _ in choices(studio)]
    assert len(labels) == 3 and labels[-1] == "tiny"
    assert all(label.startswith("dogs, ") and label.endswith(" · epoch 1, step 2") for label in labels[:2])
    path, prompt = first_choice(studio)
    assert path == choices(studio)[0][1] and prompt == "a dog"
    assert described(Checkpoint(choices(studio)[-1][1], "tiny")) == ("Stable Diffusion 2.x, predicts v", "64 × 64")


def test_nothing_outside_is_opened(studio: Studio, tmp_path: Path) -> None:
    """A path outside the studio's folders is refused, also where a model lies there; one that a run saved is not."""
    outside = make_tiny(tmp_path / "tiny")
    found = chosen(studio, str(outside))
    assert isinstance(found, Problem) and "outside" in found.message
    assert isinstance(chosen(replace(studio, roots=(tmp_path,)), str(outside)), Checkpoint)
    assert isinstance(chosen(studio, ""), Problem)


def test_a_picture_is_asked_for(studio: Studio) -> None:
    """Beside it the same before training, where the run's model is still there; with several seeds alone."""
    path = choices(studio)[0][1]
    request = asked(studio, replace(TYPED, checkpoint=path), 1)
    assert isinstance(request, Request)
    assert [one.short for one in request.checkpoints] == ["before training", "epoch 1, step 2"]
    (prompt,) = request.prompts
    assert (prompt.width, prompt.height, prompt.seed, prompt.steps, prompt.sampler) == (64, 128, 7, 3, "Euler a")
    several = asked(studio, replace(TYPED, checkpoint=path), 4)
    assert isinstance(several, Request) and len(several.checkpoints) == 1 and len(several.prompts) == 4
    assert before_of(Checkpoint(choices(studio)[-1][1], "tiny")) is None


def test_all_that_is_wrong_is_said(studio: Studio) -> None:
    """Every box that cannot be followed is named at once."""
    found = asked(studio, replace(TYPED, checkpoint="", text="", size="big", seed="x"), 1)
    assert isinstance(found, list) and len(found) == 4
    path = choices(studio)[-1][1]
    for paths, text, words in (
        ([], "a", "No checkpoints"),
        ([path], "", "no prompts"),
        ([path], "a\n" * 65, "65 prompts"),
    ):
        problems = asked_grid(studio, paths, text, TYPED)
        assert isinstance(problems, list) and words in problems[0].message


def test_a_grid_is_as_in_the_boxes(studio: Studio) -> None:
    """Each line may say for itself what is different; all the rest is as in the boxes above, one seed for all."""
    request = asked_grid(studio, [path for _, path in choices(studio)], "a\nb --s 9 --ss ddim", replace(TYPED, text=""))
    assert isinstance(request, Request) and request.grid and len(request.cells) == 6
    one, other = request.prompts
    assert (one.steps, one.sampler, one.height, one.seed) == (3, "Euler a", 128, 7)
    assert (other.steps, other.sampler, other.height, other.seed) == (9, "DDIM", 128, 7)
