"""Sample prompts: kohya's flags mean what its users know."""

from pathlib import Path

import pytest

from trainer.contract.prompts import SAMPLERS, Prompt, parameters, parse_prompts, sampler_named


def test_all_flags_are_read() -> None:
    """Unwanted words, size, seed, steps and scale stand behind the prompt, in any order."""
    text = "a star, red --d 42 --n blurry, dark --w 513 --h 768 --s 20 --l 4.5"
    prompts, problems = parse_prompts(text)
    assert not problems
    assert prompts == [Prompt("a star, red", "blurry, dark", 512, 768, 42, 20, 4.5)]


def test_lines_and_remarks() -> None:
    """One prompt a line; empty lines and lines that begin with # are passed over; hyphens in words stay."""
    prompts, problems = parse_prompts("one\n\n# not this\ntwo--three -- four\n")
    assert [prompt.text for prompt in prompts] == ["one", "two--three -- four"]
    assert not problems


def test_a_file_is_read(tmp_path: Path) -> None:
    """The name of a .txt file stands for what is in it."""
    path = tmp_path / "my prompts.txt"
    path.write_text("ein Stern mit Ü\n", encoding="utf-8")
    assert parse_prompts(str(path))[0] == [Prompt("ein Stern mit Ü")]
    assert parse_prompts(str(tmp_path / "none.txt"))[1][0].code == "rule.prompts_file"


@pytest.mark.parametrize(
    "line", ["a --q 3", "a --w wide", "a --s 0", "a --d 1.5", "a --l", "a --l nan", "a --s inf", "a --ss ddpm"]
)
def test_a_wrong_flag_is_named(line: str) -> None:
    """A flag that is not known or a value that does not fit is said with the number of its line."""
    prompts, problems = parse_prompts(f"fine\n{line}")
    assert len(prompts) == 1
    (problem,) = problems
    assert problem.message.startswith("Prompt 2: ") and problem.fields == ("sample_prompts",)


def test_samplers_by_their_many_names() -> None:
    """A sampler is known by the name that pages show, by kohya's and in any letter case."""
    for text, name in (("euler_a", "Euler a"), ("k_euler_a", "Euler a"), ("dpmsolver++", "DPM++ 2M"), ("ddim", "DDIM")):
        assert parse_prompts(f"a star --ss {text}")[0] == [Prompt("a star", sampler=name)]
    assert [sampler_named(name.upper()) for name in SAMPLERS] == list(SAMPLERS)


def test_parameters_are_read_as_web_uis_read_them() -> None:
    """Prompt, unwanted words, then settings; a value with a comma is quoted, Karras has a place of its own."""
    prompt = Prompt("two lines,\nred", "blurry, dark", steps=20, scale=7.0, sampler="DPM++ 2M Karras")
    text = parameters(prompt, 42, (512, 768), Model="a, b: c", **{"Clip skip": 2})
    assert text == (
        "two lines,\nred\nNegative prompt: blurry, dark\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, "
        'CFG scale: 7, Seed: 42, Size: 512x768, Model: "a, b: c", Clip skip: 2'
    )
    assert parameters(Prompt("a"), 1, (64, 64)).splitlines()[1].startswith("Steps: 28, Sampler: DDIM, CFG scale: 7.5,")


def test_a_line_is_completed() -> None:
    """What a line does not say itself is as asked for all."""
    like = Prompt("", "blurry", 512, 768, 1, 20, 5.0, "Euler")
    lines = parse_prompts("a\nb --s 3 --d 4 --n dark", like)[0]
    assert lines == [
        Prompt("a", "blurry", 512, 768, 1, 20, 5.0, "Euler"),
        Prompt("b", "dark", 512, 768, 4, 3, 5.0, "Euler"),
    ]
