"""Real steps of a run's largest batch, and what they took: the middle of a run whose memory is only measured.

Comes in: what the gates found and a throw-away run folder. Goes out: measured.json in that folder, also where memory
ran out on the way. The run's own code does all of it (load, cache, draw, learn, validate, save), over so few images
that it takes seconds; latents of the others are stood in for, since a run keeps them. Nothing is written elsewhere.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from trainer.contract.config import ImageSection, TrainingConfig
from trainer.contract.events import Event, Phase, Result, Stepped
from trainer.contract.prompts import Prompt, parse_prompts
from trainer.contract.records import write_record
from trainer.dataset.batches import Batches, Use
from trainer.dataset.buckets import Size, bucket_of, sizes_of
from trainer.dataset.captions import Entry
from trainer.dataset.plan import Plan, make_plan
from trainer.model.tokenizer import load_tokenizer
from trainer.training.assemble import Surroundings
from trainer.training.gates import Checked
from trainer.training.hardware import GIB, memory_gib, peak_memory_gib
from trainer.training.latents import PIXELS_AT_ONCE
from trainer.training.ledger import Writer
from trainer.training.session import learn_and_close
from trainer.training.wishes import Wishes

ROUNDS = 2
"""Each shape comes twice: the first step makes the optimizer's state, the second learns with it there."""

OTHERS = 2
"""Shapes beside the largest. Room that one shape leaves does not suit the next: with one shape alone the worst of seven
configurations on a processor was foretold 6.7 % too low, with two others 3.8 % (2026-11-27)."""

DRAWN = 2
"""Steps of the sample that is drawn: as many as show that nothing piles up."""

RISE = 1.01
"""A phase that raises the peak by less than this is not named as the one that needs most."""

MEASURED = "measured.json"


@dataclass(frozen=True, slots=True)
class Small:
    """A run cut down to its largest batch and a few others."""

    config: TrainingConfig
    checked: Checked
    batch: tuple[Use, ...]

    @property
    def plan(self) -> Plan:
        """The plan of this run."""
        assert self.checked.report.plan is not None
        return self.checked.report.plan


@dataclass(slots=True)
class Gauge:
    """Hears all events, passes them on, and notes how high memory has risen and how long each phase took."""

    events: Writer
    device: torch.device
    phase: str = "loading"
    most_while: str = "loading"
    seconds: dict[str, float] = field(default_factory=dict)
    stepped: float = 0.0
    _peaks: tuple[float, float] = (0.0, 0.0)
    _since: float = field(default_factory=time.monotonic)

    def write(self, event: Event) -> None:
        """Tell one event."""
        if isinstance(event, Stepped):
            self.stepped = time.monotonic()
        if isinstance(event, Phase):
            self.turn_to(event.name)
        self.events.write(event)

    def turn_to(self, phase: str) -> None:
        """The phase so far is over."""
        now, (vram, ram) = time.monotonic(), peak_memory_gib(self.device)
        peaks = (vram or 0.0, ram)
        decides = 0 if vram is not None else 1
        if peaks[decides] > RISE * self._peaks[decides]:
            self.most_while = self.phase
        self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + now - self._since
        self.phase, self._since = phase, now
        self._peaks = peaks


class Metronome(Wishes):
    """Hears nothing, but knows when each step began: the loop asks for wishes just before it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(None)
        self._device = device
        self.struck: list[float] = []

    def flags(self) -> list[float]:
        """No wishes. Waits for the card first, so that a step's time is its own."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.struck.append(time.monotonic())
        return super().flags()


def rehearse(config: TrainingConfig, checked: Checked, around: Surroundings) -> Result:
    """Learn the largest batch twice, draw, validate and save as the run will; write measured.json."""
    device = around.engine.device
    gauge, metronome = Gauge(around.events, device), Metronome(device)
    measured: dict[str, object] = {"host_before_gib": memory_gib(device)[1]}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        measured |= {"card_free_gib": free / GIB, "card_total_gib": total / GIB}
    small, full = cut_down(config, checked, around), checked.report.plan
    assert full is not None, "the gates refuse a job without a plan"
    # Touched, or the system would only promise it.
    stand_in = torch.ones(kept_bytes(config, checked, small), dtype=torch.uint8)
    try:
        result = learn_and_close(small.config, small.checked, replace(around, events=gauge, wishes=metronome))
        last_round = gauge.stepped - metronome.struck[-small.plan.steps_per_epoch]
        per_step = last_round * _pixels_per_step(full) / (_pixels_per_step(small.plan) * small.plan.steps_per_epoch)
        measured["seconds_per_step"] = per_step
        measured["seconds_in_all"] = seconds_in_all(config, checked, small, gauge, per_step)
    finally:
        gauge.turn_to("")
        del stand_in
        vram, ram = peak_memory_gib(device)
        measured |= {
            "host_gib": ram,
            "card_gib": vram,
            "most_while": gauge.most_while,
            "bucket": list(small.batch[0].bucket),
            "images": len(small.batch),
        }
        write_record(around.run / MEASURED, measured)
    return result


def cut_down(config: TrainingConfig, checked: Checked, around: Surroundings) -> Small:
    """The same run over one full batch of its largest bucket and one of two others, twice, inside its own folder."""
    start, trained = checked.start, checked.report.trained
    batches = Batches(trained, config.images, config.length.train_batch_size, around.seed)
    first, *others = largest(batches.epoch(0))
    gathered = min(2, config.length.gradient_accumulation_steps, batches.per_epoch)
    entries = _enough(first, batches, trained, gathered)
    entries += [_once(use.entry) for batch in others for use in batch[: len(first)]]
    if config.captions.no_token_padding:
        entries[0] = replace(entries[0], caption=longest(entry.caption for entry in trained))
    held = _largest_held(checked.report.held_out, config.images)
    changed = _kept_inside(config, around.run) | {
        "max_train_epochs": ROUNDS,
        "max_train_steps": None,
        "train_batch_size": len(first),
        "gradient_accumulation_steps": gathered,
    }
    small = TrainingConfig.from_flat(config.flat() | changed)
    plan = make_plan(small, entries, held_out=len(held))
    plan = replace(plan, total_steps=start.step + plan.total_steps)
    if start.record is not None:
        # The curves of the run that is gone on from are not written on.
        start = replace(start, record=replace(start.record, board=None))
    report = replace(checked.report, entries=(*entries, *held), held_out=held, plan=plan)
    return Small(small, replace(checked, report=report, start=start), first)


def largest(batches: Sequence[tuple[Use, ...]]) -> list[tuple[Use, ...]]:
    """The batch with most pixels, and of other buckets those with most."""
    found: dict[Size, tuple[Use, ...]] = {}
    for batch in sorted(batches, key=lambda batch: -_pixels(batch[0].bucket) * len(batch)):
        found.setdefault(batch[0].bucket, batch)
    return list(found.values())[: 1 + OTHERS]


def longest(captions: Iterable[str]) -> str:
    """The caption with most tokens."""
    return max(captions, key=load_tokenizer("v1").count)


def kept_bytes(config: TrainingConfig, checked: Checked, small: Small) -> int:
    """What the run keeps of the images that `small` does not encode: fp32 of 4 channels, an eighth of the sides.

    Mean and deviation of cached latents, of both sides of a mirrored image; the mean alone of images held out.
    """
    listed = sizes_of(config.images)

    def floats(entries: Iterable[Entry], encoded: Iterable[Entry]) -> int:
        known = {entry.picture.path for entry in encoded}
        pictures = {entry.picture.path: entry.picture for entry in entries if entry.picture.path not in known}
        sizes = (bucket_of(each.width, each.height, config.images, listed) for each in pictures.values())
        return sum(map(_pixels, sizes)) // 64 * 4

    number = floats(checked.report.held_out, small.checked.report.held_out)
    if config.images.cached:
        sides = 2 if config.images.flip_aug else 1
        number += floats(checked.report.trained, small.checked.report.trained) * 2 * sides
    return number * 4


def seconds_in_all(config: TrainingConfig, checked: Checked, small: Small, gauge: Gauge, per_step: float) -> float:
    """About how long the run takes: its steps by the pixels in them, and what lies around and between them."""
    plan = checked.report.plan
    assert plan is not None
    took = gauge.seconds
    encoded = len({entry.picture.path for entry in small.checked.report.trained})
    images = len({entry.picture.path for entry in checked.report.trained})
    drawn = took.get("sampling", 0.0) / (2 if config.samples.sample_at_first and not checked.start.step else 1)
    return (
        took.get("loading", 0.0)
        + took.get("caching", 0.0) * images / encoded
        + per_step * (plan.total_steps - checked.start.step)
        + took.get("saving", 0.0) * plan.save_count
        + drawn / (DRAWN + 1) * _drawing_steps(config, plan)
    )


def _drawing_steps(config: TrainingConfig, plan: Plan) -> int:
    """Steps of all samples of the run; decoding a picture counts as one."""
    prompts, _ = parse_prompts(config.samples.sample_prompts)
    return len(plan.samples) * sum(prompt.steps + 1 for prompt in prompts)


def _enough(batch: Sequence[Use], batches: Batches, trained: Sequence[Entry], gathered: int) -> list[Entry]:
    """Entries of the batch's bucket for whole steps of its size, and for as many images as a card encodes at once."""
    bucket, size = batch[0].bucket, len(batch) * gathered
    same = [entry for place, entry in enumerate(trained) if batches.bucket_of(place) == bucket]
    several = {id(use.entry): use.entry for use in batch} | {id(entry): entry for entry in same}
    found = list(several.values())
    number = max(size, min(len(found), -(-PIXELS_AT_ONCE // _pixels(bucket))))
    number = -(-number // size) * size
    return [_once(found[i % len(found)]) for i in range(number)]


def _once(entry: Entry) -> Entry:
    """The entry as one that is trained on once an epoch."""
    return replace(entry, repeats=1, regularization=False)


def _kept_inside(config: TrainingConfig, run: Path) -> dict[str, object]:
    """Options by which a run writes into `run` only, once and at its end."""
    stop = config.networks.stop_text_encoder_training
    return {
        # Frozen later: the steps before that need most.
        "stop_text_encoder_training": None if stop is not None and stop > 0 else stop,
        "cache_latents": config.images.cached,
        "cache_latents_to_disk": False,
        "output_dir": str(run / "out"),
        "logging_dir": str(run / "curves") if config.logging.logging_dir is not None else None,
        # States are written tensor by tensor, from where the tensors lie.
        "save_state": False,
        "save_state_every_minutes": 0,
        "save_every_n_epochs": None,
        "save_every_n_steps": None,
        "sample_every_n_epochs": None,
        "sample_every_n_steps": None,
        "sample_prompts": _sample(config),
    }


def _sample(config: TrainingConfig) -> str | None:
    """The largest of the prompts as a line of its own; what it shows does not matter, every prompt is as long."""
    prompts, _ = parse_prompts(config.samples.sample_prompts)
    if not prompts:
        return None
    width, height = config.images.size

    def numbers(prompt: Prompt) -> int:
        return (prompt.width or width) * (prompt.height or height) * (2 if prompt.scale > 1 else 1)

    most = max(prompts, key=numbers)
    size = f"--w {most.width or width} --h {most.height or height}"
    return f"a picture {size} --s {DRAWN} --l {most.scale:g} --ss {most.sampler}"


def _largest_held(held_out: Sequence[Entry], images: ImageSection) -> tuple[Entry, ...]:
    listed = sizes_of(images)

    def pixels(entry: Entry) -> int:
        return _pixels(bucket_of(entry.picture.width, entry.picture.height, images, listed))

    return (max(held_out, key=pixels),) if held_out else ()


def _pixels_per_step(plan: Plan) -> float:
    return sum(_pixels(row.size) * row.uses for row in plan.buckets) / plan.steps_per_epoch


def _pixels(size: Size) -> int:
    return size[0] * size[1]
