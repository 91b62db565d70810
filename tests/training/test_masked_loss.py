"""Masks in training: what is black is not learnt, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import Train, of
from trainer.contract.events import Event, Stepped
from trainer.contract.loss import LossSection
from trainer.training.objective import Objective

MakeMasks = Callable[..., dict[str, Any]]


def losses(events: list[Event]) -> list[float]:
    """The loss of each step."""
    return [step.loss for step in of(Stepped, events)]


@pytest.fixture
def make_masks(pictures: Path, tmp_path: Path) -> MakeMasks:
    """Writes a mask for every training picture and returns the options that use them."""

    def make(left: int, right: int) -> dict[str, Any]:
        folder = tmp_path / f"masks {left} {right}"
        folder.mkdir()
        for path in (pictures / "train").rglob("*.png"):
            with Image.open(path) as image:
                mask = np.full((image.height, image.width), right, dtype=np.uint8)
            mask[:, : mask.shape[1] // 2] = left
            Image.fromarray(mask).save(folder / path.name)
        return {"masked_loss": True, "conditioning_data_dir": str(folder)}

    return make


def test_mask_takes_its_part_of_the_error() -> None:
    """Each latent counts by its mask, and the mean is still one over all of them, in every kind of loss."""
    torch.manual_seed(0)
    one, other = torch.randn(2, 3, 4, 8, 8)
    t = torch.tensor([10, 500, 999])
    masks = torch.ones(3, 8, 8)
    masks[1, :, :4], masks[2] = 0, 0.25
    for kind in ("l2", "l1", "huber", "smooth_l1"):
        objective = Objective("epsilon", LossSection(loss_type=kind))
        whole, masked = objective.errors(one, other, t), objective.errors(one, other, t, masks)
        right = objective.errors(one[1:2, :, :, 4:], other[1:2, :, :, 4:], t[1:2])
        assert torch.allclose(masked, torch.stack([whole[0], right[0] / 2, whole[2] / 4]))


def test_white_masks_and_opaque_pictures_change_nothing(train: Train, make_masks: MakeMasks) -> None:
    """Masks that leave nothing out, and transparency of pictures that have none, give the losses of a run without."""
    plain = losses(train("plain", flip_aug=True))
    assert losses(train("white", flip_aug=True, **make_masks(255, 255))) == plain
    assert losses(train("opaque", flip_aug=True, alpha_mask=True)) == plain


def test_black_masks_leave_nothing_to_learn(train: Train, make_masks: MakeMasks) -> None:
    """Where all is masked out the loss is 0 and no weight has a gradient."""
    steps = of(Stepped, train("black", **make_masks(0, 0)))
    assert [step.loss for step in steps] == [0, 0, 0] and [step.grad_norm for step in steps] == [0, 0, 0]


def test_masks_are_mirrored_with_their_images(train: Train, make_masks: MakeMasks) -> None:
    """Cached latents or not, with and without workers: mirrored uses have mirrored masks."""
    masks = make_masks(0, 255) | {"flip_aug": True}
    cached = losses(train("cached", **masks))
    fresh = losses(train("fresh", cache_latents=False, max_data_loader_n_workers=1, **masks))
    assert fresh == pytest.approx(cached, rel=1e-5)
    assert losses(train("the other half", **make_masks(255, 0), flip_aug=True)) != cached
    whole = losses(train("plain", flip_aug=True))
    assert all(part < all_of_it for part, all_of_it in zip(cached, whole, strict=True))
