"""The welcome: when it is shown, and what its steps say of pictures, forms and runs on disk."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest

from gui.demo_runs import is_of_demo, model_of, newest_finished, newest_run, newest_samples, pairs_of
from gui.monitor import glance
from gui.review import review
from gui.studio import Studio
from gui.tour import Tour, demo_in, demo_values
from gui.welcome import looked, step_in
from gui.welcome_cards import draw_foot, draw_welcome, in_words, pictures_of
from tests.gui.written_runs import Course, end, write_run
from trainer.demo.place import demo_folder
from trainer.runs.folder import RunFolder

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def studio(home: Path) -> Studio:
    """A studio whose home has the demo and no runs."""
    return Studio(home=home)


def values_of(studio: Studio, **changes: object) -> dict[str, Any]:
    return {**demo_values(studio), **changes}


def tour_of(studio: Studio, values: Mapping[str, Any] | None = None, **fields: Any) -> Tour:
    """What a browser is shown whose form holds these values, else the demo's."""
    found = review(values or values_of(studio), studio.home, fresh=True)
    return looked(studio, found, Tour(**fields))


def drawn(studio: Studio, step: int, **changes: object) -> str:
    return draw_welcome(studio, tour_of(studio, values_of(studio, **changes), step=step))


def demo_run(studio: Studio, course: Course, **more: Any) -> RunFolder:
    """A run of the demo as a trainer leaves it."""
    demo = demo_folder(studio.home)
    paths = {"train_data_dir": str(demo / "images"), "pretrained_model_name_or_path": str(demo / "model")}
    return write_run(studio.runs, course, **({"name": "demo"} | paths | more))


def finished_run(studio: Studio, course: Course | None = None, **more: Any) -> RunFolder:
    course = course or Course(steps=120, total=120, sample_every=30, epoch_steps=30, save_every=60)
    run = demo_run(studio, course, **more)
    end(run, "completed", course.steps)
    return run


def test_only_the_demo_is_the_demo(studio: Studio) -> None:
    """Its own images with its own model; with a folder or a model of somebody's it is not, nor is an empty form."""
    home, own = studio.home, str(studio.home)
    assert is_of_demo(values_of(studio), home)
    assert is_of_demo(values_of(studio, train_data_dir=str(demo_folder(home) / "images")), home)
    assert is_of_demo(values_of(studio, reg_data_dir="demo/reg"), home)
    for changed in ("train_data_dir", "pretrained_model_name_or_path", "reg_data_dir"):
        assert not is_of_demo(values_of(studio, **{changed: own}), home), changed
    assert not is_of_demo({}, home)
    assert not is_of_demo(values_of(studio, train_data_dir="demo/images/10_sks star"), home)


def test_it_never_hides_what_somebody_has_chosen(studio: Studio) -> None:
    """With one's own folder, or once it is skipped, nothing of it is drawn but the way back."""
    own = tour_of(studio, values_of(studio, train_data_dir=str(studio.home)))
    skipped = tour_of(studio, skipped=True)
    for tour in (own, skipped):
        html = draw_welcome(studio, tour)
        assert "at-tour-on" not in html and "<button" not in html
        assert "Show the tour" in draw_foot(tour)
    assert "at-demo-loaded" in draw_welcome(studio, skipped) and "at-demo-loaded" not in draw_welcome(studio, own)
    shown = tour_of(studio)
    assert "at-tour-on" in draw_welcome(studio, shown) and draw_foot(shown) == ""


def test_loading_the_demo_is_asked_about(studio: Studio) -> None:
    """Over one's own work the way back asks first, with the safe answer in focus; the demo loaded, nothing is asked."""
    own = values_of(studio, train_data_dir=str(studio.home))
    asked = draw_foot(tour_of(studio, own, asking=True))
    assert asked.index('data-act="keep" data-focus') < asked.index('data-act="demo"')
    assert tour_of(studio, asking=True).asking is False


def test_look_shows_the_pictures_of_the_folder(studio: Studio) -> None:
    """Every picture of the demo's folder with its caption as text, and their number in words."""
    paths = pictures_of(studio.home)
    paths[0].with_suffix(".txt").write_text(NASTY)
    html = drawn(studio, 1)
    assert len(paths) > 3 and html.count("./thumbnail?") == len(paths)
    assert f"{in_words(len(paths)).capitalize()} pictures of one thing" in html
    assert f'alt="{escape(NASTY)}"' in html and NASTY not in html
    for path in paths[1:]:
        path.unlink()
    assert "One picture of one thing" in drawn(studio, 1) and "one picture and a preset" in drawn(studio, 1)
    assert [in_words(number) for number in (0, 8, 12, 13)] == ["no", "eight", "twelve", "13"]


def test_without_the_demo_s_files_nothing_can_start(studio: Studio) -> None:
    """Where they could not be made the steps say what to do, without a Start and without a figure."""
    (demo_folder(studio.home) / "made").unlink()
    for path in pictures_of(studio.home):
        path.unlink()
    assert "demo --make" in drawn(studio, 1) and "at-figure" not in drawn(studio, 1)
    assert "demo --make" in drawn(studio, 2) and 'data-act="start"' not in drawn(studio, 2)


def test_the_plan_is_counted(studio: Studio) -> None:
    """Images, steps and saves are those of the plan; the length of a changed demo is not promised."""
    found = review(values_of(studio), studio.home)
    plan, html = found.plan, drawn(studio, 1)
    assert plan is not None
    for value in (f"{plan.steps_per_epoch} steps", f"{plan.total_steps} steps", f"{plan.epochs} epochs"):
        assert f">{value}<" in html
    assert f"with {plan.images} captions" in html and "about a minute" in html and ">about 1 min<" in html
    longer = drawn(studio, 1, max_train_epochs=400)
    assert "about a minute" not in longer and ">not known yet<" in longer


def test_the_time_is_that_of_the_last_run(studio: Studio) -> None:
    """What a finished run of the demo took, for as many steps as are planned now."""
    finished_run(studio, Course(steps=60, total=60, seconds=0.5, sample_every=30, epoch_steps=30))
    now = review(values_of(studio), studio.home).plan
    assert now is not None
    # 40 s of loading and 60 steps of half a second: 70 s.
    seconds = round((70 + 0.1) * now.total_steps / 60)
    shown = drawn(studio, 1)
    assert "as the last run went" in shown
    assert f"about {seconds} s" in shown or f"about {round(seconds / 60)} min" in shown


def test_train_starts_or_says_what_is_to_mend(studio: Studio) -> None:
    """Start stands there with the sum of the Training page; with something to mend the way to it stands instead."""
    ready = drawn(studio, 2)
    assert 'data-act="start">Start<' in ready and "times 9 epochs" in ready
    wrong = drawn(studio, 2, train_batch_size=0, learning_rate="fast")
    assert "2 things are to mend before it can start." in wrong and 'data-page="train"' in wrong
    assert 'data-act="start"' not in wrong


def test_a_start_that_came_to_nothing_says_why(studio: Studio) -> None:
    """The reason stands beside Start, as text."""
    html = draw_welcome(studio, replace(tour_of(studio, step=2), told=NASTY))
    assert "Nothing started." in html and escape(NASTY) in html and NASTY not in html


def test_behind_another_run_it_is_the_queue(studio: Studio) -> None:
    """While a run that is not the demo's lives, the button says that this one waits, and for what."""
    write_run(studio.runs, name=NASTY, pid=os.getpid())
    html = drawn(studio, 2)
    assert ">Add to queue<" in html and f"waits behind {escape(NASTY)}" in html and NASTY not in html


def test_a_run_under_way_is_told(studio: Studio) -> None:
    """Its step, its share, its time left and the way to it; no second Start; the page looks again by itself."""
    run = demo_run(studio, Course(steps=60, total=120, seconds=0.5, sample_every=30, epoch_steps=30), pid=os.getpid())
    html = drawn(studio, 2)
    assert "Step 60 of 120 (50 %), 30 s left." in html and 'aria-valuenow="50"' in html
    assert f'data-act="show" data-run="{run.path.name}"' in html and "data-live" in html
    assert 'data-act="start"' not in html and "at-button-filled" not in html
    assert "Drawn at step 60" in html and html.count("<img") == len(newest_samples(glance(run.events_file))) == 2
    assert "when all steps are done" in drawn(studio, 3)


def test_how_it_ended_is_told(studio: Studio) -> None:
    """Finished leads on; stopped before the end says where, and can be started again."""
    run = demo_run(studio, Course(steps=60, total=120, sample_every=30), pid=os.getpid())
    end(run, "stopped", 60)
    stopped = drawn(studio, 2)
    assert "Stopped as asked at step 60." in stopped and 'data-act="start">Start again<' in stopped
    assert "not been trained to the end" in drawn(studio, 3)
    finished_run(studio)
    assert newest_run(studio) is not None
    done = drawn(studio, 2)
    assert "120 steps in " in done and ">Next: compare<" in done and "data-live" not in done


def test_compare_shows_before_and_after(studio: Studio) -> None:
    """Of the newest finished run of the demo, for each prompt its sample of step 0 and that of the last step."""
    older = finished_run(studio, name="older")
    newer = finished_run(studio, Course(steps=90, total=90, sample_every=30, epoch_steps=30, save_every=45))
    write_run(studio.runs, name="another", pid=os.getpid())
    html = drawn(studio, 3)
    assert "after 90 steps" in html and older.path.name not in html
    pairs = pairs_of(glance(newer.events_file))
    assert [(before.step, after.step) for before, after in pairs] == [(0, 90), (0, 90)]
    assert all(before.prompt == after.prompt for before, after in pairs)
    for before, after in pairs:
        assert escape(after.prompt) in html
        for sampled in (before, after):
            assert os.path.basename(sampled.path) in html
    assert "step-00000030" not in html
    model = model_of(glance(newer.events_file))
    assert model and f'data-act="try" data-to="{escape(model)}"' in html


def test_compare_makes_nothing_up(studio: Studio) -> None:
    """Without a finished run, and for one that drew no pictures, it says so; an older one with pictures is shown."""
    assert "Train it first" in drawn(studio, 3)
    with_pictures = finished_run(studio)
    finished_run(studio, Course(steps=30, total=30, sample_every=0))
    shown = newest_finished(studio)
    assert shown is not None and shown.run == with_pictures
    shutil.rmtree(with_pictures.path)
    assert "no pictures of before and after" in drawn(studio, 3) and "<figure" not in drawn(studio, 3)


def test_it_opens_where_the_demo_has_come_to(studio: Studio) -> None:
    """A first visit begins with the pictures, one during the run with the run, one after it with the comparison."""
    assert tour_of(studio).step == 1
    run = demo_run(studio, Course(steps=60, total=120, sample_every=30), pid=os.getpid())
    assert tour_of(studio).step == 2
    end(run, "completed", 120)
    assert tour_of(studio).step == 3 and tour_of(studio, step=1).step == 1


def test_a_click_leads_to_a_step_that_is_there() -> None:
    """Whatever a page sends, it is one of the three."""
    assert [step_in({"to": to}) for to in ("1", "2", "3", "4", "-1", "x", "")] == [1, 2, 3, 1, 1, 1, 1]
    assert step_in({}) == 1


def test_errors_are_counted_once(studio: Studio) -> None:
    """What is to mend is what Start of the Training page waits for."""
    found = review(values_of(studio, train_batch_size=0), studio.home)
    assert demo_in(studio, found).errors == len(found.errors) == 1
