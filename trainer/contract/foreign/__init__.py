"""Presets of other studios, read into our options: kohya_ss, OneTrainer, EveryDream2."""
