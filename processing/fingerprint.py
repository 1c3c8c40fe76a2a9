"""A small signature of a frame: where something small is darker, or lighter, than the film around it.

Two frames from the same glass share dark points at one offset; dirt never makes light ones. How much the one stands
out where the other has its points says whether they lie on the same glass (after Dirik, Sencar and Memon, *Digital
single lens reflex camera identification from traces of sensor dust*, IEEE TIFS 3(3), 2008); points that coincide say
where, to a few hundredths of a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval
from scipy import ndimage
from scipy.special import betainc, gammainc

from .cells import CELL_PX, Cells, Patch, films_on, fixed_cells
from .kernel import kernel
from .placement import first_pixel, turned, turned_points, upright_size
from .pool import in_order
from .relief import HALO_STEPS, Heard, Relief, expected, loudest, raised, step_of, vertex
from .residual import BLOCK_PX, ResidualParams, decode, texture
from .smooth import smooth
from .strips import Span, Tile, tiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .arrays import Mask, Plane
    from .placement import Placement
    from .planes import PlaneOnDisk

_CELL_POINTS = 6
_PX_PER_POINT = 1440
_BINS_PER_PX = 3
_SHARES = (0.0625, 0.25, 1.0)
_SURE = 12.0
_FEWEST_POINTS = 16
_LOUDEST_POINTS = 200
FEWEST_SHOWN = 6
"""What fewer points say is not believed, however loud."""

_FAINTEST = np.float32(0.3)
_TILE_PX = 768
_TILE_BYTES = 24 << 20
_STEEP_D, _STEEP_TEXTURE_D = 0.85, 10.0
"""How much the film's density may differ within a cell and the eight around it, and the texture noted where it does by
more. In pictures it hardly ever does; the seams of sprocket holes are heard up to 1 D."""

_ENOUGH_CELLS = 4096
"""By how many cells of their film two scenes are told apart: more say nothing new."""

_LEAST_PX = 512
"""Frames are not made smaller than this along an axis."""

_BACKGROUND_PX = 13.0
"""How wide the background is, at least, for each pixel that is made one."""

Points = npt.NDArray[np.float32]
"""(n, 3): row, column, and contrast in units of the local texture unless said otherwise; ordered by row."""


@dataclass(frozen=True, slots=True)
class MatchParams:
    """When two frames are said to lie on the same glass.

    `search_px`: the largest offset between two frames of a glass, along each axis. `min_score`: how improbable it must
    be that two frames share so much by chance, in decades. `min_share`: the share of a glass's known dirt that must
    show in a frame. `same_film_d`: film densities closer than this are the same film, and tell nothing.
    """

    search_px: Annotated[int, Interval(ge=1, le=256)] = 64
    min_score: Annotated[float, Interval(ge=2.0, le=50.0)] = 5.0
    min_share: Annotated[float, Interval(gt=0.0, lt=1.0)] = 0.33
    same_film_d: Annotated[float, Interval(ge=0.0, le=0.5)] = 0.02

    def reach_px(self, height: int, width: int) -> int:
        """How far to look in a frame of this size: `search_px`, but no further than a quarter of the shorter side."""
        return max(min(self.search_px, height // 4, width // 4), 1)

    def sizes_agree(self, size: tuple[int, int], other: tuple[int, int]) -> bool:
        """Whether cropping explains how a frame of the `other` size (height, width) differs from one of `size`."""
        return max(abs(one - two) for one, two in zip(size, other, strict=True)) <= 2 * self.reach_px(*size)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a frame is known by.

    `dark` and `light` are its points; `texture` and `film` its local texture and its mean density in D, by cells;
    `relief` is how all of it stands out, coarsely. `height`, `width` are those of the frame.
    """

    height: int
    width: int
    dark: Points
    light: Points
    texture: Cells[np.float32]
    film: Cells[np.float32]
    relief: Relief

    @property
    def nbytes(self) -> int:
        """The room it takes in memory."""
        arrays = self.dark, self.light, self.texture.values, self.film.values, self.relief.values
        return sum(array.nbytes for array in arrays)

    @property
    def inverted(self) -> Fingerprint:
        """The same frame if its dirt made light points instead of dark ones."""
        return replace(self, dark=self.light, light=self.dark, relief=self.relief.inverted)

    def turned(self, orientation: int) -> Fingerprint:
        """The same frame as an orientation has it, see `placement`."""
        if orientation == 1:
            return self
        size = self.height, self.width
        dark, light = (by_row(turned_points(points, orientation, *size)) for points in (self.dark, self.light))
        texture, film = (_turned_cells(cells, orientation, *size) for cells in (self.texture, self.film))
        relief = self.relief.turned(orientation, *size)
        return Fingerprint(*upright_size(orientation, *size), dark, light, texture, film, relief)

    def placed(self, placement: Placement) -> tuple[Fingerprint, tuple[float, float]]:
        """The frame turned as its glass lies, and where this then lies in it: (rows, columns) in px."""
        return self.turned(placement.orientation), placement.upright(self.height, self.width)


@dataclass(frozen=True, slots=True)
class Match:
    """How the points of two signatures coincide at their best offset.

    `offset` (rows, columns) is the second minus the first, in px; `hits` is the number of coincidences beyond
    chance; `score` is how improbable these are, in decades.
    """

    offset: tuple[float, float]
    hits: float
    score: float


def fingerprint(codes: PlaneOnDisk, film: Plane, params: ResidualParams, threads: int = 1) -> Fingerprint:
    """The signature of the frame whose coded residual is `codes` and whose film densities by cell are `film`.

    Large frames are looked at with less resolution: their dirt is larger. The result does not depend on `threads`.
    """
    fine = int(max(1, min(params.background_px // _BACKGROUND_PX, min(codes.height, codes.width) // _LEAST_PX)))
    params = ResidualParams(params.background_px / fine)
    height, width = codes.height // fine, codes.width // fine
    step = step_of(height, width)
    unit = max(step, BLOCK_PX)
    halo = max(-(-(params.texture_px + 20) // unit) * unit, HALO_STEPS * step)
    busy = np.empty_like(film)
    relief = np.zeros((height // step, width // step), np.int8)

    def look(tile: Tile) -> tuple[Points, Points]:
        """The points in a tile; what else is seen there goes where it belongs."""
        rows, columns = tile.rows, tile.columns
        window = (side * fine for side in (rows.low, rows.high, columns.low, columns.high))
        residual, known = decode(codes.read(*window), fine)
        scale = texture(residual, known, params)
        small = smooth(residual, 1.0) - smooth(residual, 4.0)
        small /= scale
        if not known.all():
            small[ndimage.binary_dilation(~known, iterations=3)] = 0
        heights = raised(residual, known, scale, step)
        inner = tuple(slice(span.inner.start // step, span.inner.stop // step) for span in (rows, columns))
        above, before = rows.start // step, columns.start // step
        own = heights[inner]
        relief[above : above + own.shape[0], before : before + own.shape[1]] = own
        (down, y), (right, x) = (
            _cell_centres(*side, fine) for side in zip((rows, columns), film.shape, (height, width), strict=True)
        )
        busy[np.ix_(down, right)] = scale[np.ix_(y, x)]
        return _peaks(small, tile), _peaks(-small, tile)

    plan = tiles(height, width, size=_TILE_PX, halo=halo)
    found = list(in_order(threads, _TILE_BYTES, look, plan))
    calm = _calm(film)
    busy[~calm] = _STEEP_TEXTURE_D
    relief[~calm[np.ix_(*(_cells_of(count, step * fine) for count in relief.shape))]] = 0
    most = max(height * width // _PX_PER_POINT, 50)
    dark, light = (
        _strongest(Cells(calm).within(_magnified(np.concatenate(points), fine)), most)
        for points in zip(*found, strict=True)
    )
    return Fingerprint(codes.height, codes.width, dark, light, Cells(busy), Cells(film), Relief(relief, step * fine))


def _calm(film: Plane) -> Mask:
    """Which cells tell something: not where an edge passes of what is no film, as a sprocket hole or the holder.

    These have dark seams, and come again from frame to frame.
    """
    return np.asarray(ndimage.maximum_filter(film, 3) - ndimage.minimum_filter(film, 3) <= _STEEP_D)


def _cells_of(count: int, size: int) -> npt.NDArray[np.intp]:
    """The cells in which the middles of squares of `size` px lie, side by side."""
    return (np.arange(count) * size + size // 2) // CELL_PX


def _magnified(points: Points, size: int) -> Points:
    """Points of a picture, by those of one in which each pixel stands for a square of `size` px."""
    out = points.copy()
    out[:, :2] = (out[:, :2] + np.float32(0.5)) * size - np.float32(0.5)
    return out


def _cell_centres(span: Span, count: int, length: int, fine: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which of `count` cells have their middle in the span, and where in an array that holds it with its halo.

    Of a narrow cell it is its end; a pixel of the span stands for `fine` px.
    """
    middles = np.minimum((np.arange(count) * CELL_PX + CELL_PX // 2) // fine, length - 1)
    (inside,) = np.nonzero((middles >= span.start) & (middles < span.stop))
    return inside, middles[inside] - span.low


def _peaks(small: Plane, tile: Tile) -> Points:
    """Local maxima inside the tile, to a fraction of a pixel, at most a few in each cell."""
    y, x = _local_maxima(small, *_edges(tile.rows), *_edges(tile.columns))
    height = small[y, x]
    row = y + vertex(small[y - 1, x], height, small[y + 1, x]) + tile.rows.low
    column = x + vertex(small[y, x - 1], height, small[y, x + 1]) + tile.columns.low
    points = np.stack([row, column, height], axis=1).astype(np.float32)
    order = np.argsort(-height, kind="stable")
    # By whole pixels: a vertex may lie beyond the tile.
    cell = ((y + tile.rows.low) // CELL_PX * 100_000 + (x + tile.columns.low) // CELL_PX)[order]
    by_cell = np.argsort(cell, kind="stable")
    _, first, count = np.unique(cell[by_cell], return_index=True, return_counts=True)
    rank = np.arange(len(cell)) - np.repeat(first, count)
    return points[order][by_cell[rank < _CELL_POINTS]]


def _edges(span: Span) -> tuple[int, int]:
    """The first pixel of a span and the one past its last in an array that holds it with its halo, its rim left out."""
    return max(span.inner.start, 1), min(span.inner.stop, span.high - span.low - 1)


@kernel
def _local_maxima(
    small: Plane, top: int, bottom: int, first: int, stop: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns of what stands out, and not less than anything within two pixels."""
    height, width = small.shape
    found = np.empty((2, max(bottom - top, 0) * max(stop - first, 0)), np.int64)
    count = 0
    for y in range(top, bottom):
        for x in range(first, stop):
            here = small[y, x]
            if here <= _FAINTEST or max(small[y, x - 1], small[y, x + 1], small[y - 1, x], small[y + 1, x]) > here:
                continue
            highest = True
            for v in range(max(y - 2, 0), min(y + 3, height)):
                for u in range(max(x - 2, 0), min(x + 3, width)):
                    highest = highest and small[v, u] <= here
            if highest:
                found[0, count], found[1, count] = y, x
                count += 1
    return found[0, :count], found[1, :count]


def _strongest(points: Points, most: int) -> Points:
    return by_row(points[np.argsort(-points[:, 2], kind="stable")[:most]])


def _best(points: Points, share: float) -> Points:
    """The strongest share of points, in their order; more if some are equally strong."""
    rank = round((1 - share) * len(points))
    return points[points[:, 2] >= np.partition(points[:, 2], rank)[rank]] if rank < len(points) else points[:0]


def by_row(points: Points) -> Points:
    """Points in the order in which they are compared."""
    return points[np.lexsort((points[:, 1], points[:, 0]))]


def _turned_cells(cells: Cells[np.float32], orientation: int, height: int, width: int) -> Cells[np.float32]:
    """The cells of a frame of this size once it is turned: the last, which may be narrow, can become the first."""
    rows, columns = (count * CELL_PX for count in cells.values.shape)
    far, near = first_pixel(orientation, rows, columns), first_pixel(orientation, height, width)
    return Cells(turned(cells.values, orientation), (near[0] - far[0], near[1] - far[1]))


def match(first: Points, second: Points, area: int, search_px: int) -> Match:
    """How often points of `second` lie where points of `first` do, at the best offset up to `search_px`.

    Both ordered by row, on `area` pixels. Dirt stands out, so the strongest points are asked first, alone. Score and
    hits are 0 where nothing coincides.
    """
    coarse = Match((0.0, 0.0), 0.0, 0.0)
    few = min(len(first), len(second))
    for share in _SHARES:
        if coarse.score < _SURE and (share * few >= _FEWEST_POINTS or share == 1):
            asked = _match(_best(first, share), _best(second, share), area, search_px)
            coarse = max(coarse, asked, key=lambda found: found.score)
    if coarse.hits == 0:
        return coarse
    near = coincide(first, second, coarse.offset, 0.75)
    apart = second[near[:, 1], :2] - first[near[:, 0], :2]
    offset = np.median(apart, axis=0) if len(apart) else np.array(coarse.offset)
    chance = len(first) * len(second) / max(area, 1) * 1.5**2
    return Match((float(offset[0]), float(offset[1])), max(len(near) - chance, 0.0), coarse.score)


def _match(first: Points, second: Points, area: int, search_px: int) -> Match:
    """The match of all these points, to a bin."""
    bins = _bins(search_px)
    votes = np.zeros((bins, bins), np.int32)
    _vote(first, second, votes)
    row, column, total, squares = _summed(votes)
    most = int(votes[row, column])
    if most == 0:
        return Match((0.0, 0.0), 0.0, 0.0)
    peak = votes[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
    mean = (total - int(peak.sum())) / votes.size  # what is no part of the peak is chance
    chance = max(len(first) * len(second) / max(area, 1) * (3 / _BINS_PER_PX) ** 2, mean)
    variance = (squares - int((peak**2).sum())) / votes.size - mean**2
    middle = (bins - 1) / 2
    offset = (row - middle) / _BINS_PER_PX, (column - middle) / _BINS_PER_PX
    return Match(offset, max(most - chance, 0.0), improbability(most, chance, variance, search_px))


def _bins(search_px: int) -> int:
    return 2 * search_px * _BINS_PER_PX + 3


def improbability(count: int, chance: float, variance: float, search_px: int) -> float:
    """How improbable it is that `count` or more coincide by chance at any offset up to `search_px`: in decades, 0..300.

    `chance` and `variance` are those of their number at one offset, which is distributed as Poisson has it, or, with a
    larger variance, as a negative binomial.
    """
    if count == 0:
        return 0.0
    if variance > chance:
        tail = betainc(count, chance**2 / (variance - chance), 1 - chance / variance)
    else:
        tail = gammainc(count, chance)
    return float(np.clip(-np.log10(max(_bins(search_px) ** 2 * tail, 1e-300)), 0, None))


@kernel
def _vote(first: Points, second: Points, votes: npt.NDArray[np.int32]) -> None:
    """Count for each offset the pairs of points that lie so far apart, to a bin."""
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
                for down in range(max(y - 1, 0), min(y + 2, votes.shape[0])):
                    for right in range(max(x - 1, 0), min(x + 2, votes.shape[1])):
                        votes[down, right] += 1
            j += 1


@kernel
def _summed(votes: npt.NDArray[np.int32]) -> tuple[int, int, int, int]:
    """Row and column of the largest, the first if there are several; the sum, and that of squares."""
    row = column = most = total = squares = 0
    for y in range(votes.shape[0]):
        for x in range(votes.shape[1]):
            here = votes[y, x]
            total += here
            squares += here * here
            if here > most:
                row, column, most = y, x, here
    return row, column, total, squares


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


def common_films(
    patch: Patch, frames: Iterable[tuple[Fingerprint, tuple[float, float]]], every: int = 1
) -> Iterator[Plane]:
    """The films of frames, each with its offset (rows, columns), at the cells of a patch of glass: see `films_on`."""
    return films_on(patch, ((one.height, one.width, one.film, offset) for one, offset in frames), every)


def same_scene(first: Fingerprint, second: Fingerprint, params: MatchParams) -> bool:
    """Whether two frames show the same picture, so that what they share may be film.

    They do if their film agrees cell by cell up to the exposure, and the light points coincide as the dark ones do,
    however the film has moved in between. Films that differ by nothing but the exposure, as two of the night sky do,
    cannot be told apart and are taken for the same.
    """
    here, there = _changing(first, second, (0.0, 0.0), params)
    if not here.size:
        return True
    low, high = np.percentile(here - there, (10, 90))
    if high - low < 2 * params.same_film_d:
        return True
    area, reach_px = first.height * first.width, params.reach_px(first.height, first.width)
    light = match(first.light, second.light, area, reach_px)
    if light.score < params.min_score:
        return False
    here, there = _changing(first, second, light.offset, params)
    if here.size and (here.std() == 0 or there.std() == 0 or np.corrcoef(here, there)[0, 1] < 0.9):
        return False
    return light.hits >= 0.4 * match(first.dark, second.dark, area, reach_px).hits


def _changing(
    first: Fingerprint, second: Fingerprint, offset: tuple[float, float], params: MatchParams
) -> tuple[Plane, Plane]:
    """The films of two frames, the second at an offset, where they differ; nothing where they hardly do anywhere."""
    every = max(math.isqrt(first.film.values.size // _ENOUGH_CELLS), 1)
    here, there = common_films(Patch((0, 0), first.height, first.width), [(first, (0.0, 0.0)), (second, offset)], every)
    shown = ~(np.isnan(here) | np.isnan(there))
    differ = shown & ~fixed_cells((here, there), params.same_film_d)
    if differ.sum() <= 0.2 * shown.sum():
        differ[:] = False
    return here[differ], there[differ]


def alike(first: Fingerprint, second: Fingerprint, params: MatchParams) -> Match | None:
    """The match of two frames if it says that they lie on the same glass, else None."""
    found = _hear_each_other(first, second, first.dark, second.dark, params)
    if found is None:
        return None
    # What is fixed shows once it is known where the frames lie.
    films = common_films(Patch((0, 0), first.height, first.width), [(first, (0.0, 0.0)), (second, found.offset)])
    here = Cells(~fixed_cells(films, params.same_film_d))
    there = Cells(here.values, (round(found.offset[0]), round(found.offset[1])))
    found = _hear_each_other(first, second, here.within(first.dark), there.within(second.dark), params)
    return found if found and not same_scene(first, second, params) else None


def _hear_each_other(
    first: Fingerprint, second: Fingerprint, dark: Points, other: Points, params: MatchParams
) -> Match | None:
    """The match of two frames by what each shows where the other has its strongest points, if it is sure."""
    here, there = _strongest(dark, _LOUDEST_POINTS), _strongest(other, _LOUDEST_POINTS)
    if min(len(here), len(there)) < FEWEST_SHOWN:
        return None
    search_px, step = params.reach_px(first.height, first.width), second.relief.step
    sums, ought = _listen(here, first, second, search_px)
    if first.relief.step == step:  # else they were cropped to either side of a size from which reliefs are coarser
        back, too = _listen(there, second, first, search_px)
        sums, ought = sums + back[::-1, ::-1], np.concatenate([ought, too])
    return settle(loudest(sums, step, search_px), here, ought, second, params, FEWEST_SHOWN)


def _listen(
    points: Points, own: Fingerprint, other: Fingerprint, search_px: int
) -> tuple[Plane, npt.NDArray[np.float32]]:
    """What another frame shows at a frame's own points, for each offset, and what each of them ought to add to it.

    The weakest are mostly film, and count little.
    """
    shown = expected(points[:, 2] * own.texture.at(points) / other.texture.at(points))
    weights = np.minimum(points[:, 2] - points[:, 2].min(), np.float32(1)) * shown
    return other.relief.sums(points, weights, search_px), weights * shown


def settle(
    heard: Heard,
    points: Points,
    ought: npt.NDArray[np.float32],
    frame: Fingerprint,
    params: MatchParams,
    fewest: int,
) -> Match | None:
    """The match of points with a frame in which they were heard, as exactly as they coincide with its own; if sure.

    Each of them `ought` to add so much to what was heard, which must be the work of the `fewest` or more.
    """
    shown = heard.above * float(ought.sum()) / max(float((ought**2).sum()), 1e-9)
    if heard.score < params.min_score or shown < fewest:
        return None
    moved = points + np.array([*heard.offset, 0], np.float32)
    near = match(moved, frame.dark, frame.height * frame.width, frame.relief.step)
    offset = heard.offset[0] + near.offset[0], heard.offset[1] + near.offset[1]
    return Match(offset, near.hits, heard.score)
