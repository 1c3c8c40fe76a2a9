"""Spots: the same as scipy.ndimage says of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dustwatch.processing.spots import TOUCHING, connected, peaks, widened, without_holes

masks = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(lambda shape: arrays(np.bool_, shape))


@given(mask=masks, corners=st.booleans(), seed=st.integers(0, 99))
def test_connected_pixels_of_one_part_have_one_number(mask: np.ndarray, corners: bool, seed: int) -> None:
    parts = (mask * np.random.default_rng(seed).integers(1, 3, mask.shape)).astype(np.uint8)
    found, count = connected(np.array(np.nonzero(mask)), parts[mask], corners=corners)
    of_parts = [ndimage.label(parts == part, TOUCHING if corners else None) for part in (1, 2)]
    assert count == sum(more for _, more in of_parts)
    expected = np.where(parts == 1, of_parts[0][0], -of_parts[1][0])[parts > 0]
    assert len(set(zip(found, expected, strict=True))) == count == len(set(found))
    assert list(dict.fromkeys(found)) == list(range(count))


@given(mask=masks, seed=st.integers(0, 99))
def test_peaks_are_the_maxima_of_the_spots(mask: np.ndarray, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=mask.shape).astype(np.float32)
    labels, count = ndimage.label(mask, TOUCHING)
    expected = ndimage.maximum(values, labels, np.arange(1, count + 1)) if count else np.zeros(0)
    np.testing.assert_array_equal(peaks(values, labels, count), expected)


def test_a_number_that_does_not_occur_has_no_peak() -> None:
    assert peaks(np.ones((1, 2), np.float32), np.array([[0, 2]]), 3).tolist() == [-np.inf, 1, -np.inf]


@given(mask=masks)
def test_holes_are_filled(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(without_holes(mask), ndimage.binary_fill_holes(mask))


@given(mask=masks, px=st.integers(1, 6))
def test_a_mask_is_widened_step_by_step(mask: np.ndarray, px: int) -> None:
    np.testing.assert_array_equal(widened(mask, px), ndimage.binary_dilation(mask, iterations=px))


def test_by_nothing_nothing_is_widened() -> None:
    mask = np.eye(4, dtype=np.bool_)
    np.testing.assert_array_equal(widened(mask, 0), mask)


@given(mask=masks, share=st.sampled_from([0.3, 0.5, 1.0]))
def test_pixels_that_touch_are_connected(mask: np.ndarray, share: float) -> None:
    mask &= np.random.default_rng(1).random(mask.shape) < share
    labels, count = ndimage.label(mask, TOUCHING)
    found, spots = connected(np.array(np.nonzero(mask)))
    assert spots == count
    np.testing.assert_array_equal(found + 1, labels[mask])
