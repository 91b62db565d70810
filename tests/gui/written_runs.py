"""Run folders as a trainer leaves them: written by the real EventWriter, with curves that look like training.

Only the learning is missing: job.json, events, samples, log and the endings are what the page reads in earnest.
"""

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from trainer.contract.config import RateSection, TrainingConfig
from trainer.contract.events import (
    Event,
    EventWriter,
    Finished,
    Phase,
    Planned,
    Sampled,
    Saved,
    Started,
    Stepped,
    Warned,
)
from trainer.contract.identity import write_identity
from trainer.contract.job import Job
from trainer.contract.records import write_record
from trainer.contract.schedule import curve, rate_at
from trainer.runs.ending import record_exit
from trainer.runs.folder import RunFolder, new_run

PROMPTS = ("a harbour at dawn, sks print", "hills after rain, sks print")
OPTIONS = {
    "train_data_dir": "/data/prints",
    "pretrained_model_name_or_path": "/models/sd15-base.safetensors",
    "fine_tuning": True,
    "dataset_repeats": 10,
    "train_batch_size": 4,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 160,
    "max_train_steps": 3200,
    "sample_prompts": "\n".join(PROMPTS),
    "output_name": "harbour-print",
    "output_dir": "/models/trained",
}


@dataclass(frozen=True)
class Course:
    """How a run went: so many of `total` steps of `seconds` each, the last one done at `until`."""

    steps: int = 1240
    total: int = 3200
    epoch_steps: int = 320
    seconds: float = 0.77
    until: float | None = None
    sample_every: int = 320
    save_every: int = 960
    with_states: bool = True
    vram: bool = True

    @property
    def begun(self) -> float:
        """When step 0 was."""
        return (self.until or time.time()) - self.steps * self.seconds


def events_of(course: Course, folder: Path) -> Iterator[Event]:
    """Everything a trainer would have told by now."""
    rate = RateSection(learning_rate=2e-6, lr_scheduler="cosine", lr_warmup_steps=160)
    dice = random.Random(7)
    at = course.begun
    memory = {"vram_total_gib": 7.99} if course.vram else {}
    yield Started(time=at - 40, pid=1, version="1", device="NVIDIA RTX 3070", seed=42, ram_total_gib=15.6, **memory)
    yield Phase(time=at - 39, name="loading")
    saves = [*range(course.save_every, course.total, course.save_every), course.total]
    yield Planned(
        time=at - 20,
        images=128,
        reg_images=0,
        batch_size=4,
        steps_per_epoch=course.epoch_steps,
        epochs=math.ceil(course.total / course.epoch_steps),
        total_steps=course.total,
        save_steps=saves,
        learning_rates=curve(rate, course.total),
    )
    yield from _samples(course, 0, at - 5)
    for step in range(1, course.steps + 1):
        done = step / course.total
        yield Stepped(
            time=at + step * course.seconds,
            step=step,
            epoch=math.ceil(step / course.epoch_steps),
            loss=max(0.02, 0.105 + 0.042 * math.exp(-2.5 * done) + dice.gauss(0, 0.024)),
            learning_rate={"unet": rate_at(rate, step - 1, course.total)},
            grad_norm=0.5 + 0.4 * math.exp(-3 * done) + abs(dice.gauss(0, 0.08)),
            images_per_second=4 / course.seconds,
            vram_gib=5.2 if course.vram else None,
            ram_gib=5.7,
        )
        moment = at + step * course.seconds + 0.1
        if step in saves:
            model = folder / f"epoch-{step // course.epoch_steps:06d}.safetensors"
            model.write_bytes(b"model")
            yield Saved(
                time=moment,
                kind="model",
                step=step,
                epoch=step // course.epoch_steps,
                path=str(model),
                size_bytes=2_032_000_000,
            )
            if course.with_states:
                state = folder / "state" / f"step-{step:08d}"
                state.mkdir(parents=True, exist_ok=True)
                yield Saved(
                    time=moment,
                    kind="state",
                    step=step,
                    epoch=step // course.epoch_steps,
                    path=str(state),
                    size_bytes=5_900_000_000,
                )
        if course.sample_every and step % course.sample_every == 0:
            yield from _samples(course, step, moment)
    if course.steps > 100:
        yield Warned(
            time=at + 90,
            code="profile",
            message="attic_05.jpg has a broken colour profile. It was read without it.",
            step=88,
        )


def _samples(course: Course, step: int, at: float) -> Iterator[Event]:
    for index, prompt in enumerate(PROMPTS if course.sample_every else ()):
        yield Sampled(
            time=at, step=step, index=index, prompt=prompt, seed=1234, path=f"samples/step-{step:08d}-{index}.png"
        )


def write_run(
    runs: Path, course: Course | None = None, *, name: str = "harbour-print", pid: int | None = None, **options: object
) -> RunFolder:
    """A run folder with all its files. The process `pid` stands for the trainer; without one it is gone."""
    course = course or Course()
    config = TrainingConfig.from_flat(OPTIONS | {"output_name": None, "max_train_steps": course.total} | options)
    run = new_run(runs, Job(name, config))
    run.samples.mkdir()
    writer = EventWriter(run.events_file)
    lines = []
    for event in events_of(course, run.path):
        writer.write(event)
        if isinstance(event, Sampled):
            _draw(run.path / event.path, event.step / course.total, event.index)
        if isinstance(event, Stepped) and event.step % 20 == 0:
            stamp = time.strftime("%H:%M:%S", time.localtime(event.time))
            lines.append(f"{stamp} step {event.step:,}, loss {event.loss:.3f}, 5.2 images/s, 5.6 GB")
    writer.close()
    run.log_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # A run that launched itself, as one from a terminal: no runner has to look after it.
    for file in (run.launch_file, run.process_file):
        if pid is not None:
            write_identity(file, pid)
        else:
            write_record(file, {"pid": 1, "create_time": 0.0, "boot_id": "an earlier one"})
    return run


def end(run: RunFolder, result: str, step: int, message: str = "", at: float | None = None, code: int = 0) -> None:
    """Let a run end: its last event, then exit.json."""
    writer = EventWriter(run.events_file)
    writer.write(Finished(result=result, step=step, message=message, **({"time": at} if at else {})))
    writer.close()
    record_exit(run, code, result, message)


def _draw(path: Path, done: float, index: int) -> None:
    """A little picture that gets sharper: something to look at in the strip."""
    image = Image.new("RGB", (256, 256), (240, 222, 190) if index == 0 else (214, 226, 234))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 150, 256, 256), fill=(60, 100, 120) if index == 0 else (90, 130, 130))
    size = 20 + int(30 * done)
    pen.ellipse((150, 40, 150 + size, 40 + size), fill=(180, 70, 50))
    small = max(8, int(256 * min(1.0, done + 0.08)))
    image.resize((small, small)).resize((256, 256)).save(path)
