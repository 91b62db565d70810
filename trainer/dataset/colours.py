"""Small changes of colour: hue and saturation, or gamma, in a third of the uses."""

import numpy as np

SHARE = 0.33
"""Of the uses whose colours are changed at all."""

HUE_SHARE = 2 / 7
"""Of those, the share with hue and saturation; the rest gets a gamma. The ancestor's chances 0.2 and 0.5, made one."""

HUE_DEGREES = 10.0
"""Five of OpenCV's hue steps, which are two degrees each."""

SATURATION = 8 / 255
GAMMA = 0.05


def vary_colours(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3] -> the same, with a small change of colours by chance."""
    if rng.random() >= SHARE:
        return pixels
    if rng.random() < HUE_SHARE:
        degrees, saturation = rng.uniform(-HUE_DEGREES, HUE_DEGREES), rng.uniform(-SATURATION, SATURATION)
        return shift_hue_and_saturation(pixels, degrees, saturation)
    return apply_gamma(pixels, rng.uniform(1 - GAMMA, 1 + GAMMA))


def apply_gamma(pixels: np.ndarray, gamma: float) -> np.ndarray:
    """v -> v ** gamma on the scale 0..1, so that black and white stay what they are."""
    table = np.rint((np.arange(256) / 255) ** gamma * 255).astype(np.uint8)
    return table[pixels]


def shift_hue_and_saturation(pixels: np.ndarray, degrees: float, saturation: float) -> np.ndarray:
    """Turn the hue and add to the saturation (0..1) in HSV; the value, the largest of the three, and greys stay."""
    rgb = pixels.astype(np.float32) / 255
    value = rgb.max(axis=2)
    chroma = value - rgb.min(axis=2)
    coloured = chroma > 0
    safe = np.where(coloured, chroma, 1)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    # Hue in sixths of a turn, by which of the three is the largest.
    hue = np.where(
        value == red, (green - blue) / safe, np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    hue = hue + degrees / 60
    share = np.where(coloured, np.clip(chroma / np.where(value > 0, value, 1) + saturation, 0, 1), 0)
    # HSV -> RGB: channel n is V - V S max(0, min(k, 4 - k, 1)) with k = (n + hue) mod 6, n = 5, 3, 1.
    channels = []
    for n in (5, 3, 1):
        k = (n + hue) % 6
        channels.append(value - value * share * np.clip(np.minimum(k, 4 - k), 0, 1))
    return np.rint(np.stack(channels, axis=2) * 255).clip(0, 255).astype(np.uint8)
