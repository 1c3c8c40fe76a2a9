"""Shifts, and resampling by fractions of a pixel."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dustwatch.processing.register import BEFORE_PX, GAUSSIAN, LANCZOS, MARGIN_PX, Filter, Laid, resample, split
from dustwatch.processing.residual import UNKNOWN, decode
from dustwatch.processing.texture import SQUARE_PX
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


@pytest.mark.parametrize("by", [LANCZOS, GAUSSIAN])
@given(fraction=fractions)
def test_weights_keep_a_constant_and_mirror(by: Filter, fraction: float) -> None:
    (weights,), (mirrored,) = by.weights(np.array([fraction])), by.weights(np.array([1 - fraction]))
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(weights, mirrored[::-1], atol=1e-6)


def bent(
    shape: tuple[int, int], wander_px: float, axis: int, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Shifts beyond whole pixels, by 1024ths of one, and the size of what has to be seen for a window of `shape`."""
    beyond = np.rint(1024 * (rng.random(2) + wander_px * rng.random((shape[axis], 2)))) / 1024
    return beyond, tuple(np.add(shape, MARGIN_PX) + beyond.max(axis=0).astype(int))


windows = {
    "shape": st.tuples(st.integers(1, 6), st.integers(1, 6)),
    "wander_px": st.sampled_from([0.0, 0.5, 3.0]),
    "axis": st.integers(0, 1),
    "seed": st.integers(0, 2**32 - 1),
}


@settings(max_examples=40)
@given(**windows, by=st.sampled_from([(LANCZOS, naive.lanczos), (GAUSSIAN, naive.gaussian)]))
def test_resampling_is_that_of_the_slow_twin(
    shape: tuple[int, int], wander_px: float, axis: int, seed: int, by: tuple[Filter, Callable[[float], float]]
) -> None:
    rng = np.random.default_rng(seed)
    beyond, size = bent(shape, wander_px, axis, rng)
    plane = rng.normal(size=size).astype(np.float32)
    found = resample(plane, beyond, axis, by[0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive.resample(plane, lambda y, x: beyond[(y, x)[axis]], shape, by[1]), atol=1e-5)


def test_no_fraction_is_a_cut() -> None:
    plane = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    np.testing.assert_allclose(
        resample(plane, np.zeros((13, 2)), 0, LANCZOS), plane[BEFORE_PX:-4, BEFORE_PX:-4], atol=1e-9
    )


@given(fraction=st.tuples(fractions, fractions))
def test_what_is_soft_is_moved_faithfully(fraction: tuple[float, float]) -> None:
    """A blob as sharp as dirt is, sigma 1 px, of height 1, and a slope."""

    def picture(down: float, right: float) -> np.ndarray:
        y, x = np.mgrid[:25, :25] + np.array([down, right])[:, None, None]
        return np.exp(-((y - 12) ** 2 + (x - 12) ** 2) / 2) + 0.02 * x

    found = resample(picture(0, 0).astype(np.float32), np.full((18, 2), fraction), 0, LANCZOS)
    np.testing.assert_allclose(found, picture(*fraction)[BEFORE_PX:-4, BEFORE_PX:-4], atol=0.013)


def test_only_single_precision_is_resampled() -> None:
    with pytest.raises(ValueError, match="plane: expected"):
        resample(np.zeros((9, 9)), np.zeros((2, 2)), 0, LANCZOS)


def laid(shape: tuple[int, int], wander_px: float, axis: int, rng: np.random.Generator) -> Laid:
    beyond, size = bent(shape, wander_px, axis, rng)
    codes = rng.integers(-127, 128, size).astype(np.int8)
    codes[rng.random(size) < 0.01] = UNKNOWN
    return Laid(codes, beyond, axis)


@settings(max_examples=40)
@given(**windows)
def test_single_pixels_are_those_of_the_resampled_window(
    shape: tuple[int, int], wander_px: float, axis: int, seed: int
) -> None:
    frame = laid(shape, wander_px, axis, np.random.default_rng(seed))
    assert frame.shape == shape
    rows, columns = (axis.ravel() for axis in np.indices(shape))
    values, seen = frame.at(rows, columns)
    residual, known = decode(frame.codes)
    np.testing.assert_allclose(values.reshape(shape), resample(residual, frame.beyond, axis, LANCZOS), atol=1e-5)
    down, right = (frame.beyond[(rows, columns)[axis]].astype(int) + BEFORE_PX - 2).T
    for i in range(len(rows)):
        top, left = rows[i] + down[i], columns[i] + right[i]
        assert seen[i] == known[top : top + 6, left : left + 6].all()


@settings(max_examples=40)
@given(**windows)
def test_the_nearest_pixel_is_half_of_one_away(shape: tuple[int, int], wander_px: float, axis: int, seed: int) -> None:
    frame = laid(shape, wander_px, axis, np.random.default_rng(seed))
    rows, columns = (axis.ravel() for axis in np.indices(shape))
    places = np.stack([rows, columns], axis=1)
    exactly = places + frame.beyond[places[:, axis]] + BEFORE_PX
    assert np.abs(np.stack(frame.pixels(rows, columns), axis=1) - exactly).max() <= 0.5


@settings(max_examples=40)
@given(lines=st.integers(1, 30), axis=st.integers(0, 1), seed=st.integers(0, 2**32 - 1))
def test_pixels_that_lie_under_drifting_lines_are_all_covered_and_each_once(lines: int, axis: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    beyond = np.zeros((lines, 2))
    beyond[:, axis] = np.cumsum(rng.uniform(-0.9, 0.9, lines))
    beyond -= beyond.min(axis=0)
    shape = (lines, 3) if axis == 0 else (3, lines)
    size = np.add(shape, MARGIN_PX) + beyond.max(axis=0).astype(int)
    frame = Laid(np.zeros(size, np.int8), beyond, axis)
    rows, columns = (place.ravel() for place in np.indices(shape))
    covered = np.stack(frame.covered(rows, columns), axis=1).tolist()
    assert len({*map(tuple, covered)}) == len(covered)
    nearest = np.stack(frame.pixels(rows, columns), axis=1)
    across = np.unique(nearest[:, 1 - axis])
    along = range(nearest[:, axis].min(), nearest[:, axis].max() + 1)
    whole = {(a, b) if axis == 0 else (b, a) for a in along for b in across.tolist()}
    assert {*map(tuple, covered)} == whole


def test_what_is_loud_is_clipped_before_it_is_smoothed() -> None:
    frame = laid((60, 50), 1.0, 0, np.random.default_rng(1))
    limits = np.random.default_rng(2).uniform(0.01, 1, (5, 4)).astype(np.float32)
    wide = np.kron(limits, np.ones((SQUARE_PX, SQUARE_PX), np.float32))[: frame.codes.shape[0], : frame.codes.shape[1]]
    expected = resample(np.clip(decode(frame.codes)[0], -wide, wide), frame.beyond, 0, GAUSSIAN)
    np.testing.assert_allclose(frame.smoothed(limits), expected, atol=1e-6)
