"""The demo's text encoders, taught to tell from a caption what it says, before any picture is learnt.

Learnt through the pictures' loss alone they stayed at chance for as long as the whole training takes. So linear heads
on the mean of the 77 states are trained to name each attribute (or that it is not said); then they are thrown away.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from trainer.demo.scenes import ATTRIBUTES, draw_caption, draw_scene
from trainer.model.tokenizer import Tokenizer, load_tokenizer

Family = Literal["v1", "v2"]
WIDTH = 48
BATCH = 64
RATE = 2e-3
WORD_DEVIATION = 0.2


def make_text_encoder(family: Family) -> CLIPTextModel:
    """Three layers; the activation and the padding are those of the family. The table of words is drawn and stays."""
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=WIDTH,
        intermediate_size=WIDTH * 4,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act="quick_gelu" if family == "v1" else "gelu",
        projection_dim=WIDTH,
    )
    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.get_input_embeddings().weight, std=WORD_DEVIATION)
    return encoder


def train_text_encoder(
    family: Family, steps: int, seed: int, tell: Callable[[str], None], start: CLIPTextModel | None = None
) -> CLIPTextModel:
    """Learn for so many steps of 64 captions; what comes back tells nearly every attribute of captions never seen.

    `start` is one of the other family to begin from: what it has learnt then needs little to be told the new way.
    """
    torch.manual_seed(seed)
    encoder = make_text_encoder(family)
    if start is not None:
        encoder.load_state_dict(start.state_dict())
    reader = load_tokenizer(family)
    table = encoder.get_input_embeddings().weight
    heads = nn.ModuleDict({name: nn.Linear(WIDTH, len(values) + 1) for name, values in ATTRIBUTES.items()})
    trained = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        ids, targets = captions(reader, np.random.default_rng([seed, step]), BATCH)
        loss = torch.stack(
            [F.cross_entropy(out, targets[name]) for name, out in told(encoder, heads, ids).items()]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        # Of the table only the words that stood in captions have a gradient; the others, "sks" too, stay as drawn.
        torch.nn.utils.clip_grad_norm_([weight for weight in trained if weight is not table], 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            tell(f"text encoder {family}: step {step + 1} of {steps}, loss {loss.item():.4f}")
    right = measure(encoder, heads, reader)
    tell(f"text encoder {family}: tells " + ", ".join(f"{name} {share:.4f}" for name, share in right.items()))
    return encoder.eval()


def captions(reader: Tokenizer, rng: np.random.Generator, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Ids [count, 77], and for each attribute the place of its value, or one past the last where it is not said."""
    texts, rows = [], []
    for _ in range(count):
        scene = draw_scene(rng)
        text, said = draw_caption(rng, scene)
        texts.append(text)
        rows.append([values.index(getattr(scene, n)) if n in said else len(values) for n, values in ATTRIBUTES.items()])
    targets = torch.tensor(rows)
    return torch.tensor(reader.encode(texts)), {name: targets[:, place] for place, name in enumerate(ATTRIBUTES)}


def told(encoder: CLIPTextModel, heads: nn.ModuleDict, ids: Tensor) -> dict[str, Tensor]:
    """Attribute -> scores [count, values + 1], from the mean over all 77 states."""
    states = encoder(ids).last_hidden_state.mean(dim=1)
    return {name: head(states) for name, head in heads.items()}


@torch.no_grad()
def measure(encoder: CLIPTextModel, heads: nn.ModuleDict, reader: Tokenizer, count: int = 1024) -> dict[str, float]:
    """Attribute -> share of fresh captions whose value is told."""
    ids, targets = captions(reader, np.random.default_rng(98), count)
    return {n: float((out.argmax(1) == targets[n]).float().mean()) for n, out in told(encoder, heads, ids).items()}
