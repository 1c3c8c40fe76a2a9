"""What is known of pictures by cells of 32 x 32 pixels: film, texture; and where all frames of a glass show the same.

The cells of one picture need not lie on those of another: frames are cropped and turned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .arrays import Mask, Plane

CELL_PX = 32

_OPAQUE_D = 2.5

Value = TypeVar("Value", bound=np.generic)

Corner = tuple[int, int]
"""Where something begins, (row, column) in px."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of the glass: where it begins, and its size in px."""

    corner: Corner
    height: int
    width: int

    @staticmethod
    def under(frames: Iterable[tuple[int, int, tuple[float, float]]]) -> Patch:
        """What frames cover together, each of which has a height, a width and an offset (rows, columns)."""
        edges = [(-down, -right, height - down, width - right) for height, width, (down, right) in frames]
        tops, lefts, bottoms, rights = zip(*edges, strict=True)
        top, left = math.floor(min(tops)), math.floor(min(lefts))
        return Patch((top, left), math.ceil(max(bottoms)) - top, math.ceil(max(rights)) - left)


@dataclass(frozen=True, slots=True)
class Cells(Generic[Value]):
    """A value for each cell, (rows / 32, columns / 32), of which the first begins at `corner`."""

    values: npt.NDArray[Value]
    corner: Corner = (0, 0)

    def at(self, points: npt.NDArray[np.float32]) -> npt.NDArray[Value]:
        """The value of the cell in which each of (n, 2 or more) points lies, row and column first.

        A point outside takes the nearest cell's.
        """
        places = (points[:, :2] - np.array(self.corner, np.float32)) // CELL_PX
        row, column = np.clip(places, 0, np.array(self.values.shape) - 1).astype(np.intp).T
        return self.values[row, column]

    def within(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The points that lie in cells marked True."""
        return points[self.at(points).astype(np.bool_)]


def films_on(
    patch: Patch, frames: Iterable[tuple[int, int, Cells[np.float32], tuple[float, float]]], every: int = 1
) -> Iterator[Plane]:
    """The film of each frame at the cells of a patch of glass, (rows / 32, columns / 32); nan where the frame ends.

    Each has a height, a width, its film by cells, and an offset (rows, columns). Between cells it is interpolated.
    Only `every` so many rows and columns of cells are looked at.
    """
    for height, width, film, offset in frames:
        starts = [
            np.arange(0, -(-length // CELL_PX), every) * CELL_PX + begin + shift
            for length, begin, shift in zip((patch.height, patch.width), patch.corner, offset, strict=True)
        ]
        rows, columns = (
            (start > 1 - CELL_PX) & (start < length - 1) for start, length in zip(starts, (height, width), strict=True)
        )
        places = [(start - own) / CELL_PX for start, own in zip(starts, film.corner, strict=True)]
        yield np.where(np.outer(rows, columns), _between(film.values, *places), np.float32(np.nan))


def _between(
    values: npt.NDArray[np.float32], rows: npt.NDArray[np.floating], columns: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Values (rows, columns) where some rows and columns meet, linear between those that there are."""
    for axis, places in enumerate((rows, columns)):
        last = values.shape[axis] - 1
        within = np.clip(places, 0, last)
        before = within.astype(np.intp)
        share = (within - before).astype(np.float32).reshape(-1, *[1] * (1 - axis))
        lower = values.take(before, axis)
        values = lower + share * (values.take(np.minimum(before + 1, last), axis) - lower)
    return values


def fixed_cells(films: Iterable[Plane], same_film_d: float) -> Mask:
    """Cells (rows, columns) that show the same film in all of `films`, each of that shape: they tell nothing.

    A frame that does not show a cell has nan there; a cell that fewer than two frames show tells nothing either.

    Holder edges, rebate and its text stay as dirt does. They lie along the border, so what does not change there is
    widened by one cell, for the edge itself. What no light comes through in any frame is a holder, too, however much
    its density varies with the scanner's noise.
    """
    shown, lowest, highest = (np.array(start, np.float32) for start in (0, np.nan, np.nan))
    for film in films:
        shown = shown + ~np.isnan(film)
        lowest, highest = np.fmin(lowest, film), np.fmax(highest, film)
    alone = shown < 2
    still = ~alone & ((highest - lowest < same_film_d) | (lowest > _OPAQUE_D))
    if not still.any():
        return alone
    labels, _ = ndimage.label(still | alone)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    along_border = still & np.isin(labels, rim[rim > 0])
    return still | alone | ndimage.binary_dilation(along_border, np.ones((3, 3), np.bool_))
