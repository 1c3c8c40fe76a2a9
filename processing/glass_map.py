"""The map of the dirt on a glass: on disk, and only those of its pixels on which there is dirt.

A file is an index of all cells of 32 x 32 px, row after row: how many of its pixels are dirty, and the number of the
first one in what follows, the dirty pixels cell by cell.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .cells import CELL_PX, Patch
from .kernel import kernel

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from .arrays import Plane
    from .drift import Wobble

DENSITY_STEP_D = 1e-4
"""Densities and their doubt are kept as whole numbers of this."""

_PLANES = {"density": np.int16, "doubt": np.uint16, "lives": np.uint32}
_PIXEL = np.dtype([("place", np.uint16), *_PLANES.items()])
_CELL = np.dtype([("count", np.uint16), ("first", np.uint32)])

Pixels = npt.NDArray[Any]
"""(pixels) of type `_PIXEL`: where in its cell each lies, counted row after row, and the dirt on it."""


@dataclass(frozen=True, slots=True)
class MapWindow:
    """The dirt in a rectangle of a map: its planes as `GlassMap` has them, (rows, columns), 0 where there is none."""

    density: npt.NDArray[np.int16]
    doubt: npt.NDArray[np.uint16]
    lives: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class MapPart:
    """All cells of a map that meet a rectangle, of which the first begins at `corner` (row, column) of the patch.

    `slots` (rows / 32, columns / 32) numbers the dirty ones, and is -1 for the others. `pixels` are the dirty pixels,
    cell by cell: those of slot k begin with number `begins`[k] and end before `begins`[k + 1].
    """

    slots: npt.NDArray[np.int32]
    pixels: Pixels
    begins: npt.NDArray[np.int64]
    corner: tuple[int, int]

    def lay(self, values: npt.NDArray[Any], cells: npt.NDArray[Any]) -> None:
        """Put a value for each dirty pixel where that lies in the dirty `cells`, (slots, 32, 32)."""
        tops = np.arange(len(cells)) * CELL_PX
        corners = np.stack([tops, np.zeros_like(tops)], axis=1)
        _paste(self.pixels["place"], values, self.begins, corners, cells.reshape(-1, CELL_PX))


@dataclass(frozen=True, slots=True, eq=False)
class GlassMap:
    """The dirt on a patch of glass, in a file.

    It is of three planes: `density` (int16) and `doubt` (uint16), its standard deviation, are in steps of
    `DENSITY_STEP_D`; `lives` (uint32): bit k is set where the dirt is there in witness k. `cells` (rows / 32,
    columns / 32), of type `_CELL`, is the file's index; `wobble` says how the frames drift, if they do.
    """

    path: Path
    patch: Patch
    cells: npt.NDArray[Any]
    wobble: Wobble | None = None

    @staticmethod
    def open(path: Path, patch: Patch, wobble: Wobble | None) -> GlassMap:
        """That of a file. Raises OSError where it cannot be read or is too short for its index, or the cells in it."""
        cells = np.empty(_grid(patch), _CELL)
        with path.open("rb") as file:
            _read(file.fileno(), cells, 0, path)
            size = os.fstat(file.fileno()).st_size
        if size < cells.nbytes + int(_ends(cells).max(initial=0)) * _PIXEL.itemsize:
            raise OSError(f"{path} ends at byte {size}")
        return GlassMap(path, patch, cells, wobble)

    @property
    def dirty_px(self) -> int:
        """How many pixels have dirt on them in any frame."""
        return int(self.cells["count"].sum(dtype=np.int64))

    def part(self, top: int, left: int, shape: tuple[int, int]) -> MapPart:
        """The cells that meet the rectangle of `shape` (rows, columns) at `top`, `left` of the patch.

        Raises OSError where the file ends too early.
        """
        rows, columns = (
            slice(max(begin, 0) // CELL_PX, -(-max(begin + length, 0) // CELL_PX))
            for begin, length in zip((top, left), shape, strict=True)
        )
        index = self.cells[rows, columns]
        dirty = index["count"] > 0
        slots = np.full(index.shape, -1, np.int32)
        slots[dirty] = np.arange(np.count_nonzero(dirty))
        found = index[dirty]
        begins = np.concatenate([[0], np.cumsum(found["count"], dtype=np.int64)])
        return MapPart(slots, self._held(found, begins), begins, (rows.start * CELL_PX, columns.start * CELL_PX))

    def window(self, top: int, left: int, shape: tuple[int, int]) -> MapWindow | None:
        """The dirt in the same rectangle; None if all cells there are clean, as they are beyond the patch."""
        part = self.part(top, left, shape)
        if not len(part.pixels):
            return None
        corners = np.argwhere(part.slots >= 0) * CELL_PX + np.subtract(part.corner, (top, left))
        planes = {name: np.zeros(shape, kind) for name, kind in _PLANES.items()}
        for name, plane in planes.items():
            _paste(part.pixels["place"], part.pixels[name], part.begins, corners, plane)
        return MapWindow(**planes)

    def _held(self, cells: npt.NDArray[Any], begins: npt.NDArray[np.int64]) -> Pixels:
        """The pixels of these cells, in their order; such as follow each other in the file are read at once."""
        found = np.empty(begins[-1], _PIXEL)
        if not len(cells):
            return found
        apart = np.flatnonzero(cells["first"][1:] != _ends(cells[:-1])) + 1
        file = os.open(self.path, os.O_RDONLY)
        try:
            for begin, end in pairwise([0, *apart.tolist(), len(cells)]):
                position = self.cells.nbytes + int(cells["first"][begin]) * _PIXEL.itemsize
                _read(file, found[begins[begin] : begins[end]], position, self.path)
        finally:
            os.close(file)
        return found


class MapDraft:
    """A map that is being written, rectangle by rectangle, into a file that is made or emptied."""

    def __init__(self, path: Path, patch: Patch) -> None:
        self._path, self._patch = path, patch
        self._cells = np.zeros(_grid(patch), _CELL)
        self._count = 0
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, top: int, left: int, dirt: MapWindow) -> None:
        """Add the dirt in a rectangle at `top`, `left` of the patch, both multiples of 32.

        Where it does not end at the edge of the patch its sides are multiples of 32, too, and it meets no other one
        (ValueError). Raises OSError where the disk is full.
        """
        height, width = dirt.lives.shape
        for begin, length, end in ((top, height, self._patch.height), (left, width, self._patch.width)):
            if begin % CELL_PX or (length % CELL_PX and begin + length != end) or not 0 <= begin <= end - length:
                raise ValueError(f"{height} x {width} px at {top}, {left} are no whole cells of {self._patch}")
        planes = {name: _by_cells(getattr(dirt, name)) for name in _PLANES}
        dirty = planes["lives"] > 0
        cells = np.zeros(dirty.shape[:2], _CELL)
        counts = dirty.sum(axis=2)
        cells["count"] = counts
        cells["first"] = self._count + np.cumsum(counts).reshape(counts.shape) - counts
        row, column = top // CELL_PX, left // CELL_PX
        own = self._cells[row : row + counts.shape[0], column : column + counts.shape[1]]
        if own["count"].any():
            raise ValueError(f"cells of {height} x {width} px at {top}, {left} have been written")
        own[...] = cells
        pixels = np.empty(int(counts.sum()), _PIXEL)
        pixels["place"] = np.nonzero(dirty)[2]
        for name, plane in planes.items():
            pixels[name] = plane[dirty]
        self._file.seek(self._cells.nbytes + self._count * _PIXEL.itemsize)
        self._file.write(pixels.tobytes())
        self._count += len(pixels)

    def finish(self) -> GlassMap:
        """The map, once all is added. Raises OSError where the disk is full."""
        self._file.seek(0)
        self._file.write(self._cells.tobytes())
        self._file.flush()
        return GlassMap(self._path, self._patch, self._cells)


def in_steps(density: Plane, doubt: Plane, lives: npt.NDArray[np.uint32]) -> MapWindow:
    """Density and doubt in D, and lives, as a map has them: rounded, and cut off where they do not fit."""
    return MapWindow(
        _steps(density, np.iinfo(np.int16)).astype(np.int16),
        _steps(doubt, np.iinfo(np.uint16)).astype(np.uint16),
        lives,
    )


def _by_cells(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A plane (rows, columns) by cells, (rows / 32, columns / 32, 32 x 32), with 0 beyond its edges."""
    height, width = (-(-length // CELL_PX) for length in plane.shape)
    whole = np.pad(
        plane, [(0, count * CELL_PX - length) for count, length in zip((height, width), plane.shape, strict=True)]
    )
    return whole.reshape(height, CELL_PX, width, CELL_PX).swapaxes(1, 2).reshape(height, width, CELL_PX**2)


def _ends(cells: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The number of the first pixel after those of each cell."""
    return cells["first"] + cells["count"].astype(np.int64)


def _steps(plane: Plane, fits: np.iinfo[Any]) -> Plane:
    return np.clip(np.rint(plane / DENSITY_STEP_D), fits.min, fits.max)


def _grid(patch: Patch) -> tuple[int, int]:
    return -(-patch.height // CELL_PX), -(-patch.width // CELL_PX)


def _read(file: int, values: npt.NDArray[Any], position: int, path: Path) -> None:
    view = values.view(np.uint8).reshape(-1).data
    while view:
        count = os.preadv(file, [view], position)
        if not count:
            raise OSError(f"{path} ends at byte {position}")
        view, position = view[count:], position + count


@kernel
def _paste(
    places: npt.NDArray[np.uint16],
    values: npt.NDArray[Any],
    begins: npt.NDArray[np.int64],
    corners: npt.NDArray[np.int64],
    plane: npt.NDArray[Any],
) -> None:
    """Put the pixels of cells into `plane` where these have their corners (cells, 2), as far as they meet it."""
    height, width = plane.shape
    for cell in range(len(corners)):
        top, left = corners[cell]
        for i in range(begins[cell], begins[cell + 1]):
            y, x = top + places[i] // CELL_PX, left + places[i] % CELL_PX
            if 0 <= y < height and 0 <= x < width:
                plane[y, x] = values[i]
