"""What the film would show under a hole, from its edges: the membrane that spans it (Laplace's equation).

A membrane is the best guess where the film's power falls as 1 / frequency squared, as that of pictures does on the
whole. Each hole is first filled ring by ring from its edge, and then solved by successive over-relaxation, forwards and
backwards in turn, at the rate and for as long as its width asks for (Young, *Iterative methods for solving partial
difference equations of elliptic type*, 1954).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .kernel import kernel

if TYPE_CHECKING:
    from .arrays import Mask

_LEFT = 1e-3
"""The share of the first guess's error that may be left: a guess that is better is no better guess of the film."""

Numbers = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]


class Holes:
    """Holes in a picture, which can be spanned in any number of planes.

    `edge` (rows, columns) marks the pixels beside them, all that has to be known. At the border of the picture it is
    taken to go on as its last pixel.
    """

    def __init__(self, hole: Mask) -> None:
        """Take the holes from a mask (rows, columns)."""
        self._count = int(np.count_nonzero(hole))
        numbers = np.full(hole.shape, -1, np.int32)
        numbers[hole] = np.arange(self._count)
        self._beside = _neighbours(numbers, self._count)
        self.edge: Mask = numbers >= self._count
        self._edge_numbers = numbers[self.edge]

    def span(self, edge: Values) -> Values:
        """What spans the holes in each plane, (planes, pixels of the holes), by what the plane shows at `self.edge`.

        `edge` is that: (planes, pixels of the edge). Pixels come row after row. Holes without an edge are spanned by 0.
        """
        values = np.zeros((self._count + len(self._edge_numbers), len(edge)), np.float32)
        values[self._edge_numbers] = edge.T
        rings = _fill_rings(values, self._beside)
        for pixels in _apart(self._beside):
            if rings[pixels[0]]:
                _relax(values, self._beside, pixels, *_rate(4 * int(rings[pixels].max())))
        return np.ascontiguousarray(values[: self._count].T)


def _rate(width: int) -> tuple[np.float32, int]:
    """The best over-relaxation of a long strip of this width, and how many sweeps it takes.

    Holes that bend and branch want that of a wider one than their rings tell of.
    """
    radius = (1 + math.cos(math.pi / (width + 1))) / 2
    over = 2 / (1 + math.sqrt(1 - radius**2))
    return np.float32(over), math.ceil(math.log(_LEFT) / math.log(over - 1))


def _apart(beside: Numbers) -> list[Numbers]:
    """The pixels of each connected hole, in their order."""
    labels = _labels(beside)
    order = np.argsort(labels, kind="stable").astype(np.int32)
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []


@kernel
def _neighbours(numbers: Numbers, count: int) -> Numbers:
    """The numbers of the pixels beside each of the `count` that have one: above, below, left and right.

    Those that have none yet get the next ones. Beyond the border a pixel is beside itself.
    """
    height, width = numbers.shape
    beside = np.empty((count, 4), np.int32)
    following = count
    for y in range(height):
        for x in range(width):
            number = numbers[y, x]
            if not 0 <= number < count:
                continue
            for side in range(4):
                v = y + (side == 1) - (side == 0)
                u = x + (side == 3) - (side == 2)
                if not (0 <= v < height and 0 <= u < width):
                    beside[number, side] = number
                    continue
                if numbers[v, u] < 0:
                    numbers[v, u] = following
                    following += 1
                beside[number, side] = numbers[v, u]
    return beside


@kernel
def _fill_rings(values: Values, beside: Numbers) -> Numbers:
    """Give every pixel the mean of its neighbours in the ring before; tell which ring it is in, from 1.

    A pixel that no edge leads to keeps its values, and is in ring 0.
    """
    count, planes = len(beside), values.shape[1]
    rings = np.zeros(count, np.int32)
    order = np.empty(count, np.int32)
    found = 0
    for i in range(count):
        for side in range(4):
            if beside[i, side] >= count and rings[i] == 0:
                rings[i] = 1
                order[found] = i
                found += 1
    done = 0
    while done < found:
        i = order[done]
        done += 1
        known = 0
        for side in range(4):
            j = beside[i, side]
            if j >= count or 0 < rings[j] < rings[i]:
                known += 1
                for k in range(planes):
                    values[i, k] += values[j, k]
            elif rings[j] == 0:
                rings[j] = rings[i] + 1
                order[found] = j
                found += 1
        for k in range(planes):
            values[i, k] /= np.float32(known)
    return rings


@kernel
def _labels(beside: Numbers) -> Numbers:
    """Number the connected holes: one number for each pixel."""
    count = len(beside)
    labels = np.full(count, -1, np.int32)
    waiting = np.empty(count, np.int32)
    label = 0
    for first in range(count):
        if labels[first] >= 0:
            continue
        labels[first] = label
        waiting[0] = first
        left = 1
        while left:
            left -= 1
            i = waiting[left]
            for side in range(4):
                j = beside[i, side]
                if j < count and labels[j] < 0:
                    labels[j] = label
                    waiting[left] = j
                    left += 1
        label += 1
    return labels


@kernel
def _relax(values: Values, beside: Numbers, pixels: Numbers, over: np.float32, sweeps: int) -> None:
    count, planes = len(pixels), values.shape[1]
    quarter = np.float32(0.25)
    for sweep in range(sweeps):
        for step in range(count):
            i = pixels[step if sweep % 2 == 0 else count - 1 - step]
            a, b, c, d = beside[i]
            for k in range(planes):
                mean = quarter * (values[a, k] + values[b, k] + values[c, k] + values[d, k])
                values[i, k] += over * (mean - values[i, k])
