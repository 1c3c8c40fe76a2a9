"""How a glass lies in a frame. The carriage never stops at the same place twice, and software crops, turns and mirrors.

A point of the frame is turned about the frame's first pixel, as its orientation says, and is then moved by the offset:
so placements of frames of different sizes can be compared, and combined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .planes import PlaneOnDisk

Value = TypeVar("Value", bound=np.generic)

ORIENTATIONS = (1, 3, 2, 4, 6, 8, 5, 7)
"""All that there are, numbered as EXIF does, the likely ones first: as it is, turned, mirrored; then those on edge."""

# Of each orientation: whether rows and columns change places, and then which of both run backwards.
_STEPS = {
    1: (False, (1, 1)), 2: (False, (1, -1)), 3: (False, (-1, -1)), 4: (False, (-1, 1)),
    5: (True, (1, 1)), 6: (True, (1, -1)), 7: (True, (-1, -1)), 8: (True, (-1, 1)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a glass lies in a frame: at a point of the frame lies the glass's ``turned(point) - offset``.

    `offset` is (rows, columns) in px. `orientation` (1 to 8) is as in EXIF: what has to be done to the frame so that it
    lies as the glass does. With 1, the frame shows at (row + offset[0], column + offset[1]) what the glass has at
    (row, column).
    """

    offset: tuple[float, float] = (0.0, 0.0)
    orientation: int = 1

    def upright(self, height: int, width: int) -> tuple[float, float]:
        """The offset from the first pixel of the frame once it is turned, of a frame of this size before that."""
        rows, columns = first_pixel(self.orientation, height, width)
        return self.offset[0] + rows, self.offset[1] + columns

    @staticmethod
    def of_upright(offset: tuple[float, float], orientation: int, height: int, width: int) -> Placement:
        """The placement of which this is the `upright` offset."""
        rows, columns = first_pixel(orientation, height, width)
        return Placement((offset[0] - rows, offset[1] - columns), orientation)

    def after(self, here: Placement, there: Placement) -> Placement:
        """Where this lies on another glass, of which a frame tells that it is the same.

        The frame lies `there` on the glass on which this one lies, and `here` on the other.
        """
        turn = _matrix(here.orientation) @ _matrix(there.orientation).T
        apart = turn @ np.subtract(self.offset, there.offset) + here.offset
        orientation = _orientation(turn @ _matrix(self.orientation))
        return Placement((float(apart[0]), float(apart[1])), orientation)


UNMOVED = Placement()
"""Of the first frame on a glass, by which the others are placed."""


def upright_size(orientation: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of a frame of this size once it is turned."""
    return (width, height) if _STEPS[orientation][0] else (height, width)


def first_pixel(orientation: int, height: int, width: int) -> tuple[int, int]:
    """Where a frame of this size has its first pixel once it is turned, (row, column)."""
    _, steps = _STEPS[orientation]
    last = (length - 1 for length in upright_size(orientation, height, width))
    rows, columns = (end if step < 0 else 0 for end, step in zip(last, steps, strict=True))
    return rows, columns


def turned(plane: npt.NDArray[Value], orientation: int) -> npt.NDArray[Value]:
    """A view of `plane` (rows, columns, ...) as `orientation` has it."""
    swapped, (down, right) = _STEPS[orientation]
    return (plane.swapaxes(0, 1) if swapped else plane)[::down, ::right]


def turned_back(plane: npt.NDArray[Value], orientation: int) -> npt.NDArray[Value]:
    """A view of `plane` (rows, columns, ...) of which `turned` makes `plane`."""
    swapped, (down, right) = _STEPS[orientation]
    flipped = plane[::down, ::right]
    return flipped.swapaxes(0, 1) if swapped else flipped


def turned_points(points: npt.NDArray[Value], orientation: int, height: int, width: int) -> npt.NDArray[Value]:
    """Points (n, 2 or more), row and column first, where a frame of this size has them once it is turned."""
    out = points.copy()
    swapped, steps = _STEPS[orientation]
    if swapped:
        out[:, 0], out[:, 1] = points[:, 1], points[:, 0]
    out[:, :2] = out[:, :2] * np.array(steps) + first_pixel(orientation, height, width)
    return out


def turned_back_points(points: npt.NDArray[Value], orientation: int, height: int, width: int) -> npt.NDArray[Value]:
    """Where a frame of this size has points of which `turned_points` makes these."""
    return turned_points(points, _inverse(orientation), *upright_size(orientation, height, width))


def turned_box(
    orientation: int, top: int, left: int, shape: tuple[int, int], height: int, width: int
) -> tuple[int, int, tuple[int, int]]:
    """Top, left and shape that a rectangle of a frame of this size has once the frame is turned."""
    corners = np.array([(top, left), (top + shape[0] - 1, left + shape[1] - 1)])
    points = turned_points(corners, orientation, height, width)
    (low, first), (high, last) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return low, first, (high - low + 1, last - first + 1)


def turned_window(
    plane: PlaneOnDisk, orientation: int, top: int, left: int, shape: tuple[int, int], outside: int
) -> npt.NDArray[Any]:
    """What ``turned(plane, orientation)`` has in a window, as `PlaneOnDisk.window` gives it."""
    size = upright_size(orientation, plane.height, plane.width)
    window = plane.window(*turned_box(_inverse(orientation), top, left, shape, *size), outside)
    return turned(window, orientation)


def _matrix(orientation: int) -> npt.NDArray[np.int64]:
    """What turning does to a point (row, column)."""
    swapped, steps = _STEPS[orientation]
    order = np.array([[0, 1], [1, 0]]) if swapped else np.eye(2, dtype=np.int64)
    return np.diag(steps) @ order


def _orientation(matrix: npt.NDArray[np.int64]) -> int:
    return next(number for number in ORIENTATIONS if (_matrix(number) == matrix).all())


def _inverse(orientation: int) -> int:
    return _orientation(_matrix(orientation).T)
