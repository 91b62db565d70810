"""Every option of the contract, declared once.

A field here is the whole truth about an option: name, type, bounds, default, label and help. The flag, the box in
the form, the preset's schema and the row of docs/options.md are made from it. Names are the flags that users of
`train_db_fixed` and its descendants know; they are unique over all sections, so a preset is one flat JSON object.

Adding an option: one field with its `Shown(...)` and one sentence under it, and one line where it acts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from trainer.contract.loss import LossSection
from trainer.contract.options import Option, Shown, options_of
from trainer.contract.rate import RateSection
from trainer.contract.saves import SaveSection
from trainer.contract.section import Section
from trainer.contract.validation import ValidationSection

TokenLength = Literal["75", "150", "225"]

UCG_RATE = 0.06
"""What a bare `--ucg` means: the contract's "6 % chance of dropping the caption for an image"."""


def _resolution(value: Any) -> Any:
    """`512`, "512", "640,448" and "640 x 448" are all fine; the stored form is "W,H"."""
    if isinstance(value, str):
        text = value.lower().replace("x", ",").replace("×", ",").replace(" ", "")
        parts = text.split(",")
    elif isinstance(value, (list, tuple)):
        parts = [str(part) for part in value]
    else:
        parts = [str(value)]
    if len(parts) > 2 or not all(part.isdecimal() and part.isascii() for part in parts):
        raise ValueError("write one number such as 512, or width,height such as 640,448")
    sides = [int(part) for part in parts]
    if not all(64 <= side <= 4096 for side in sides):
        raise ValueError("each side must lie between 64 and 4096 pixels")
    return f"{sides[0]},{sides[-1]}"


def _face_range(value: Any) -> Any:
    """ "low,high", two numbers above zero: the target side as a multiple of the face."""
    if value is None:
        return None
    try:
        low, high = (float(part) for part in str(value).split(","))
    except ValueError:
        raise ValueError("write two numbers such as 2.0,4.0") from None
    if not 0 < low <= high:
        raise ValueError("write the smaller number first; both must be above 0")
    return f"{low:g},{high:g}"


def _as_text(value: Any) -> Any:
    """A choice among numbers may come as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _ucg(value: Any) -> Any:
    """`--ucg` is a switch in the contract; `true` is its 6 %, a number is the rate itself."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    if isinstance(value, bool):
        return UCG_RATE if value else 0.0
    return value


class ModelSection(Section):
    """The checkpoint that training starts from."""

    title: ClassVar[str] = "Model"

    pretrained_model_name_or_path: Annotated[str | None, Shown("Model", basic=True, look="model")] = None
    """A .safetensors or .ckpt file, a Diffusers folder, or a hub name, downloaded only when you type one."""

    v2: Annotated[bool, Shown("Model is 2.x", basic=True)] = False
    """The model is a Stable Diffusion 2.x. It is also read from the file; a contradiction is named before the start."""

    v_parameterization: Annotated[bool, Shown("Predicts v", basic=True)] = False
    """The model predicts v and not the noise, as the 768-pixel models of 2.x do."""

    vae: Annotated[str | None, Shown("Another VAE", look="file")] = None
    """Encode images with this VAE, and write it into the result, in place of the one in the model."""


class DataSection(Section):
    """Folders of images and how captions are found beside them."""

    title: ClassVar[str] = "Folders"

    train_data_dir: Annotated[Path | None, Shown("Images", basic=True, look="folder")] = None
    """The folder above the numbered folders (10_sks star), or the folder of captioned images."""

    reg_data_dir: Annotated[Path | None, Shown("Regularization images", look="folder")] = None
    """The folder above numbered folders with ordinary pictures of the class, which keep it from being forgotten."""

    fine_tuning: Annotated[bool, Shown("One folder with captions", basic=True)] = False
    """Every image has its own caption file in one folder; without this, folder names say repeats and caption."""

    dataset_repeats: Annotated[int, Field(ge=1, le=100_000), Shown("Repeats")] = 1
    """How often each image is used in an epoch, for a folder with captions. Numbered folders carry their own number."""

    caption_extension: Annotated[str, Shown("Caption files end in", basic=True)] = ".caption"
    """The ending of caption files; many tools write .txt."""

    skip_bad_images: Annotated[bool, Shown("Leave out damaged images")] = False
    """Train without the images that cannot be decoded, and name them; without this they are to be mended first."""

    @field_validator("caption_extension")
    @classmethod
    def _dotted(cls, value: str) -> str:
        value = value.strip()
        if "/" in value or "\\" in value:
            raise ValueError("write only the ending, such as .txt")
        return value if value.startswith(".") else f".{value}"


class CaptionSection(Section):
    """What happens to a caption each time it is used."""

    title: ClassVar[str] = "Captions"

    shuffle_caption: Annotated[bool, Shown("Shuffle tags")] = False
    """Put the comma-separated parts of a caption into a new order each time it is used."""

    keep_tokens: Annotated[int, Field(ge=0, le=255), Shown("Tags that keep their place", unit="tags")] = 0
    """So many comma-separated parts at the front stay where they are when tags are shuffled: the word you teach."""

    caption_dropout_rate: Annotated[float, Field(ge=0, le=1), Shown("Drop captions")] = 0.0
    """The share of uses in which the caption is left out. With UCG as well, either of the two leaves it out."""

    caption_dropout_every_n_epochs: Annotated[int, Field(ge=0), Shown("Drop captions every", unit="epochs")] = 0
    """In every epoch whose number is a multiple of this all captions are left out; 0: in none."""

    caption_tag_dropout_rate: Annotated[float, Field(ge=0, le=1), Shown("Drop tags")] = 0.0
    """The share of the comma-separated parts that are left out each time; those that keep their place always stay."""

    ucg: Annotated[float, BeforeValidator(_ucg), Field(ge=0, le=1), Shown("Drop captions (UCG)", bare=UCG_RATE)] = 0.0
    """The share of uses in which the caption is left out, so that the model also learns without one; 0.06 is usual."""

    max_token_length: Annotated[TokenLength, BeforeValidator(_as_text), Shown("Tokens read", unit="tokens")] = "75"
    """How much of a caption is read. More than 75 takes two or three windows of the text encoder, and more memory."""

    weighted_captions: Annotated[bool, Shown("Weighted words")] = False
    """Read (word:1.3), (word) and [word] in captions and prompts as web UIs do: more or less of what they hold."""

    no_token_padding: Annotated[bool, Shown("Do not pad captions")] = False
    """Pad captions only to the longest of their batch. Most models were trained with full padding: leave it off."""

    @property
    def token_limit(self) -> int:
        """How many tokens of a caption are read, start and end not counted."""
        return int(self.max_token_length)


class ImageSection(Section):
    """From an image on disk to the pixels that are learnt."""

    title: ClassVar[str] = "Images"

    resolution: Annotated[str, BeforeValidator(_resolution), Shown("Resolution", basic=True)] = "512,512"
    """The size the model is at home at: one number, or width,height."""

    enable_bucket: Annotated[bool, Shown("Use buckets", basic=True)] = False
    """Keep each image's shape and train similar shapes together, instead of cutting all to one shape."""

    min_bucket_reso: Annotated[int, Field(ge=64, le=4096), Shown("Shortest bucket side", unit="pixels")] = 256
    """No bucket has a side shorter than this."""

    max_bucket_reso: Annotated[int, Field(ge=64, le=4096), Shown("Longest bucket side", unit="pixels")] = 1024
    """No bucket has a side longer than this."""

    bucket_reso_steps: Annotated[int, Field(ge=64, le=1024), Shown("Bucket sides in steps of", unit="pixels")] = 64
    """Sides of buckets are multiples of this, which is a multiple of 64. Larger steps make fewer, fuller buckets."""

    bucket_no_upscale: Annotated[bool, Shown("Never enlarge")] = False
    """Images smaller than the resolution keep their size and get a bucket of it; larger ones are made smaller."""

    cache_latents: Annotated[bool, Shown("Cache latents", basic=True)] = False
    """Encode every image once before the first step. Faster, and the VAE leaves the card."""

    cache_latents_to_disk: Annotated[bool, Shown("Keep cached latents on disk")] = False
    """Cache latents, and keep them in the studio's own folder: a later run encodes only what has changed."""

    flip_aug: Annotated[bool, Shown("Flip at random", basic=True)] = False
    """Mirror half of the images each time. Not for text, faces with a parting, or left-handed things."""

    color_aug: Annotated[bool, Shown("Vary colours a little")] = False
    """Small changes of hue, saturation and gamma, in about a third of the uses."""

    random_crop: Annotated[bool, Shown("Random crop")] = False
    """Cut a different part each time where the image does not fit its shape; without it, the middle."""

    face_crop_aug_range: Annotated[str | None, BeforeValidator(_face_range), Shown("Crop around the face")] = None
    """Two numbers such as 2.0,4.0: the picture's side in face sizes. `python -m trainer faces FOLDER` finds them."""

    debug_dataset: Annotated[bool, Shown("Only show the batches")] = False
    """Train nothing: write a contact sheet and a list of the first batches into the run folder, and end."""

    @field_validator("bucket_reso_steps")
    @classmethod
    def _on_the_grid(cls, value: int) -> int:
        if value % 64:
            raise ValueError("write a multiple of 64, such as 64 or 128")
        return value

    @property
    def cached(self) -> bool:
        """Whether latents are cached, in memory alone or on disk as well."""
        return self.cache_latents or self.cache_latents_to_disk

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of `resolution`, in pixels."""
        width, height = (int(side) for side in self.resolution.split(","))
        return width, height

    @property
    def face_range(self) -> tuple[float, float] | None:
        """`face_crop_aug_range` as numbers."""
        if self.face_crop_aug_range is None:
            return None
        low, high = (float(part) for part in self.face_crop_aug_range.split(","))
        return low, high


class LengthSection(Section):
    """How long training goes on and what one step is."""

    title: ClassVar[str] = "Length and batches"

    max_train_epochs: Annotated[int | None, Field(ge=1, le=1_000_000), Shown("Epochs", basic=True)] = None
    """One epoch shows every image as often as its repeats. Give this or the steps."""

    max_train_steps: Annotated[int | None, Field(ge=1, le=100_000_000), Shown("Steps", basic=True)] = 1600
    """How many times the weights are changed in all. Give this or the epochs."""

    train_batch_size: Annotated[int, Field(ge=1, le=1024), Shown("Batch size", basic=True)] = 1
    """Images learnt together in one step, on each card."""

    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1024), Shown("Batches gathered for a step")] = 1
    """Add up the gradients of this many batches before each step: a larger batch in the same memory."""

    prior_loss_weight: Annotated[float, Field(ge=0, le=100), Shown("Weight of regularization images")] = 1.0
    """How much regularization images count beside the others."""

    seed: Annotated[int | None, Field(ge=0, le=2**32 - 1), Shown("Seed")] = None
    """The same seed on the same machine gives the same run. Without one, a new one is drawn and noted in the run."""


class NetworkSection(Section):
    """Which networks are trained, and how the text encoder is read."""

    title: ClassVar[str] = "What is trained"

    unetonly: Annotated[bool, Shown("Train only the U-Net")] = False
    """Leave the text encoder as it is: less memory, and words keep their meaning."""

    encoderonly: Annotated[bool, Shown("Train only the text encoder")] = False
    """Leave the U-Net as it is and teach only the words."""

    stop_text_encoder_training: Annotated[int | None, Field(ge=-1), Shown("Stop the text encoder at", unit="steps")] = (
        None
    )
    """Train the text encoder up to this step and freeze it then; 0 or -1 never trains it."""

    clip_skip: Annotated[int | None, Field(ge=1, le=12), Shown("Clip skip")] = None
    """Read the text encoder this many layers before its end, then its final norm; 2 for many anime models of 1.x."""

    use_ema: Annotated[bool, Shown("Average the weights (EMA)", basic=True)] = False
    """Save a moving average of the weights, calmer than the last step's."""

    ema_decay: Annotated[float, Field(ge=0, le=0.999999), Shown("Decay of the average")] = 0.9999
    """How much of the average stays at each step, once it has settled: 0.9999 is a mean over some 10,000 steps."""

    ema_device: Annotated[
        Literal["cpu", "same"],
        Shown("The average is kept", words={"cpu": "In the computer's memory", "same": "Where training is"}),
    ] = "cpu"
    """In the computer's memory it takes none of the card's, but every step copies all trained weights there. On the
    card it takes 4 bytes for each weight."""


class SampleSection(Section):
    """Pictures drawn while training."""

    title: ClassVar[str] = "Samples"

    sample_prompts: Annotated[str | None, Shown("Prompts", basic=True, look="lines")] = None
    """One prompt a line, or a .txt file; drawn after the last step at least. At a line's end: --n unwanted words
    --w width --h height --d seed --s steps --l scale --ss sampler."""

    sample_every_n_steps: Annotated[int | None, Field(ge=1), Shown("Sample every", unit="steps")] = None
    """Draw the prompts each time this many steps are done."""

    sample_every_n_epochs: Annotated[int | None, Field(ge=1), Shown("Sample every", basic=True, unit="epochs")] = None
    """Draw the prompts at the end of every so many epochs."""

    sample_at_first: Annotated[bool, Shown("Sample before the first step", basic=True)] = False
    """The baseline to compare with."""


class HardwareSection(Section):
    """Memory against speed."""

    title: ClassVar[str] = "Memory and speed"

    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16"],
        Shown("Mixed precision", basic=True, words={"no": "off, fp32", "fp16": "fp16", "bf16": "bf16"}),
    ] = "no"
    """Compute in half precision: less memory, more speed. bf16 for cards from the 30 series on, fp16 for older ones."""

    gradient_checkpointing: Annotated[bool, Shown("Gradient checkpointing", basic=True)] = False
    """Compute parts of the forward pass twice and keep less in memory: about a quarter slower, far less memory."""

    xformers: Annotated[bool, Shown("xformers attention")] = False
    """Use xformers for attention where it is installed and runs on this device."""

    mem_eff_attn: Annotated[bool, Shown("Attention in slices")] = False
    """Compute attention in slices: slow, and the least memory on old cards."""

    sdpa: Annotated[bool, Shown("PyTorch's own attention")] = True
    """The fast attention of PyTorch, used where neither xformers nor slices are chosen; off: the plain formula."""

    gpu_ids: Annotated[int | None, Field(ge=0, le=63), Shown("Card")] = None
    """Number of the card to train on, as nvidia-smi counts; not given: the first. Runs on other cards do not wait."""

    max_data_loader_n_workers: Annotated[int | None, Field(ge=0, le=64), Shown("Loading processes")] = None
    """Processes that read images; not given: none with cached latents, else up to 4. Batches stay the same."""


class LoggingSection(Section):
    """TensorBoard."""

    title: ClassVar[str] = "Logging"

    logging_dir: Annotated[Path | None, Shown("TensorBoard folder", look="folder")] = None
    """Also write the curves for TensorBoard into a dated folder in here."""

    log_prefix: Annotated[str | None, Field(max_length=100), Shown("Prefix of the dated folder")] = None
    """Stands before the date in the name of the TensorBoard folder."""


class TrainingConfig(BaseModel):
    """All options of one training run, frozen. `flat` and `from_flat` go to and from one flat mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    length: LengthSection = LengthSection()
    rate: RateSection = RateSection()
    loss: LossSection = LossSection()
    images: ImageSection = ImageSection()
    captions: CaptionSection = CaptionSection()
    networks: NetworkSection = NetworkSection()
    saves: SaveSection = SaveSection()
    samples: SampleSection = SampleSection()
    validation: ValidationSection = ValidationSection()
    hardware: HardwareSection = HardwareSection()
    logging: LoggingSection = LoggingSection()

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """Build from option name -> value; raises pydantic's ValidationError, and KeyError for an unknown name."""
        nested: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            nested.setdefault(OPTIONS[name].section, {})[name] = value
        return cls.model_validate(nested)

    def flat(self) -> dict[str, Any]:
        """Option name -> JSON-ready value, in the order of declaration."""
        nested = self.model_dump(mode="json")
        return {name: nested[option.section][name] for name, option in OPTIONS.items()}

    def changed(self) -> dict[str, Any]:
        """The options that differ from their defaults, JSON-ready."""
        return {name: value for name, value in self.flat().items() if value != DEFAULTS[name]}


OPTIONS: dict[str, Option] = options_of(TrainingConfig)
DEFAULTS: dict[str, Any] = TrainingConfig().flat()
