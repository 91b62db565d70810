"""Small changes of colour."""

import colorsys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.dataset.colours import apply_gamma, shift_hue_and_saturation

COLOUR = st.tuples(*[st.integers(0, 255)] * 3)


@given(COLOUR, st.floats(-10, 10), st.floats(-0.03, 0.03))
def test_hue_and_saturation_equal_the_standard_librarys(
    colour: tuple[int, int, int], degrees: float, change: float
) -> None:
    """Each pixel is what colorsys gives for the turned hue and the changed saturation; greys have none and stay."""
    got = shift_hue_and_saturation(np.array([[colour]], dtype=np.uint8), degrees, change)[0, 0]
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    if saturation > 0:
        saturation = min(1.0, max(0.0, saturation + change))
    expected = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
    assert np.abs(got - np.array(expected) * 255).max() <= 0.51


def test_no_change_is_no_change() -> None:
    """Zero degrees and gamma 1 give the same values for all 256 levels."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert (shift_hue_and_saturation(pixels, 0, 0) == pixels).all()
    assert (apply_gamma(pixels, 1.0) == pixels).all()


@given(st.floats(0.95, 1.05))
def test_gamma_keeps_black_and_white(gamma: float) -> None:
    """On the scale 0..1 the ends stay, and no level moves by more than five."""
    levels = np.arange(256, dtype=np.uint8)
    got = apply_gamma(levels, gamma).astype(int)
    assert got[0] == 0 and got[255] == 255 and (np.diff(got) >= 0).all()
    assert abs(got - levels.astype(int)).max() <= 5
