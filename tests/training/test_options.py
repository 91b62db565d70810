"""Each option acts, and acts on what it names alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from tests.training.conftest import Train, draw_pictures, of, run_to_the_end
from trainer.contract.events import Event, Planned, Stepped, Warned
from trainer.training import noise
from trainer.training.state import read_tensors


def losses(events: list[Event]) -> list[float]:
    """The loss of each step."""
    return [step.loss for step in of(Stepped, events)]


def saved(folder: Path, part: str) -> dict[str, torch.Tensor]:
    """One network of a saved Diffusers folder."""
    return load_file(next((folder / part).glob("*.safetensors")))


def moved(tmp_path: Path, tiny: Path, part: str, out: str = "out") -> bool:
    """Whether training changed a network."""
    before, after = saved(tiny, part), saved(tmp_path / out / "last", part)
    return any(not torch.equal(before[name].float(), after[name].float()) for name in before)


@pytest.mark.parametrize(
    ("option", "trained", "frozen"), [("unetonly", "unet", "text_encoder"), ("encoderonly", "text_encoder", "unet")]
)
def test_one_network_alone(option: str, trained: str, frozen: str, train: Train, tiny_v1: Path, tmp_path: Path) -> None:
    """One network learns, the other and the VAE stay as they were, without rates, moments or a place in the state."""
    events = train(**{option: True}, save_state=True)
    assert moved(tmp_path, tiny_v1, trained)
    assert not moved(tmp_path, tiny_v1, frozen) and not moved(tmp_path, tiny_v1, "vae")
    assert set(of(Stepped, events)[-1].learning_rate) == {trained}
    state = read_tensors(tmp_path / "out" / "last-state")
    assert {name.split(".")[0] for name in state.weights} == {trained}
    assert [group["name"] for group in state.optimizer["optimizer"]["param_groups"]] == [trained]


def test_both_halves_see_the_same_draws(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """`unetonly` and then `encoderonly` with one seed learn the same batches with the same noise and timesteps."""
    seen: dict[str, list[Any]] = {}
    name = ""
    for what in ("draw_normal", "draw_timesteps"):
        draw = getattr(noise, what)

        def watch(*args: Any, draw: Any = draw) -> torch.Tensor:
            drawn = draw(*args)
            seen.setdefault(name, []).append((args, drawn))
            return drawn

        monkeypatch.setattr(noise, what, watch)
    for name in ("unetonly", "encoderonly"):
        train(name, **{name: True}, max_train_steps=6)
    for (ours, drawn), (theirs, redrawn) in zip(seen["unetonly"], seen["encoderonly"], strict=True):
        assert ours == theirs
        assert torch.equal(drawn, redrawn)


def test_text_encoder_stops(train: Train, tmp_path: Path) -> None:
    """Trained in steps 0 to N - 1 and then frozen: at the end it is what it was after step N."""
    events = train("stopped", stop_text_encoder_training=2, max_train_steps=5)
    groups = [set(step.learning_rate) for step in of(Stepped, events)]
    assert groups == [{"unet", "text_encoder"}] * 2 + [{"unet"}] * 3
    train("short", stop_text_encoder_training=None, max_train_steps=2, output_dir=str(tmp_path / "short out"))
    then, end = saved(tmp_path / "short out" / "last", "text_encoder"), saved(tmp_path / "out" / "last", "text_encoder")
    assert all(torch.equal(then[name], end[name]) for name in then)


@pytest.mark.parametrize("never", [0, -1])
def test_text_encoder_that_stops_at_once_is_never_trained(
    never: int, train: Train, tiny_v1: Path, tmp_path: Path
) -> None:
    """0 and -1 train the U-Net alone."""
    events = train(stop_text_encoder_training=never)
    assert not moved(tmp_path, tiny_v1, "text_encoder")
    assert set(of(Stepped, events)[0].learning_rate) == {"unet"}


CHANGES: dict[str, dict[str, Any]] = {
    "clip_skip": {"clip_skip": 2},
    "no_token_padding": {"no_token_padding": True},
    "max_token_length": {"max_token_length": 150},
    "ucg": {"ucg": 1.0},
    "shuffle_caption": {"shuffle_caption": True},
    "flip_aug": {"flip_aug": True},
    "random_crop": {"cache_latents": False, "random_crop": True},
    "color_aug": {"cache_latents": False, "color_aug": True},
    "mixed_precision": {"mixed_precision": "bf16"},
    "v_parameterization": {"v_parameterization": True},
    "train_batch_size": {"train_batch_size": 1},
    "seed": {"seed": 8},
    "min_snr_gamma": {"min_snr_gamma": 5},
    "debiased_estimation_loss": {"debiased_estimation_loss": True},
    "noise_offset": {"noise_offset": 0.1},
    "noise_offset_random_strength": {"noise_offset": 0.1, "noise_offset_random_strength": True},
    "adaptive_noise_scale": {"noise_offset": 0.1, "adaptive_noise_scale": 0.1},
    "multires_noise_iterations": {"multires_noise_iterations": 4, "multires_noise_discount": 0.5},
    "ip_noise_gamma": {"ip_noise_gamma": 0.1, "ip_noise_gamma_random_strength": True},
    "timesteps": {"min_timestep": 200, "max_timestep": 600},
    "huber": {"loss_type": "huber", "huber_schedule": "exponential", "huber_c": 0.2, "huber_scale": 2},
}
"""Options that change what the first epoch's losses are."""


@pytest.fixture(scope="module")
def plain(lasting_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of four steps, an epoch, without any of the options."""
    home = tmp_path_factory.mktemp("plain")
    return losses(
        run_to_the_end(lasting_values | {"output_dir": str(home / "out"), "max_train_steps": 4}, home / "run")
    )


@pytest.mark.parametrize("option", CHANGES)
def test_option_changes_the_losses(option: str, train: Train, plain: list[float]) -> None:
    """Turned on, the option shows in what is learnt."""
    assert losses(train("changed", max_train_steps=4, **CHANGES[option])) != plain


def test_weighted_captions_act_on_brackets(train: Train, tmp_path: Path) -> None:
    """Brackets are words without the option, and weights with it; both differ from the same words without brackets."""
    found = set()
    for folder, weighted in (("2_sks dog", True), ("2_(sks:1.4) dog", True), ("2_(sks:1.4) dog", False)):
        images = tmp_path / f"images {len(found)}"
        draw_pictures(images / folder, [(64, 64)] * 2)
        name = f"run {len(found)}"
        found.add(tuple(losses(train(name, train_data_dir=str(images), weighted_captions=weighted, max_train_steps=1))))
    assert len(found) == 3


def test_options_of_v_models_act(train: Train, tmp_path: Path) -> None:
    """Both change what a v-model learns; a model for a zero terminal SNR says so in its scheduler."""
    v = {"v_parameterization": True, "max_train_steps": 4}
    plain = losses(train("plain", **v))
    assert losses(train("scaled", **v, scale_v_pred_loss_like_noise_pred=True)) != plain
    assert losses(train("zero", **v, zero_terminal_snr=True, output_dir=str(tmp_path / "zero out"))) != plain
    told = {
        out: json.loads((tmp_path / out / "last/scheduler/scheduler_config.json").read_text())
        for out in ("out", "zero out")
    }
    assert told["zero out"]["rescale_betas_zero_snr"] is True and told["zero out"]["timestep_spacing"] == "trailing"
    assert {config["prediction_type"] for config in told.values()} == {"v_prediction"}
    assert "rescale_betas_zero_snr" not in told["out"]
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "zero out" / "last", safety_checker=None)
    assert isinstance(pipeline.scheduler, DDIMScheduler) and float(pipeline.scheduler.alphas_cumprod[-1]) == 0
    v |= {"pretrained_model_name_or_path": str(tmp_path / "zero out" / "last"), "max_train_steps": 1}
    for zero in (True, False):
        codes = [event.code for event in of(Warned, train(f"again {zero}", **v, zero_terminal_snr=zero))]
        assert ("zero_terminal_snr" in codes) != zero


def test_range_of_timesteps_stands_in_the_metadata(train: Train, tmp_path: Path) -> None:
    """A model that learnt some timesteps only says which, as modelspec has it; other options of noise are named too."""
    train(save_model_as="safetensors", min_timestep=200, noise_offset=0.05, max_train_steps=1)
    with safe_open(tmp_path / "out" / "last.safetensors", "pt") as file:
        words = file.metadata()
    assert words["modelspec.timestep_range"] == "200,1000"
    options = json.loads(words["atelier.options"])
    assert options["noise_offset"] == 0.05 and options["min_snr_gamma"] == 0


def test_buckets_change_the_batches(train: Train) -> None:
    """With buckets images keep their shape, so that there are more batches than with one size for all."""
    wide = {"resolution": "128,64", "max_train_epochs": 1, "max_train_steps": None}
    one = train("one size", **wide)
    several = train("buckets", **wide, enable_bucket=True, min_bucket_reso=64, max_bucket_reso=128)
    assert of(Planned, one)[0].total_steps == len(of(Stepped, one)) == 4
    assert of(Planned, several)[0].total_steps == len(of(Stepped, several)) == 5
    assert losses(one) != losses(several)


SAME: dict[str, tuple[dict[str, Any], float]] = {
    "gradient_checkpointing": ({"gradient_checkpointing": True}, 1e-5),
    "mem_eff_attn": ({"mem_eff_attn": True}, 1e-5),
    "no sdpa": ({"sdpa": False}, 1e-5),
    "fresh latents": ({"cache_latents": False}, 1e-5),
    "workers": ({"max_data_loader_n_workers": 1}, 0),
    "use_ema": ({"use_ema": True, "ema_device": "same", "ema_decay": 0.99}, 0),
    "tensorboard": ({"logging_dir": "LOGS", "log_prefix": "a"}, 0),
    "save_state": ({"save_state": True, "save_every_n_epochs": 1}, 0),
    "epochs": ({"max_train_epochs": 1, "max_train_steps": None}, 0),
}
"""Options that must not change what is learnt, and how far rounding may go."""


@pytest.mark.parametrize("option", SAME)
def test_option_leaves_the_losses(option: str, train: Train, plain: list[float], tmp_path: Path) -> None:
    """Memory, speed and what is written are other things than what is learnt."""
    changes, off = SAME[option]
    changes = {name: str(tmp_path) if value == "LOGS" else value for name, value in changes.items()}
    assert losses(train("same", **{"max_train_steps": 4} | changes)) == pytest.approx(plain, rel=off, abs=0)


def test_prior_loss_weight_acts_on_regularization_images(train: Train, pictures: Path) -> None:
    """With weight 0 the loss is the part of the training images; with half the weight it lies halfway."""
    options = {"reg_data_dir": str(pictures / "reg"), "max_train_steps": 1, "train_batch_size": 16}
    full = losses(train("full", **options))[0]
    half = losses(train("half", **options, prior_loss_weight=0.5))[0]
    none = losses(train("none", **options, prior_loss_weight=0))[0]
    assert 0 < none < half < full
    assert half == pytest.approx((full + none) / 2, rel=1e-5)


def test_gathered_batches_are_one_large_batch(train: Train) -> None:
    """Eight batches of one are a batch of eight as far as loss and gradient go."""
    gathered = of(Stepped, train("gathered", train_batch_size=1, gradient_accumulation_steps=8))
    assert [step.epoch for step in gathered] == [1, 2, 3]
    large = of(Stepped, train("large", train_batch_size=8))
    for one, other in zip(gathered, large, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)


def test_gradients_are_clipped_unless_told_not_to(train: Train, tmp_path: Path) -> None:
    """The told norm is that before clipping; a limit changes the steps behind it, and 0 is no limit."""
    runs = {
        limit: of(Stepped, train(f"at {limit}", max_grad_norm=limit, max_train_steps=3)) for limit in (0, 1e5, 0.01)
    }
    assert runs[0][0].grad_norm == pytest.approx(runs[0.01][0].grad_norm, rel=1e-6)
    assert runs[0][0].grad_norm > 0.01
    assert [step.loss for step in runs[0]] == pytest.approx([step.loss for step in runs[1e5]], rel=1e-5)
    assert runs[0][2].loss != runs[0.01][2].loss


def test_learning_rate_follows_the_schedule(train: Train) -> None:
    """Each step tells the rate that it used, which the plan had promised."""
    events = train(lr_scheduler="linear", lr_warmup_steps=2, max_train_steps=6)
    used = [step.learning_rate["unet"] for step in of(Stepped, events)]
    assert used == pytest.approx([0, 5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert of(Planned, events)[0].learning_rates == pytest.approx([*used, 0])


def test_xformers_falls_back_and_says_so(train: Train, plain: list[float]) -> None:
    """Where xformers does not run, PyTorch's attention is used, and exactly one warning says it."""
    events = train("xformers", max_train_steps=4, xformers=True)
    assert losses(events) == plain
    assert [event.code for event in of(Warned, events)] == ["machine.xformers_missing"]


def test_other_vae_is_used_and_written(train: Train, tmp_path: Path, plain: list[float], tiny_v2: Path) -> None:
    """With `vae` the images are encoded by it, and it stands in the result."""
    assert losses(train("vae", vae=str(tiny_v2), max_train_steps=4)) != plain
    ours, theirs = saved(tmp_path / "out" / "last", "vae"), saved(tiny_v2, "vae")
    assert all(torch.equal(ours[name].float(), theirs[name].float()) for name in theirs)


@pytest.mark.parametrize("eight_bit", [{"use_8bit_adam": True}, {"optimizer_type": "AdamW8bit"}])
def test_eight_bit_moments_are_used(eight_bit: dict[str, Any], train: Train, tmp_path: Path) -> None:
    """By either name the state holds moments in 8 bits."""
    train(**eight_bit, save_state=True)
    moments = read_tensors(tmp_path / "out" / "last-state").optimizer["optimizer"]["state"]

    def dtypes(value: Any) -> set[torch.dtype]:
        inner = value.values() if isinstance(value, dict) else []
        return {value.dtype} if isinstance(value, torch.Tensor) else set().union(*map(dtypes, inner))

    assert torch.uint8 in dtypes(moments)
