"""What is asked is looked through before anything is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainer.contract.prompts import Prompt
from trainer.drawing.checkpoints import Checkpoint
from trainer.drawing.request import Request, picture_file, prompt_of, seeds_from


def test_empty_boxes_get_values() -> None:
    """No size is 512, no seed a new one each time; what is given counts, a zero too."""
    prompt, problems = prompt_of({"text": " a star ", "seed": "", "scale": 0}, None)
    assert not problems and (prompt.text, prompt.width, prompt.height, prompt.scale) == ("a star", 512, 512, 0)
    assert prompt.seed is not None and prompt.seed != prompt_of({"text": "a star"}, None)[0].seed
    given = {"text": "a", "negative": "b", "width": "130", "height": 64, "seed": 0, "steps": "3", "sampler": "euler_a"}
    assert prompt_of(given, None)[0] == Prompt("a", "b", 128, 64, 0, 3, 7.5, "Euler a")


def test_all_problems_at_once() -> None:
    """Each wrong value is named with its bounds."""
    wrong = {"text": " ", "width": "wide", "height": 9999, "steps": 0, "seed": 1.5, "scale": -1, "sampler": "best"}
    problems = prompt_of(wrong, None)[1]
    assert {field for problem in problems for field in problem.fields} == set(wrong)
    assert "Steps must lie between 1 and 1000, not 0." in [problem.message for problem in problems]


def test_seeds_follow_one_another() -> None:
    """Four seeds are the given one and the next three; after the last possible one comes 0."""
    assert [p.seed for p in seeds_from(Prompt("a", seed=2**32 - 2), 4)] == [2**32 - 2, 2**32 - 1, 0, 1]


def test_same_settings_same_file(tmp_path: Path) -> None:
    """A picture lies where the same settings would put it again; another setting or model file leads elsewhere."""
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"one")
    checkpoint = Checkpoint(str(model), "dogs · epoch 2, step 4", str(tmp_path / "run"), {"clip_skip": 2})
    prompt = Prompt("a", "", 64, 64, 1)
    path = picture_file(checkpoint, prompt, tmp_path)
    assert path.parent == tmp_path / "run" / "drawings" and path.name.startswith("epoch-2-step-4-seed-1-")
    assert path == picture_file(checkpoint, prompt, tmp_path)
    others = [replace(prompt, **change) for change in ({"text": "b"}, {"scale": 1.0}, {"sampler": "Euler"})]
    paths = {path, *(picture_file(checkpoint, other, tmp_path) for other in others)}
    paths.add(picture_file(replace(checkpoint, options={}), prompt, tmp_path))
    model.write_bytes(b"another")
    paths.add(picture_file(checkpoint, prompt, tmp_path))
    assert len(paths) == 6
    alone = picture_file(Checkpoint(str(model), "../m <x>"), prompt, tmp_path)
    assert alone.parent == tmp_path / "drawings" and alone.name.startswith("m-x-seed-1-")


def test_a_request_survives_its_record() -> None:
    """What was written as JSON is read as it was."""
    asked = Request((Checkpoint("/m", "m", "/r", {"clip_skip": 2}),), (Prompt("a <b>", seed=3),), on_cpu=True)
    assert Request.from_dict(asked.as_dict()) == asked
    with pytest.raises(KeyError):
        Request.from_dict({})
