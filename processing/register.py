"""Where the carriage stopped: a frame's residual on the grid of the map, or the map on the frame's.

A frame shows at (row + shift[0], column + shift[1]) what the map has at (row, column). While the carriage travels down
the rows the shift may change, so each row has its own; where it travels along the columns, each column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .arrays import Mask, Plane, require_plane
from .kernel import kernel
from .residual import DECODED, UNKNOWN, Codes
from .texture import SQUARE_PX

if TYPE_CHECKING:
    from collections.abc import Callable

_SAMPLES = 8
"""Samples along each axis that a value between them is made from."""

BEFORE_PX = _SAMPLES // 2 - 1
"""Pixels that are seen before the one from which on something is interpolated."""

MARGIN_PX = _SAMPLES - 1
"""Pixels that are seen beyond those that are interpolated, before and after together."""

Shifts = npt.NDArray[np.float64]
"""(n, 2): by how many rows and columns each row is shifted, or each column."""

Places = npt.NDArray[np.intp]
"""(pixels): rows, or columns."""


def split(shifts: Shifts) -> tuple[tuple[int, int], Shifts, tuple[int, int]]:
    """The whole pixels that all are shifted by, what each is shifted beyond these, 0 or more, and how far that goes.

    The last, whole pixels as well, have to be seen beside `MARGIN_PX`: none unless shifts differ.
    """
    whole = np.floor(shifts.min(axis=0))
    beyond = shifts - whole
    (down, right), (more_down, more_right) = whole.astype(int).tolist(), beyond.max(axis=0).astype(int).tolist()
    return (down, right), beyond, (more_down, more_right)


_FINE = 1024

Weights = npt.NDArray[np.float32]
"""(..., 8): weights of the samples around a place."""


@dataclass(frozen=True, slots=True)
class Filter:
    """How a value between samples is made from eight of them: by `table`, for every 1024th of the way to the next."""

    table: Weights

    @staticmethod
    def by(kernel: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Filter:
        """Weigh samples by a function of their distance in px, and so that a constant is kept."""
        distance = np.arange(_SAMPLES) - BEFORE_PX - np.arange(_FINE + 1)[:, None] / _FINE
        weights = kernel(distance)
        return Filter((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))

    def weights(self, fractions: npt.NDArray[np.float64]) -> Weights:
        """The weights for each of some fractions, 0..1, of the way from the fourth sample to the fifth."""
        return self.table[np.rint(fractions * _FINE).astype(np.intp)]


LANCZOS = Filter.by(lambda px: np.sinc(px) * np.sinc(px / 3) * (np.abs(px) < 3))
"""Lanczos' kernel with three lobes, so that the outermost samples have no weight."""

GAUSSIAN = Filter.by(lambda px: np.exp(-0.5 * px**2))
"""Smooths as well, by a Gaussian with a standard deviation of 1 px."""


def resample(plane: Plane, beyond: Shifts, axis: int, by: Filter) -> Plane:
    """Interpolate `plane` at (row + `beyond`[row, 0], column + `beyond`[row, 1]); with `axis` 1 by column.

    `beyond` is 0 or more, for each row (column) of the result. `plane` is as `split` says larger than the result: if
    `beyond` is less than 1 everywhere, by 7 rows and columns, and result[0, 0] lies between plane[3, 3] and
    plane[4, 4]. Raises ValueError for another type.
    """
    require_plane(plane, "plane")
    if axis == 1:
        return np.ascontiguousarray(resample(np.ascontiguousarray(plane.T), beyond[:, ::-1], 0, by).T)
    whole = beyond.astype(np.int64)
    out = np.empty((len(beyond), plane.shape[1] - MARGIN_PX - int(whole[:, 1].max())), np.float32)
    down, right = (by.weights(fractions) for fractions in (beyond - whole).T)
    _resample(plane, whole, down, right, out)
    return out


@kernel
def _resample(plane: Plane, whole: npt.NDArray[np.int64], down: Weights, right: Weights, out: Plane) -> None:
    line = np.empty(plane.shape[1], np.float32)
    for y in range(out.shape[0]):
        rows = plane[y + whole[y, 0] :]
        a, b, c, d, e, f, g, h = down[y]
        for x in range(plane.shape[1]):
            line[x] = (
                (a * rows[0, x] + b * rows[1, x] + c * rows[2, x] + d * rows[3, x])
                + (e * rows[4, x] + f * rows[5, x] + g * rows[6, x] + h * rows[7, x])
            )  # fmt: skip
        weigh(line[whole[y, 1] :], right[y], out[y])


@kernel
def weigh(line: npt.NDArray[np.float32], weights: Weights, out: npt.NDArray[np.float32]) -> None:
    """Make each value of `out` from the eight of `line` that begin at its place, by the eight `weights`.

    `line` is longer than `out` by `MARGIN_PX` at least.
    """
    a, b, c, d, e, f, g, h = weights
    for x in range(len(out)):
        out[x] = (
            (a * line[x] + b * line[x + 1] + c * line[x + 2] + d * line[x + 3])
            + (e * line[x + 4] + f * line[x + 5] + g * line[x + 6] + h * line[x + 7])
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Laid:
    """A frame laid over a window of a map: the coded residual it shows there, and how far beyond its pixels that lies.

    `codes` are larger than the window, as `split` says, of which `beyond` is for each row, with `axis` 1 each column.
    """

    codes: Codes
    beyond: Shifts
    axis: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        across = self.codes.shape[1 - self.axis] - MARGIN_PX - int(self.beyond[:, 1 - self.axis].max())
        return (len(self.beyond), across) if self.axis == 0 else (across, len(self.beyond))

    def smoothed(self, limits: Plane) -> Plane:
        """The residual in D all over the window, clipped and then smoothed by a Gaussian of 1 px; 0 if not known.

        `limits` (codes' rows / 16, columns / 16) in D hold for squares of the codes.
        """
        clipped = np.empty(self.codes.shape, np.float32)
        _clip(self.codes, DECODED, limits, clipped)
        return resample(clipped, self.beyond, self.axis, GAUSSIAN)

    def pixels(self, rows: Places, columns: Places) -> tuple[Places, Places]:
        """The nearest pixels of the codes to these of the window, rows and columns."""
        down, right = np.floor(self.beyond.T + 0.5).astype(np.intp) + BEFORE_PX
        line = (rows, columns)[self.axis]
        return rows + down[line], columns + right[line]

    def covered(self, rows: Places, columns: Places) -> tuple[Places, Places]:
        """All pixels of the codes that these of the window lie on, each once, rows and columns.

        Where lines drift apart, `pixels` leaves one out between them, and where they close up, it meets one twice.
        """
        nearest = np.floor(self.beyond + 0.5)
        if (nearest == nearest[0]).all():
            return self.pixels(rows, columns)
        before = np.vstack((self.beyond[:1], self.beyond[:-1]))
        between = Laid(self.codes, np.minimum(self.beyond, before), self.axis)
        marks = np.zeros(self.codes.shape, np.bool_)
        for laid in (self, between):
            marks[laid.pixels(rows, columns)] = True
        found, there = np.nonzero(marks)
        return found, there

    def at(self, rows: Places, columns: Places) -> tuple[npt.NDArray[np.float32], Mask]:
        """The residual in D at these pixels of the window, and whether all that it is made from is known.

        Those that follow each other in a row are found faster than others.
        """
        codes, beyond = self.codes, self.beyond
        if self.axis == 1:
            codes, beyond, rows, columns = np.ascontiguousarray(codes.T), beyond[:, ::-1], columns, rows
        whole = beyond.astype(np.int64)
        values, seen = np.empty(len(rows), np.float32), np.empty(len(rows), np.bool_)
        down, right = (LANCZOS.weights(fractions) for fractions in (beyond - whole).T)
        _at(codes, DECODED, whole, down, right, rows, columns, values, seen)
        return values, seen


@kernel
def _clip(codes: Codes, decoded: npt.NDArray[np.float32], limits: Plane, clipped: Plane) -> None:
    height, width = codes.shape
    for y in range(height):
        for u in range(limits.shape[1]):
            limit = limits[y // SQUARE_PX, u]
            for x in range(u * SQUARE_PX, min((u + 1) * SQUARE_PX, width)):
                clipped[y, x] = min(max(decoded[codes[y, x] + 128], -limit), limit)


@kernel
def _at(
    codes: Codes,
    decoded: npt.NDArray[np.float32],
    whole: npt.NDArray[np.int64],
    down: Weights,
    right: Weights,
    rows: Places,
    columns: Places,
    values: npt.NDArray[np.float32],
    seen: Mask,
) -> None:
    # Lanczos' outermost weights are 0.
    line, unknown = np.empty(codes.shape[1], np.float32), np.empty(codes.shape[1], np.bool_)
    first = 0
    while first < len(rows):
        y, x = rows[first], columns[first]
        run = 1
        while first + run < len(rows) and rows[first + run] == y and columns[first + run] == x + run:
            run += 1
        top, left, across = y + whole[y, 0], x + whole[y, 1] + 1, run + _SAMPLES - 3
        line[:across], unknown[:across] = 0, False
        for v in range(1, _SAMPLES - 1):
            weight, shown = down[y, v], codes[top + v, left : left + across]
            for u in range(across):
                line[u] += weight * decoded[shown[u] + 128]
            for u in range(across):
                unknown[u] |= shown[u] == UNKNOWN
        _, a, b, c, d, e, f, _ = right[y]
        for i in range(run):
            values[first + i] = (a * line[i] + b * line[i + 1] + c * line[i + 2]) + (
                d * line[i + 3] + e * line[i + 4] + f * line[i + 5]
            )
            seen[first + i] = not (
                unknown[i] | unknown[i + 1] | unknown[i + 2] | unknown[i + 3] | unknown[i + 4] | unknown[i + 5]
            )
        first += run
