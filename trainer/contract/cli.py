"""Flags from the option rows: every command line of the contract, unchanged, to flat values.

Hyphens and underscores are the same, `--flag value` and `--flag=value` are the same, a switch may stand bare or with
true/false. Nothing is guessed: an unknown flag is a problem with the nearest one that exists. All problems at once.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from trainer.contract.config import OPTIONS
from trainer.contract.job import ALIASES, unknown_option
from trainer.contract.options import Option
from trainer.contract.problems import Problem

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Line:
    """A parsed command line: option values, the verb's own flags, words without a flag, and what is wrong."""

    values: dict[str, Any] = field(default_factory=dict)
    own: dict[str, str | bool] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def parse_line(argv: Sequence[str], own: Mapping[str, bool] | None = None) -> Line:
    """Parse flags. `own` names flags that are no options: name -> whether the flag takes a value."""
    own = own or {}
    line = Line()
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--"):
            line.words.append(token)
            continue
        raw, equals, value = token[2:].partition("=")
        name = raw.replace("-", "_")
        name = ALIASES.get(name, name)
        option = OPTIONS.get(name)
        if option is None and name not in own:
            line.problems.append(_unknown_flag(raw, own))
            if not equals and tokens and not tokens[0].startswith("--"):
                tokens.pop(0)
            continue
        given = value if equals else None
        if given is None and _takes_next(option, own.get(name, True), tokens):
            given = tokens.pop(0)
        if option is None:
            _put_own(line, name, given, own[name])
        else:
            _put_option(line, option, given)
    return line


def _takes_next(option: Option | None, needs_value: bool, tokens: list[str]) -> bool:
    if not tokens or tokens[0].startswith("--"):
        return False
    if option is None:
        return needs_value
    if option.kind == "switch":
        return tokens[0].lower() in _WORDS
    if option.shown.bare is not None:
        # `--ucg 0.1` and `--ucg true` take the word behind them, `--ucg somewhere` does not.
        return tokens[0].lower() in _WORDS or tokens[0].replace(".", "", 1).isdecimal()
    return True


def _put_own(line: Line, name: str, given: str | None, needs_value: bool) -> None:
    if needs_value and given is None:
        line.problems.append(Problem("value.flag", f"--{name} needs a value behind it.", (name,)))
    else:
        line.own[name] = True if given is None else given


def _put_option(line: Line, option: Option, given: str | None) -> None:
    name = option.name
    if given is None:
        if option.kind == "switch":
            line.values[name] = True
        elif option.shown.bare is not None:
            line.values[name] = option.shown.bare
        else:
            line.problems.append(Problem("value.flag", f"--{name} needs a value behind it.", (name,)))
    elif option.kind == "switch":
        line.values[name] = _WORDS.get(given.lower(), given)
    elif option.optional and given.lower() == "none":
        line.values[name] = None
    else:
        line.values[name] = given


def _unknown_flag(raw: str, own: Mapping[str, bool]) -> Problem:
    if raw == "help":
        return Problem("value.flag", "For help, write -h.", ())
    problem = unknown_option(raw.replace("-", "_"))
    close = problem.message.partition(" Did you mean ")[2]
    hint = f" Did you mean --{close}" if close else ""
    listed = f" (besides the options, this takes {', '.join('--' + name for name in own)})" if own and not close else ""
    return Problem("value.unknown_flag", f"There is no flag --{raw}{listed}.{hint}", problem.fields)


def flags_of(values: Mapping[str, Any]) -> list[str]:
    """The flags that say these values: the other way round, for "the same run, from a terminal"."""
    flags: list[str] = []
    for name, value in values.items():
        option = OPTIONS[name]
        if option.kind == "switch":
            flags += [f"--{name}"] if value else [f"--{name}", "false"]
        else:
            flags += [f"--{name}", "none" if value is None else str(value)]
    return flags


def help_text() -> str:
    """Every flag with its help, default and range, by section."""
    parts: list[str] = []
    for title, options in groupby(OPTIONS.values(), key=lambda option: option.title):
        parts.append(f"\n{title}")
        for option in options:
            parts.append(f"  --{option.name}{_placeholder(option)}")
            parts.append(textwrap.fill(_sentence(option), 100, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(parts)


def _placeholder(option: Option) -> str:
    if option.kind == "switch":
        return ""
    if option.kind == "choice":
        return " {" + ",".join(map(str, option.choices)) + "}"
    word = {"whole": "N", "number": "X", "text": "TEXT", "path": "FOLDER"}[option.kind]
    return f" [{word}]" if option.shown.bare is not None else f" {word}"


def _sentence(option: Option) -> str:
    tail = [option.bounds] if option.bounds else []
    if option.default not in (None, False, True):
        tail.append(f"default {option.default}")
    elif option.default is True:
        tail.append("on by default")
    return option.help + (f" ({', '.join(tail)})" if tail else "")
