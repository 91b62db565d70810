"""From the shapes in a single file to the configs that build its networks. No torch.

A real 1.x or 2.x file gives exactly the published configs (in layout/); a file of another size, such as the demo
model, gives the same with its own widths. What shapes cannot tell (numbers of heads and of norm groups) stands in our
own files under the metadata key `atelier.architecture`, and follows the family's habit in files without it.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.model.facts import Family, ModelFacts
from trainer.model.kinds import TEXT_V2, UNET, VAE

LAYOUT = Path(__file__).parent / "layout"
HINTS_KEY = "atelier.architecture"

HINTED = {
    "unet": ("attention_head_dim", "norm_num_groups"),
    "text_encoder": ("num_attention_heads",),
    "vae": ("norm_num_groups", "scaling_factor"),
}
"""Component -> the settings that leave no trace in any shape."""

Shapes = Mapping[str, tuple[int, ...]]
Hints = Mapping[str, Mapping[str, Any]]


def published(family: Family, part: str) -> dict[str, Any]:
    """The published config of a part: "unet", "vae", "text_encoder", "scheduler" or "model_index"."""
    return json.loads((LAYOUT / family / f"{part}.json").read_text(encoding="utf-8"))


def read_hints(metadata: Mapping[str, Any]) -> Hints:
    """The settings under `atelier.architecture`, as far as they are of the known names and plain numbers."""
    try:
        said = json.loads(str(metadata.get(HINTS_KEY, "{}")))
    except ValueError:
        return {}
    hints: dict[str, dict[str, Any]] = {}
    for part, names in HINTED.items():
        inner = said.get(part) if isinstance(said, dict) else None
        if isinstance(inner, dict):
            hints[part] = {name: inner[name] for name in names if _numbers(inner.get(name))}
    return hints


def write_hints(configs: Mapping[str, Mapping[str, Any]], family: Family) -> str | None:
    """The value of `atelier.architecture` for a model, or None where the family's published settings hold."""
    hints = {part: {name: configs[part][name] for name in names} for part, names in HINTED.items()}
    plain = json.loads(json.dumps(hints))
    usual = {part: {name: published(family, part)[name] for name in names} for part, names in HINTED.items()}
    return None if plain == usual else json.dumps(plain)


def unet_config(shapes: Shapes, facts: ModelFacts, hints: Hints) -> dict[str, Any]:
    """The Diffusers config of the U-Net whose original names and shapes these are."""
    config = published(facts.family, "unet")
    rows = max(1, len(_numbers_in(rf"^{re.escape(UNET)}input_blocks\.(\d+)\.", shapes)))
    downs = sorted(_numbers_in(rf"^{re.escape(UNET)}input_blocks\.(\d+)\.0\.op\.weight$", shapes))
    blocks = min(downs[0], rows) - 1 if downs else rows - 1
    levels = len(downs) + 1
    firsts = [level * (blocks + 1) for level in range(levels)]
    channels = [_side(shapes, f"{UNET}input_blocks.{row + 1}.0.out_layers.3.weight") for row in firsts]
    down = [f"{UNET}input_blocks.{row + 1}.1.norm.weight" in shapes for row in firsts]
    up = [f"{UNET}output_blocks.{row}.1.norm.weight" in shapes for row in firsts]
    width = next((shape[-1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight") and shape), 0)
    config |= {
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "cross_attention_dim": width,
        "down_block_types": ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in down],
        "up_block_types": ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in up],
        "sample_size": (facts.home_size or 512) // 2 ** (levels - 1),
    }
    if facts.family == "v2":
        config["attention_head_dim"] = [max(1, count // 64) for count in channels]
    return config | {"norm_num_groups": _groups(channels)} | dict(hints.get("unet", {}))


def vae_config(shapes: Shapes, family: Family, hints: Hints) -> dict[str, Any]:
    """The Diffusers config of the VAE whose original names (with prefix) and shapes these are."""
    config = published(family, "vae")
    levels = max(1, len(_numbers_in(rf"^{re.escape(VAE)}encoder\.down\.(\d+)\.", shapes)))
    blocks = max(1, len(_numbers_in(rf"^{re.escape(VAE)}encoder\.down\.0\.block\.(\d+)\.", shapes)))
    channels = [_side(shapes, f"{VAE}encoder.down.{level}.block.0.conv2.weight") for level in range(levels)]
    config |= {
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "latent_channels": _side(shapes, f"{VAE}decoder.conv_in.weight", 1),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    return config | {"norm_num_groups": _groups(channels)} | dict(hints.get("vae", {}))


def text_config(shapes: Shapes, facts: ModelFacts, hints: Hints) -> dict[str, Any]:
    """The transformers config of the text encoder whose original names and shapes these are."""
    config = published(facts.family, "text_encoder")
    inner = "mlp.c_fc.weight" if facts.family == "v2" else "mlp.fc1.weight"
    inside = {name: shape for name, shape in shapes.items() if name.startswith("cond_stage_model.") and shape}
    places = ("positional_embedding",) if facts.family == "v2" else ("position_embedding.weight",)
    config |= {
        "hidden_size": facts.text_width,
        "num_hidden_layers": facts.text_layers,
        "num_attention_heads": max(1, facts.text_width // 64),
        "intermediate_size": next((shape[0] for name, shape in inside.items() if name.endswith(inner)), 0),
        "max_position_embeddings": next((shape[0] for name, shape in inside.items() if name.endswith(places)), 77),
        "vocab_size": next((shape[0] for name, shape in inside.items() if name.endswith("token_embedding.weight")), 0),
    }
    projection = inside.get(f"{TEXT_V2}text_projection")
    if facts.text_width != published(facts.family, "text_encoder")["hidden_size"]:
        config["projection_dim"] = projection[-1] if projection else facts.text_width
    return config | dict(hints.get("text_encoder", {}))


def _side(shapes: Shapes, name: str, place: int = 0) -> int:
    """One side of a weight; 0, with which no network can be built, where the weight is missing or has fewer sides."""
    return next(iter(shapes.get(name, ())[place : place + 1]), 0)


def _groups(channels: list[int]) -> int:
    """32 norm groups wherever they fit, as in all published models."""
    return math.gcd(32, *channels)


def _numbers(value: Any) -> bool:
    numbers = value if isinstance(value, list) and value else [value]
    return all(isinstance(number, (int, float)) and 0 < number < 10_000 for number in numbers)


def _numbers_in(pattern: str, names: Shapes) -> set[int]:
    """The whole numbers at one place of the names. More than four digits are no number of a block."""
    found = [re.match(pattern, name) for name in names]
    return {int(match[1]) for match in found if match is not None and len(match[1]) <= 4}
