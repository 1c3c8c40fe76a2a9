"""Shifts, and resampling by fractions of a pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dustwatch.processing.register import BEFORE_PX, MARGIN_PX, lanczos, resample, split
from tests import naive

fractions = st.floats(0, 1, exclude_max=True)


shifts = arrays(np.float64, st.tuples(st.integers(1, 9), st.just(2)), elements=st.floats(-100, 100))


@given(shifts=shifts)
def test_shifts_are_whole_pixels_for_all_and_what_each_has_beyond(shifts: np.ndarray) -> None:
    whole, beyond, more = split(shifts)
    assert all(isinstance(n, int) for n in (*whole, *more))
    assert beyond.min() >= 0
    assert (beyond.min(axis=0) <= 1).all()
    assert (beyond.astype(int) <= more).all()
    np.testing.assert_allclose(beyond + whole, shifts, atol=1e-12)


@given(fraction=fractions)
def test_weights_keep_a_constant_and_mirror(fraction: float) -> None:
    weights = lanczos(fraction)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(weights, lanczos(1 - fraction)[::-1], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    wander_px=st.sampled_from([0.0, 0.5, 3.0]),
    axis=st.integers(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_resampling_is_that_of_the_slow_twin(shape: tuple[int, int], wander_px: float, axis: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    beyond = rng.random(2) + wander_px * rng.random((shape[axis], 2))
    full = tuple(np.add(shape, MARGIN_PX) + beyond.max(axis=0).astype(int))
    plane, known = rng.normal(size=full).astype(np.float32), rng.random(full) < 0.9
    found, sure = resample(plane, known, beyond, axis)
    slow, slow_sure = naive.resample(plane, known, lambda y, x: beyond[(y, x)[axis]], shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow, atol=1e-5)
    np.testing.assert_array_equal(sure, slow_sure)


def test_no_fraction_is_a_cut() -> None:
    plane = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    found, sure = resample(plane, np.ones(plane.shape, np.bool_), np.zeros((15, 2)))
    np.testing.assert_allclose(found, plane[BEFORE_PX:-3, BEFORE_PX:-3], atol=1e-9)
    assert sure.all()


@settings(deadline=None)
@given(fraction=st.tuples(fractions, fractions))
def test_what_is_soft_is_moved_faithfully(fraction: tuple[float, float]) -> None:
    """A blob as sharp as dirt is, sigma 1 px, of height 1, and a slope."""

    def picture(down: float, right: float) -> np.ndarray:
        y, x = np.mgrid[:25, :25] + np.array([down, right])[:, None, None]
        return np.exp(-((y - 12) ** 2 + (x - 12) ** 2) / 2) + 0.02 * x

    plane = picture(0, 0).astype(np.float32)
    found, _ = resample(plane, np.ones(plane.shape, np.bool_), np.full((20, 2), fraction))
    np.testing.assert_allclose(found, picture(*fraction)[BEFORE_PX:-3, BEFORE_PX:-3], atol=0.013)


def test_only_single_precision_is_resampled() -> None:
    with pytest.raises(ValueError, match="plane: expected"):
        resample(np.zeros((9, 9)), np.ones((9, 9), np.bool_), np.zeros((4, 2)))
