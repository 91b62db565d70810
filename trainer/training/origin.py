"""How a model came about, in words for its metadata: options, data set, counts, and digests of what it was made from.

Nothing names a place on this machine: a model may be given away.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from trainer import __version__
from trainer.contract.config import OPTIONS, TrainingConfig
from trainer.dataset.captions import Entry
from trainer.dataset.plan import Plan
from trainer.model.facts import ModelFacts
from trainer.model.writing import HASH_KEY
from trainer.training.objective import TIMESTEPS


def training_record(
    config: TrainingConfig,
    entries: Sequence[Entry],
    plan: Plan,
    seed: int,
    source: ModelFacts,
    digests: Mapping[str, str],
) -> dict[str, str]:
    """The metadata of every model of a run, all as text: what modelspec asks for, and `atelier.*`.

    `atelier.options` and `atelier.dataset` are JSON: option -> value, and one row for each folder. `digests` are of
    the data set and of the weights that the run began with; the source's own hash is passed on where it has one.
    """
    width, height = config.images.size
    record: dict[str, Any] = {
        "modelspec.resolution": f"{width}x{height}",
        "atelier.version": __version__,
        "atelier.options": json.dumps(told_options(config), ensure_ascii=False),
        "atelier.dataset": json.dumps(folders_of(entries), ensure_ascii=False),
        "atelier.images": plan.images,
        "atelier.regularization_images": plan.reg_images,
        "atelier.images_per_step": plan.images_per_step,
        "atelier.total_steps": plan.total_steps,
        "atelier.seed": seed,
        "atelier.started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "atelier.base_model": source.name,
        **{f"atelier.{name}_digest": digest for name, digest in digests.items()},
    }
    if HASH_KEY in source.metadata:
        record["atelier.base_sha256"] = source.metadata[HASH_KEY]
    lowest, end = config.loss.min_timestep, config.loss.max_timestep
    if (lowest, end) != (0, TIMESTEPS):
        record["modelspec.timestep_range"] = f"{lowest},{end}"
    if config.networks.clip_skip is not None:
        record["modelspec.encoder_layer"] = config.networks.clip_skip
    return {name: str(value) for name, value in record.items()}


def told_options(config: TrainingConfig) -> dict[str, Any]:
    """Every option that has a value and names no file, folder or model."""
    given = {name: value for name, value in config.flat().items() if value is not None}
    return {name: value for name, value in given.items() if OPTIONS[name].shown.look == "auto"}


def folders_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One row for each folder of images, in the order of the data set; a folder by its name alone."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        told = {"repeats": entry.repeats, "regularization": entry.regularization}
        row = rows.setdefault((entry.folder, *told.values()), {"folder": entry.folder.name, "images": 0, **told})
        row["images"] += 1
    return list(rows.values())
