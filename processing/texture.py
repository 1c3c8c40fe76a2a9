"""How busy the film is at any pixel, from coded residuals: one pass over the codes, and all else by squares of 16 px.

What is not to be counted, because dirt lies there, is taken off again pixel by pixel. Moduli are summed as whole
numbers, so that it makes no difference in which order or how often that happens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .kernel import kernel
from .residual import DECODED, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .arrays import Plane
    from .residual import Codes, ResidualParams

SQUARE_PX = 16
"""The side of a square; windows start at a multiple of it."""

_STEP_D = 1e-6
_MODULI = np.rint(np.abs(DECODED) / _STEP_D).astype(np.int32)
"""The modulus of the residual of each code from -128 on, in steps of `_STEP_D`; 256 of them fit into 32 bits."""

_BOX = 3.4
_FLOOR_D = 0.003
_FEWEST = 0.0199
_BLIND_D = 10.0

Places = npt.NDArray[np.integer]
"""(pixels): rows, or columns, of a window."""


@dataclass(frozen=True, slots=True)
class Texture:
    """How busy the film is in D at the middle of each square of a window, (rows / 16, columns / 16); linear between."""

    squares: Plane

    def at(self, rows: Places, columns: Places) -> npt.NDArray[np.float32]:
        """How busy it is at pixels of the window, (pixels); at those outside as at the nearest square's middle."""
        busy = np.empty(len(rows), np.float32)
        _interpolate(self.squares, rows, columns, busy)
        return busy


@dataclass(frozen=True, slots=True)
class Moduli:
    """The sum of the moduli of what is known in each square of a window, and how many they are."""

    sums: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]

    @staticmethod
    def of(codes: Codes) -> Moduli:
        """Those of a window; squares at its right and lower edge may be partial."""
        shape = -(-codes.shape[0] // SQUARE_PX), -(-codes.shape[1] // SQUARE_PX)
        found = Moduli(np.empty(shape, np.int32), np.empty(shape, np.int32))
        _sum(codes, _MODULI, found.sums, found.counts)
        return found

    @staticmethod
    def stacked(windows: Sequence[Moduli]) -> Moduli:
        """Those of windows below each other as of one; all but the last are whole squares high."""
        return Moduli(np.vstack([one.sums for one in windows]), np.vstack([one.counts for one in windows]))

    def without(self, codes: Codes, rows: Places, columns: Places) -> Moduli:
        """Those of the same window but for some pixels, each given once; such as lie outside do not matter."""
        left = Moduli(self.sums.copy(), self.counts.copy())
        _take_off(codes, _MODULI, rows, columns, left.sums, left.counts)
        return left

    def texture(self, params: ResidualParams) -> Texture:
        """The standard deviation of the residual around each pixel, taken as 1.25 times the mean modulus.

        That is their ratio for a Gaussian. The mean is over a box of some 3.4 `background_px`, beyond the window its
        outermost squares go on. 0.003 D is added, that no film falls below. Where less than 2 % of the box is counted
        it is 10 D.
        """
        total, count = (_boxed(plane, params) for plane in (self.sums, self.counts))
        busy = np.float32(1.25 * _STEP_D) * total / np.maximum(count, np.float32(1e-6)) + np.float32(_FLOOR_D)
        return Texture(np.where(count > _FEWEST * SQUARE_PX**2, busy, np.float32(_BLIND_D)))


def reach_px(params: ResidualParams) -> int:
    """Pixels around that of a square which the texture in it depends on, in each direction: whole squares."""
    return SQUARE_PX * (len(_box(params)) // 2 + 1)


def _box(params: ResidualParams) -> npt.NDArray[np.float32]:
    """The weights of a row of squares in a box, of which the outermost may be partial.

    Interpolation between the middles of squares makes a box larger by about half a square.
    """
    size = max(_BOX * params.background_px / SQUARE_PX - 0.5, 1.0)
    beside = math.ceil((size - 1) / 2)
    weights = np.clip(size / 2 + 0.5 - np.abs(np.arange(-beside, beside + 1)), 0, 1)
    return (weights / size).astype(np.float32)


def _boxed(plane: npt.NDArray[np.int32], params: ResidualParams) -> Plane:
    weights = _box(params)
    down: Plane = ndimage.correlate1d(plane.astype(np.float32), weights, axis=0, mode="nearest")
    return np.asarray(ndimage.correlate1d(down, weights, axis=1, mode="nearest"), np.float32)


@kernel
def _sum(
    codes: Codes, moduli: npt.NDArray[np.int32], sums: npt.NDArray[np.int32], counts: npt.NDArray[np.int32]
) -> None:
    height, width = codes.shape
    for v in range(sums.shape[0]):
        bottom = min((v + 1) * SQUARE_PX, height)
        for u in range(sums.shape[1]):
            right = min((u + 1) * SQUARE_PX, width)
            total = unknown = 0
            for y in range(v * SQUARE_PX, bottom):
                for x in range(u * SQUARE_PX, right):
                    code = codes[y, x]
                    total += moduli[code + 128]
                    unknown += code == UNKNOWN
            sums[v, u] = total
            counts[v, u] = (bottom - v * SQUARE_PX) * (right - u * SQUARE_PX) - unknown


@kernel
def _take_off(
    codes: Codes,
    moduli: npt.NDArray[np.int32],
    rows: Places,
    columns: Places,
    sums: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int32],
) -> None:
    for i in range(len(rows)):
        y, x = rows[i], columns[i]
        if 0 <= y < codes.shape[0] and 0 <= x < codes.shape[1] and codes[y, x] != UNKNOWN:
            sums[y // SQUARE_PX, x // SQUARE_PX] -= moduli[codes[y, x] + 128]
            counts[y // SQUARE_PX, x // SQUARE_PX] -= 1


@kernel
def _between(place: int, count: int) -> tuple[int, int, np.float32]:
    """The squares whose middles a pixel lies between, and how far on its way to the second, 0..1."""
    middle = (place + 0.5) / SQUARE_PX - 0.5
    middle = min(max(middle, 0.0), count - 1.0)
    first = int(middle)
    return first, min(first + 1, count - 1), np.float32(middle - first)


@kernel
def _interpolate(squares: Plane, rows: Places, columns: Places, busy: npt.NDArray[np.float32]) -> None:
    for i in range(len(rows)):
        up, down, lower = _between(rows[i], squares.shape[0])
        left, right, later = _between(columns[i], squares.shape[1])
        above = squares[up, left] + later * (squares[up, right] - squares[up, left])
        below = squares[down, left] + later * (squares[down, right] - squares[down, left])
        busy[i] = above + lower * (below - above)
