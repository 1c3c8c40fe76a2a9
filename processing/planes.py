"""Planes on disk: one number a pixel, read in rectangles, never memory-mapped."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

_GAP_BYTES = 12 << 10
"""What is cheaper to read than to leave out, between two rows of a rectangle."""

_CHUNK_BYTES = 256 << 10
"""Whole rows that are read at once for a rectangle to be cut out: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class PlaneOnDisk(ABC):
    """A file that holds (`height`, `width`) numbers of `dtype`, in whatever form."""

    path: Path
    height: int
    width: int
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """The rectangle of rows `top`..`bottom` - 1, columns `left`..`right` - 1, as a new array.

        All must lie inside the plane (ValueError). Raises OSError where the file ends too early or is damaged.
        """

    def window(self, top: int, left: int, shape: tuple[int, int], outside: int) -> npt.NDArray[Any]:
        """The rectangle of `shape` (rows, columns) at `top`, `left`; what of it lies beyond the plane is `outside`."""
        low, high = max(top, 0), min(top + shape[0], self.height)
        first, last = max(left, 0), min(left + shape[1], self.width)
        if (high - low, last - first) == shape:
            return self.read(low, high, first, last)
        out = np.full(shape, outside, self.dtype)
        if low < high and first < last:
            out[low - top : high - top, first - left : last - left] = self.read(low, high, first, last)
        return out

    def require_inside(self, top: int, left: int, rows: int, columns: int) -> None:
        """Raise ValueError where a rectangle does not lie inside the plane."""
        if min(top, left) < 0 or top + rows > self.height or left + columns > self.width:
            raise ValueError(f"{rows} x {columns} at {top}, {left} is outside {self.height} x {self.width}")


@dataclass(frozen=True, slots=True)
class PlaneFile(PlaneOnDisk):
    """Numbers row after row without a header, in native byte order, read and written by offset."""

    def create(self) -> None:
        """Make the file, full of zeros and taking no room until it is written. An old one is emptied."""
        with self.path.open("wb") as file:
            file.truncate(self.height * self.width * self.dtype.itemsize)

    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """Rows are read whole where that costs less than leaving out what lies beside the rectangle."""
        rows, columns = bottom - top, right - left
        self.require_inside(top, left, rows, columns)
        out = np.empty((rows, columns), self.dtype)
        beside = (self.width - columns) * self.dtype.itemsize
        if not 0 < beside <= _GAP_BYTES:
            self._transfer(os.preadv, os.O_RDONLY, out, top, left)
            return out
        step = max(_CHUNK_BYTES // (self.width * self.dtype.itemsize), 1)
        for row in range(0, rows, step):
            part = out[row : row + step]
            part[...] = self.read(top + row, top + row + len(part), 0, self.width)[:, left:right]
        return out

    def write(self, top: int, left: int, values: npt.NDArray[Any]) -> None:
        """Write `values` (rows, columns) with the first at `top`, `left`.

        All must lie inside the plane (ValueError). Raises OSError where the disk is full.
        """
        self.require_inside(top, left, *values.shape)
        self._transfer(os.pwritev, os.O_WRONLY, np.ascontiguousarray(values, self.dtype), top, left)

    def _transfer(self, move: Any, flags: int, block: npt.NDArray[Any], top: int, left: int) -> None:
        size = self.dtype.itemsize
        # Whole rows lie together in the file, so they move at once.
        pieces: list[npt.NDArray[Any]] = [block] if block.shape[1] == self.width else list(block)
        file = os.open(self.path, flags)
        try:
            for number, piece in enumerate(pieces):
                position = ((top + number) * self.width + left) * size
                view = piece.data.cast("B")
                while view:
                    moved = move(file, [view], position)
                    if moved == 0:
                        raise OSError(f"{self.path} ends in row {position // size // self.width}")
                    view, position = view[moved:], position + moved
        finally:
            os.close(file)
