"""The verbs that look at a job before it is started."""

import json
from pathlib import Path

import pytest

from trainer.__main__ import main


def test_plan_says_what_will_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` counts images, those held out, steps and saves, as text and as JSON."""
    asked = [
        "plan",
        "--preset",
        "demo",
        "--home",
        str(home),
        "--validation_split",
        "0.25",
        "--save_every_n_steps",
        "40",
    ]
    assert main([*asked, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["held_out"] == 2 and plan["images"] == 6
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "6 images" in said and "2 images held out" in said
    assert f"{plan['total_steps']:,} steps in all" in said
    assert f"{len(plan['saves'])} saves" in said and 40 in [step for _, step in plan["saves"]]
