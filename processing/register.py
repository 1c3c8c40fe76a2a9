"""Where the carriage stopped: resampling a frame's residual onto the grid of the map, or the map onto the frame's.

A frame shows at (row + offset[0], column + offset[1]) what the map has at (row, column).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .arrays import Mask, Plane, require_plane
from .kernel import kernel

BEFORE_PX = 2
"""Pixels that resampling sees before the one it starts from."""

MARGIN_PX = 5
"""Pixels that resampling sees beyond those it gives, before and after together."""


def split(offset: tuple[float, float]) -> tuple[tuple[int, int], tuple[float, float]]:
    """An offset as whole pixels, rounded down, and the fraction (0..1) beyond them."""
    down, right = (math.floor(shift) for shift in offset)
    return (down, right), (offset[0] - down, offset[1] - right)


def lanczos(fraction: float) -> npt.NDArray[np.float32]:
    """Six weights that interpolate at `fraction` (0..1) between the third and the fourth of six samples.

    Lanczos' kernel with three lobes, normalised to keep a constant.
    """
    distance = np.arange(6) - 2 - fraction
    weights = np.sinc(distance) * np.sinc(distance / 3)
    return (weights / weights.sum()).astype(np.float32)


def resample(plane: Plane, known: Mask, fraction: tuple[float, float]) -> tuple[Plane, Mask]:
    """Interpolate `plane` at (row + `fraction`[0], column + `fraction`[1]), each 0..1.

    `plane` and `known` are (rows + 5, columns + 5); the results are (rows, columns): result[0, 0] lies between
    plane[2, 2] and plane[3, 3]. A result is known where the four samples around it are. Raises ValueError for another
    type.
    """
    require_plane(plane, "plane")
    out = np.empty((plane.shape[0] - MARGIN_PX, plane.shape[1] - MARGIN_PX), np.float32)
    sure = np.empty(out.shape, np.bool_)
    across = np.empty((plane.shape[0], out.shape[1]), np.float32)
    _resample(plane, known, lanczos(fraction[0]), lanczos(fraction[1]), across, out, sure)
    return out, sure


@kernel
def _resample(
    plane: Plane,
    known: Mask,
    down: npt.NDArray[np.float32],
    right: npt.NDArray[np.float32],
    across: Plane,
    out: Plane,
    sure: Mask,
) -> None:
    height, width = out.shape
    for y in range(plane.shape[0]):
        for x in range(width):
            across[y, x] = (
                right[0] * plane[y, x]
                + right[1] * plane[y, x + 1]
                + right[2] * plane[y, x + 2]
                + right[3] * plane[y, x + 3]
                + right[4] * plane[y, x + 4]
                + right[5] * plane[y, x + 5]
            )
    for y in range(height):
        for x in range(width):
            out[y, x] = (
                down[0] * across[y, x]
                + down[1] * across[y + 1, x]
                + down[2] * across[y + 2, x]
                + down[3] * across[y + 3, x]
                + down[4] * across[y + 4, x]
                + down[5] * across[y + 5, x]
            )
            sure[y, x] = known[y + 2, x + 2] and known[y + 2, x + 3] and known[y + 3, x + 2] and known[y + 3, x + 3]
