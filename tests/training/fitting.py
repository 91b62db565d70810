"""The mean loss of a model over fixed noise and timesteps, on one picture with one caption."""

from pathlib import Path

import torch

from tests.training.conftest import draw_pictures
from trainer.contract.config import DataSection, ImageSection, ModelSection
from trainer.contract.loss import LossSection
from trainer.dataset.captions import entries_of
from trainer.dataset.pixels import pixels
from trainer.dataset.scan import scan
from trainer.model.load import load_networks
from trainer.training.denoiser import Denoiser
from trainer.training.latents import SCALE
from trainer.training.objective import Objective
from trainer.training.text import Reader

CAPTION = "sks dog"
PAIRS = 64


def one_picture(folder: Path) -> Path:
    """A folder for training with one picture in it, used four times an epoch."""
    draw_pictures(folder / f"4_{CAPTION}", [(64, 64)])
    return folder


@torch.no_grad()
def fixed_loss(model: Path, folder: Path) -> float:
    """The mean over 64 fixed pairs of noise and timestep, the timesteps evenly spread over the schedule."""
    data = DataSection(train_data_dir=folder)
    (entry,), _ = entries_of(scan(data), data)
    networks = load_networks(ModelSection(pretrained_model_name_or_path=str(model)))
    seen = torch.tensor(pixels(entry, (64, 64), ImageSection(resolution="64"), None))  # type: ignore[arg-type]
    x0 = networks.vae.encode(seen.permute(2, 0, 1)[None].float() / 127.5 - 1).latent_dist.mean * SCALE
    eps = torch.randn((PAIRS, *x0.shape[1:]), generator=torch.Generator().manual_seed(123))
    t = torch.linspace(0, 999, PAIRS).round().long()
    objective = Objective(networks.prediction, LossSection())
    x0 = x0.expand_as(eps)
    ids = Reader(networks.tokenizer).read([CAPTION] * PAIRS).ids
    predicted = Denoiser(networks.unet, networks.text_encoder, None)(objective.schedule.add_noise(x0, eps, t), t, ids)
    target = objective.schedule.target(objective.prediction, x0, eps, t)
    return float(objective.errors(predicted, target, t).mean())
