"""Captions to ids to hidden states."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPTextModel

from trainer.contract.config import ModelSection
from trainer.model.load import Networks, load_networks
from trainer.training.denoiser import Denoiser, is_trained
from trainer.training.text import Reader, freeze_unread_layers, layers_of, text_states


@pytest.fixture(params=["v1", "v2"])
def networks(request: pytest.FixtureRequest, tiny_v1: Path, tiny_v2: Path) -> Networks:
    """Each family's tiny model."""
    path = {"v1": tiny_v1, "v2": tiny_v2}[request.param]
    return load_networks(ModelSection(pretrained_model_name_or_path=str(path)))


def test_padding_is_to_77_or_to_the_longest(networks: Networks) -> None:
    """Rows have 77 ids, or with `no_token_padding` as many as the longest caption of the batch has."""
    captions = ["a dog", "", "a photo of a sks dog"]
    assert Reader(networks.tokenizer).read(captions).ids.shape == (3, 77)
    short = Reader(networks.tokenizer, pad_to_longest=True).read(captions).ids
    assert short.shape == (3, 8)
    assert short[1, :2].tolist() == [49406, 49407]


def test_clip_skip_counts_from_the_end(networks: Networks) -> None:
    """None and 1 are the last layer; 2 is the one before, each with the final norm: transformers' own numbers."""
    ids = Reader(networks.tokenizer).read(["a dog", "two cats"]).ids
    encoder = networks.text_encoder
    with torch.no_grad():
        out = encoder(ids, output_hidden_states=True)
        assert torch.equal(text_states(encoder, ids, None), out.last_hidden_state)
        assert torch.equal(text_states(encoder, ids, 1), out.last_hidden_state)
        skipped = text_states(encoder, ids, 2)
    assert isinstance(encoder, CLIPTextModel)
    assert torch.equal(skipped, encoder.final_layer_norm(out.hidden_states[-2]))
    assert not torch.allclose(skipped, out.last_hidden_state, atol=1e-3)


@pytest.mark.parametrize("limit", [150, 225])
def test_long_captions_are_read_in_windows(limit: int, networks: Networks) -> None:
    """Each window of 75 tokens has its own start and end and is read alone; the first start, the words and the last end
    stand one after the other, and a window without words is read as an empty caption."""
    words = ["dog", "cat", "house", "tree", "star", "lake", "hill", "rain", "boat", "lamp"]
    long = " ".join(words[place % 10] for place in range(100))
    reader = Reader(networks.tokenizer, limit=limit)
    ids = reader.read([long, "a dog"]).ids
    count = limit // 75
    assert ids.shape == (2, 77 * count)
    inner = networks.tokenizer.encode([" ".join(long.split()[:75]), " ".join(long.split()[75:]), ""])
    expected = torch.tensor([inner[0], inner[1], *[inner[2]] * (count - 2)])
    assert torch.equal(ids[0].reshape(count, 77), expected)
    assert torch.equal(ids[1, 77:154], torch.tensor(inner[2]))
    with torch.no_grad():
        states = text_states(networks.text_encoder, ids, 2)
        alone = [text_states(networks.text_encoder, window[None], 2)[0] for window in expected]
    assert states.shape[:2] == (2, limit + 2)
    by_hand = torch.cat([alone[0][:1], *[window[1:76] for window in alone], alone[-1][76:]])
    assert torch.allclose(states[0], by_hand, atol=1e-6)
    assert Reader(networks.tokenizer, limit=75).read([long]).ids.shape == (1, 77)


def test_words_in_brackets_weigh(networks: Networks) -> None:
    """The ids are those of the words alone; the states of a weighted word are multiplied, others left as they are."""
    plain = Reader(networks.tokenizer)
    reader = Reader(networks.tokenizer, weighted=True)
    captions = ["a (sks:1.5) dog", "a dog"]
    assert plain.read(captions).weights is None
    ids, weights = reader.read(captions)
    assert torch.equal(ids, plain.read(["a sks dog", "a dog"]).ids)
    assert weights is not None and weights.shape == (2, 77)
    expected = torch.ones(2, 77)
    expected[0, 2] = 1.5
    assert torch.equal(weights, expected)
    denoiser = Denoiser(networks.unet, networks.text_encoder, None)
    noisy, t = torch.zeros(2, 4, 8, 8), torch.tensor([500, 500])
    with torch.no_grad():
        states = text_states(networks.text_encoder, ids, None)
        by_hand = networks.unet(noisy, t, encoder_hidden_states=states * expected[..., None]).sample
        assert torch.allclose(denoiser(noisy, t, ids, weights), by_hand, atol=1e-6)
        assert not torch.allclose(denoiser(noisy, t, ids)[0], by_hand[0], atol=1e-6)


def test_weights_follow_their_words_into_later_windows(networks: Networks) -> None:
    """The 80th word of a long caption has its weight at place 80 of the joined states; what is cut off has none."""
    caption = "dog " * 79 + "(cat:2)" + " dog" * 100
    weights = Reader(networks.tokenizer, limit=150, weighted=True).read([caption]).weights
    assert weights is not None and weights.shape == (1, 152)
    assert weights.nonzero().shape[0] == 152 and (weights != 1).nonzero().tolist() == [[0, 80]]


def test_unread_layers_are_frozen(networks: Networks) -> None:
    """With clip_skip 2 the last layer takes no gradients, the others and the norm do."""
    freeze_unread_layers(networks.text_encoder.requires_grad_(True), 2)
    *read, unread = layers_of(networks.text_encoder)
    assert not is_trained(unread) and all(is_trained(layer) for layer in read)
    assert is_trained(networks.text_encoder.final_layer_norm)
    networks.text_encoder.requires_grad_(True)
    freeze_unread_layers(networks.text_encoder, None)
    assert is_trained(unread)


@pytest.mark.parametrize("trained", ["unet", "text_encoder", "both"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_what_is_trained(trained: str, checkpointing: bool, networks: Networks) -> None:
    """Behind a frozen U-Net the text encoder still learns, with gradient checkpointing too."""
    unet, encoder = networks.unet.train(), networks.text_encoder.train()
    unet.requires_grad_(trained != "text_encoder")
    encoder.requires_grad_(trained != "unet")
    denoiser = Denoiser(unet, encoder, None)
    torch.manual_seed(0)
    noisy, t = torch.randn(2, 4, 8, 8), torch.tensor([5, 900])
    ids = Reader(networks.tokenizer).read(["a dog", "a cat"]).ids
    denoiser(noisy, t, ids).square().mean().backward()
    expected = {name: weight.grad.clone() for name, weight in denoiser.named_parameters() if weight.grad is not None}
    assert {name.split(".")[0] for name in expected} == ({trained} if trained != "both" else {"unet", "text_encoder"})
    if not checkpointing:
        return
    denoiser.zero_grad()
    unet.enable_gradient_checkpointing()
    encoder.activation_checkpointing_enable({"use_reentrant": False})
    denoiser(noisy, t, ids).square().mean().backward()
    for name, weight in denoiser.named_parameters():
        assert (weight.grad is None) == (name not in expected)
        assert weight.grad is None or torch.allclose(weight.grad, expected[name], atol=1e-7)


def test_frozen_text_encoder_runs_without_a_graph(networks: Networks) -> None:
    """With the U-Net alone in training, nothing of the text encoder's forward pass is kept."""
    networks.text_encoder.requires_grad_(False)
    seen: list[bool] = []
    networks.text_encoder.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    ids = Reader(networks.tokenizer).read(["a dog"]).ids
    Denoiser(networks.unet, networks.text_encoder, None)(torch.randn(1, 4, 8, 8), torch.tensor([5]), ids)
    assert seen == [False]
