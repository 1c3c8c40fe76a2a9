"""Residuals as coarse as the film is: near enough to what they were, and dense dirt as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.cells import CELL_PX
from dustwatch.processing.residual import DECODED, UNKNOWN, Codes, code_of
from dustwatch.processing.rounding import BLOCK_CELLS, median_moduli, rounded


def residual(codes: Codes) -> np.ndarray:
    return DECODED[codes.astype(int) + 128]


def grain(deviation: float, shape: tuple[int, int] = (64, 96), seed: int = 1) -> Codes:
    return code_of(np.random.default_rng(seed).normal(0, deviation, shape))


def slow_moduli(codes: Codes) -> np.ndarray:
    """Cell by cell, block by block, as the module says."""
    rows, columns = (range(0, length, CELL_PX) for length in codes.shape)
    medians = []
    for row in rows:
        own = []
        for column in columns:
            cell = np.abs(codes[row : row + CELL_PX, column : column + CELL_PX].astype(int))
            known = sorted(cell[cell <= 127].tolist())
            own.append(known[(len(known) - 1) // 2] if known else 0)
        for first in range(0, len(own), BLOCK_CELLS):
            block = own[first : first + BLOCK_CELLS]
            usual = sorted(block)[(len(block) - 1) // 2]
            medians.append([min(one, int(code_of(np.array(2 * DECODED[usual + 128])))) for one in block])
    return np.array([median for block in medians for median in block]).reshape(len(rows), len(columns))


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 1200)),
    deviation=st.floats(0.0, 1.0),
    unknown=st.floats(0, 1),
)
def test_cells_are_as_busy_as_their_median(seed: int, shape: tuple[int, int], deviation: float, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    codes = code_of(rng.normal(0, deviation, shape) * np.linspace(0.1, 1, shape[1]))
    codes[rng.random(shape) < unknown] = UNKNOWN
    np.testing.assert_array_equal(median_moduli(codes), slow_moduli(codes))


@pytest.mark.parametrize("deviation", [0.004, 0.01, 0.03, 0.1])
def test_the_error_is_that_of_a_step_of_four_fifths_of_the_deviation(deviation: float) -> None:
    codes = grain(deviation, (320, 320))
    error = residual(rounded(codes)) - residual(codes)
    assert np.abs(error.mean()) < 0.01 * deviation
    assert error.std() < 0.26 * deviation


def test_few_codes_are_left_of_grain() -> None:
    codes = grain(0.05, (32, 32))
    assert len(np.unique(codes)) > 60
    inside = np.abs(residual(codes)) < 3 * 0.05
    assert len(np.unique(rounded(codes)[inside])) <= 9


def test_what_stands_out_stays_as_it_is() -> None:
    codes = grain(0.02)
    codes[20:23, 40:43] = dirt = code_of(np.linspace(0.1, 1.5, 9).reshape(3, 3))
    np.testing.assert_array_equal(rounded(codes)[20:23, 40:43], dirt)


def test_a_blob_that_covers_cells_is_not_taken_for_busy_film() -> None:
    codes = grain(0.02, (96, 512))
    codes[32:64, 128:256] = blob = code_of(np.linspace(0.15, 0.3, 32 * 128).reshape(32, 128))
    np.testing.assert_array_equal(rounded(codes)[32:64, 128:256], blob)


def test_what_is_not_known_stays_so_and_counts_for_nothing() -> None:
    codes = grain(0.02, (32, 32))
    codes[:30] = UNKNOWN
    found = rounded(codes)
    assert (found[:30] == UNKNOWN).all()
    np.testing.assert_array_equal(found[30:], rounded(codes[30:]))
    assert (rounded(np.full((40, 40), UNKNOWN)) == UNKNOWN).all()


def test_smooth_film_is_hardly_rounded() -> None:
    codes = np.tile(np.array([0, 0, 0, 1, -1], np.int8), (64, 64))
    np.testing.assert_array_equal(rounded(codes), codes)


def test_rows_of_cells_can_be_rounded_by_themselves() -> None:
    codes = grain(0.03, (130, 700))
    parts = [rounded(codes[top : top + 64]) for top in range(0, 130, 64)]
    np.testing.assert_array_equal(np.vstack(parts), rounded(codes))
