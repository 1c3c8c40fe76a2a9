"""A scan of nothing is told from a frame, however dark or bright, in whatever order its rows come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.arrays import Scan
from dustwatch.processing.blank import Brightness

SIZE = (160, 240)


def noisy(level: float, sigma: float, dtype: type = np.uint16, colours: int = 3) -> Scan:
    """An even field with noise, both as shares of the range."""
    top = np.iinfo(dtype).max
    drawn = np.random.default_rng(1).normal(level, sigma, (*SIZE, colours))
    field: Scan = (np.clip(drawn, 0, 1) * top).astype(dtype)
    return field


def blank(scan: Scan, block: int = 50) -> float | None:
    brightness = Brightness(scan.shape[2], scan.dtype)
    for top in range(0, len(scan), block):
        brightness.see(0, scan[top : top + block])
    return brightness.blank()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_an_even_field_is_blank(dtype: type, level: float) -> None:
    found = blank(noisy(level, 0, dtype))
    assert found is not None
    assert abs(found - level) < 0.01


def test_noise_of_the_sensor_in_the_dark_and_dust_on_white_are_no_picture() -> None:
    assert blank(noisy(0.0005, 0.0003)) is not None
    dusty = noisy(1.0, 0)
    dusty[40:50, 40:50] = 1000
    assert blank(dusty) is not None


@pytest.mark.parametrize("level", [0.003, 0.02, 0.3, 0.95])
def test_grain_is_a_picture_however_dense_the_film(level: float) -> None:
    assert blank(noisy(level, 0.3 * level if level < 0.1 else 0.01)) is None


def test_a_picture_in_one_colour_or_in_a_corner_is_a_picture() -> None:
    scan = noisy(0.5, 0)
    scan[:, :, 2] = noisy(0.5, 0.05, colours=1)[:, :, 0]
    assert blank(scan) is None
    scan = noisy(1.0, 0, np.uint8, 1)
    scan[: SIZE[0] // 4, : SIZE[1] // 4] = noisy(0.4, 0.1, np.uint8, 1)[: SIZE[0] // 4, : SIZE[1] // 4]
    assert blank(scan) is None


@given(st.integers(0, 255), st.integers(0, 40))
def test_colours_that_come_one_by_one_count_as_those_that_come_together(level: int, spread: int) -> None:
    drawn = np.random.default_rng(level).integers(level, level + spread + 1, (40, 40, 3))
    scan: Scan = np.minimum(drawn, 255).astype(np.uint8)
    apart = Brightness(3, scan.dtype)
    for colour in (2, 0, 1):
        apart.see(colour, scan[:, :, colour : colour + 1])
    assert apart.blank() == blank(scan, 40)
