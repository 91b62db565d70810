"""What each way of training leaves in the pictures of the demo's model: shares of pictures, before and after.

    python -m benchmarks.learning [TRIAL ...]          some 25 minutes on two cores, for all trials

The trials of tests/demo/trials.py and other seeds of the first, one after the other, each with all cores, and their
pictures drawn by diffusers. Writes benchmarks/results/learning.json and its section of docs/benchmarks.md. Where trials
are named only these are measured, and those recorded on the same machine and day stand beside them.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL

from benchmarks.demo_model.vae import round_trip
from benchmarks.page import RESULTS, machine, write
from tests.demo.trials import BEFORE, GUIDANCE, TRIALS, Trial, Trials, general, judged, unstyled
from trainer.demo.make import SHIPPED, make_demo
from trainer.demo.pictures import SIDE, SUBJECT, ink
from trainer.demo.scenes import render

PROMPTS, STEPS = 48, 15
TRUE = "true pictures after the VAE"
EMA, LAST = "use_ema", "use_ema, the last step's weights"
SEEDS = {f"seed {seed}": Trial("demo", {"seed": seed}) for seed in (24, 25, 26)}
"""The preset's own is 23; how far a figure moves by chance alone."""
MEASURED = TRIALS | SEEDS
SUBJECT_KINDS = ("subject", "stars", "without words", "general")
STYLE_KINDS = ("in ink", "unstyled")
KINDS = {
    BEFORE: (*SUBJECT_KINDS, *STYLE_KINDS, "word"),
    EMA: ("general",),
    "style": STYLE_KINDS,
    "word": ("word", "general"),
}
"""What is drawn with a trial's model, where it is not `SUBJECT_KINDS`."""

Shares = dict[str, dict[str, float]]


def measure(home: Path, names: Sequence[str]) -> dict[str, Any]:
    """Shares of the trials of these names by kind of prompts, and the seconds that each training took."""
    trials = Trials(home, PROMPTS, STEPS, at_once=1, trials=MEASURED)
    shares: dict[str, Shares] = {}
    for name in names:
        shares[name] = {kind: trials.shares(name, kind) for kind in KINDS.get(name, SUBJECT_KINDS)}
        if name == EMA:
            (average,) = trials.train(name)
            shares[LAST] = {"general": trials.shares_of(average.with_name(average.name + "-raw"), "general")}
        print(f"{name}: {trials.seconds.get(name, 0):.0f} s, {shares[name]}", flush=True)
    return {"shares": shares | {TRUE: after_vae()}, "seconds": trials.seconds}


def after_vae() -> Shares:
    """The same shares of true pictures, encoded and decoded by the demo's VAE: the most that a model can reach."""
    vae = AutoencoderKL.from_pretrained(SHIPPED / "model" / "vae").float().eval()
    scenes = [scene for _, scene in unstyled(PROMPTS) if scene is not None]
    true = {
        "subject": [replace(scene, shape="star", look=SUBJECT) for scene in scenes],
        "stars": [replace(scene, shape="star") for scene in scenes],
        "general": [scene for _, scene in general(PROMPTS) if scene is not None],
        "in ink": [replace(scene, look=ink(scene.colour)) for scene in scenes],
        "unstyled": scenes,
    }
    return {
        kind: judged(
            list(round_trip(vae, np.stack([render(scene, SIDE) for scene in shown]))), [("", s) for s in shown]
        )
        for kind, shown in true.items()
    }


def section(result: dict[str, Any]) -> str:
    """The section of the page."""
    shares, on = result["shares"], result["machine"]
    rows = [
        [
            name,
            _percent(told["subject"]["subject"]),
            _percent(told["stars"]["subject"]),
            _percent(told["without words"]["subject"]) if "without words" in told else "",
            *(_percent(told["general"][attribute]) for attribute in ("colour", "shape", "position")),
        ]
        for name, told in sorted(shares.items(), key=lambda row: _place(row[0]))
        if "subject" in told
    ]
    averages = [
        [name, *(_percent(shares[name]["general"][attribute]) for attribute in ("colour", "shape", "position"))]
        for name in (BEFORE, EMA, LAST)
    ]
    styles = [
        [name, *(_percent(shares[name][kind]["ink"]) for kind in STYLE_KINDS)]
        + [_percent(shares[name]["in ink"][attribute]) for attribute in ("colour", "shape", "position")]
        for name in (BEFORE, "style", TRUE)
    ]
    words = [
        [name, *(_percent(shares[name]["word"][attribute]) for attribute in ("colour", "shape", "position"))]
        for name in (BEFORE, "word")
    ]
    return "\n".join(
        [
            "## What the demo's model learns",
            "",
            f"`python -m benchmarks.learning`, {result['day']}, {on['processor']}, {on['cores']} cores, Python "
            f"{on['python']}, torch {on['torch']}, diffusers {on['diffusers']}.",
            f"{PROMPTS} pictures of each kind, DDIM, {STEPS} steps, guidance {GUIDANCE}; twice as many of ordinary",
            "stars. One run each, with the preset's seed 23. Raw figures: benchmarks/results/learning.json.",
            "",
            "Preset `demo` with one change each: 180 steps, 100 for the U-Net alone; three rows have other seeds.",
            "Share of pictures that show the subject: asked for by name, in ordinary stars, and where nothing is asked",
            "for; then what whole captions of scenes held out still give.",
            "",
            *_table(("trial", "subject", "in stars", "without words", "colour", "shape", "position"), rows),
            "",
            "Preset `demo-captioned`. Share in ink with the words and without, and what of the caption's rest holds.",
            "",
            *_table(("trial", "in ink", "unasked", "colour", "shape", "position"), styles),
            "",
            "Ordinary pictures alone, which the model knows, one a step, 400 steps at a rate of 0.0003 that never",
            "falls: what whole captions of scenes held out still give.",
            "",
            *_table(("weights", "colour", "shape", "position"), averages),
            "",
            "`encoderonly` on pictures of a large red star that captions call by a word without meaning: what the word",
            "gives in other places.",
            "",
            *_table(("trial", "red", "star", "position"), words),
        ]
    )


def _table(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in (list(head), *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _place(name: str) -> int:
    order = [BEFORE, *MEASURED, TRUE]
    return order.index(name) if name in order else len(order)


def main() -> None:
    """Measure, and write."""
    torch.set_num_threads(os.cpu_count() or 1)
    names = sys.argv[1:]
    here = {"machine": machine(torch=torch.__version__, diffusers=diffusers.__version__), "day": str(date.today())}
    recorded: dict[str, Any] = {"shares": {}, "seconds": {}}
    if names:
        recorded = json.loads((RESULTS / "learning.json").read_text(encoding="utf-8"))
        if {key: recorded[key] for key in here} != here:
            sys.exit("The recorded figures are of another machine or day: measure all trials.")
    with tempfile.TemporaryDirectory() as folder:
        make_demo(Path(folder))
        result = measure(Path(folder), names or [BEFORE, *MEASURED])
    kept = {name: told for name, told in recorded["shares"].items() if name in (BEFORE, *MEASURED, LAST, TRUE)}
    seconds = {name: took for name, took in recorded["seconds"].items() if name in MEASURED}
    result = {"shares": kept | result["shares"], "seconds": seconds | result["seconds"], **here}
    write("learning", result, section(result))


if __name__ == "__main__":
    main()
