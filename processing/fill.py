"""What the film would show under a hole, from its edges: what heat would be there that flows along the film's lines.

What lies beside a hole tells which way lines run into it (the structure tensor), and how distinctly. In the hole heat
flows along them and hardly across (Weickert, *Anisotropic Diffusion in Image Processing*, 1998), so that they go on;
where nothing has a direction it flows all ways alike. The weights are such that what is level or slopes evenly goes on
just so, and that nothing is darker or lighter than the edge.

It is found by full multigrid, so that a pixel of a wide hole takes no longer than one of a narrow hole: a grid of half
the resolution is spanned first, is the first guess of the finer one, and takes off it what successive over-relaxation
leaves (Brandt, *Multi-level adaptive solutions to boundary-value problems*, 1977).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spots import Pixels

_EDGE_PX = 2
"""How far beside the holes directions are looked for: the least in which squares fit, since further off lines bend."""

_AROUND, _AROUND_PX = 4, 32
"""As how many squares of pixels what is around tells of directions, and how far around that is at most.

Further is only looked where nothing nearer is known, so that what spans a hole does not depend on what is far off.
"""

_ACROSS = 0.02
"""How well heat flows across lines at least, if all lines run alike; along them it is 1."""

_SWEEPS, _OVER = 4, 1.5
"""Sweeps before and after each correction, and their over-relaxation: they leave errors of some thousandths."""

_BESIDE, _HOLE = 1, 2

Flags = npt.NDArray[np.bool_]
Line = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.uint32]
Values = npt.NDArray[np.float32]


class Holes:
    """Holes in a picture, which can be spanned in it, or in others of its size.

    `edge` are the pixels beside them, row after row: all that has to be known. At the border of the picture it is taken
    to go on as its last pixel.
    """

    def __init__(self, pixels: Pixels, shape: tuple[int, int]) -> None:
        """Take the pixels of the holes, row after row, in a picture of this `shape`."""
        height, width = shape
        marks = _marked(pixels, height, width).reshape(-1)
        places = np.flatnonzero(marks > 0)
        self._hole: Flags = marks[places] == _HOLE
        rows, columns = np.divmod(places, width)
        self.edge: Pixels = np.stack((rows[~self._hole], columns[~self._hole]))
        starts = np.searchsorted(rows, np.arange(height + 1)).astype(np.int64)
        columns = columns.astype(np.uint32)
        self._squares = _squares(starts, columns, self._hole)
        self._grid = _grid(starts, columns, self._hole, width)

    def span(self, edge: Values) -> Values:
        """What spans the holes in each plane of a picture, (planes, pixels of the holes).

        `edge` is what it shows at `self.edge`: (planes, pixels of the edge). Lines are taken to run alike in all its
        planes. Holes without an edge are spanned by 0.
        """
        values = _beside_holes(self._hole, edge)
        if self._grid is not None:
            tensors = _tensors(values, self._squares, self._grid.cell, self._grid.count)
            _span(self._grid, values, _flows(self._grid, tensors))
        return _in_holes(self._hole, values)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The places of holes and of what is beside them at one resolution, numbered row after row.

    `hole` (places) tells which are holes. `holes` numbers these, all white squares of a chessboard before the black
    ones, and `beside` (holes, 4) what lies above, below, left and right of each; beyond the border it is beside itself.
    A place is one of the four in a cell, which is a place of the `coarser` grid: a hole if all four are. `cell`
    (places) numbers the `count` cells, `cells` (holes, 3) that of each hole and the nearest to it of those above and
    below and of those left and right.
    """

    hole: Flags
    holes: Numbers
    beside: Numbers
    cell: Numbers
    cells: Numbers
    count: int
    coarser: _Grid | None


def _grid(starts: npt.NDArray[np.int64], columns: Numbers, hole: Flags, width: int, px: int = 1) -> _Grid | None:
    """The grid of places in these columns, row by row, of which each begins with the place that `starts` numbers.

    Places are `px` wide. None if it would have nothing but holes, or none and look too far around.
    """
    if hole.all() or (px >= _AROUND_PX and not hole.any()):
        return None
    cell, coarse_starts, coarse_columns, full = _cells(starts, columns, hole)
    holes, beside, cells = _beside(starts, columns, hole, width, cell)
    coarser = _grid(coarse_starts, coarse_columns, full, (width + 1) // 2, 2 * px)
    return _Grid(hole, holes, beside, cell, cells, len(full), coarser)


def _flows(grid: _Grid, tensors: Values, px: int = 2) -> list[Values]:
    """How heat flows to the holes of this grid and of each coarser one, as `_flow` has it.

    `tensors` (cells, 4) are sums over cells, `px` wide, and the number of squares in them; what is around is added.
    """
    coarser: list[Values] = []
    if grid.coarser is not None:
        around = _sums(tensors, grid.coarser.cell, grid.coarser.count)
        coarser = _flows(grid.coarser, around, 2 * px)
        _add_around(tensors, around, grid.coarser.cell, _AROUND if px < _AROUND_PX else 0)
    return [_flow(tensors, grid.cells), *coarser]


def _span(grid: _Grid, values: Values, flows: Sequence[Values]) -> None:
    """Span the holes, whose values, (planes, places), are 0."""
    guess = _means(values, grid.hole, grid.cell, grid.count)
    if grid.coarser is not None and len(grid.coarser.holes):
        _span(grid.coarser, guess, flows[1:])
    _add(values, guess, grid.holes, grid.cells)
    _improve(grid, values, np.zeros_like(values), flows)


def _improve(grid: _Grid, values: Values, above: Values, flows: Sequence[Values]) -> None:
    """Bring each value of a hole closer to `above` the mean of those beside it, both (planes, places), by a V-cycle."""
    _relax(values, above, grid.holes, grid.beside, flows[0])
    if grid.coarser is not None and len(grid.coarser.holes):
        left = _left(values, above, grid.holes, grid.beside, flows[0], grid.cells, grid.count)
        correction = np.zeros((len(values), grid.count), np.float32)
        _improve(grid.coarser, correction, left, flows[1:])
        _add(values, correction, grid.holes, grid.cells)
    _relax(values, above, grid.holes, grid.beside, flows[0])


@kernel
def _beside_holes(hole: Flags, edge: Values) -> Values:
    """The values of all places, (planes, places): those of the `edge`, (planes, pixels), and 0 in holes."""
    values = np.zeros((len(edge), len(hole)), np.float32)
    for plane, known in zip(values, edge):  # noqa: B905 -- numba knows no strict
        count = 0
        for place in range(len(hole)):
            if not hole[place]:
                plane[place] = known[count]
                count += 1
    return values


@kernel
def _in_holes(hole: Flags, values: Values) -> Values:
    """The values of those of the places, (planes, places), that are holes: (planes, holes)."""
    found = np.empty((len(values), np.count_nonzero(hole)), np.float32)
    for plane, inside in zip(values, found):  # noqa: B905 -- numba knows no strict
        count = 0
        for place in range(len(hole)):
            if hole[place]:
                inside[count] = plane[place]
                count += 1
    return found


@kernel
def _marked(pixels: Pixels, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A picture in which holes are `_HOLE`, what is beside them `_BESIDE`, and all else 0."""
    marks, i = np.zeros((height, width), np.uint8), 0
    while i < pixels.shape[1]:
        y, first = pixels[0, i], i
        while i < pixels.shape[1] and pixels[0, i] == y and pixels[1, i] - pixels[1, first] == i - first:
            i += 1
        left, right = max(pixels[1, first] - _EDGE_PX, 0), min(pixels[1, i - 1] + _EDGE_PX + 1, width)
        for v in range(max(y - _EDGE_PX, 0), min(y + _EDGE_PX + 1, height)):
            marks[v, left:right] = _BESIDE
    for i in range(pixels.shape[1]):
        marks[pixels[0, i], pixels[1, i]] = _HOLE
    return marks


@kernel
def _squares(starts: npt.NDArray[np.int64], columns: Numbers, hole: Flags) -> Numbers:
    """The left places, upper and lower, of each square of two by two that are no holes: (squares, 2)."""
    squares, count = np.empty((len(columns), 2), np.uint32), 0
    for y in range(len(starts) - 2):
        below, end = starts[y + 1], starts[y + 2]
        for place in range(starts[y], starts[y + 1] - 1):
            column = columns[place]
            while below < end and columns[below] < column:
                below += 1
            if below + 1 >= end:
                break
            if hole[place] or hole[place + 1] or hole[below] or hole[below + 1]:
                continue
            if columns[place + 1] == column + 1 and columns[below] == column and columns[below + 1] == column + 1:
                squares[count, 0], squares[count, 1] = place, below
                count += 1
    return squares[:count].copy()


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
def _tensors(values: Values, squares: Numbers, cell: Numbers, count: int) -> Values:
    """The structure tensor's xx, yy and xy, summed up over planes and the squares of a cell, and their number.

    A square counts in the cell of its upper left place and in that of its lower right one, between which it may lie.
    """
    tensors = np.zeros((count, 4), np.float32)
    for i in range(len(squares)):
        upper, lower = squares[i, 0], squares[i, 1]
        xx = yy = xy = np.float32(0)
        for plane in values:
            falling = plane[lower + 1] - plane[upper]
            rising = plane[upper + 1] - plane[lower]
            across, down = falling + rising, falling - rising
            xx += across * across
            yy += down * down
            xy += across * down
        for j in (cell[upper], cell[lower + 1]):
            tensors[j, 0] += xx
            tensors[j, 1] += yy
            tensors[j, 2] += xy
            tensors[j, 3] += np.float32(1)
    return tensors


@kernel
def _sums(tensors: Values, cell: Numbers, count: int) -> Values:
    """The tensors of all places in each of the `count` cells together."""
    sums = np.zeros((count, 4), np.float32)
    for place in range(len(tensors)):
        for k in range(4):
            sums[cell[place], k] += tensors[place, k]
    return sums


@kernel
def _add_around(tensors: Values, around: Values, cell: Numbers, squares: int) -> None:
    """Add to each place's tensor the mean of that of its cell, as so many squares; as one if it has none itself."""
    for place in range(len(tensors)):
        weight, total = max(squares, tensors[place, 3] == 0), around[cell[place], 3]
        if total > 0:
            for k in range(4):
                tensors[place, k] += np.float32(weight) / total * around[cell[place], k]


@kernel
def _flow(tensors: Values, cells: Numbers) -> Values:
    """What each hole takes of each one above and below, left and right, and along a diagonal, (holes, 3).

    A diagonal that rises to the right has a negative weight. Two of each are 1 together. That is the tensor whose
    eigenvectors are those of the structure tensor, with their eigenvalues exchanged, as far as eight pixels can have it
    without taking anything away (Weickert, section 3.4.2). Tensors are interpolated between cells as their means.
    """
    flow = np.empty((len(cells), 3), np.float32)
    for i in range(len(cells)):
        xx = yy = xy = np.float32(0)
        for j in range(3):
            cell = cells[i, j]
            if tensors[cell, 3] > 0:
                weight = np.float32(0.5 if j == 0 else 0.25) / tensors[cell, 3]
                xx += weight * tensors[cell, 0]
                yy += weight * tensors[cell, 1]
                xy += weight * tensors[cell, 2]
        least = np.float32(_ACROSS) * (xx + yy)
        if least > 0:
            upright, level = xx + least, yy + least
            diagonal = min(abs(xy), upright, level)
            half = np.float32(0.5) / (upright + level - diagonal)
            flow[i, 0] = half * (upright - diagonal)
            flow[i, 1] = half * (level - diagonal)
            flow[i, 2] = half * (diagonal if xy < 0 else -diagonal)
        else:
            flow[i, 0] = flow[i, 1] = 0.25
            flow[i, 2] = 0
    return flow


@kernel
def _means(values: Values, hole: Flags, cell: Numbers, count: int) -> Values:
    """The mean of what is no hole in each of the `count` cells; 0 where all is."""
    means, known = np.zeros((len(values), count), np.float32), np.zeros(count, np.int32)
    for place in range(len(hole)):
        known[cell[place]] += not hole[place]
    for plane, mean in zip(values, means):  # noqa: B905 -- numba knows no strict
        for place in range(len(hole)):
            if not hole[place]:
                mean[cell[place]] += plane[place]
        mean /= np.maximum(known, 1)
    return means


@kernel
def _add(values: Values, coarse: Values, holes: Numbers, cells: Numbers) -> None:
    """Add to the holes what cells have, interpolated linearly."""
    for plane, rough in zip(values, coarse):  # noqa: B905 -- numba knows no strict
        for i in range(len(holes)):
            own, across, along = cells[i, 0], cells[i, 1], cells[i, 2]
            plane[holes[i]] += np.float32(0.5) * rough[own] + np.float32(0.25) * (rough[across] + rough[along])


@kernel
def _lacks(plane: Line, above: Line, holes: Numbers, beside: Numbers, flow: Values, i: int) -> np.float32:
    """By how much hole `i` is not yet `above` the weighted mean of what is beside it."""
    # Numbers without a sign, since others might count from the end, which takes as long as all else.
    place = np.uint64(holes[i])
    upper, lower = np.uint64(beside[i, 0]), np.uint64(beside[i, 1])
    left, right = np.uint64(beside[i, 2]), np.uint64(beside[i, 3])
    upright, level, diagonal = flow[i, 0], flow[i, 1], flow[i, 2]
    # Rows are numbered through, so that it is as far to the left and to the right in those above and below.
    one, other = left if diagonal > 0 else right, right if diagonal > 0 else left
    mean = (
        upright * (plane[upper] + plane[lower])
        + level * (plane[left] + plane[right])
        + abs(diagonal) * (plane[upper + one - place] + plane[lower + other - place])
    )
    return mean + above[place] - plane[place]


@kernel
def _relax(values: Values, above: Values, holes: Numbers, beside: Numbers, flow: Values) -> None:
    for k in range(len(values)):
        _sweep(values[k], above[k], holes, beside, flow)


@kernel
def _sweep(plane: Line, above: Line, holes: Numbers, beside: Numbers, flow: Values) -> None:
    for _ in range(_SWEEPS):
        for i in range(len(holes)):
            plane[holes[i]] += np.float32(_OVER) * _lacks(plane, above, holes, beside, flow, i)


@kernel
def _left(
    values: Values, above: Values, holes: Numbers, beside: Numbers, flow: Values, cells: Numbers, count: int
) -> Values:
    """By how much holes are not yet `above` the mean of what is beside them, summed up in each of the `count` cells.

    The sum of four is what their cell lacks, since a mean over twice the distance is four times as far off.
    """
    left = np.zeros((len(values), count), np.float32)
    for plane, rest, lacks in zip(values, above, left):  # noqa: B905 -- numba knows no strict
        for i in range(len(holes)):
            lacks[cells[i, 0]] += _lacks(plane, rest, holes, beside, flow, i)
    return left
