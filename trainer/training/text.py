"""From captions to what the U-Net reads: token ids, and the hidden states of the text encoder.

The ids come as rows of whole numbers from the project's own tokenizer; the states go out as [B, tokens, width].
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.dataset.emphasis import Piece, parse
from trainer.model.tokenizer import LENGTH, Tokenizer

INNER = LENGTH - 2
"""Tokens of a caption that one window of the text encoder holds, beside its start and its end."""


class Words(NamedTuple):
    """Captions as the text encoder reads them."""

    ids: Tensor
    """int64 [B, tokens]."""
    weights: Tensor | None = None
    """What the hidden state at each place counts, fp32 [B, 75 n + 2]; None where all count the same."""

    def sent(self, send: Callable[[Tensor], Tensor]) -> "Words":
        """The same on the device that `send` brings them to."""
        return Words(send(self.ids), None if self.weights is None else send(self.weights))


class Reader:
    """Turns captions into words: windows of 77 that hold `limit` tokens, or padded only to the longest of a batch."""

    def __init__(
        self, tokenizer: Tokenizer, pad_to_longest: bool = False, limit: int = INNER, weighted: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._pad_to_longest = pad_to_longest
        self._windows = limit // INNER
        self._weighted = weighted

    def read(self, captions: Sequence[str]) -> Words:
        """The captions, on the CPU: 77 ids for each window. What is longer than `limit` tokens is cut off.

        Start, end and padding count 1. The mean of the states is not restored, as in the descendants of the ancestor.
        """
        if self._windows == 1 and not self._weighted:
            ids = self._tokenizer.encode(captions, pad_to_longest=self._pad_to_longest)
            return Words(torch.tensor(ids, dtype=torch.long))
        read = [self._pieces(caption) for caption in captions]
        framed = [self._tokenizer.frame([i for ids, _ in pieces for i in ids], self._windows) for pieces in read]
        ids = torch.tensor([sum(windows, []) for windows in framed], dtype=torch.long)
        return Words(ids, self._weights(read) if self._weighted else None)

    def _weights(self, read: Sequence[Sequence[tuple[list[int], float]]]) -> Tensor:
        length = INNER * self._windows
        found = torch.ones(len(read), length + 2)
        for row, pieces in zip(found, read, strict=True):
            weights = [weight for ids, weight in pieces for _ in ids][:length]
            row[1 : len(weights) + 1] = torch.tensor(weights)
        return found

    def _pieces(self, caption: str) -> list[tuple[list[int], float]]:
        """The ids and the weight of each piece of a caption."""
        pieces = parse(caption) if self._weighted else [Piece(caption)]
        return [(self._tokenizer.ids(piece.text), piece.weight) for piece in pieces]


def states_of(text_encoder: nn.Module, words: Words, clip_skip: int | None) -> Tensor:
    """What the U-Net reads: the hidden states as in `text_states`, each times its weight where words are weighted."""
    states = text_states(text_encoder, words.ids, clip_skip)
    return states if words.weights is None else states * words.weights[..., None].to(states)


def text_states(text_encoder: nn.Module, ids_BT: Tensor, clip_skip: int | None) -> Tensor:
    """The hidden states [B, T, width] of the layer that `clip_skip` counts from the end, after the final layer norm.

    None and 1 are the last layer. 2.x text encoders are stored without OpenCLIP's last layer, so None is already the
    layer that these models were trained with. Of several windows (T = 77 n) each is read by itself, and their inner
    states stand one after the other between the first window's start and the last one's end: [B, 75 n + 2, width].
    """
    windows = ids_BT.shape[1] // LENGTH
    if windows > 1:
        states = text_states(text_encoder, ids_BT.reshape(-1, LENGTH), clip_skip)
        of_each = states.reshape(len(ids_BT), windows, LENGTH, -1)
        inner = of_each[:, :, 1:-1].flatten(1, 2)
        return torch.cat([of_each[:, 0, :1], inner, of_each[:, -1, -1:]], dim=1)
    if clip_skip is None or clip_skip == 1:
        return text_encoder(ids_BT).last_hidden_state
    states = text_encoder(ids_BT, output_hidden_states=True).hidden_states[-clip_skip]
    return final_norm(text_encoder)(states)


def final_norm(text_encoder: nn.Module) -> nn.Module:
    """The norm after the last layer. transformers before 5.6 keeps it one level deeper."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm


def layers_of(text_encoder: nn.Module) -> nn.ModuleList:
    """The transformer layers, from the one next to the embeddings on."""
    return getattr(text_encoder, "text_model", text_encoder).encoder.layers


def freeze_unread_layers(text_encoder: nn.Module, clip_skip: int | None) -> None:
    """Take the layers behind the one that is read out of training.

    They would get no gradient anyhow, and several processes would wait for ever for gradients that never come.
    """
    for layer in list(layers_of(text_encoder))[len(layers_of(text_encoder)) - (clip_skip or 1) + 1 :]:
        layer.requires_grad_(False)
