"""The cards of the Model page as HTML: the list, the facts, what they mean for the job, and what will be written.

Model facts and a `Review` come in, text goes out. Names from files are escaped; no weight is read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from gui.figures import counted, size
from gui.marks import card_title, mark, message
from gui.review import Review
from trainer.contract.problems import Problem
from trainer.dataset.room import free_bytes
from trainer.dataset.wording import shown
from trainer.model.inspect import ModelFacts
from trainer.model.saved_size import form_of, source_form

WORDS = {"v1": "Stable Diffusion 1.x", "v2": "Stable Diffusion 2.x"}
PREDICTS = {"epsilon": "noise", "v": "v", None: "not recorded"}
STORED = {"float": "fp32", "fp16": "fp16", "bf16": "bf16", "mixed": "mixed precisions"}
ENCODERS = {"v1": "CLIP L", "v2": "OpenCLIP H"}
ENDINGS = {"safetensors": ".safetensors", "ckpt": ".ckpt", "diffusers": "", "diffusers_safetensors": ""}

FIELD = "pretrained_model_name_or_path"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that the model decides: what it is now and what the model needs, in words, and the mend."""

    label: str
    name: str
    now: str
    needed: str
    fits: bool
    bad: bool = False
    """Whether training like this would spoil the model; else it only works less well."""
    value: Any = None


def draw_list(models: Sequence[ModelFacts], folders: Sequence[Path], current: str | None, demo: Path) -> str:
    """The models that can be chosen, the chosen one marked."""
    where = " and ".join(shown(folder) for folder in folders)
    head = card_title(f"Models in {where}" if folders else "Models", "Read from the first bytes. No file is run.")
    if not models:
        told = "No Stable Diffusion 1.x or 2.x model lies there. Browse to one, or type its path below."
        return f'{head}<p class="at-aside at-model-none">{told}</p>'
    chosen = Path(current).expanduser() if current else None
    rows = []
    for facts in models:
        what = "Small, for trying things out" if facts.path == demo else _what(facts)
        name = "Demo model" if facts.path == demo else facts.path.name
        rows.append(
            f'<button type="button" role="radio" class="at-model" aria-checked="{str(facts.path == chosen).lower()}" '
            f'data-act="model" data-to="{escape(str(facts.path))}"><i class="at-radio"></i>'
            f'<span class="at-model-name">{escape(name)}</span><span class="at-muted">{what}</span>'
            f'<span class="at-number">{size(facts.size_bytes)}</span></button>'
        )
    labels = "<i></i><span>Name</span><span>What it is</span><span>Size</span>"
    return (
        f'{head}<div class="at-models" role="radiogroup" aria-label="Models">'
        f'<div class="at-model at-labels" aria-hidden="true">{labels}</div>{"".join(rows)}</div>'
    )


def draw_facts(review: Review) -> str:
    """What the chosen model is, in a sentence and in facts; or why it cannot be trained."""
    name = review.looked_at.model.pretrained_model_name_or_path
    if name is None:
        return card_title("No model yet") + '<p class="at-said">Choose one of the list, or type a path.</p>'
    facts = review.facts
    if facts is None:
        problem = next((p for p in review.problems if FIELD in p.fields and p.code.startswith("disk.")), None)
        head = card_title(Path(name).name)
        if problem is not None:
            return head + _told("bad", problem)
        about = f"{name} is downloaded when the run starts; nothing is known of it before."
        return head + message("info", "A model on the hub.", about)
    predicts = f"predicts <b>{PREDICTS[facts.prediction]}</b>" if facts.prediction else "does not say what it predicts"
    home = f" It is at home at {facts.home_size:,} pixels." if facts.home_size else ""
    rows = [
        ("Family", f"{'1' if facts.family == 'v1' else '2'}.x, text width {facts.text_width}"),
        ("Predicts", PREDICTS[facts.prediction]),
        ("Known from", facts.prediction_known_from),
        ("Text encoder", f"{ENCODERS[facts.family]}, {counted(facts.text_layers, 'layer')}"),
        ("EMA weights", "inside; training starts from them where weights are averaged" if facts.has_ema else "none"),
        ("Stored as", f"{STORED[facts.precision]}, {counted(facts.tensor_count, 'tensor')}"),
        ("VAE inside", "yes" if facts.has_vae else "no"),
        ("Safe to open", _safe(facts)),
    ]
    listed = "".join(f"<dt>{label}</dt><dd>{escape(text)}</dd>" for label, text in rows)
    return (
        f'{card_title(facts.path.name)}<p class="at-said">A {WORDS[facts.family]} model that {predicts}.{home}</p>'
        f'<dl class="at-facts">{listed}</dl>'
    )


def settings_of(review: Review) -> list[Setting]:
    """What the model decides about the job: each setting now and as the model needs it."""
    facts, config = review.facts, review.looked_at
    if facts is None:
        return []
    codes = {problem.code: problem.severity for problem in review.problems}
    is_v2, is_v = facts.family == "v2", facts.prediction == "v"
    rows = [
        Setting("Model is 2.x", "v2", _on(config.model.v2), _on(is_v2), config.model.v2 == is_v2, True, is_v2),
    ]
    if facts.prediction is not None:
        fits = config.model.v_parameterization == is_v
        bad = is_v or codes.get("disk.model_prediction") == "error"
        now = _on(config.model.v_parameterization)
        rows.append(Setting("Predicts v", "v_parameterization", now, _on(is_v), fits, bad, is_v))
    if facts.home_size:
        width, height = config.images.size
        now = str(width) if width == height else f"{width} × {height}"
        home = str(facts.home_size)
        fits = width == height == facts.home_size
        rows.append(Setting("Resolution", "resolution", now, home, fits, False, f"{home},{home}"))
    return rows


def needed_values(review: Review) -> dict[str, Any]:
    """The option values that make every setting fit."""
    return {row.name: row.value for row in settings_of(review) if not row.fits}


def draw_meaning(review: Review) -> str:
    """The settings that the model decides, and one click that sets all that do not fit."""
    rows = settings_of(review)
    head = card_title("What this means for the job")
    if not rows:
        return f'{head}<p class="at-aside">It stands here as soon as a model is known.</p>'
    wrong = [row for row in rows if not row.fits]
    bad = [row for row in wrong if row.bad]
    if bad:
        told = f"{counted(len(bad), 'setting')} {'does' if len(bad) == 1 else 'do'} not fit this model."
        top = message("bad", told, "Trained like this, it would draw noise.")
    elif wrong:
        top = message("warning", "This works, but is not what the model was made for.", "")
    else:
        top = message("good", "All settings fit this model.", "")
    lines = "".join(_setting(row) for row in rows)
    labels = "<span>Setting</span><span>Now</span><span>Needed</span>"
    label = {1: f"Set {wrong[0].label.lower()}" if wrong else "", 2: "Set both"}.get(len(wrong), "Set all")
    button = f'<button type="button" class="at-button at-primary at-wide" data-act="needed">{escape(label)}</button>'
    return (
        f'<div class="at-meaning{" at-meaning-bad" if bad else ""}">{head}{top}'
        f'<div class="at-setting at-labels">{labels}</div>{lines}{button if wrong else ""}</div>'
    )


def draw_vae(review: Review) -> str:
    """Which VAE encodes the images: the model's own, or another one."""
    other, facts = review.looked_at.model.vae, review.facts
    weights = facts.parameters.get("vae", 0) if facts is not None and facts.has_vae else 0
    own = f"{weights / 1e6:,.1f} M weights" if weights else ""
    own = "There is none in this model: choose another." if facts is not None and not facts.has_vae else own
    another = "Changes how finished pictures look, not what is learnt. Cached latents are made anew."
    rows = [("own", "The one in the model", own, other is None), ("other", "Another file", another, other is not None)]
    drawn = "".join(
        f'<button type="button" role="radio" class="at-choice" aria-checked="{str(checked).lower()}" data-act="{act}">'
        f'<i class="at-radio"></i><span>{label}<small>{escape(about)}</small></span></button>'
        for act, label, about, checked in rows
    )
    return f'{card_title("Image encoder (VAE)")}<div role="radiogroup" aria-label="VAE">{drawn}</div>'


def draw_written(review: Review) -> str:
    """What will lie in the output folder: names, sizes, and the room there is."""
    saves, facts, one = review.looked_at.saves, review.facts, review.save_bytes
    free = free_bytes(saves.output_dir.expanduser()) if saves.output_dir is not None else None
    told = []
    if free is not None:
        told.append(f"{size(free)} free.")
    if review.sizes is not None and review.plan is not None:
        number, states = review.plan.models_on_disk, review.plan.states_beside + review.plan.states_in_run
        told.append(
            f"{counted(number, 'save')} {'needs' if number == 1 else 'need'} {size(number * review.sizes.model)}."
        )
        if states:
            told.append(f"Up to {counted(states, 'state')} to resume from: {size(states * review.sizes.state)} more.")
    room = f'<p class="at-small at-room">{" ".join(told)}</p>' if told else ""
    if facts is None or one is None:
        return room
    name = saves.output_name or "last"
    kind = form_of(saves, source_form(facts))
    what = f"<strong>{escape(name)}{ENDINGS[kind]}</strong>"
    if kind.startswith("diffusers"):
        what = f"the folder <strong>{escape(name)}</strong>"
    beside = ""
    if facts.family == "v2" and not kind.startswith("diffusers"):
        beside = f" and <strong>{escape(name)}.yaml</strong> beside it, which web UIs need for a 2.x model"
    return (
        f'{room}<div class="at-message at-message-info">{mark("info")}'
        f"<span>You will get {what} ({size(one)}){beside}.</span></div>"
    )


def _what(facts: ModelFacts) -> str:
    told = {"epsilon": ", predicts noise", "v": ", predicts v"}.get(facts.prediction or "", "")
    return f"{WORDS[facts.family]}{told}"


def _safe(facts: ModelFacts) -> str:
    return {
        "safetensors": "yes, .safetensors holds no code",
        "ckpt": "yes: weights alone are read, nothing in it is run",
        "diffusers": "yes: weights alone are read, nothing in it is run",
    }[facts.format]


def _setting(row: Setting) -> str:
    kind = "" if row.fits else "at-bad-word" if row.bad else "at-warn"
    tick = f'<span class="at-ok">{mark("good")} {escape(row.needed)}</span>' if row.fits else escape(row.needed)
    return (
        f'<div class="at-setting"><span>{escape(row.label)} <code>{row.name}</code></span>'
        f'<span class="{kind}">{escape(row.now)}</span><span>{tick}</span></div>'
    )


def _told(kind: str, problem: Problem) -> str:
    first, _, rest = problem.message.partition(". ")
    return message(kind, f"{first}." if rest else first, rest)


def _on(value: bool) -> str:
    return "on" if value else "off"
