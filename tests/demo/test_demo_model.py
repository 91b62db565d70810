"""How the demo's models are made: a world with held-out scenes, and parts that are exact where they claim to be."""

import numpy as np
import pytest
import torch

from benchmarks.demo_model.networks import make_unet, start_from
from benchmarks.demo_model.vae import SCALE, as_tensor, batch_of_cuts, fold, make_vae, round_trip, train_vae
from benchmarks.demo_model.words import WIDTH, make_text_encoder
from trainer.demo.scenes import ATTRIBUTES, Scene, caption, draw_caption, draw_scene, render
from trainer.model.tokenizer import load_tokenizer


def test_no_combination_held_out_is_drawn() -> None:
    """About one combination in sixteen is held out, and drawing keeps to its side."""
    rng = np.random.default_rng(0)
    seen, unseen = ({draw_scene(rng, held_out=held_out).number for _ in range(3000)} for held_out in (False, True))
    assert not seen & unseen
    words = [dict(zip(ATTRIBUTES, draw, strict=True)) for draw in rng.permuted(_all_words(), axis=0)[:4000]]
    share = np.mean([Scene(**word).held_out for word in words])
    assert 0.05 < share < 0.075


def _all_words() -> np.ndarray:
    """A row for each of many combinations, one column an attribute."""
    rng = np.random.default_rng(1)
    return np.stack([rng.choice(values, 4000) for values in ATTRIBUTES.values()], axis=1)


def test_a_cut_is_a_part_of_the_whole() -> None:
    """Half of the width on half of the pixels shows the same pixels."""
    scene = draw_scene(np.random.default_rng(2))
    whole = render(scene, 128)
    assert np.array_equal(render(scene, 64, (0.25, 0.125, 0.5)), whole[16:80, 32:96])


def test_captions_say_what_they_say() -> None:
    """The words of each attribute stand in the caption exactly where it is said."""
    rng = np.random.default_rng(3)
    known = set(" ".join(word for values in ATTRIBUTES.values() for word in values).split()) | {
        "a",
        "on",
        "ground",
        "shape",
    }
    for _ in range(200):
        scene = draw_scene(rng)
        text, said = draw_caption(rng, scene)
        # Without the word that means nothing, wherever it stands.
        words = f" {' '.join(word for word in text.replace(',', '').split() if word in known)} "
        for name in ATTRIBUTES:
            value = getattr(scene, name) + (" ground" if name == "ground" else "")
            assert (f" {value} " in words) == (name in said), (text, name)
    full = caption(Scene("star", "red", "large", "at the top", "striped", "sky"))
    assert full == "a large red striped star at the top on a sky ground"


def test_folding_is_exact_and_gives_the_usual_scale() -> None:
    """Pictures come out of a folded VAE as before, and its latents times 0.18215 have mean 0 and deviation 1."""
    torch.manual_seed(0)
    vae = make_vae().eval()
    pictures = np.stack([render(draw_scene(np.random.default_rng(number)), 64) for number in range(8)])
    before = round_trip(vae, pictures)
    fold(vae, 0, count=64)
    assert np.abs(round_trip(vae, pictures).astype(int) - before).max() <= 1
    more = np.stack([render(draw_scene(np.random.default_rng(number)), 128) for number in range(100, 132)])
    with torch.no_grad():
        latents = vae.encode(as_tensor(more)).latent_dist.mean * SCALE
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.2
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.2


def test_vae_goes_on_where_it_was_cut_short(tmp_path: object) -> None:
    """A run of two steps and a run of one step that is begun again are the same, bit for bit."""
    torch.manual_seed(5)
    one = train_vae(2, 0, tmp_path / "one.pt", lambda _: None).state_dict()
    state = torch.load(tmp_path / "one.pt", weights_only=True)
    assert state["step"] == 2
    again = train_vae(2, 0, tmp_path / "one.pt", lambda _: None).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert batch_of_cuts(np.random.default_rng([0, 0])).shape == (12, 3, 64, 64)


def test_the_sibling_starts_as_what_it_starts_from() -> None:
    """A 2.x U-Net given the weights of a 1.x one computes the same from the same."""
    torch.manual_seed(0)
    trained = make_unet("v1", 0)
    for parameter in trained.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    sibling = make_unet("v2", 1)
    start_from(sibling, trained)
    latents, states = torch.randn(2, 4, 16, 16), torch.randn(2, 77, WIDTH)
    with torch.no_grad():
        one, other = (unet.eval()(latents, torch.tensor([9, 700]), states).sample for unet in (trained, sibling))
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_models_are_small(family: str) -> None:
    """U-Net and text encoder of each, and one VAE for both, stay below 32 MB in fp16 together; one model below 16."""
    counts = [sum(p.numel() for p in part.parameters()) for part in (make_unet(family, 0), make_text_encoder(family))]
    vae = sum(p.numel() for p in make_vae().parameters())
    assert 2 * (sum(counts) + vae) < 16e6 and 2 * (2 * sum(counts) + vae) < 32e6
    assert len(load_tokenizer(family).encode(["a red star"])[0]) == 77
