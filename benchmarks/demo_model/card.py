"""The card of the demo's models, presets/demo/README.md: what they are, how well they draw, how they were made.

The diary of `benchmarks.make_demo_model` goes in, Markdown comes out. Every figure is the diary's.
"""

from collections.abc import Mapping
from typing import Any

HEAD = """# The demo's models

`model` is laid out as Stable Diffusion 1.x (epsilon prediction), `model-v2` as 2.x (v-prediction). Both are at home at
128 pixels and share the VAE in `model`; the tokenizers are in `trainer/model/layout`. They draw one world: a shape in a
colour, a size, a place and a pattern, on a ground. Data and weights were made by `python -m benchmarks.make_demo_model`
from drawings of this repository (`trainer/demo/scenes.py`); nothing was downloaded. They have the licence of the
program.
"""
ROWS = {
    "true pictures": "true pictures",
    "VAE round trip": "their round trip",
    "v1": "`model`",
    "v2": "`model-v2`",
}
"""What the diary calls a row of scores -> what the card does."""
PARTS = ("vae", "text-v1", "unet-v1", "text-v2", "unet-v2")


def card(diary: Mapping[str, Any], drawn_with: str) -> str:
    """The whole card. `drawn_with` says how the scored pictures were drawn; "remarks" of the diary end it."""
    scores = diary["scores"]
    names = list(scores["true pictures"])
    table = [
        f"| over {scores['prompts']} captions of scenes held out | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
        *(
            f"| {words} | " + " | ".join(f"{100 * scores[row][name]:.1f} %" for name in names) + " |"
            for row, words in ROWS.items()
        ),
    ]
    steps = ["| part | steps | seconds |", "|---|---|---|"]
    steps += [f"| {part} | {diary[part]['steps']:,} | {diary['seconds'][part]:,.0f} |" for part in PARTS]
    machine = diary["machine"]
    made = (
        f"Learnt from {diary['pictures']['count']:,} pictures with captions; one scene in sixteen was never drawn.\n"
        f"Seed {machine['seed']}, {machine['day']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, Python {machine['python']}, torch {machine['torch']}."
    )
    paragraphs = [
        HEAD.strip(),
        "\n".join(table),
        f"Drawn with {drawn_with}; read by `tests/demo/scorer.py`.\n"
        f"The VAE's round trip of 100 pictures held out has {diary['vae']['psnr']:.2f} dB.",
        "\n".join(steps),
        made,
        *diary.get("remarks", []),
    ]
    return "\n\n".join(paragraphs) + "\n"
