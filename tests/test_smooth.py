"""Gaussian smoothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dustwatch.processing.smooth import smooth


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    deviation=st.sampled_from([0.7, 1.0, 4.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_the_gaussian_of_scipy(shape: tuple[int, int], deviation: float, seed: int) -> None:
    plane = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    found = smooth(plane, deviation)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, ndimage.gaussian_filter(plane, deviation), atol=2e-6)


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rows=st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted),
)
def test_rows_of_it_are_those_of_the_whole(shape: tuple[int, int], rows: list[int]) -> None:
    """Here with a Gaussian that ends earlier, and an edge that goes on."""
    plane = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    whole = smooth(plane, 2.0, "edge", 3.0)
    np.testing.assert_allclose(whole, ndimage.gaussian_filter(plane, 2.0, mode="nearest", truncate=3.0), atol=2e-6)
    np.testing.assert_array_equal(smooth(plane, 2.0, "edge", 3.0, slice(*rows)), whole[slice(*rows)])


def test_what_is_no_plane_is_refused() -> None:
    with pytest.raises(ValueError, match="plane"):
        smooth(np.zeros((3, 3, 3), np.float32), 1.0)


def test_nothing_stays_nothing() -> None:
    assert smooth(np.zeros((0, 4), np.float32), 1.0).shape == (0, 4)
