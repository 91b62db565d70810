"""Asking the weights what they predict."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.tiny_models import load, make_tiny
from trainer.contract.events import Event, Warned
from trainer.model.load import Networks
from trainer.model.probe import probe_prediction
from trainer.training.objective import NoiseSchedule
from trainer.training.trained import doubt_prediction


class Perfect(nn.Module):
    """A U-Net whose training has ended, on pictures that are nearly nothing: it takes all of its input for noise.

    `lesson` says how far the training came: at 0 the output is nothing, at 1 the right answer.
    """

    def __init__(self, prediction: str, lesson: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(in_channels=4)
        self.prediction = prediction
        self.lesson = lesson
        self.calls = 0

    @property
    def device(self) -> torch.device:
        return self.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> SimpleNamespace:
        self.calls += 1
        assert len(encoder_hidden_states) == len(sample) == len(timestep)
        image, noise = NoiseSchedule().mix(timestep)
        eps = sample / noise
        out = eps if self.prediction == "epsilon" else image * eps
        return SimpleNamespace(sample=self.lesson * out)


@dataclass
class Heard:
    """Takes events."""

    events: list[Event]

    def write(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """A tiny model of one's own."""
    return load(make_tiny(tmp_path_factory.mktemp("probe") / "tiny", "v2", "v"))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_trained_weights_tell_what_they_predict(networks: Networks, prediction: str) -> None:
    """One forward pass tells the two kinds apart, and leaves mode and shared random numbers as they were."""
    networks.unet = Perfect(prediction).train()
    before = torch.get_rng_state()
    assert probe_prediction(networks) == prediction
    assert networks.unet.calls == 1 and networks.unet.training
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("unet", [Perfect("v", 0.0), Perfect("epsilon", 0.5), Perfect("v", float("nan"))])
def test_what_has_learnt_too_little_stays_undecided(networks: Networks, unet: Perfect) -> None:
    """Nothing is concluded from an output of nothing, from half of the noise, or from no numbers at all."""
    networks.unet = unet
    assert probe_prediction(networks) is None


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_weights_stay_undecided(family: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A model that was never trained raises no warning, whatever the flag says."""
    networks = load(make_tiny(tmp_path_factory.mktemp("random") / "tiny", family, seed=seed))
    assert probe_prediction(networks) is None
    heard = Heard([])
    doubt_prediction(networks, heard)
    assert heard.events == []


@pytest.mark.parametrize(("flag", "weights", "mend"), [("epsilon", "v", "set"), ("v", "epsilon", "clear")])
def test_a_flag_against_the_weights_is_told(networks: Networks, flag: str, weights: str, mend: str) -> None:
    """Training warns where the weights predict the other thing, with the flag to change, and is silent where not."""
    networks.unet, networks.prediction = Perfect(weights), flag
    heard = Heard([])
    doubt_prediction(networks, heard)
    (told,) = heard.events
    assert isinstance(told, Warned) and told.code == "prediction"
    assert f"{mend} v_parameterization" in told.message
    networks.prediction = weights
    doubt_prediction(networks, heard)
    assert len(heard.events) == 1
