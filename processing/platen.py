"""Dirt on the glass of a flatbed: where it lies, how it comes and goes, and how dense it is in any window.

The glass is divided into square cells with a history each. Only those that are looked at are followed, so a glass of
any size costs what is seen of it; and what lies where does not depend on what was looked at before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from .simulate import RollParams, draw_particle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .arrays import Plane

PX_PER_MM = 50.0
"""So many pixels take a millimetre in the simulator's frames of 36 x 24 mm."""

_ROLL = RollParams()
_PARTICLES_PER_MM2 = _ROLL.particles / (_ROLL.height * _ROLL.width) * PX_PER_MM**2

_FINENESS = 2.0
"""Particles are kept so many times finer than in those frames, where the faintest blur is hardly a pixel wide."""

_SHAPES = 1024
"""So many different particles there are; drawing one takes milliseconds, and a bed holds tens of thousands."""

_CELL_MM = 12.0
_LARGEST_MM = 2.0
"""No particle is wider, with its blur, than twice this."""


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle on the bed, in mm from its top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels laid over the bed: row 0, column 0 begins at (`top_mm`, `left_mm`)."""

    top_mm: float
    left_mm: float
    px_per_mm: float
    rows: int
    columns: int

    @property
    def area(self) -> Area:
        """What the pixels cover."""
        return Area(self.left_mm, self.top_mm, self.columns / self.px_per_mm, self.rows / self.px_per_mm)


@dataclass(frozen=True, slots=True)
class Dirt:
    """A particle: its middle in mm, and which of `_SHAPES` it has."""

    x: float
    y: float
    shape: int


class _Cell:
    """A square of the glass and what lies on it."""

    def __init__(self, rng: np.random.Generator, top_mm: float, left_mm: float) -> None:
        self._rng = rng
        self._corner = (left_mm, top_mm)
        self._usual = int(rng.poisson(_PARTICLES_PER_MM2 * _CELL_MM**2))
        self._events = 0
        self.particles = self._fallen(self._usual)

    def follow(self, events: Sequence[float]) -> None:
        """Live through those `events` that are new; see `Platen`."""
        for share_gone in events[self._events :]:
            gone = self._rng.random(len(self.particles)) < share_gone
            self.particles = [one for one, out in zip(self.particles, gone, strict=True) if not out]
            wiped = share_gone > _ROLL.turnover
            births = self._usual - len(self.particles) if wiped else self._rng.poisson(_ROLL.turnover * self._usual)
            self.particles += self._fallen(int(births))
        self._events = len(events)

    def _fallen(self, count: int) -> list[Dirt]:
        return list(scattered(Area(*self._corner, _CELL_MM, _CELL_MM), count, self._rng))


class Platen:
    """The glass, as dirty as the simulator's, from its first frame on. The same seed and events give the same glass."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._cells: dict[tuple[int, int], _Cell] = {}
        self._events: list[float] = []

    def turn_over(self) -> None:
        """A few particles go, a few come: what happens from one frame to the next."""
        self._events.append(_ROLL.turnover)

    def wipe(self) -> None:
        """Somebody wipes the glass: hardly anything of what lay there stays, and as much comes anew."""
        self._events.append(1 - _ROLL.left_behind)

    def dirt(self, area: Area) -> tuple[Dirt, ...]:
        """All that lies in `area` or reaches into it."""
        left, top = area.x - _LARGEST_MM, area.y - _LARGEST_MM
        right, bottom = area.x + area.width + _LARGEST_MM, area.y + area.height + _LARGEST_MM
        return tuple(
            one
            for row in range(int(top // _CELL_MM), int(bottom // _CELL_MM) + 1)
            for column in range(int(left // _CELL_MM), int(right // _CELL_MM) + 1)
            for one in self._cell(row, column).particles
            if left <= one.x <= right and top <= one.y <= bottom
        )

    def _cell(self, row: int, column: int) -> _Cell:
        cell = self._cells.get((row, column))
        if cell is None:
            # Seeds are not negative, places may be.
            rng = np.random.default_rng((self._seed, 31, row % 2**32, column % 2**32))
            cell = self._cells[row, column] = _Cell(rng, row * _CELL_MM, column * _CELL_MM)
        cell.follow(self._events)
        return cell


def scattered(area: Area, count: int, rng: np.random.Generator) -> tuple[Dirt, ...]:
    """`count` particles anywhere in `area`."""
    places = rng.uniform((area.x, area.y), (area.x + area.width, area.y + area.height), (count, 2))
    shapes = rng.integers(_SHAPES, size=count)
    return tuple(Dirt(float(x), float(y), int(shape)) for (x, y), shape in zip(places, shapes, strict=True))


def densities(
    dirt: Iterable[Dirt], grid: Grid, offset_px: tuple[float, float], bands: Iterable[tuple[int, int]]
) -> Iterator[Plane]:
    """Density of `dirt`, moved by `offset_px` (rows, columns), in each of `bands`: (first row, row after the last).

    Bands follow each other downwards. No more is held than what reaches into one of them.
    """
    waiting = deque(sorted(dirt, key=lambda one: one.y))
    reached: list[tuple[int, int, Plane]] = []
    for first, end in bands:
        plane = np.zeros((end - first, grid.columns), np.float32)
        end_mm = grid.top_mm + end / grid.px_per_mm
        while waiting and waiting[0].y < end_mm + _LARGEST_MM:
            reached.append(_drawn(waiting.popleft(), grid, offset_px))
        for top, left, density in reached:
            rows = slice(max(top, first), min(top + density.shape[0], end))
            columns = slice(max(left, 0), min(left + density.shape[1], grid.columns))
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            seen = density[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            plane[rows.start - first : rows.stop - first, columns] += seen
        reached = [entry for entry in reached if entry[0] + entry[2].shape[0] > end]
        yield plane


def _drawn(one: Dirt, grid: Grid, offset_px: tuple[float, float]) -> tuple[int, int, Plane]:
    """First row, first column and density of the pixels that show a particle."""
    step = _FINENESS * PX_PER_MM / grid.px_per_mm
    coarseness = max(int(step), 1)
    stamp, step = _stamp(one.shape, coarseness), step / coarseness
    middle = np.array([one.y - grid.top_mm, one.x - grid.left_mm]) * grid.px_per_mm + offset_px
    half = np.array(stamp.shape) / step / 2
    corner = np.floor(middle - half).astype(int)
    shape = np.ceil(2 * half).astype(int) + 1
    first = (corner + 0.5 - middle + half) * step - 0.5
    # Without the filter before it a spline is a soft kernel of a pixel: it neither overshoots nor loses anything.
    drawn = ndimage.affine_transform(stamp, [step, step], first, tuple(shape), order=3, prefilter=False)
    return int(corner[0]), int(corner[1]), drawn


@lru_cache(maxsize=2 * _SHAPES)
def _stamp(shape: int, coarseness: int) -> Plane:
    """A particle, `_FINENESS` / `coarseness` times as fine as in the simulator's frames, with two pixels around it."""
    fine = draw_particle(np.random.default_rng((36, shape)), _FINENESS)
    short = [-length % coarseness for length in fine.shape]
    padded = np.pad(fine, [(2 * coarseness + one // 2, 2 * coarseness + one - one // 2) for one in short])
    blocks = padded.reshape(padded.shape[0] // coarseness, coarseness, padded.shape[1] // coarseness, coarseness)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
