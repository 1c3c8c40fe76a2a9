"""Connected spots of a mask and what is asked of them, as scipy.ndimage has it, but without sorting whole planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .kernel import kernel

if TYPE_CHECKING:
    from .arrays import Mask, Plane

TOUCHING = np.ones((3, 3), np.bool_)
"""Pixels of a spot touch along an edge or at a corner."""

Pixels = npt.NDArray[np.int64]
"""(2, pixels): their rows and columns."""

Labels = npt.NDArray[np.int64]
"""(pixels): the number of each one's spot."""


def pixels_of(mask: Mask) -> Pixels:
    """The pixels of a mask, row after row; faster than to ask for rows and columns at once."""
    return np.stack(np.divmod(np.flatnonzero(mask), mask.shape[1]))


def peaks(values: Plane, labels: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.float32]:
    """The largest of `values` in each of the spots that `labels` numbers 1..`count`, both of one shape: (count).

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


def connected(
    pixels: Pixels, parts: npt.NDArray[np.uint8] | None = None, *, corners: bool = True
) -> tuple[Labels, int]:
    """The connected spots that pixels make up: each pixel's number, from 0, and how many spots there are.

    Pixels come row after row, and those of a row from left to right. They touch along an edge or, unless that is not
    wanted, at `corners`; of several `parts` (pixels), only those of one part do.
    """
    return _connected(pixels, np.zeros(pixels.shape[1], np.uint8) if parts is None else parts, int(corners))


@kernel
def _connected(pixels: Pixels, parts: npt.NDArray[np.uint8], corners: int) -> tuple[Labels, int]:
    rows, columns = pixels
    count = len(rows)
    first = np.arange(count)  # an earlier pixel of the same spot, or itself
    above = spots = 0
    for i in range(count):
        before, after = columns[i] - corners, columns[i] + corners
        while rows[above] < rows[i] - 1 or (rows[above] == rows[i] - 1 and columns[above] < before):
            above += 1
        beside = above
        while rows[beside] == rows[i] - 1 and columns[beside] <= after:
            if parts[beside] == parts[i]:
                _join(first, beside, i)
            beside += 1
        if i > 0 and rows[i - 1] == rows[i] and columns[i - 1] == columns[i] - 1 and parts[i - 1] == parts[i]:
            _join(first, i - 1, i)
    labels = np.empty(count, np.int64)
    for i in range(count):
        if first[i] == i:
            labels[i] = spots
            spots += 1
        else:
            labels[i] = labels[first[i]]
    return labels, spots


@kernel
def _join(first: Labels, one: int, other: int) -> None:
    while first[one] != one:
        first[one] = first[first[one]]
        one = first[one]
    while first[other] != other:
        first[other] = first[first[other]]
        other = first[other]
    first[max(one, other)] = min(one, other)
