"""What a save will be and how large, before it is written: the format, and the bytes of a model and of a state.

No torch.
"""

from trainer.contract.config import TrainingConfig
from trainer.contract.optimizers import state_bytes as optimizer_bytes
from trainer.contract.saves import SaveFormat, SaveSection
from trainer.model.facts import ModelFacts

BYTES = {"float": 4, "fp16": 2, "bf16": 2, None: 4}

TABLE_BYTES = {"safetensors": 130, "ckpt": 315, "diffusers_safetensors": 130, "diffusers": 315}
"""About what names and places take for each tensor."""

BESIDE_BYTES = 1_400_000
"""What lies in a Diffusers folder beside the weights, nearly all of it the tokenizer."""

USUAL_VAE = 83_653_863
"""Numbers in the VAE of all 1.x and 2.x models, for a file that has none and is given one."""


def source_form(facts: ModelFacts) -> SaveFormat:
    """The kind of the model that training started from."""
    if facts.format == "diffusers":
        return "diffusers_safetensors" if any((facts.path / "unet").glob("*.safetensors")) else "diffusers"
    return facts.format


def form_of(saves: SaveSection, source: SaveFormat) -> SaveFormat:
    """What to write: as chosen, else the kind that training started from, as .safetensors where that is asked for."""
    if saves.save_model_as is not None:
        return saves.save_model_as
    if not saves.use_safetensors:
        return source
    return {"ckpt": "safetensors", "diffusers": "diffusers_safetensors"}.get(source, source)  # type: ignore[return-value]


def saved_bytes(facts: ModelFacts, saves: SaveSection) -> int:
    """About how many bytes one saved model takes in the form and precision it will have; within one in a hundred."""
    form = form_of(saves, source_form(facts))
    each, counts = BYTES[saves.save_precision], facts.parameters
    numbers = counts["unet"] + counts["text_encoder"] + (counts.get("vae") or USUAL_VAE)
    tables = facts.tensor_count * TABLE_BYTES[form]
    to_file = form in ("safetensors", "ckpt")
    if facts.family == "v2" and to_file != (facts.form == "file"):
        numbers += _unused_text(facts.text_width) * (1 if to_file else -1)
    if not to_file:
        return numbers * each + tables + BESIDE_BYTES
    if saves.save_ema_keys:
        numbers += counts["unet"]
    return numbers * each + counts.get("other", 0) * 4 + tables


def state_bytes(facts: ModelFacts, config: TrainingConfig) -> int:
    """About how many bytes a state takes: trained weights and their average in fp32, and what the optimizer keeps.

    The most that it takes: behind the step at which the text encoder stops, that one's moments are left out.
    """
    asked, counts = config.networks, facts.parameters
    stop = asked.stop_text_encoder_training
    weights = 0 if asked.encoderonly else counts["unet"]
    weights += 0 if asked.unetonly or (stop is not None and stop <= 0) else counts["text_encoder"]
    each = 4 + (4 if asked.use_ema else 0) + optimizer_bytes(config.rate.optimizer, config.rate.arguments)
    return round(weights * each)


def _unused_text(width: int) -> int:
    """Numbers of a 2.x text encoder that only single files hold: the last layer and the projection.

    A layer of width w has 4 w^2 in its attention, 8 w^2 in its two further matrices, and 13 w in biases and norms.
    """
    return 13 * width**2 + 13 * width
