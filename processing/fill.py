"""What the film would show under a hole, from its edges: the membrane that spans it (Laplace's equation).

A membrane is the best guess where the film's power falls as 1 / frequency squared, as that of pictures does on the
whole. It is found by full multigrid, so that a pixel of a wide hole takes no longer than one of a narrow hole: a grid
of half the resolution is spanned first, is the first guess of the finer one, and takes off it what successive
over-relaxation leaves (Brandt, *Multi-level adaptive solutions to boundary-value problems*, 1977).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .kernel import kernel

if TYPE_CHECKING:
    from .arrays import Mask

_SWEEPS, _OVER = 4, 1.5
"""Sweeps before and after each correction, and their over-relaxation.

They leave errors of some thousandths of what the edge varies by: a better membrane is no better guess of the film.
"""

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.uint32]
Values = npt.NDArray[np.float32]


class Holes:
    """Holes in a picture, which can be spanned in any number of planes.

    `edge` (rows, columns) marks the pixels beside them, all that has to be known. At the border of the picture it is
    taken to go on as its last pixel.
    """

    def __init__(self, hole: Mask) -> None:
        """Take the holes from a mask (rows, columns)."""
        height, width = hole.shape
        self.edge: Mask = _edge(hole, np.flatnonzero(hole))
        places = np.flatnonzero(hole | self.edge)
        self._hole: Flags = hole.reshape(-1)[places]
        starts = np.searchsorted(places, width * np.arange(height + 1)).astype(np.int64)
        self._grid = _grid(starts, (places % width).astype(np.uint32), self._hole, width)

    def span(self, edge: Values) -> Values:
        """What spans the holes in each plane, (planes, pixels of the holes), by what the plane shows at `self.edge`.

        `edge` is that: (planes, pixels of the edge). Pixels come row after row. Holes without an edge are spanned by 0.
        """
        values = np.zeros((len(self._hole), len(edge)), np.float32)
        values[~self._hole] = edge.T
        if self._grid is not None:
            _span(self._grid, values)
        return np.ascontiguousarray(values[self._hole].T)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The places of holes and of what is beside them at one resolution, numbered row after row.

    `hole` (places) tells which are holes. `holes` numbers these, all white squares of a chessboard before the black
    ones, and `beside` (holes, 4) what lies above, below, left and right of each; beyond the border it is beside itself.
    A place is one of the four in a cell, which is a place of the `coarser` grid: a hole if all four are; without any
    such cell there is no coarser grid. `cell` (places) numbers the `count` cells, `cells` (holes, 3) that of each
    hole and the nearest to it of those above and below and of those left and right.
    """

    hole: Flags
    holes: Numbers
    beside: Numbers
    cell: Numbers
    cells: Numbers
    count: int
    coarser: _Grid | None


def _grid(starts: npt.NDArray[np.int64], columns: Numbers, hole: Flags, width: int) -> _Grid | None:
    """The grid of places in these columns, row by row, of which each begins with the place that `starts` numbers.

    None if it would have no holes, or nothing else.
    """
    if not hole.any() or hole.all():
        return None
    cell, coarse_starts, coarse_columns, full = _cells(starts, columns, hole)
    holes, beside, cells = _beside(starts, columns, hole, width, cell)
    coarser = _grid(coarse_starts, coarse_columns, full, (width + 1) // 2)
    return _Grid(hole, holes, beside, cell, cells, len(full), coarser)


def _span(grid: _Grid, values: Values) -> None:
    """Span the holes, whose values, (places, planes), are 0."""
    guess = _means(values, grid.hole, grid.cell, grid.count)
    if grid.coarser is not None:
        _span(grid.coarser, guess)
    _add(values, guess, grid.holes, grid.cells)
    _improve(grid, values, np.zeros_like(values))


def _improve(grid: _Grid, values: Values, above: Values) -> None:
    """Bring each value of a hole closer to `above` the mean of those beside it, both (places, planes), by a V-cycle."""
    _relax(values, above, grid.holes, grid.beside)
    if grid.coarser is not None:
        correction = np.zeros((grid.count, values.shape[1]), np.float32)
        _improve(grid.coarser, correction, _left(values, above, grid.holes, grid.beside, grid.cells, grid.count))
        _add(values, correction, grid.holes, grid.cells)
    _relax(values, above, grid.holes, grid.beside)


@kernel
def _edge(hole: Mask, pixels: npt.NDArray[np.int64]) -> Mask:
    """What is beside the `pixels` of the holes and is no hole."""
    height, width = hole.shape
    edge = np.zeros((height, width), np.bool_)
    for pixel in pixels:
        y, x = pixel // width, pixel % width
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and not hole[v, u]:
                edge[v, u] = True
    return edge


@kernel
def _cells(
    starts: npt.NDArray[np.int64], columns: Numbers, hole: Flags
) -> tuple[Numbers, npt.NDArray[np.int64], Numbers, Flags]:
    """The number of each place's cell; then the cells as places of their grid: starts, columns, which are holes."""
    height, count = len(starts) - 1, 0
    cell = np.empty(len(columns), np.uint32)
    coarse_starts = np.empty((height + 1) // 2 + 1, np.int64)
    coarse_columns, full = np.empty(len(columns), np.uint32), np.ones(len(columns), np.bool_)
    for row in range(len(coarse_starts) - 1):
        coarse_starts[row] = first = count
        upper, middle = starts[2 * row], starts[2 * row + 1]
        lower, end = middle, starts[min(2 * row + 2, height)]
        while upper < middle or lower < end:
            if lower == end or (upper < middle and columns[upper] // 2 <= columns[lower] // 2):
                place = upper
                upper += 1
            else:
                place = lower
                lower += 1
            column = columns[place] // 2
            if count == first or coarse_columns[count - 1] != column:
                coarse_columns[count] = column
                count += 1
            cell[place] = count - 1
            full[count - 1] &= hole[place]
    coarse_starts[-1] = count
    return cell, coarse_starts, coarse_columns[:count].copy(), full[:count].copy()


@kernel
def _beside(
    starts: npt.NDArray[np.int64], columns: Numbers, hole: Flags, width: int, cell: Numbers
) -> tuple[Numbers, Numbers, Numbers]:
    """`holes`, `beside` and `cells` of a grid. What is beside a hole always has a place."""
    height, count, white = len(starts) - 1, 0, 0
    for y in range(height):
        for place in range(starts[y], starts[y + 1]):
            count += hole[place]
            white += hole[place] and (y + columns[place]) % 2 == 0
    holes, beside, cells = np.empty(count, np.uint32), np.empty((count, 4), np.uint32), np.empty((count, 3), np.uint32)
    following = np.array([0, white])
    for y in range(height):
        above, below = starts[max(y - 1, 0)], starts[min(y + 1, height)]
        for place in range(starts[y], starts[y + 1]):
            if not hole[place]:
                continue
            x = columns[place]
            while y > 0 and columns[above] < x:
                above += 1
            while y < height - 1 and columns[below] < x:
                below += 1
            colour = (y + x) % 2
            i = following[colour]
            following[colour] += 1
            holes[i] = place
            beside[i, 0] = above if y > 0 else place
            beside[i, 1] = below if y < height - 1 else place
            beside[i, 2] = place - 1 if x > 0 else place
            beside[i, 3] = place + 1 if x < width - 1 else place
            cells[i, 0] = cell[place]
            cells[i, 1] = cell[beside[i, y % 2]]
            cells[i, 2] = cell[beside[i, 2 + x % 2]]
    return holes, beside, cells


@kernel
def _means(values: Values, hole: Flags, cell: Numbers, count: int) -> Values:
    """The mean of what is no hole in each of the `count` cells; 0 where all is."""
    planes = values.shape[1]
    means, known = np.zeros((count, planes), np.float32), np.zeros(count, np.int32)
    for place in range(len(values)):
        if not hole[place]:
            known[cell[place]] += 1
            for k in range(planes):
                means[cell[place], k] += values[place, k]
    for i in range(count):
        for k in range(planes):
            means[i, k] /= np.float32(max(known[i], 1))
    return means


@kernel
def _add(values: Values, coarse: Values, holes: Numbers, cells: Numbers) -> None:
    """Add to the holes what cells have, interpolated linearly."""
    for i in range(len(holes)):
        place, own, across, along = holes[i], cells[i, 0], cells[i, 1], cells[i, 2]
        for k in range(values.shape[1]):
            values[place, k] += np.float32(0.5) * coarse[own, k] + np.float32(0.25) * (
                coarse[across, k] + coarse[along, k]
            )


@kernel
def _relax(values: Values, above: Values, holes: Numbers, beside: Numbers) -> None:
    for _ in range(_SWEEPS):
        for i in range(len(holes)):
            place, a, b, c, d = holes[i], beside[i, 0], beside[i, 1], beside[i, 2], beside[i, 3]
            for k in range(values.shape[1]):
                mean = np.float32(0.25) * (values[a, k] + values[b, k] + values[c, k] + values[d, k])
                values[place, k] += np.float32(_OVER) * (mean + above[place, k] - values[place, k])


@kernel
def _left(values: Values, above: Values, holes: Numbers, beside: Numbers, cells: Numbers, count: int) -> Values:
    """By how much holes are not yet `above` the mean of what is beside them, summed up in each of the `count` cells.

    The sum of four is what their cell lacks, since a mean over twice the distance is four times as far off.
    """
    left = np.zeros((count, values.shape[1]), np.float32)
    for i in range(len(holes)):
        place, cell, a, b, c, d = holes[i], cells[i, 0], beside[i, 0], beside[i, 1], beside[i, 2], beside[i, 3]
        for k in range(values.shape[1]):
            mean = np.float32(0.25) * (values[a, k] + values[b, k] + values[c, k] + values[d, k])
            left[cell, k] += mean + above[place, k] - values[place, k]
    return left
