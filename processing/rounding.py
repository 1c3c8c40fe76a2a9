"""Residuals rounded as coarsely as the film itself is: what tells nothing about the dirt need not be kept.

Most of what residuals hold is the film's grain. In each cell they are rounded to multiples of .8 of its standard
deviation: that adds 5 % to the grain's variance (a twelfth of the step's square; Bennett, "Spectra of quantized
signals", 1948), and leaves 2.4 bits of 6.4. What stands out by more than three standard deviations, as dense dirt does,
stays as it is.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .cells import CELL_PX
from .kernel import kernel
from .residual import DECODED, UNKNOWN, Codes, code_of

FEW_FRAMES = 8
"""Where no more frames tell of a glass, their residuals are not rounded: they are needed as they are."""

BLOCK_CELLS = 16
"""Cells in a row that make a block, counted from the left."""

_STEP, _EXACT_FROM = 1.2, 4.5
"""What residuals are rounded to multiples of, and from where on they are not rounded, in medians of their moduli."""

_BUSIEST = 2.0
"""A cell is taken for no more than so many times as busy as half of its block is, as the rest may be dirt."""

Value = TypeVar("Value", np.int8, np.uint8)

Medians = npt.NDArray[np.int8]
"""(rows / 32, columns / 32): the code of the median modulus of the residuals in each cell."""


def _multiples() -> Codes:
    """The codes, from -128 on, rounded to multiples of each positive one, and of 0 not rounded: (128, 256)."""
    steps = np.maximum(DECODED[128:, None], DECODED[129] / 2)
    return code_of(np.rint(DECODED / steps) * steps)


MULTIPLES = _multiples()


def _rounded_codes() -> Codes:
    """What becomes of each code, from -128 on, in a cell of each median modulus: (128, 256)."""
    medians = DECODED[128:, None]
    grain = (np.abs(DECODED) < _EXACT_FROM * medians) & (np.arange(-128, 128) != UNKNOWN)
    return np.where(grain, MULTIPLES[code_of(_STEP * medians[:, 0])], np.arange(-128, 128, dtype=np.int8))


_ROUNDED = _rounded_codes()


def median_moduli(codes: Codes) -> Medians:
    """How busy the film is in each cell of a picture, or of whole rows of cells: the median modulus of what is known.

    Where nothing is known it is 0.
    """
    height, width = (-(-length // CELL_PX) for length in codes.shape)
    medians = np.zeros((height, width), np.int8)
    _median_moduli(codes, medians)
    for left in range(0, width, BLOCK_CELLS):
        block = medians[:, left : left + BLOCK_CELLS]
        middle = (block.shape[1] - 1) // 2
        usual = np.partition(block, middle, axis=1)[:, middle, None]
        np.minimum(block, code_of(_BUSIEST * DECODED[128:][usual]), out=block)
    return medians


def rounded(codes: Codes) -> Codes:
    """The codes (rows, columns) of a picture, or of whole rows of cells, rounded; `UNKNOWN` stays."""
    return looked_up(codes, median_moduli(codes), _ROUNDED)


def looked_up(codes: Codes, medians: Medians, table: npt.NDArray[Value]) -> npt.NDArray[Value]:
    """What `table` (128, 256) has for a cell of each median modulus and each code, from -128 on: (rows, columns)."""
    out = np.empty(codes.shape, table.dtype)
    _look_up(codes, medians, table, out)
    return out


@kernel
def _median_moduli(codes: Codes, medians: Medians) -> None:
    """The lower median of the known ones in each cell."""
    height, width = codes.shape
    for row in range(medians.shape[0]):
        for column in range(medians.shape[1]):
            counts, total = np.zeros(128, np.int64), 0
            for y in range(row * CELL_PX, min((row + 1) * CELL_PX, height)):
                for x in range(column * CELL_PX, min((column + 1) * CELL_PX, width)):
                    if codes[y, x] != UNKNOWN:
                        counts[abs(codes[y, x])] += 1
                        total += 1
            median, up_to = 0, counts[0]
            while 2 * up_to < total:
                median += 1
                up_to += counts[median]
            medians[row, column] = median


@kernel
def _look_up(codes: Codes, medians: Medians, table: npt.NDArray[Value], out: npt.NDArray[Value]) -> None:
    for row in range(medians.shape[0]):
        for column in range(medians.shape[1]):
            of = table[medians[row, column]]
            for y in range(row * CELL_PX, min((row + 1) * CELL_PX, codes.shape[0])):
                for x in range(column * CELL_PX, min((column + 1) * CELL_PX, codes.shape[1])):
                    out[y, x] = of[codes[y, x] + 128]
