"""The options of noise and loss: what is added to an image, and how far off a prediction of it counts.

The meaning is that of the trainers these names come from; docs/differences.md says where it is not.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.contract.options import Shown
from trainer.contract.section import Section

LossType = Literal["l2", "l1", "huber", "smooth_l1"]
HuberSchedule = Literal["snr", "exponential", "constant"]
MaskSource = Literal["folder", "alpha"]


class LossSection(Section):
    """What the networks are asked to predict, and how each answer is weighed."""

    title: ClassVar[str] = "Noise and loss"

    min_snr_gamma: Annotated[float, Field(ge=0, le=1000), Shown("Min-SNR gamma")] = 0.0
    """Timesteps with little noise weigh less, and training gets faster and steadier: 5 is usual; 0 is off."""

    debiased_estimation_loss: Annotated[bool, Shown("Debiased estimation")] = False
    """Another weighing of timesteps, by one over the square root of how little noise they have."""

    scale_v_pred_loss_like_noise_pred: Annotated[bool, Shown("Weigh v like noise")] = False
    """For models that predict v: timesteps weigh as they would in a model that predicts the noise."""

    zero_terminal_snr: Annotated[bool, Shown("Zero terminal SNR")] = False
    """For models that predict v: the last timestep is noise alone, so that very dark and very bright pictures can be
    learnt. Samples are drawn so too."""

    noise_offset: Annotated[float, Field(ge=0, le=10), Shown("Noise offset")] = 0.0
    """Shift the noise of each channel as a whole, so that darker and brighter pictures are learnt: 0.03 to 0.1."""

    noise_offset_random_strength: Annotated[bool, Shown("Random noise offset")] = False
    """Each use of an image has an offset between none and the one given."""

    adaptive_noise_scale: Annotated[float, Field(ge=-10, le=10), Shown("Noise offset by brightness")] = 0.0
    """Add this much of a channel's own mean to the noise offset; below 0 it is taken away. About the offset's size."""

    multires_noise_iterations: Annotated[int, Field(ge=0, le=16), Shown("Multi-resolution noise", unit="levels")] = 0
    """Add coarser and coarser noise, so that large shapes, dark and bright are learnt: 6 to 10; 0 is off."""

    multires_noise_discount: Annotated[float, Field(ge=0, le=1), Shown("Multi-resolution discount")] = 0.3
    """How much each coarser level counts beside the one before: 0.1 to 0.3, up to 0.8 with many images."""

    ip_noise_gamma: Annotated[float, Field(ge=0, le=10), Shown("Input perturbation")] = 0.0
    """Add a little noise that is not to be predicted, which forgives the slips of sampling: 0.05 to 0.1."""

    ip_noise_gamma_random_strength: Annotated[bool, Shown("Random input perturbation")] = False
    """Each use of an image has a perturbation between none and the one given."""

    min_timestep: Annotated[int, Field(ge=0, le=999), Shown("Lowest timestep")] = 0
    """Learn no timestep with less noise than this one; low ones are details, high ones the composition."""

    max_timestep: Annotated[int, Field(ge=1, le=1000), Shown("Below timestep")] = 1000
    """Learn only timesteps below this one, of 1,000."""

    loss_type: Annotated[
        LossType,
        Shown("Loss", words={"l2": "Squares (L2)", "l1": "Distances (L1)", "huber": "Huber", "smooth_l1": "Smooth L1"}),
    ] = "l2"
    """How a wrong prediction counts. Huber and smooth L1 take large slips less to heart: for flawed images."""

    huber_schedule: Annotated[
        HuberSchedule,
        Shown("Huber schedule", words={"snr": "By noise", "exponential": "Exponential", "constant": "Constant"}),
    ] = "snr"
    """How Huber's threshold moves over the timesteps: less with more noise, or not at all."""

    huber_c: Annotated[float, Field(gt=0, le=100), Shown("Huber threshold")] = 0.1
    """Slips well above this count by their distance and not by their square; the value at the noisiest timestep."""

    huber_scale: Annotated[float, Field(gt=0, le=1000), Shown("Huber scale")] = 1.0
    """A factor on Huber's threshold, for the constant and the exponential schedule."""

    masked_loss: Annotated[bool, Shown("Learn by masks")] = False
    """Learn only the parts of an image that are white in its mask, grey parts less: a thing without its background."""

    conditioning_data_dir: Annotated[Path | None, Shown("Masks", look="folder")] = None
    """The folder of masks: pictures of the images' names, or folders of the images' folders' names that hold them."""

    alpha_mask: Annotated[bool, Shown("Transparency is a mask")] = False
    """Learn only the parts of an image that are not transparent. Images without transparency count as a whole."""

    @property
    def mask_source(self) -> MaskSource | None:
        """Where masks come from: the folder, else the images' own transparency; None without masks."""
        if self.masked_loss and self.conditioning_data_dir is not None:
            return "folder"
        return "alpha" if self.alpha_mask else None

    @property
    def has_threshold(self) -> bool:
        """Whether the loss has Huber's threshold."""
        return self.loss_type in ("huber", "smooth_l1")
