"""Command lines: the contract's own, unchanged, and what is said about others."""

import shlex
from pathlib import Path

import pytest

from trainer.contract.cli import flags_of, parse_line
from trainer.contract.config import TrainingConfig
from trainer.contract.job import Job, check_values, make_job

LINES = [
    line
    for line in (Path(__file__).parents[1] / "fixtures" / "ancestor_commands.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def arguments(line: str) -> list[str]:
    """The words behind `-m trainer`, with Windows' backslashes kept."""
    words = shlex.split(line.replace("\\", "\\\\"))
    return words[words.index("trainer") + 1 :]


@pytest.mark.parametrize("command", LINES)
def test_every_command_line_of_the_contract_parses(command: str) -> None:
    """Each line that the contract prints becomes a job in which every flag that it names has its value."""
    words = arguments(command)
    line = parse_line(words)
    assert not line.problems and not line.words
    assert len(line.values) == sum(word.startswith("--") for word in words)
    job = make_job(line.values)
    assert isinstance(job, Job)
    assert job.config.model.v_parameterization == ("--v-parameterization" in words or "--v_parameterization" in words)
    assert job.config.captions.ucg == (0.06 if "--ucg" in words else 0)
    assert job.config.networks.use_ema == ("--use_ema" in words)


def test_a_whole_line_keeps_its_values() -> None:
    """Values arrive as they were written, paths of Windows included."""
    line = parse_line(arguments(LINES[1]))
    config = make_job(line.values)
    assert isinstance(config, Job)
    flat = config.config.flat()
    assert flat["resolution"] == "640,448"
    assert flat["learning_rate"] == 1e-6
    assert flat["dataset_repeats"] == 200
    assert flat["pretrained_model_name_or_path"] == r"D:\models\yourmodelhere.ckpt"
    assert flat["save_precision"] == "fp16" and flat["use_8bit_adam"] and flat["v2"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--use_ema", "true"], {"use_ema": True}),
        (["--use-ema", "--ucg"], {"use_ema": True, "ucg": 0.06}),
        (["--ucg", "0.1"], {"ucg": "0.1"}),
        (["--ucg=true"], {"ucg": "true"}),
        (["--sdpa", "false"], {"sdpa": False}),
        (["--caption_extention=.txt"], {"caption_extension": ".txt"}),
        (["--stop_text_encoder_training", "-1"], {"stop_text_encoder_training": "-1"}),
        (["--save_precision", "None"], {"save_precision": None}),
        (["--sample_prompts", "a star --d 3".replace(" --d 3", "")], {"sample_prompts": "a star"}),
    ],
)
def test_forms_of_a_flag(words: list[str], values: dict[str, object]) -> None:
    """Hyphens, equals signs, bare switches, misspelt names and minus signs all mean what they look like."""
    line = parse_line(words)
    assert not line.problems
    assert line.values == values


def test_an_unknown_flag_is_named_with_the_nearest_one() -> None:
    """Nothing is guessed and nothing is ignored; all unknown flags are named at once."""
    line = parse_line(["--lerning_rate", "1", "--max-train-step=3", "--xyzzy"])
    assert [p.code for p in line.problems] == ["value.unknown_flag"] * 3
    assert "--learning_rate?" in line.problems[0].message
    assert "--max_train_steps?" in line.problems[1].message
    assert not line.values


def test_flags_say_the_same_job() -> None:
    """The command line that the page shows is the job of the page."""
    values = {"ucg": 0.1, "sdpa": False, "use_ema": True, "max_train_steps": None, "max_train_epochs": 3, "seed": 0}
    line = parse_line(flags_of(values))
    assert not line.problems
    again, _ = check_values(line.values)
    assert again is not None and again.changed() == TrainingConfig.from_flat(values).changed()
