"""The two names of every weight: in a Diffusers folder, and in an original single file.

A set of Diffusers names goes in, a table Diffusers name -> original name(s) comes out. It follows from the names
alone, for any number of levels and blocks, so one table serves loading and saving and no list of keys is kept.
"""

import re
from collections.abc import Iterable

from trainer.model.kinds import EMA, TEXT_V1, TEXT_V2, UNET, VAE

_UNET_EDGES = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
)
_UNET_RESNET = (
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("conv_shortcut.", "skip_connection."),
)
_VAE_PARTS = (
    (r"^(encoder|decoder)\.mid_block\.attentions\.0\.", r"\1.mid.attn_1."),
    (r"^(encoder|decoder)\.mid_block\.resnets\.0\.", r"\1.mid.block_1."),
    (r"^(encoder|decoder)\.mid_block\.resnets\.1\.", r"\1.mid.block_2."),
    (r"^encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.down.\1.block."),
    (r"^encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.attn_1\.group_norm\.", ".attn_1.norm."),
    (r"\.attn_1\.(?:to_q|query)\.", ".attn_1.q."),
    (r"\.attn_1\.(?:to_k|key)\.", ".attn_1.k."),
    (r"\.attn_1\.(?:to_v|value)\.", ".attn_1.v."),
    (r"\.attn_1\.(?:to_out\.0|proj_attn)\.", ".attn_1.proj_out."),
)
_TEXT_V2_PARTS = (
    ("embeddings.token_embedding.weight", "token_embedding.weight"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm.", "ln_final."),
    ("encoder.layers.", "transformer.resblocks."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.out_proj.", ".attn.out_proj."),
)

QKV = ("q", "k", "v")
"""The order in which OpenCLIP stacks the three projections of attention into one matrix."""


def unet_names(names: Iterable[str]) -> dict[str, str]:
    """Diffusers name -> original name (with its prefix) of every weight of a U-Net."""
    names = list(names)
    blocks = 1 + max((int(match[1]) for match in _matches(r"^down_blocks\.\d+\.resnets\.(\d+)\.", names)), default=0)
    attended = {int(match[1]) for match in _matches(r"^up_blocks\.(\d+)\.attentions\.", names)}
    return {name: UNET + _unet_name(name, blocks, attended) for name in names}


def vae_names(names: Iterable[str]) -> dict[str, str]:
    """Diffusers name -> original name (with its prefix) of every weight of a VAE, old attention names included."""
    names = list(names)
    last = max((int(match[1]) for match in _matches(r"^decoder\.up_blocks\.(\d+)\.", names)), default=0)
    return {name: VAE + _vae_name(name, last) for name in names}


def text_names_v1(names: Iterable[str]) -> dict[str, str]:
    """Diffusers name, without `text_model.`, -> original name of every weight of the 1.x text encoder."""
    return {name: f"{TEXT_V1}text_model.{name}" for name in names}


def text_names_v2(names: Iterable[str]) -> dict[str, tuple[str, int | None]]:
    """Diffusers name, without `text_model.`, -> OpenCLIP name and the third of its stacked matrix (None: all of it)."""
    table: dict[str, tuple[str, int | None]] = {}
    for name in names:
        third = None
        original = name
        for ours, theirs in _TEXT_V2_PARTS:
            original = original.replace(ours, theirs)
        projection = re.search(r"\.self_attn\.([qkv])_proj\.(weight|bias)$", original)
        if projection is not None:
            third = QKV.index(projection[1])
            original = f"{original[: projection.start()]}.attn.in_proj_{projection[2]}"
        table[name] = (TEXT_V2 + original, third)
    return table


def ema_names(original: str) -> tuple[str, ...]:
    """Names under which a U-Net weight's average may stand in a file; the first is the one to write.

    The original training code takes the dots out (`model_ema.diffusion_modelinput_blocks00weight`), others keep them.
    """
    inner = original.removeprefix("model.")
    return EMA + inner.replace(".", ""), EMA + inner, EMA + inner.removeprefix("diffusion_model.")


def plain_text_name(name: str) -> str:
    """A text encoder's name without the `text_model.` that transformers before 5.6 puts in front."""
    return name.removeprefix("text_model.")


def _unet_name(name: str, blocks: int, attended: set[int]) -> str:
    for ours, theirs in _UNET_EDGES:
        if name.startswith(ours):
            return _inside(theirs + name.removeprefix(ours), "middle_block" in theirs)
    found = re.match(r"^(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$", name)
    if found is None:
        return name
    way, level, part, place, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    # Each level has one block for each resnet; going down, one more for the downsampler; going up, one more resnet.
    row = level * (blocks + 1)
    if part == "downsamplers":
        return f"input_blocks.{row + blocks + 1}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        return f"output_blocks.{row + blocks}.{2 if level in attended else 1}.{rest}"
    block = f"input_blocks.{row + place + 1}" if way == "down" else f"output_blocks.{row + place}"
    return _inside(f"{block}.{0 if part == 'resnets' else 1}.{rest}", True)


def _inside(name: str, in_block: bool) -> str:
    """The names within a resnet; those within an attention block are the same in both."""
    if not in_block:
        return name
    found = re.match(r"^(\w+\.\d+(?:\.\d+)?\.)([a-z_0-9]+\.)(\w+)$", name)
    if found is None:
        return name
    return found[1] + dict(_UNET_RESNET).get(found[2], found[2]) + found[3]


def _vae_name(name: str, last: int) -> str:
    up = re.match(r"^decoder\.up_blocks\.(\d+)\.(?:(resnets)\.|upsamplers\.0\.)(.+)$", name)
    if up is not None:
        name = f"decoder.up.{last - int(up[1])}.{'block' if up[2] else 'upsample'}.{up[3]}"
    for ours, theirs in _VAE_PARTS:
        name = re.sub(ours, theirs, name)
    return name


def _matches(pattern: str, names: Iterable[str]) -> list[re.Match[str]]:
    return [found for found in (re.match(pattern, name) for name in names) if found is not None]
