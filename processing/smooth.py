"""Gaussian smoothing of planes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arrays import Plane, require_plane
from .kernel import kernel

_TRUNCATE = 4.0
"""How many standard deviations of the Gaussian are asked."""


def smooth(plane: Plane, deviation_px: float) -> Plane:
    """`plane` (rows, columns) smoothed by a Gaussian; beyond the border it is mirrored, the edge pixel included.

    Raises ValueError for another shape or type.
    """
    require_plane(plane, "plane")
    distance = np.arange(int(_TRUNCATE * deviation_px + 0.5) + 1)
    half = np.exp(-0.5 * (distance / deviation_px) ** 2)
    half /= 2 * half.sum() - half[0]
    out = np.empty_like(plane)
    if plane.size:
        _smooth(plane, half.astype(np.float32), out)
    return out


@kernel
def _mirrored(place: int, length: int) -> int:
    place %= 2 * length
    return place if place < length else 2 * length - 1 - place


@kernel
def _smooth(plane: Plane, half: npt.NDArray[np.float32], out: Plane) -> None:
    """Down the columns into a row that is then mirrored at its ends, and along it."""
    height, width = plane.shape
    reach = len(half) - 1
    row = np.empty(width + 2 * reach, np.float32)
    for y in range(height):
        middle = row[reach : reach + width]
        for x in range(width):
            middle[x] = half[0] * plane[y, x]
        for k in range(1, reach + 1):
            above, below = plane[_mirrored(y - k, height)], plane[_mirrored(y + k, height)]
            for x in range(width):
                middle[x] += half[k] * (above[x] + below[x])
        for k in range(1, reach + 1):
            row[reach - k] = row[reach + _mirrored(-k, width)]
            row[reach + width - 1 + k] = row[reach + _mirrored(width - 1 + k, width)]
        for x in range(width):
            out[y, x] = half[0] * middle[x]
        for k in range(1, reach + 1):
            left, right = row[reach - k : reach - k + width], row[reach + k : reach + k + width]
            for x in range(width):
                out[y, x] += half[k] * (left[x] + right[x])
