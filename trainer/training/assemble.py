"""Puts a run together: from a job that passed the gates to the parts that the loop works with.

The order keeps peak memory low: latents are cached and the VAE is sent away before the U-Net comes to the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.contract.config import TrainingConfig
from trainer.contract.events import EventReader, Phase, Saved, Warned
from trainer.contract.prompts import parse_prompts
from trainer.dataset.batches import Batches
from trainer.model.architecture import published
from trainer.model.attention import set_attention
from trainer.model.load import Networks, load_ema, load_networks
from trainer.model.probe import probe_prediction
from trainer.model.refusals import UnusableModel
from trainer.training.board import NoBoard, open_board
from trainer.training.denoiser import Denoiser
from trainer.training.ema import Average
from trainer.training.engine import Engine
from trainer.training.feed import BatchMaker, Feed, Share, worker_count
from trainer.training.gates import Checked
from trainer.training.keeper import Keeper
from trainer.training.latent_store import open_store
from trainer.training.latents import Encoder, FreshLatents, LatentSource, Seen, cache_latents
from trainer.training.learner import Aim, Learner
from trainer.training.ledger import EpochLoss, Ledger, Writer
from trainer.training.loop import Asked, Training
from trainer.training.objective import Objective
from trainer.training.optimizer import make_optimizer
from trainer.training.outcome import Refused, Stopped
from trainer.training.painter import drawing_of
from trainer.training.resuming import Start, model_digest, other_model
from trainer.training.sampling import Sampler
from trainer.training.saving import Saver
from trainer.training.shelf import Shelf, still_there
from trainer.training.state import StateRecord, Tensors, clear_leftovers, read_tensors
from trainer.training.suspects import suspect_options
from trainer.training.text import Reader, freeze_unread_layers
from trainer.training.validation import Validator, make_held
from trainer.training.wishes import Wishes

ZERO_TERMINAL_SNR = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}

SMALL = 20_000_000
"""Weights of a U-Net below which a second thread is a loss: the demo's (2 million) learns 8.9 images/s with two threads
and 18.9 with one, on two cores of an AMD EPYC (2026-11-27)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a run takes place and whom it talks to."""

    engine: Engine
    events: Writer
    wishes: Wishes
    run: Path
    seed: int

    def warn(self, code: str, message: str) -> None:
        """Tell something to look at."""
        self.events.write(Warned(code=code, message=message))


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
    held = make_held(checked.report.held_out, config.images, encoder) if engine.main else []
    source = latent_source(config, batches, checked, encoder, around)
    settle_in(config, checked, networks, around)
    if start.step == 0 and engine.main:
        doubt_prediction(networks, around.events)
    denoiser = Denoiser(networks.unet, networks.text_encoder, config.networks.clip_skip)
    both = {"unet": networks.unet, "text_encoder": networks.text_encoder}
    optimizer = make_optimizer(both, config.rate.optimizer, config.rate.arguments)
    average = make_average(trained, ema, tensors, start) if config.networks.use_ema and engine.main else None
    objective = Objective(networks.prediction, config.loss, engine.device)
    aim = Aim(objective, config.length.prior_loss_weight, around.seed, config.rate.max_grad_norm)
    words = config.captions
    reader = Reader(networks.tokenizer, words.no_token_padding, words.token_limit, words.weighted_captions)
    learner = Learner(denoiser, optimizer, engine, source, reader, aim)
    if tensors is not None:
        put_back_optimizer(optimizer, engine, tensors)

    share = Share(config.length.gradient_accumulation_steps, engine.processes, engine.rank)
    cached = config.images.cached
    masks = config.loss.mask_source
    maker = BatchMaker(config.images, config.captions, around.seed, with_pixels=not cached, masks=masks)
    feed = Feed(batches, maker, share, worker_count(config.hardware.max_data_loader_n_workers, cached))
    assert feed.steps_per_epoch == plan.steps_per_epoch, "plan and loop count the same"
    before = start.record.board if start.record is not None else None
    board = open_board(config.logging, start.step, Path(before) if before else None) if engine.main else NoBoard()
    ledger = Ledger(around.events, board, engine)
    if start.record is not None:
        ledger.epoch_loss = EpochLoss(*start.record.epoch_loss)
    shelf = Shelf(config.saves, around.events, told_before(around))
    saver = Saver(networks, config, average, shelf, engine)
    saver.describe(plan, around.seed)
    record = record_of(config, around, checked.data, digest, share, str(board.folder) if board.folder else None)
    return Training(
        asked=asked_of(config, start.step),
        plan=plan,
        first_step=start.step,
        feed=feed,
        learner=learner,
        ledger=ledger,
        average=average,
        sampler=make_sampler(config, networks, average, around),
        validator=Validator(held, denoiser, objective, reader, average, engine, board, config.length.train_batch_size),
        saver=saver,
        keeper=Keeper(record, trained, average, optimizer, plan.steps_per_epoch, shelf, engine),
        shelf=shelf,
        events=around.events,
        wishes=around.wishes,
        run=around.run,
    )


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
    """One thread for networks as small as the demo's, on a processor: more would wait for one another at each layer."""
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


def make_average(
    trained: Mapping[str, Tensor], ema: Mapping[str, Tensor] | None, tensors: Tensors | None, start: Start
) -> Average:
    """The average: as the state left it, else from the file's own, else from the weights."""
    if tensors is not None and tensors.average is not None and start.record is not None:
        return Average(trained, tensors.average, start.record.average_updates or 0)
    return Average(trained, {f"unet.{name}": value for name, value in (ema or {}).items()})


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


def asked_of(config: TrainingConfig, first_step: int) -> Asked:
    """What the loop itself acts on."""
    stops = trains_text_encoder(config, first_step)
    return Asked(
        rate=config.rate,
        saves=config.saves,
        samples=config.samples,
        validation=config.validation,
        text_encoder_stops_at=config.networks.stop_text_encoder_training if stops else None,
        averaged=config.networks.use_ema,
        suspects=tuple(suspect_options(config)),
    )


def make_sampler(config: TrainingConfig, networks: Networks, average: Average | None, around: Surroundings) -> Sampler:
    """The sampler of the job's prompts; one without prompts draws nothing."""
    prompts, _ = parse_prompts(config.samples.sample_prompts)
    drawing = drawing_of(config, around.seed, networks.prediction)
    return Sampler(networks, average, prompts, drawing, around.engine)


def told_before(around: Surroundings) -> list[Saved]:
    """What an earlier process of the same run folder has told to have written; what it wrote half is deleted."""
    if not around.engine.main:
        return []
    clear_leftovers(around.run / "state")
    return still_there(EventReader(around.run / "events.jsonl").read())


def record_of(
    config: TrainingConfig, around: Surroundings, data: str, model: str, share: Share, board: str | None
) -> StateRecord:
    """What stays the same in all states of a run."""
    return StateRecord(
        step=0,
        epoch=0,
        position=0,
        seed=around.seed,
        data=data,
        model=model,
        batches_per_step=share.gathered * share.processes,
        average_updates=None,
        epoch_loss=(0.0, 0),
        options=config.flat(),
        board=board,
    )
