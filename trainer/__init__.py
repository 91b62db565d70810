"""The trainer: from folders of images to a fine-tuned Stable Diffusion 1.x or 2.x model."""

__version__ = "0.1.0"
