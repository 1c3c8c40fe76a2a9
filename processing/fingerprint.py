"""A small sparse signature of a frame: where something small is darker, or lighter, than the film around it.

Two frames from the same glass share dark points at one offset; dirt never makes light ones. How many points coincide
says whether two frames lie on the same glass (after Dirik, Sencar and Memon, *Digital single lens reflex camera
identification from traces of sensor dust*, IEEE TIFS 3(3), 2008), and where, to a few hundredths of a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
import numpy.typing as npt
from annotated_types import Interval
from scipy import ndimage

from .kernel import kernel
from .residual import ResidualParams, decode, texture
from .strips import Span, Tile, tiles

if TYPE_CHECKING:
    from .arrays import Mask, Plane
    from .planes import PlaneFile

CELL_PX = 32
"""The film is summed up in cells of this size."""

_CELL_POINTS = 6
_OPAQUE_D = 2.5
_PX_PER_POINT = 1440
_BINS_PER_PX = 2
_TILE_PX = 512

Value = TypeVar("Value", bound=np.generic)

Points = npt.NDArray[np.float32]
"""(n, 3): row, column, and contrast in units of the local texture unless said otherwise; ordered by row."""


@dataclass(frozen=True, slots=True)
class MatchParams:
    """When two frames are said to lie on the same glass.

    `search_px`: the largest offset between two frames of a glass, along each axis. `min_score`: how many standard
    deviations of chance the coincidences of two frames must exceed. `min_share`: the share of a glass's known dirt
    that must show in a frame. `same_film_d`: film densities closer than this are the same film, and tell nothing.
    """

    search_px: Annotated[int, Interval(ge=1, le=64)] = 8
    min_score: Annotated[float, Interval(ge=5.0, le=50.0)] = 8.0
    min_share: Annotated[float, Interval(gt=0.0, lt=1.0)] = 0.25
    same_film_d: Annotated[float, Interval(ge=0.0, le=0.5)] = 0.02


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a frame is known by.

    `dark` and `light` are its points; `texture` and `film` (rows / 32, columns / 32, rounded up) its local texture
    and its mean density in D, by cells. `height`, `width` are those of the frame.
    """

    height: int
    width: int
    dark: Points
    light: Points
    texture: Plane
    film: Plane

    @property
    def inverted(self) -> Fingerprint:
        """The same frame if its dirt made light points instead of dark ones."""
        return replace(self, dark=self.light, light=self.dark)

    @property
    def faintest(self) -> float:
        """What a point must reach to have been noted."""
        return float(self.dark[:, 2].min()) if len(self.dark) else math.inf


@dataclass(frozen=True, slots=True)
class Match:
    """How the points of two signatures coincide at their best offset.

    `offset` (rows, columns) is the second minus the first, in px; `hits` is the number of coincidences beyond
    chance; `score` is that in standard deviations of chance.
    """

    offset: tuple[float, float]
    hits: float
    score: float


def fingerprint(codes: PlaneFile, film: Plane, params: ResidualParams) -> Fingerprint:
    """The signature of the frame whose coded residual is `codes` and whose film densities by cell are `film`."""
    halo = params.texture_px + 20
    found: list[list[Points]] = [[], []]
    busy = np.empty_like(film)
    for tile in tiles(codes.height, codes.width, size=_TILE_PX, halo=halo):
        rows, columns = tile.rows, tile.columns
        residual, known = decode(codes.read(rows.low, rows.high, columns.low, columns.high))
        scale = texture(residual, known, params)
        small = ndimage.gaussian_filter(residual, 1.0) - ndimage.gaussian_filter(residual, 4.0)
        small /= scale
        small[ndimage.binary_dilation(~known, iterations=3)] = 0
        for sign, points in zip((1, -1), found, strict=True):
            points.append(_peaks(sign * small, tile))
        centres = [_cell_centres(span) for span in (rows, columns)]
        cells = scale[np.ix_(*centres)]
        top, left = rows.start // CELL_PX, columns.start // CELL_PX
        busy[top : top + cells.shape[0], left : left + cells.shape[1]] = cells
    most = max(codes.height * codes.width // _PX_PER_POINT, 50)
    dark, light = (_strongest(np.concatenate(points), most) for points in found)
    return Fingerprint(codes.height, codes.width, dark, light, busy, film)


def _cell_centres(span: Span) -> npt.NDArray[np.intp]:
    """Where the middles of the span's cells lie in an array that holds it with its halo; of a narrow cell, its end."""
    middles = np.arange(span.start + CELL_PX // 2, span.stop + CELL_PX // 2, CELL_PX)
    return np.minimum(middles, span.stop - 1) - span.low


def _peaks(small: Plane, tile: Tile) -> Points:
    """Local maxima inside the tile, to a fraction of a pixel, at most a few in each cell."""
    core = small[1:-1, 1:-1]
    peak = np.zeros(small.shape, np.bool_)
    peak[1:-1, 1:-1] = (core >= ndimage.maximum_filter(small, 5)[1:-1, 1:-1]) & (core > 0.3)
    y, x = np.nonzero(peak)
    inside = (
        (y >= tile.rows.inner.start) & (y < tile.rows.inner.stop)
        & (x >= tile.columns.inner.start) & (x < tile.columns.inner.stop)
    )  # fmt: skip
    y, x = y[inside], x[inside]
    height = small[y, x]
    row = y + _vertex(small[y - 1, x], height, small[y + 1, x]) + tile.rows.low
    column = x + _vertex(small[y, x - 1], height, small[y, x + 1]) + tile.columns.low
    points = np.stack([row, column, height], axis=1).astype(np.float32)
    order = np.argsort(-height, kind="stable")
    cell = (points[order, 0] // CELL_PX) * 100_000 + points[order, 1] // CELL_PX
    by_cell = np.argsort(cell, kind="stable")
    _, first, count = np.unique(cell[by_cell], return_index=True, return_counts=True)
    rank = np.arange(len(cell)) - np.repeat(first, count)
    return points[order][by_cell[rank < _CELL_POINTS]]


def _vertex(before: Plane, here: Plane, after: Plane) -> Plane:
    """Where the parabola through three samples one apart has its vertex, within half a sample of the middle."""
    curvature = np.minimum(before - 2 * here + after, np.float32(-1e-6))
    return np.clip(np.float32(0.5) * (before - after) / curvature, -0.5, 0.5)


def _strongest(points: Points, most: int) -> Points:
    best = points[np.argsort(-points[:, 2], kind="stable")[:most]]
    return best[np.lexsort((best[:, 1], best[:, 0]))]


def match(first: Points, second: Points, area: int, search_px: int) -> Match:
    """How often points of `second` lie where points of `first` do, at the best offset up to `search_px`.

    Both ordered by row, on `area` pixels. Score and hits are 0 where nothing coincides.
    """
    bins = 2 * search_px * _BINS_PER_PX + 3
    votes = np.zeros((bins, bins), np.int64)
    _vote(first, second, votes)
    around = ndimage.uniform_filter(votes.astype(np.float64), 3, mode="constant") * 9
    best = np.unravel_index(int(around.argmax()), around.shape)
    chance = max(
        len(first) * len(second) / max(area, 1) * (3 / _BINS_PER_PX) ** 2,
        (votes.sum() - around[best]) / bins**2 * 9,
        0.25,
    )
    spread = max(chance, float(np.var(around[around < around[best]])) if around.max() > 0 else 0.0)
    hits = float(around[best] - chance)
    if hits <= 0:
        return Match((0.0, 0.0), 0.0, 0.0)
    middle = (bins - 1) / 2
    coarse = ((best[0] - middle) / _BINS_PER_PX, (best[1] - middle) / _BINS_PER_PX)
    near = coincide(first, second, coarse, 0.75)
    apart = second[near[:, 1], :2] - first[near[:, 0], :2]
    offset = np.median(apart, axis=0) if len(apart) else np.array(coarse)
    return Match((float(offset[0]), float(offset[1])), hits, hits / math.sqrt(spread))


@kernel
def _vote(first: Points, second: Points, votes: npt.NDArray[np.int64]) -> None:
    half = votes.shape[0] // 2
    reach = (half + 0.5) / _BINS_PER_PX
    low = 0
    for i in range(len(first)):
        row, column = first[i, 0], first[i, 1]
        while low < len(second) and second[low, 0] < row - reach:
            low += 1
        j = low
        while j < len(second) and second[j, 0] < row + reach:
            across = second[j, 1] - column
            if -reach <= across < reach:
                y = int(np.floor((second[j, 0] - row + reach) * _BINS_PER_PX))
                x = int(np.floor((across + reach) * _BINS_PER_PX))
                if 0 <= y < votes.shape[0] and 0 <= x < votes.shape[1]:
                    votes[y, x] += 1
            j += 1


def coincide(first: Points, second: Points, offset: tuple[float, float], radius: float) -> npt.NDArray[np.int64]:
    """(n, 2) indices of points that coincide within `radius` px along each axis once `offset` is undone."""
    out = np.empty((len(first), 2), np.int64)
    return out[: _nearest(first, second, offset[0], offset[1], radius, out)]


@kernel
def _nearest(
    first: Points, second: Points, down: float, right: float, radius: float, out: npt.NDArray[np.int64]
) -> int:
    count = 0
    low = 0
    for i in range(len(first)):
        row, column = first[i, 0] + down, first[i, 1] + right
        while low < len(second) and second[low, 0] < row - radius:
            low += 1
        best, best_distance = -1, 2.0
        j = low
        while j < len(second) and second[j, 0] <= row + radius:
            dy, dx = (second[j, 0] - row) / radius, (second[j, 1] - column) / radius
            if abs(dx) <= 1.0 and dy * dy + dx * dx < best_distance:
                best, best_distance = j, dy * dy + dx * dx
            j += 1
        if best >= 0:
            out[count, 0], out[count, 1] = i, best
            count += 1
    return count


def in_cells(points: Points, cells: Mask) -> Points:
    """The points that lie in cells marked True."""
    return points[cell_values(cells, points)]


def cell_values(cells: npt.NDArray[Value], points: Points) -> npt.NDArray[Value]:
    """The value of the cell in which each point lies; a point outside takes the nearest cell's."""
    row = np.clip(points[:, 0] // CELL_PX, 0, cells.shape[0] - 1).astype(np.intp)
    column = np.clip(points[:, 1] // CELL_PX, 0, cells.shape[1] - 1).astype(np.intp)
    return cells[row, column]


def fixed_cells(films: npt.NDArray[np.float32], same_film_d: float) -> Mask:
    """Cells (rows, columns) that show the same film in all of `films` (frames, rows, columns): they tell nothing.

    Holder edges, rebate and its text stay as dirt does. They lie along the border, so what does not change there is
    widened by one cell, for the edge itself. What no light comes through in any frame is a holder, too, however much
    its density varies with the scanner's noise.
    """
    still = (np.ptp(films, axis=0) < same_film_d) | (films.min(axis=0) > _OPAQUE_D)
    labels, _ = ndimage.label(still)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    along_border = np.isin(labels, rim[rim > 0])
    return still | ndimage.binary_dilation(along_border, np.ones((3, 3), np.bool_))


def same_scene(first: Fingerprint, second: Fingerprint, params: MatchParams) -> bool:
    """Whether two frames show the same picture, so that what they share may be film.

    They do if their film agrees cell by cell up to the exposure, and the light points coincide as the dark ones do.
    Films that differ by nothing but the exposure, as two of the night sky do, cannot be told apart and are taken for
    the same.
    """
    changing = ~fixed_cells(np.stack([first.film, second.film]), params.same_film_d)
    if changing.mean() < 0.2:
        return True
    a, b = first.film[changing], second.film[changing]
    low, high = np.percentile(a - b, (10, 90))
    if high - low < 2 * params.same_film_d:
        return True
    if a.std() == 0 or b.std() == 0 or np.corrcoef(a, b)[0, 1] < 0.9:
        return False
    area = first.height * first.width
    dark = match(first.dark, second.dark, area, params.search_px)
    light = match(first.light, second.light, area, params.search_px)
    return light.score >= params.min_score and light.hits >= 0.4 * dark.hits


def alike(first: Fingerprint, second: Fingerprint, params: MatchParams) -> Match | None:
    """The match of two frames if it says that they lie on the same glass, else None."""
    if (first.height, first.width) != (second.height, second.width) or same_scene(first, second, params):
        return None
    telling = ~fixed_cells(np.stack([first.film, second.film]), params.same_film_d)
    found = match(
        in_cells(first.dark, telling),
        in_cells(second.dark, telling),
        int(telling.sum()) * CELL_PX**2,
        params.search_px,
    )
    return found if found.score >= params.min_score and found.hits >= params.min_score else None
