"""Where the carriage stopped: resampling a frame's residual onto the grid of the map, or the map onto the frame's.

A frame shows at (row + shift[0], column + shift[1]) what the map has at (row, column). While the carriage travels down
the rows the shift may change, so each row has its own; where it travels along the columns, each column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arrays import Mask, Plane, require_plane
from .kernel import kernel

BEFORE_PX = 2
"""Pixels that resampling sees before the one it starts from."""

MARGIN_PX = 5
"""Pixels that resampling sees beyond those it gives, before and after together."""

Shifts = npt.NDArray[np.float64]
"""(n, 2): by how many rows and columns each row is shifted, or each column."""


def split(shifts: Shifts) -> tuple[tuple[int, int], Shifts, tuple[int, int]]:
    """The whole pixels that all are shifted by, what each is shifted beyond these, 0 or more, and how far that goes.

    The last, whole pixels as well, have to be seen beside `MARGIN_PX`: none unless shifts differ.
    """
    whole = np.floor(shifts.min(axis=0))
    beyond = shifts - whole
    (down, right), (more_down, more_right) = whole.astype(int).tolist(), beyond.max(axis=0).astype(int).tolist()
    return (down, right), beyond, (more_down, more_right)


def lanczos(fraction: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Six weights for each `fraction` (0..1) that interpolate there between the third and the fourth of six samples.

    Lanczos' kernel with three lobes, normalised to keep a constant.
    """
    distance = np.arange(6) - 2 - np.asarray(fraction)[..., None]
    weights = np.sinc(distance) * np.sinc(distance / 3)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def resample(plane: Plane, known: Mask, beyond: Shifts, axis: int = 0) -> tuple[Plane, Mask]:
    """Interpolate `plane` at (row + `beyond`[row, 0], column + `beyond`[row, 1]); with `axis` 1 by column.

    `beyond` is 0 or more, for each row (column) of the result. `plane` and `known` are as `split` says larger than the
    results: if `beyond` is less than 1 everywhere, by 5 rows and columns, and result[0, 0] lies between plane[2, 2] and
    plane[3, 3]. A result is known where the four samples around it are. Raises ValueError for another type.
    """
    require_plane(plane, "plane")
    if axis == 1:
        out, sure = resample(np.ascontiguousarray(plane.T), np.ascontiguousarray(known.T), beyond[:, ::-1])
        return np.ascontiguousarray(out.T), np.ascontiguousarray(sure.T)
    whole = beyond.astype(np.int64)
    out = np.empty((len(beyond), plane.shape[1] - MARGIN_PX - int(whole[:, 1].max())), np.float32)
    sure = np.empty(out.shape, np.bool_)
    down, right = lanczos((beyond - whole).T)
    _resample(plane, known, whole, down, right, out, sure)
    return out, sure


@kernel
def _resample(
    plane: Plane,
    known: Mask,
    whole: npt.NDArray[np.int64],
    down: npt.NDArray[np.float32],
    right: npt.NDArray[np.float32],
    out: Plane,
    sure: Mask,
) -> None:
    line = np.empty(plane.shape[1], np.float32)
    for y in range(out.shape[0]):
        rows, seen = plane[y + whole[y, 0] :], known[y + whole[y, 0] :, whole[y, 1] :]
        a, b, c, d, e, f = down[y]
        for x in range(plane.shape[1]):
            line[x] = (
                a * rows[0, x] + b * rows[1, x] + c * rows[2, x] + d * rows[3, x] + e * rows[4, x] + f * rows[5, x]
            )
        a, b, c, d, e, f = right[y]
        across = line[whole[y, 1] :]
        for x in range(out.shape[1]):
            out[y, x] = (
                a * across[x]
                + b * across[x + 1]
                + c * across[x + 2]
                + d * across[x + 3]
                + e * across[x + 4]
                + f * across[x + 5]
            )
            sure[y, x] = seen[2, x + 2] and seen[2, x + 3] and seen[3, x + 2] and seen[3, x + 3]
