"""Gaussian smoothing of planes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from .arrays import Plane, require_plane
from .kernel import kernel

_TRUNCATE = 4.0


def smooth(
    plane: Plane,
    deviation_px: float,
    border: Literal["symmetric", "edge"] = "symmetric",
    truncate: float = _TRUNCATE,
    rows: slice = slice(None),
) -> Plane:
    """The `rows` of `plane` (rows, columns) smoothed by a Gaussian that ends after `truncate` standard deviations.

    Beyond the border it is mirrored, the edge pixel included, or its edge goes on. Raises ValueError for another shape
    or type.
    """
    require_plane(plane, "plane")
    distance = np.arange(int(truncate * deviation_px + 0.5) + 1)
    half = np.exp(-0.5 * (distance / deviation_px) ** 2)
    half /= 2 * half.sum() - half[0]
    first, stop, _ = rows.indices(len(plane))
    out = np.empty((stop - first, plane.shape[1]), np.float32)
    if out.size:
        reach = len(half) - 1
        padded = np.pad(plane, reach, border)
        _smooth(padded[first : stop + 2 * reach], half.astype(np.float32), out)
    return out


@kernel
def _smooth(padded: Plane, half: npt.NDArray[np.float32], out: Plane) -> None:
    """Down the columns into a row, and along it; `padded` has as much more to each side of `out` as `half` reaches."""
    height, width = out.shape
    reach = len(half) - 1
    row = np.empty(width + 2 * reach, np.float32)
    for y in range(height):
        for x in range(len(row)):
            row[x] = half[0] * padded[y + reach, x]
        for k in range(1, reach + 1):
            above, below = padded[y + reach - k], padded[y + reach + k]
            for x in range(len(row)):
                row[x] += half[k] * (above[x] + below[x])
        for x in range(width):
            out[y, x] = half[0] * row[x + reach]
        for k in range(1, reach + 1):
            left, right = row[reach - k : reach - k + width], row[reach + k : reach + k + width]
            for x in range(width):
                out[y, x] += half[k] * (left[x] + right[x])
