"""Puts a run together: from a job that passed the gates to the parts that the loop works with.

The order keeps peak memory low: latents are cached and the VAE is sent away before the U-Net comes to the device.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from trainer.contract.config import NetworkSection, TrainingConfig
from trainer.contract.events import EventReader, Phase, Saved
from trainer.contract.optimizers import OPTIMIZERS
from trainer.contract.prompts import parse_prompts
from trainer.dataset.batches import Batches
from trainer.dataset.plan import Plan
from trainer.model.load import Networks
from trainer.training.board import Board, NoBoard, open_board
from trainer.training.denoiser import Denoiser
from trainer.training.ema import AsUsed, Average
from trainer.training.engine import Engine
from trainer.training.feed import BatchMaker, Feed, Share, worker_count
from trainer.training.gates import Checked
from trainer.training.keeper import Keeper
from trainer.training.latent_store import open_store
from trainer.training.latents import Encoder, FreshLatents, LatentSource, Seen, cache_latents
from trainer.training.learner import Aim, Learner
from trainer.training.ledger import EpochLoss, Ledger
from trainer.training.loop import Asked, Training
from trainer.training.objective import Objective
from trainer.training.optimizer import evaluated, make_optimizer
from trainer.training.origin import training_record
from trainer.training.outcome import Stopped
from trainer.training.painter import drawing_of
from trainer.training.resuming import Data, Start
from trainer.training.sampling import Sampler
from trainer.training.saving import Saver
from trainer.training.shelf import Shelf, still_there
from trainer.training.state import StateRecord, Tensors, clear_leftovers, read_tensors
from trainer.training.surroundings import Surroundings
from trainer.training.suspects import suspect_options
from trainer.training.text import Reader
from trainer.training.trained import (
    choose_trained,
    doubt_prediction,
    load,
    put_back_optimizer,
    put_back_weights,
    settle_in,
    trains_text_encoder,
)
from trainer.training.validation import Validator, make_held


def assemble(config: TrainingConfig, checked: Checked, around: Surroundings) -> Training:
    """Load, cache and wire everything. Raises `Refused` where model or state turn out unfit, and `Stopped`."""
    plan, start, engine = checked.report.plan, checked.start, around.engine
    assert plan is not None
    networks, ema, digest = load(config, start, around)
    tensors = read_tensors(start.folder) if start.folder is not None else None
    trained = choose_trained(config, networks, start.step)
    if tensors is not None:
        put_back_weights(trained, tensors)

    batches = Batches(checked.report.trained, config.images, config.length.train_batch_size, around.seed)
    encoder = Encoder(networks.vae, engine, around.warn)
    held_out = checked.report.held_out if engine.main else ()
    held = make_held(held_out, config.images, config.loss.mask_source, encoder)
    source = latent_source(config, batches, checked, encoder, around)
    settle_in(config, checked, networks, around)
    if start.step == 0 and engine.main:
        doubt_prediction(networks, around.events)
    both = {"unet": networks.unet, "text_encoder": networks.text_encoder}
    optimizer = make_optimizer(both, config.rate.optimizer, config.rate.arguments)
    average = make_average(config.networks, engine, trained, ema, tensors, start)
    as_used = average.in_place if average is not None else partial(evaluated, optimizer)
    denoiser = Denoiser(networks.unet, networks.text_encoder, config.networks.clip_skip)
    objective = Objective(networks.prediction, config.loss, engine.device)
    aim = Aim(objective, config.length.prior_loss_weight, around.seed, config.rate.max_grad_norm)
    words = config.captions
    reader = Reader(networks.tokenizer, words.no_token_padding, words.token_limit, words.weighted_captions)
    learner = Learner(denoiser, optimizer, engine, source, reader, aim)
    if tensors is not None:
        put_back_optimizer(optimizer, engine, tensors)

    share = Share(config.length.gradient_accumulation_steps, engine.processes, engine.rank)
    board = find_board(config, start, engine)
    shelf = Shelf(config.saves, around.events, told_before(around))
    saver = Saver(networks, config, average, as_used, shelf, engine)
    digests = {"dataset": checked.data.images, "base": digest}
    saver.describe(training_record(config, checked.report.trained, plan, around.seed, networks.facts, digests))
    record = record_of(config, around, checked.data, digest, share, str(board.folder) if board.folder else None)
    averaged = average is not None or OPTIMIZERS[config.rate.optimizer].averages
    at_once = config.length.train_batch_size
    return Training(
        asked=asked_of(config, start.step),
        plan=plan,
        first_step=start.step,
        feed=make_feed(config, batches, share, plan, around.seed),
        learner=learner,
        ledger=make_ledger(start, board, around),
        average=average,
        sampler=make_sampler(config, networks, as_used, around),
        validator=Validator(held, denoiser, objective, reader, as_used, averaged, engine, board, at_once),
        saver=saver,
        keeper=Keeper(record, trained, average, optimizer, plan.steps_per_epoch, shelf, engine),
        shelf=shelf,
        events=around.events,
        wishes=around.wishes,
        run=around.run,
    )


def make_feed(config: TrainingConfig, batches: Batches, share: Share, plan: Plan, seed: int) -> Feed:
    """What each step learns from."""
    cached, masks = config.images.cached, config.loss.mask_source
    maker = BatchMaker(config.images, config.captions, seed, with_pixels=not cached, masks=masks)
    feed = Feed(batches, maker, share, worker_count(config.hardware.max_data_loader_n_workers, cached))
    assert feed.steps_per_epoch == plan.steps_per_epoch, "plan and loop count the same"
    return feed


def find_board(config: TrainingConfig, start: Start, engine: Engine) -> Board:
    """Where the curves go: in the main process on from where the state's run wrote them."""
    if not engine.main:
        return NoBoard()
    before = start.record.board if start.record is not None else None
    return open_board(config.logging, start.step, Path(before) if before else None)


def make_ledger(start: Start, board: Board, around: Surroundings) -> Ledger:
    """The book of the run, with the mean loss of an epoch that is under way."""
    ledger = Ledger(around.events, board, around.engine)
    if start.record is not None:
        ledger.epoch_loss = EpochLoss(*start.record.epoch_loss)
    return ledger


def make_average(
    asked: NetworkSection,
    engine: Engine,
    trained: Mapping[str, Tensor],
    ema: Mapping[str, Tensor] | None,
    tensors: Tensors | None,
    start: Start,
) -> Average | None:
    """The average, where one is asked for: as the state left it, else from the file's own, else from the weights."""
    if not asked.use_ema or not engine.main:
        return None
    device = engine.device if asked.ema_device == "same" else "cpu"
    if tensors is not None and tensors.average is not None and start.record is not None:
        updates = start.record.average_updates or 0
        return Average(trained, tensors.average, updates, asked.ema_decay, device)
    begins = {f"unet.{name}": value for name, value in (ema or {}).items()}
    return Average(trained, begins, decay=asked.ema_decay, device=device)


def latent_source(
    config: TrainingConfig, batches: Batches, checked: Checked, encoder: Encoder, around: Surroundings
) -> LatentSource:
    """Cached latents, or the VAE that encodes on the fly."""
    events, engine = around.events, around.engine

    def tell(done: int, total: int) -> None:
        events.write(Phase(name="caching", done=done, total=total, unit="images"))

    def pause() -> None:
        if engine.any(around.wishes.wants_end()):
            raise Stopped

    if not config.images.cached:
        return FreshLatents(encoder, engine, around.seed)
    entries = [(entry, batches.bucket_of(place)) for place, entry in enumerate(checked.report.trained)]
    store = None
    if config.images.cache_latents_to_disk:
        pictures = {entry.picture.path: entry.picture for entry, _ in entries}
        precision = config.hardware.mixed_precision
        store = engine.from_main(lambda: open_store(list(pictures.values()), encoder.vae, precision))
    return cache_latents(entries, config.images, encoder, engine, around.seed, Seen(tell, pause, around.warn, store))


def asked_of(config: TrainingConfig, first_step: int) -> Asked:
    """What the loop itself acts on."""
    stops = trains_text_encoder(config, first_step)
    return Asked(
        rate=config.rate,
        saves=config.saves,
        validation=config.validation,
        text_encoder_stops_at=config.networks.stop_text_encoder_training if stops else None,
        averaged=config.networks.use_ema,
        suspects=tuple(suspect_options(config)),
    )


def make_sampler(config: TrainingConfig, networks: Networks, as_used: AsUsed, around: Surroundings) -> Sampler:
    """The sampler of the job's prompts; one without prompts draws nothing."""
    prompts, _ = parse_prompts(config.samples.sample_prompts)
    drawing = drawing_of(config, around.seed, networks.prediction)
    return Sampler(networks, as_used, prompts, drawing, around.engine)


def told_before(around: Surroundings) -> list[Saved]:
    """What an earlier process of the same run folder has told to have written; what it wrote half is deleted."""
    if not around.engine.main:
        return []
    clear_leftovers(around.run / "state")
    return still_there(EventReader(around.run / "events.jsonl").read())


def record_of(
    config: TrainingConfig, around: Surroundings, data: Data, model: str, share: Share, board: str | None
) -> StateRecord:
    """What stays the same in all states of a run."""
    return StateRecord(
        step=0,
        epoch=0,
        position=0,
        seed=around.seed,
        data=data.images,
        masks=data.masks,
        model=model,
        batches_per_step=share.gathered * share.processes,
        average_updates=None,
        epoch_loss=(0.0, 0),
        options=config.flat(),
        board=board,
    )
