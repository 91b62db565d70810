"""The verbs about a model on disk: `inspect` says what it is, `convert` writes it in another form.

The words behind the verb come in; text or JSON and an exit code go out. Torch is read only where weights are.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from trainer.answers import print_json, print_problems, refuse
from trainer.contract.cli import Line, parse_line
from trainer.contract.config import DEFAULTS, ModelSection
from trainer.contract.job import check_values
from trainer.contract.problems import Problem, errors_of
from trainer.model.conversion import Conversion, target_problem
from trainer.model.facts import WORDS
from trainer.model.inspect import ModelFacts, check_model, inspect_model
from trainer.model.refusals import UnusableModel

_CONVERT_OPTIONS = ("save_precision", "vae", "v_parameterization")
_CONVERT_FLAGS = {"use_ema_weights": False, "overwrite": False, "json": False}
_PRECISIONS = {"float": "fp32", "mixed": "mixed precision"}
_PARTS = {"unet": "U-Net", "text_encoder": "text encoder", "vae": "VAE"}
_UNSAID = ("format", "atelier.architecture")
_TELL_EVERY_S = 5.0


def inspect(argv: Sequence[str]) -> int:
    """What a model is, from its headers and keys."""
    line = parse_line(argv, {"json": False})
    problems = [*line.problems, *useless(line, ())]
    if problems or len(line.words) != 1:
        return refuse(problems or [Problem("value.words", "Name one model: a file or a Diffusers folder.")], line)
    facts = inspect_model(line.words[0])
    if isinstance(facts, Problem):
        return refuse([facts], line)
    if line.own.get("json"):
        print_json(asdict(facts))
    else:
        print("\n".join(described(facts)))
    return 0


def convert(argv: Sequence[str]) -> int:
    """Write a model as another kind of file or folder; the ending of the second name decides which."""
    line = parse_line(argv, _CONVERT_FLAGS)
    problems = [*line.problems, *useless(line, _CONVERT_OPTIONS)]
    problems += [found for found in check_values(line.values)[1] if found.code.startswith("value.")]
    if len(line.words) != 2:
        problems.append(
            Problem("value.words", "Name two: the model, and where to write it (.safetensors, .ckpt or a folder).")
        )
    if problems:
        return refuse(problems, line)
    asked = Conversion(
        source=line.words[0],
        target=Path(line.words[1]).expanduser(),
        precision=line.values.get("save_precision"),
        vae=line.values.get("vae"),
        use_ema_weights=bool(line.own.get("use_ema_weights")),
        predicts_v=line.values.get("v_parameterization"),
        overwrite=bool(line.own.get("overwrite")),
    )
    problems = _look(asked)
    if errors_of(problems):
        return refuse(problems, line)

    from trainer.training.optimizer import hide_bitsandbytes  # noqa: PLC0415 - torch, only once all else is right

    hide_bitsandbytes()

    from trainer.model.convert import convert_model  # noqa: PLC0415 - as above

    quiet = bool(line.own.get("json"))
    try:
        written = convert_model(asked, None if quiet else _tell_download())
    except UnusableModel as refusal:
        return refuse([refusal.problem], line)
    except OSError as trouble:
        place = trouble.filename or asked.target
        message = f"{place} cannot be written: {trouble.strerror or trouble}. Look at the folder and its disk."
        print_problems([Problem("disk.target", message)])
        return 1
    facts = inspect_model(str(written[0]))
    assert isinstance(facts, ModelFacts), "what was written is read back"
    if quiet:
        print_json({"written": [str(path) for path in written], "model": asdict(facts)})
    else:
        print(f"Written: {', '.join(str(path) for path in written)}")
        print("\n".join(described(facts)))
    return 0


def described(facts: ModelFacts) -> list[str]:
    """A model in lines for people."""
    predicts = {"epsilon": "the noise (epsilon)", "v": "v", None: "nothing says what"}[facts.prediction]
    source = f", as {facts.prediction_known_from} says" if facts.prediction else ""
    form = "Diffusers folder" if facts.form == "folder" else f"one .{facts.format} file"
    size = f"{facts.size_bytes / 1e9:.2f} GB" if facts.size_bytes >= 1e8 else f"{facts.size_bytes / 1e6:.1f} MB"
    rows = [
        ("place", str(facts.path)),
        ("family", WORDS[facts.family]),
        ("predicts", predicts + source),
        ("made for", f"{facts.home_size} pixels" if facts.home_size else "nothing says which size"),
        ("form", f"{form}, {size}, {facts.tensor_count:,} tensors"),
        ("weights", _PRECISIONS.get(facts.precision, facts.precision)),
    ]
    counts = {name: f"{facts.parameters.get(name, 0):,} parameters" for name in _PARTS}
    counts["text_encoder"] += f", {facts.text_width} wide, {facts.text_layers} layers in use"
    if not facts.has_vae:
        counts["vae"] = "none: choose one as well (--vae)"
    rows += [(word, counts[name]) for name, word in _PARTS.items()]
    rows.append(("averages", "held besides (EMA)" if facts.has_ema else "none"))
    lines = [facts.name, *(f"  {name:<13} {value}" for name, value in rows)]
    said = {name: value for name, value in facts.metadata.items() if name not in _UNSAID}
    if said:
        lines += ["says of itself", *(f"  {name}: {_as_told(name, value)}" for name, value in sorted(said.items()))]
    return lines


def _look(asked: Conversion) -> list[Problem]:
    """All that can be said before a weight is read."""
    target = target_problem(asked.target, asked.overwrite)
    problems = [target] if target is not None else []
    facts = inspect_model(asked.source)
    if isinstance(facts, ModelFacts):
        flags = {"v2": facts.family == "v2", "v_parameterization": facts.prediction == "v"}
        section = ModelSection(pretrained_model_name_or_path=asked.source, vae=asked.vae, **flags)
        return problems + check_model(section)[1]
    # A hub name that is not here yet is downloaded.
    return problems if facts.code == "disk.model_not_downloaded" else [*problems, facts]


def useless(line: Line, taken: Sequence[str]) -> list[Problem]:
    """The options on a command line that change nothing for its verb, which takes only these."""
    flags = ", ".join(f"--{name}" for name in taken)
    hint = f" Of the options it takes {flags}." if taken else " It takes no options."
    return [
        Problem("value.flag", f"--{name} changes nothing here.{hint}", (name,))
        for name in line.values
        if name not in taken
    ]


def _tell_download() -> Callable[[int, int], None]:
    """A listener that prints how far a download is, every few seconds."""
    last = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TELL_EVERY_S:
            last = time.monotonic()
            print(f"downloaded {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", file=sys.stderr, flush=True)

    return tell


def _as_told(name: str, value: object) -> str:
    """A word of a model about itself in one line; of the options it was trained with, those that somebody set."""
    if name == "atelier.options" and isinstance(value, str):
        try:
            given = dict(json.loads(value))
        except (ValueError, TypeError, RecursionError):
            return _shortened(value)
        changed = [
            f"{option} {_shortened(now)}" for option, now in sorted(given.items()) if DEFAULTS.get(option, ...) != now
        ]
        return ", ".join(changed) or "all as they come"
    return _shortened(value)


def _shortened(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"
