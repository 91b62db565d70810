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


def test_a_preset_from_elsewhere_is_checked_and_told(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--preset FILE` takes kohya_ss's file; what is not the same here is said, and keeps nothing from starting."""
    file = tmp_path / "cats.json"
    record = {
        "max_resolution": "128,128",
        "epoch": 2,
        "lr_warmup": 10,
        "lr_scheduler": "cosine",
        "train_batch_size": "4",
    }
    file.write_text(json.dumps(record), encoding="utf-8")
    demo = home / "demo"
    there = ["--pretrained_model_name_or_path", str(demo / "model"), "--train_data_dir", str(demo / "images")]
    asked = ["--preset", str(file), *there, "--output_dir", str(home / "out"), "--home", str(home)]
    assert main(["check", *asked]) == 0
    assert "look at: lr_warmup: 10 % of all steps" in capsys.readouterr().err
    assert main(["plan", *asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_steps"] == 40
    file.write_text(json.dumps(record | {"LoRA_type": "Standard"}), encoding="utf-8")
    assert main(["plan", *asked]) == 2
    assert "trains a LoRA" in capsys.readouterr().err
