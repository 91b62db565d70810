"""All gates once more, before any weight is read: options, disk, model, machine, and the state to go on from."""

from dataclasses import dataclass
from pathlib import Path

from trainer.contract.config import NetworkSection, TrainingConfig
from trainer.contract.problems import Mend, Problem
from trainer.dataset.batches import Batches
from trainer.dataset.check import Report, check_dataset
from trainer.dataset.index import Index
from trainer.dataset.index_file import default_index_path
from trainer.dataset.masks import digest_of_masks
from trainer.dataset.room import Places, Sizes, room_problems
from trainer.dataset.scan import Progress
from trainer.model.inspect import check_model
from trainer.model.saved_size import saved_bytes, state_bytes
from trainer.model.tokenizer import load_tokenizer
from trainer.training.hardware import check_hardware
from trainer.training.resuming import Data, Start, check_resume, data_digest, find_start


@dataclass(frozen=True, slots=True)
class Checked:
    """What the gates found. The problems may hold errors: then nothing else of it is to be used."""

    report: Report
    start: Start
    data: Data
    problems: tuple[Problem, ...]


def check_start(config: TrainingConfig, run: Path, processes: int, progress: Progress | None = None) -> Checked:
    """Look at everything that a run in the folder `run` needs, and say all that is wrong at once."""
    debug = config.images.debug_dataset
    facts, problems = (None, []) if debug else check_model(config.model)
    family = facts.family if facts is not None else ("v2" if config.model.v2 else "v1")
    # Only decoding tells which images are damaged inside, and which are so must be known before batches are made.
    deep = config.data.skip_bad_images
    report = check_dataset(config, processes, load_tokenizer(family).count, progress, deep=deep)
    problems = [*problems, *report.problems, *([] if debug else check_hardware(config))]
    start = find_start(config.saves.resume)
    if isinstance(start, Problem):
        problems.append(start)
        start = Start()
    data = Data("")
    if report.plan is not None:
        batches = Batches(report.trained, config.images, config.length.train_batch_size, 0)
        with Index(default_index_path()) as index:
            masks = digest_of_masks(report.trained, index)
        data = Data(data_digest(report.trained, batches, config.images), masks)
        problems += _stops_too_early(config.networks, report.plan.total_steps)
        if start.record is not None:
            batches_per_step = processes * config.length.gradient_accumulation_steps
            problems += check_resume(start.record, config, data, batches_per_step, report.plan.total_steps)
        if facts is not None and config.saves.output_dir is not None:
            sizes = Sizes(saved_bytes(facts, config.saves), state_bytes(facts, config))
            there = sum(1 for _ in (run / "state").glob("step-*"))
            problems += room_problems(
                config, report.plan, sizes, Places(config.saves.output_dir, run, start.step, there)
            )
    return Checked(report, start, data, tuple(problems))


def _stops_too_early(networks: NetworkSection, total_steps: int) -> list[Problem]:
    stop = networks.stop_text_encoder_training
    if not networks.encoderonly or stop is None or not 0 < stop < total_steps:
        return []
    message = (
        f"Only the text encoder is trained, and it stops at step {stop} of {total_steps}: "
        "the rest would train nothing. Let it train to the end, or train both networks."
    )
    mends = (
        Mend("Let it train", {"stop_text_encoder_training": None}),
        Mend("Train both networks", {"encoderonly": False}),
    )
    return [Problem("rule.encoder_stops_early", message, ("stop_text_encoder_training", "encoderonly"), mends=mends)]
