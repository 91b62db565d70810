"""What can be drawn with, and how its run draws."""

from dataclasses import replace
from pathlib import Path

from tests.gui.written_runs import Course, write_run
from trainer.contract.events import EventWriter, Removed, Saved
from trainer.drawing.checkpoints import (
    Checkpoint,
    before_training,
    checkpoint_at,
    checkpoints_in,
    checkpoints_of,
    look_at,
    options_of,
    section_of,
)
from trainer.model.inspect import ModelFacts
from trainer.runs.folder import RunFolder


def test_a_run_offers_what_it_saved(trained: RunFolder) -> None:
    """The newest first, by epoch and step, with the options of the run that a picture depends on."""
    found = checkpoints_of(trained)
    assert [checkpoint.label for checkpoint in found] == ["dogs · epoch 1, step 4", "dogs · epoch 1, step 2"]
    assert {checkpoint.run for checkpoint in found} == {str(trained.path)}
    assert found[0].options == {
        "v_parameterization": True,
        "clip_skip": 2,
        "zero_terminal_snr": True,
        "max_token_length": "150",
        "weighted_captions": True,
        "mixed_precision": "bf16",
    }
    base = before_training(trained)
    assert base is not None and base.short == "before training" and base.options == found[0].options
    assert checkpoint_at(found[1].path, trained.path.parent) == found[1]
    assert checkpoints_in(trained.path.parent) == found


def test_only_what_is_there_is_offered(tmp_path: Path) -> None:
    """A model that was deleted or made room for a newer one is not offered; nor is a state; written again is newest."""
    run = write_run(tmp_path, Course(steps=1000, total=1000, save_every=200, sample_every=0))
    every = checkpoints_of(run)
    assert [c.short for c in every][:2] == ["epoch 3, step 1,000", "epoch 2, step 800"]
    Path(every[0].path).unlink()
    writer = EventWriter(run.events_file)
    writer.write(Removed(kind="model", step=1000, path=every[2].path))
    writer.write(Saved(kind="model", step=1001, epoch=4, path=every[-1].path, size_bytes=1))
    writer.close()
    assert "step 1,001" in checkpoints_of(run)[0].label
    assert not {every[0].path, every[2].path} & {c.path for c in checkpoints_of(run)}


def test_a_model_of_no_run(tiny: Path, tmp_path: Path) -> None:
    """A folder that no run saved can be drawn with, and predicts what it says itself, whatever is asked."""
    alone = checkpoint_at(str(tiny), tmp_path)
    assert alone == Checkpoint(str(tiny), tiny.name)
    facts, problems = look_at(alone)
    assert isinstance(facts, ModelFacts) and not problems
    section = section_of(Checkpoint(str(tiny), "x", options={"v_parameterization": False}), facts)
    assert section.v2 and section.v_parameterization


def test_a_model_says_how_it_was_trained(trained: RunFolder) -> None:
    """A saved model that left its run is drawn with as before; what is asked wins, and nonsense is passed over."""
    saved = checkpoints_of(trained)[0]
    alone = Checkpoint(saved.path, "x")
    facts, _ = look_at(alone)
    assert facts is not None
    assert options_of(alone, facts) == saved.options
    assert options_of(replace(alone, options={"clip_skip": 1}), facts)["clip_skip"] == 1
    for nonsense in ("{", "[1]", "3", '{"clip_skip": "<img>"}', '{"clip_skip": 99, "sdpa": 3}'):
        assert options_of(alone, replace(facts, metadata={"atelier.options": nonsense})) == {}


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    """A missing file and a file that is no model are one problem each."""
    text = tmp_path / "notes.safetensors"
    text.write_text("not a model", encoding="utf-8")
    for path in (tmp_path / "none.ckpt", text):
        facts, problems = look_at(checkpoint_at(str(path), tmp_path / "runs"))
        assert facts is None and len(problems) == 1 and path.name in problems[0].message
