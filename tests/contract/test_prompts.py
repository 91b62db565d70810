"""Sample prompts: kohya's flags mean what its users know."""

from pathlib import Path

import pytest

from trainer.contract.prompts import Prompt, parse_prompts


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


@pytest.mark.parametrize("line", ["a --q 3", "a --w wide", "a --s 0", "a --d 1.5", "a --l"])
def test_a_wrong_flag_is_named(line: str) -> None:
    """A flag that is not known or a value that does not fit is said with the number of its line."""
    prompts, problems = parse_prompts(f"fine\n{line}")
    assert len(prompts) == 1
    (problem,) = problems
    assert problem.message.startswith("Prompt 2: ") and problem.fields == ("sample_prompts",)
