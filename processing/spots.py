"""Connected spots of a mask and what is asked of them, as scipy.ndimage has it, but without sorting whole planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

if TYPE_CHECKING:
    from .arrays import Mask, Plane

TOUCHING = np.ones((3, 3), np.bool_)
"""Pixels of a spot touch along an edge or at a corner."""


def peaks(values: Plane, labels: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.float32]:
    """The largest of `values` in each of the spots that `labels` numbers 1..`count`, both (rows, columns): (count).

    -inf where a number does not occur.
    """
    inside = labels > 0
    found = np.full(count, -np.inf, np.float32)
    np.maximum.at(found, labels[inside] - 1, values[inside])
    return found


def without_holes(mask: Mask) -> Mask:
    """The mask with everything that it encloses: what cannot be reached from the border except across its pixels."""
    outside, count = ndimage.label(~mask)
    reached = np.zeros(count + 1, np.bool_)
    for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
        reached[edge] = True
    reached[0] = False
    return np.asarray(~reached[outside])


def widened(mask: Mask, px: int) -> Mask:
    """The mask and all pixels that at most `px` steps along rows and columns lead to."""
    if not mask.any():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_cdt(~mask, "taxicab") <= px)
