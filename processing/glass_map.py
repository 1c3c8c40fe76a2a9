"""The map of the dirt on a glass: on disk, and only those of its cells of 32 x 32 px in which there is dirt.

A file is an index of all cells, row after row, each with its number in the file or -1, and then the cells by number.
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
_CELL = np.dtype([(name, kind, (CELL_PX, CELL_PX)) for name, kind in _PLANES.items()])
_CLEAN = -1

Cells = npt.NDArray[Any]
"""(cells): the dirt in each, of type `_CELL`."""


@dataclass(frozen=True, slots=True)
class MapWindow:
    """The dirt in a rectangle of a map: its planes as `GlassMap` has them, (rows, columns), 0 where there is none."""

    density: npt.NDArray[np.int16]
    doubt: npt.NDArray[np.uint16]
    lives: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class MapPart:
    """All cells of a map that meet a rectangle, of which the first begins at `corner` (row, column) of the patch.

    `slots` (rows / 32, columns / 32) numbers the dirty ones, which `cells` holds, and is -1 for the others.
    """

    slots: npt.NDArray[np.int32]
    cells: Cells
    corner: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class GlassMap:
    """The dirt on a patch of glass, in a file.

    It is of three planes: `density` (int16) and `doubt` (uint16), its standard deviation, are in steps of
    `DENSITY_STEP_D`; `lives` (uint32): bit k is set where the dirt is there in witness k. `cells` (rows / 32,
    columns / 32) is the file's index; `dirty_px` counts pixels with dirt in any frame, and `wobble` says how these
    drift, if they do.
    """

    path: Path
    patch: Patch
    cells: npt.NDArray[np.int32]
    dirty_px: int
    wobble: Wobble | None = None

    @staticmethod
    def open(path: Path, patch: Patch, dirty_px: int, wobble: Wobble | None) -> GlassMap:
        """That of a file. Raises OSError where it cannot be read or is too short for its index, or the cells in it."""
        cells = np.empty(_grid(patch), np.int32)
        with path.open("rb") as file:
            _read(file.fileno(), cells, 0, path)
            size = os.fstat(file.fileno()).st_size
        if size < cells.nbytes + (int(cells.max(initial=_CLEAN)) + 1) * _CELL.itemsize:
            raise OSError(f"{path} ends at byte {size}")
        return GlassMap(path, patch, cells, dirty_px, wobble)

    def part(self, top: int, left: int, shape: tuple[int, int]) -> MapPart:
        """The cells that meet the rectangle of `shape` (rows, columns) at `top`, `left` of the patch.

        Raises OSError where the file ends too early.
        """
        rows, columns = (
            slice(max(begin, 0) // CELL_PX, -(-max(begin + length, 0) // CELL_PX))
            for begin, length in zip((top, left), shape, strict=True)
        )
        index = self.cells[rows, columns]
        dirty = index != _CLEAN
        slots = np.full(index.shape, _CLEAN, np.int32)
        slots[dirty] = np.arange(np.count_nonzero(dirty))
        return MapPart(slots, self._held(index[dirty]), (rows.start * CELL_PX, columns.start * CELL_PX))

    def window(self, top: int, left: int, shape: tuple[int, int]) -> MapWindow | None:
        """The dirt in the same rectangle; None if all cells there are clean, as they are beyond the patch."""
        part = self.part(top, left, shape)
        if not len(part.cells):
            return None
        corners = np.argwhere(part.slots != _CLEAN) * CELL_PX + np.subtract(part.corner, (top, left))
        planes = {name: np.zeros(shape, kind) for name, kind in _PLANES.items()}
        for name, plane in planes.items():
            _paste(part.cells[name], corners, plane)
        return MapWindow(**planes)

    def _held(self, numbers: npt.NDArray[np.int32]) -> Cells:
        """The cells of these numbers, in their order; such as follow each other in the file are read at once."""
        found = np.empty(len(numbers), _CELL)
        if not len(numbers):
            return found
        begins = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        file = os.open(self.path, os.O_RDONLY)
        try:
            for begin, end in pairwise(begins):
                position = self.cells.nbytes + int(numbers[begin]) * _CELL.itemsize
                _read(file, found[begin:end], position, self.path)
        finally:
            os.close(file)
        return found


class MapDraft:
    """A map that is being written, rectangle by rectangle, into a file that is made or emptied."""

    def __init__(self, path: Path, patch: Patch) -> None:
        self._path, self._patch = path, patch
        self._cells = np.full(_grid(patch), _CLEAN, np.int32)
        self._count = self._dirty_px = 0
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
        (ValueError). Cells are numbered in the order in which they come. Raises OSError where the disk is full.
        """
        height, width = dirt.lives.shape
        for begin, length, end in ((top, height, self._patch.height), (left, width, self._patch.width)):
            if begin % CELL_PX or (length % CELL_PX and begin + length != end) or not 0 <= begin <= end - length:
                raise ValueError(f"{height} x {width} px at {top}, {left} are no whole cells of {self._patch}")
        lives = _by_cells(dirt.lives)
        rows, columns = np.nonzero(lives.reshape(*lives.shape[:2], -1).any(axis=2))
        cells = np.empty(len(rows), _CELL)
        for name in _PLANES:
            cells[name] = _by_cells(getattr(dirt, name))[rows, columns]
        places = rows + top // CELL_PX, columns + left // CELL_PX
        if (self._cells[places] != _CLEAN).any():
            raise ValueError(f"cells of {height} x {width} px at {top}, {left} have been written")
        self._file.seek(self._cells.nbytes + self._count * _CELL.itemsize)
        self._file.write(cells.tobytes())
        self._cells[places] = np.arange(self._count, self._count + len(cells))
        self._count += len(cells)
        self._dirty_px += int(np.count_nonzero(dirt.lives))

    def finish(self) -> GlassMap:
        """The map, once all is added. Raises OSError where the disk is full."""
        self._file.seek(0)
        self._file.write(self._cells.tobytes())
        self._file.flush()
        return GlassMap(self._path, self._patch, self._cells, self._dirty_px)


def in_steps(density: Plane, doubt: Plane, lives: npt.NDArray[np.uint32]) -> MapWindow:
    """Density and doubt in D, and lives, as a map has them: rounded, and cut off where they do not fit."""
    return MapWindow(
        _steps(density, np.iinfo(np.int16)).astype(np.int16),
        _steps(doubt, np.iinfo(np.uint16)).astype(np.uint16),
        lives,
    )


def _by_cells(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A plane (rows, columns) by cells, (rows / 32, columns / 32, 32, 32), with 0 beyond its edges."""
    height, width = (-(-length // CELL_PX) for length in plane.shape)
    whole = np.pad(
        plane, [(0, count * CELL_PX - length) for count, length in zip((height, width), plane.shape, strict=True)]
    )
    return whole.reshape(height, CELL_PX, width, CELL_PX).swapaxes(1, 2)


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
def _paste(cells: npt.NDArray[np.integer], corners: npt.NDArray[np.int64], plane: npt.NDArray[np.integer]) -> None:
    """Put cells (cells, 32, 32) into `plane` where they have their corners (cells, 2), as far as they meet it."""
    height, width = plane.shape
    for i in range(len(cells)):
        top, left = corners[i]
        for y in range(max(top, 0), min(top + CELL_PX, height)):
            for x in range(max(left, 0), min(left + CELL_PX, width)):
                plane[y, x] = cells[i, y - top, x - left]
