"""The networks of a run: loaded, what of them is trained, put back as a state left them, settled on the device."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.contract.config import TrainingConfig
from trainer.contract.events import Phase, Warned
from trainer.model.architecture import published
from trainer.model.attention import set_attention
from trainer.model.load import Networks, load_ema, load_networks
from trainer.model.probe import probe_prediction
from trainer.model.refusals import UnusableModel
from trainer.training.engine import Engine
from trainer.training.gates import Checked
from trainer.training.ledger import Writer
from trainer.training.outcome import Refused
from trainer.training.resuming import Start, model_digest, other_model
from trainer.training.state import Tensors
from trainer.training.surroundings import Surroundings
from trainer.training.text import freeze_unread_layers

ZERO_TERMINAL_SNR = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}

SMALL = 3_000_000
"""Weights of a U-Net below which a second thread is a loss: one of 2 million learns 8.9 images/s with two threads and
18.9 with one, on two cores of an AMD EPYC (2026-11-27). One of 4.5 million learns 15.3 with two and 12.1 with one
(batch of 8, 128 pixels, 2026-11-28)."""


def load(config: TrainingConfig, start: Start, around: Surroundings) -> tuple[Networks, dict[str, Tensor] | None, str]:
    """The networks, the average that their file holds (where one is to be continued), and the digest of the weights."""
    around.events.write(Phase(name="loading"))

    def tell(done: int, total: int) -> None:
        around.events.write(Phase(name="loading", done=done // 10**6, total=total // 10**6, unit="MB"))

    try:
        networks = load_networks(config.model, tell)
        ema = load_ema(networks) if config.networks.use_ema and start.record is None else None
    except UnusableModel as refusal:
        raise Refused([refusal.problem]) from None
    spare_threads(networks, around.engine.device)
    digest = model_digest({"unet": networks.unet, "text_encoder": networks.text_encoder})
    if start.record is not None and start.record.model != digest:
        raise Refused([other_model()])
    if config.loss.zero_terminal_snr:
        # What a saved Diffusers folder says of how to draw. It is DDIM for both families: PNDM of 1.x cannot.
        networks.scheduler = published("v2", "scheduler") | ZERO_TERMINAL_SNR
    elif networks.scheduler.get("rescale_betas_zero_snr"):
        message = (
            f"{networks.facts.name} was trained with a zero terminal SNR, as its scheduler says, and is trained here "
            "without: its darkest and brightest pictures fade. Unless you mean that, stop, and set zero_terminal_snr."
        )
        around.events.write(Warned(code="zero_terminal_snr", message=message))
    return networks, ema, digest


def spare_threads(networks: Networks, device: torch.device) -> None:
    """One thread for the smallest networks, on a processor: more would wait for one another at each layer."""
    weights = sum(weight.numel() for weight in networks.unet.parameters())
    if device.type == "cpu" and weights < SMALL:
        torch.set_num_threads(1)


def trains_text_encoder(config: TrainingConfig, step: int) -> bool:
    """Whether the text encoder is trained in step `step` (counted from 0)."""
    stop = config.networks.stop_text_encoder_training
    return not config.networks.unetonly and (stop is None or step < stop)


def choose_trained(config: TrainingConfig, networks: Networks, step: int) -> dict[str, Tensor]:
    """Set what takes gradients from step `step` on; returns all weights that are trained at any time, by full name."""
    networks.unet.requires_grad_(not config.networks.encoderonly)
    networks.text_encoder.requires_grad_(trains_text_encoder(config, 0))
    freeze_unread_layers(networks.text_encoder, config.networks.clip_skip)
    parts: Mapping[str, nn.Module] = {"unet": networks.unet, "text_encoder": networks.text_encoder}
    trained = {
        f"{part}.{name}": weight
        for part, network in parts.items()
        for name, weight in network.named_parameters()
        if weight.requires_grad
    }
    if not trains_text_encoder(config, step):
        networks.text_encoder.requires_grad_(False)
    return trained


@torch.no_grad()
def put_back_weights(trained: Mapping[str, Tensor], tensors: Tensors) -> None:
    """Put the weights of a state in place of the loaded ones."""
    if trained.keys() != tensors.weights.keys():
        raise Refused([other_model()])
    for name, weight in trained.items():
        weight.copy_(tensors.weights[name])


def put_back_optimizer(optimizer: torch.optim.Optimizer, engine: Engine, tensors: Tensors) -> None:
    """Put moments and scale of a state in place. The learning rate is set before each step and not taken from it."""
    optimizer.load_state_dict(tensors.optimizer["optimizer"])
    scale = tensors.optimizer["scaler"]
    if engine.scaler is not None and scale is not None:
        engine.scaler.load_state_dict(scale)


def settle_in(config: TrainingConfig, checked: Checked, networks: Networks, around: Surroundings) -> None:
    """Bring U-Net and text encoder to the device, with the attention and the checkpointing that the job asks for."""
    networks.unet.to(around.engine.device)
    networks.text_encoder.to(around.engine.device)
    said = set_attention(networks.unet, config.hardware, around.engine.device)
    if said and not any(problem.code == "machine.xformers_missing" for problem in checked.problems):
        around.events.write(Warned(code="attention", message=said))
    if config.hardware.gradient_checkpointing:
        # Non-reentrant: the other kind loses the text encoder's gradient behind a frozen U-Net.
        networks.unet.enable_gradient_checkpointing()
        networks.text_encoder.activation_checkpointing_enable({"use_reentrant": False})
    # Checkpointing acts in train mode only; these networks have no dropout, so the mode changes nothing else.
    networks.unet.train()
    networks.text_encoder.train()


def doubt_prediction(networks: Networks, events: Writer) -> None:
    """Warn where the weights predict something else than what they are to be trained to predict."""
    found = probe_prediction(networks)
    if found is None or found == networks.prediction:
        return
    words = {"epsilon": "the noise", "v": "v"}
    mend = "set" if found == "v" else "clear"
    message = (
        f"{networks.facts.name} seems to predict {words[found]}, but is to be trained to predict "
        f"{words[networks.prediction]}: it would first have to learn the other way. Unless you mean that, stop, and "
        f"{mend} v_parameterization."
    )
    events.write(Warned(code="prediction", message=message))
