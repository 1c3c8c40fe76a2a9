"""How busy film is by squares, against the same pixel by pixel, and against the finer texture of a dense plane."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dustwatch.processing import residual
from dustwatch.processing.residual import UNKNOWN, ResidualParams, decode
from dustwatch.processing.texture import SQUARE_PX, Moduli, Texture, reach_px


def everywhere(texture: Texture, shape: tuple[int, int]) -> np.ndarray:
    """How busy it is at all pixels of a window."""
    rows, columns = np.indices(shape).reshape(2, -1)
    return texture.at(rows, columns).reshape(shape)


def codes(seed: int, shape: tuple[int, int], unknown: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = np.clip(rng.normal(0, 30, shape), -127, 127).astype(np.int8)
    found[rng.random(shape) < unknown] = UNKNOWN
    return found


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
@settings(max_examples=30)
def test_moduli_are_summed_by_squares(height: int, width: int, seed: int) -> None:
    window = codes(seed, (height, width))
    found = Moduli.of(window)
    assert found.sums.shape == (math.ceil(height / SQUARE_PX), math.ceil(width / SQUARE_PX))
    for v, u in np.ndindex(found.sums.shape):
        square = window[v * SQUARE_PX : (v + 1) * SQUARE_PX, u * SQUARE_PX : (u + 1) * SQUARE_PX]
        values, known = decode(square)
        assert found.counts[v, u] == known.sum()
        np.testing.assert_allclose(found.sums[v, u] * 1e-6, np.abs(values).sum(), atol=2e-4)


@given(st.integers(0, 9))
@settings(max_examples=10)
def test_what_is_taken_off_is_as_if_it_had_never_been_known(seed: int) -> None:
    window = codes(seed, (50, 40))
    dirty = np.random.default_rng(seed).random(window.shape) < 0.2
    rows, columns = np.nonzero(dirty)
    beyond = np.array([-1, 50, 3]), np.array([2, 0, 40])
    found = Moduli.of(window).without(
        window, *(np.append(here, more) for here, more in zip((rows, columns), beyond, strict=True))
    )
    ought = Moduli.of(np.where(dirty, UNKNOWN, window))
    np.testing.assert_array_equal(found.sums, ought.sums)
    np.testing.assert_array_equal(found.counts, ought.counts)


@pytest.mark.parametrize("shape", [(64, 80), (5, 9), (33, 100)])
def test_between_the_middles_of_squares_it_is_linear(shape: tuple[int, int]) -> None:
    size = tuple(math.ceil(n / SQUARE_PX) for n in shape)
    squares = np.random.default_rng(2).random(size).astype(np.float32)
    places = (np.indices(shape) + 0.5) / SQUARE_PX - 0.5
    ought = ndimage.map_coordinates(squares, places, order=1, mode="nearest")
    np.testing.assert_allclose(everywhere(Texture(squares), shape), ought, atol=1e-6)
    rows, columns = (axis.ravel() for axis in np.indices(shape))
    np.testing.assert_allclose(Texture(squares).at(rows, columns), ought.ravel(), atol=1e-6)


@pytest.mark.parametrize("background_px", [4.0, 12.0, 25.0, 40.0])
def test_it_is_nearly_the_texture_of_a_dense_plane(background_px: float) -> None:
    """Of film that is twice as busy on its right, which a third of is not trusted: to a tenth."""
    rng = np.random.default_rng(1)
    shape, params = (300, 420), ResidualParams(background_px)
    window = (rng.normal(0, 20, shape) * np.linspace(1, 2, shape[1])).clip(-127, 127).astype(np.int8)
    dirty = rng.random(shape) < 0.3
    values, known = decode(window)
    ought = residual.texture(values, known & ~dirty, params)
    rows, columns = np.nonzero(dirty)
    found = Moduli.of(window).without(window, rows, columns).texture(params)
    assert np.abs(np.log(everywhere(found, shape) / ought)).mean() < 0.1 * 12 / background_px
    np.testing.assert_allclose(everywhere(found, shape)[dirty], found.at(rows, columns), rtol=1e-5)


@pytest.mark.parametrize("background_px", [4.0, 12.0, 40.0, 200.0])
def test_it_depends_on_nothing_beyond_its_reach(background_px: float) -> None:
    params = ResidualParams(background_px)
    reach, size = reach_px(params), SQUARE_PX
    window = codes(3, (2 * reach + 5 * size, size), unknown=0.0)
    here = slice(2 * size + reach, 3 * size + reach)
    part = window[here.start - reach : here.stop + reach]
    rows, columns = (axis.ravel() for axis in np.indices((size, size)))
    found = Moduli.of(part).texture(params).at(rows + reach, columns)
    np.testing.assert_allclose(Moduli.of(window).texture(params).at(rows + here.start, columns), found, rtol=1e-5)
    window[: here.start - reach] = 127
    window[here.stop + reach :] = -127
    np.testing.assert_allclose(Moduli.of(window).texture(params).at(rows + here.start, columns), found, rtol=1e-5)


def test_where_next_to_nothing_is_known_film_is_as_busy_as_can_be() -> None:
    params = ResidualParams()
    blind = Moduli.of(np.full((96, 96), UNKNOWN)).texture(params)
    assert (everywhere(blind, (96, 96)) == 10).all()
    still = Moduli.of(np.zeros((96, 96), np.int8)).texture(params)
    np.testing.assert_allclose(everywhere(still, (96, 96)), 0.003, rtol=1e-6)
