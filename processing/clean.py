"""Pass 2 over a file: the dirt of the map taken off the frame.

But for a pass over the codes, which tells how busy the film is, and the marks of holes, all work is in proportion to
the dirt: of the map only dirty cells are read, resampled where they lie in the frame, and then it is lists of pixels.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval
from scipy import ndimage

from .cells import CELL_PX
from .defects import FILLED_SHARE, Defect, DefectList
from .density import Tone, density_table
from .divide import mend
from .drift import STEADY
from .fill import Holes
from .glass_map import DENSITY_STEP_D, GlassMap
from .image import Band, ImageInfo, untold
from .kernel import kernel
from .placement import turned_back_points, turned_box
from .pool import ahead, in_order
from .raster import open_rows, rewrite, write_mask
from .register import BEFORE_PX, LANCZOS, MARGIN_PX, weigh
from .spots import TOUCHING
from .strips import Span, Tile, bands, spans
from .texture import SQUARE_PX, Moduli, reach_px

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from .arrays import Scan
    from .divide import Values
    from .drift import Drift
    from .image import Rows
    from .placement import Placement
    from .planes import PlaneOnDisk
    from .residual import ResidualParams
    from .spots import Pixels
    from .texture import Texture

_BAND_BYTES, _PIXEL_BYTES = 20 << 20, 6
_ROWS_MULTIPLE = 32
_TILE_PX = 2048
"""A band takes so many bytes, its halo besides, and is repaired in tiles of so many columns.

A pixel counts as so many at least, as what is found out about it takes no less room where it is stored in fewer. Bands
begin where squares of the texture and the fill's coarsest cells do, so that they leave no trace.
"""

_HALO_PX = 64
"""How far beyond its own pixels a tile sees the film that spans holes."""

APART_PX = 8
"""Spots of dirt that are closer than this are filled together; twice as far apart or further, each alone."""


@dataclass(frozen=True, slots=True)
class RepairParams:
    """How dirt is taken off.

    `min_density_d`: fainter dirt is left alone. `scanner_noise`: standard deviation of full light, as a share of it;
    more means that deep dirt is rather filled than divided.
    """

    min_density_d: Annotated[float, Interval(ge=0.0005, le=0.1)] = 0.01
    scanner_noise: Annotated[float, Interval(ge=0.0, le=0.1)] = 0.005


@dataclass(frozen=True, slots=True)
class FrameDirt:
    """The dirt in one frame.

    `witness` is the frame's number among those that `glass` was learnt from, `codes` its own residual, and `placement`
    where the glass lies in it, from which it may `drift`.
    """

    glass: GlassMap
    codes: PlaneOnDisk
    witness: int
    placement: Placement
    drift: Drift = STEADY


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What was changed in a frame."""

    defects: tuple[Defect, ...]

    @property
    def changed_px(self) -> int:
        """How many pixels differ from the file; each belongs to one defect."""
        return sum(defect.area_px for defect in self.defects)


@dataclass(frozen=True, slots=True)
class Dirty:
    """Dirty pixels of a frame, row after row, and their dirt's density and doubt in D."""

    pixels: Pixels
    density: Values
    doubt: Values

    def where(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Dirty:
        """Some of them, in this order."""
        numbers = np.flatnonzero(which) if which.dtype == np.bool_ else which
        return Dirty(self.pixels.take(numbers, axis=1), self.density.take(numbers), self.doubt.take(numbers))

    def within(self, rows: Span) -> Dirty:
        """Those in the rows of a span, its halo included."""
        first, stop = np.searchsorted(self.pixels[0], (rows.low, rows.high)).tolist()
        return Dirty(self.pixels[:, first:stop], self.density[first:stop], self.doubt[first:stop])

    @staticmethod
    def joined(parts: Sequence[Dirty]) -> Dirty:
        """The pixels of all parts, one part after the other."""
        pixels, density, doubt = ([getattr(part, name) for part in parts] for name in ("pixels", "density", "doubt"))
        return Dirty(np.hstack(pixels), np.hstack(density), np.hstack(doubt))


@dataclass(frozen=True, slots=True)
class _Found:
    """What a pass over the codes tells of the rows of a span: the dirt in them, and how busy the film beside it is."""

    span: Span
    dirty: Dirty
    moduli: Moduli


@dataclass(frozen=True, slots=True)
class _Around:
    """A span, the dirt in it and its halo, and how busy the film is: a `texture` whose first row is row `top`."""

    span: Span
    dirty: Dirty
    texture: Texture
    top: int


@dataclass(frozen=True, slots=True)
class _Job:
    """A tile to repair: the `picture` there with its halo, and all `dirty` pixels in these rows.

    It is put into `band`, which is of whole rows, without the halo. The film is as busy as `texture` tells, whose first
    row is row `top` of the frame.
    """

    tile: Tile
    picture: Scan
    band: Scan
    dirty: Dirty
    texture: Texture
    top: int


@dataclass(frozen=True, slots=True)
class _Repaired:
    """What becomes of a tile: it is in the `band`, where dirt has been `changed`, and was `filled` in places."""

    band: Scan
    changed: Dirty
    filled: npt.NDArray[np.bool_]


def clean(
    info: ImageInfo,
    dirt: FrameDirt,
    tone: Tone,
    residual: ResidualParams,
    params: RepairParams,
    destination: Path,
    mask_destination: Path,
    threads: int,
    told: Callable[[float], None] = untold,
) -> CleanReport:
    """Write the cleaned picture to `destination` and, as 8-bit PNG, where it differs (255) to `mask_destination`.

    The picture is read once, from top to bottom, in a few bands of memory; pixels without dirt keep every bit and
    extra samples pass through. The mask is written in step with it. The result does not depend on `threads`. `told` is
    called with how much of it is done, 0..1. Raises ImageError where the file does not decode or cannot be rewritten,
    OSError where the disk is full.
    """
    residual = residual.on(info.height, info.width)
    row_bytes = max(info.row_bytes, _PIXEL_BYTES * info.width)
    plan = bands(info.height, row_bytes, budget_bytes=_BAND_BYTES, halo=_HALO_PX, multiple=_ROWS_MULTIPLE)
    parts = spans(info.width, _TILE_PX, _HALO_PX)
    tile_bytes = (plan[0].high - plan[0].low + _HALO_PX) * row_bytes // len(parts)
    defects = DefectList()

    def find(span: Span) -> _Found:
        return _find(span, dirt, params.min_density_d)

    def work(job: _Job) -> _Repaired:
        return _repair_tile(job, info, tone, params)

    def repaired(write: Callable[[npt.NDArray[np.uint8]], None]) -> Generator[Band, None, None]:
        with open_rows(info, threads) as rows, closing(in_order(threads, _BAND_BYTES, find, plan)) as looked_at:
            jobs = _jobs(info, rows, parts, _with_surroundings(plan, looked_at, residual))
            with closing(in_order(threads, tile_bytes, work, jobs, tile_bytes * max(len(parts), 4))) as done:
                for span in plan:
                    band, changed, filled = _joined([next(done) for _ in parts])
                    defects.add(changed.pixels, changed.density, filled)
                    places = changed.pixels[0] - span.start
                    mask = np.zeros(band.shape[:2], np.uint8)
                    mask[places, changed.pixels[1]] = 255
                    write(mask)
                    told(span.stop / info.height)
                    yield Band(span.start, band, np.bincount(places, minlength=len(band)) > 0)

    with (
        write_mask(mask_destination, info.height, info.width) as write,
        closing(ahead(threads, repaired(write))) as written,
    ):
        rewrite(info, destination, written, threads)
    return CleanReport(defects.finish())


def dirt_in_frame(dirt: FrameDirt, rows: Span, min_density_d: float) -> Dirty:
    """The pixels in some rows of the frame, halo included, on which dirt of this density or more lies."""
    orientation, size = dirt.placement.orientation, (dirt.codes.height, dirt.codes.width)
    top, left, shape = turned_box(orientation, rows.low, 0, (rows.high - rows.low, size[1]), *size)
    offset, axis = dirt.placement.upright(*size), dirt.drift.axis
    places = np.arange(shape[axis]) + ((top, left)[axis] - offset[axis])
    shifts = -np.add(offset, dirt.glass.patch.corner) - dirt.drift.at(places)
    whole = np.floor(shifts).astype(np.int64)
    (up, before), (down, after) = (whole.min(axis=0) - BEFORE_PX).tolist(), (whole.max(axis=0) + MARGIN_PX).tolist()
    part = dirt.glass.part(top + up, left + before, (shape[0] + down - up, shape[1] + after - before))
    weights = LANCZOS.weights(shifts - whole)
    from_part = whole + np.subtract((top, left), part.corner)
    alive = ((part.pixels["lives"] >> dirt.witness) & 1).astype(np.float32)
    slots, planes = part.slots, np.zeros((2, len(part.begins) - 1, CELL_PX, CELL_PX), np.float32)
    for plane, name in zip(planes, ("density", "doubt"), strict=True):
        part.lay(alive * part.pixels[name], plane)
    # Along the lines that are shifted alike: rows, or columns.
    turn = slice(None, None, -1 if axis else 1)
    if axis:
        slots, planes = slots.T, planes.swapaxes(2, 3)
    lines, values = _resample(
        slots,
        np.ascontiguousarray(planes),
        from_part[:, turn],
        weights[:, turn],
        shape[1 - axis],
        min_density_d / DENSITY_STEP_D,
    )
    values *= np.float32(DENSITY_STEP_D)
    pixels = turned_back_points((lines[turn] + np.array([[top], [left]])).T, orientation, *size).T
    order = np.argsort(pixels[0] * size[1] + pixels[1], kind="stable")
    found = Dirty(pixels, values[0], np.maximum(values[1], np.float32(DENSITY_STEP_D)))
    return found.where(order)


@kernel
def _resample(
    slots: npt.NDArray[np.int32],
    planes: npt.NDArray[np.float32],
    whole: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    width: int,
    least: float,
) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """`planes` of cells (planes, cells, 32, 32) at pixels where the first is `least` or more, line by line.

    The pixel (row, column) lies at (row, column) + `whole`[row] of what `slots` numbers the cells of, and beyond that
    as Lanczos' `weights` (rows, 2, 8) say, down and to the right. There are as many rows as these, and `width` columns.
    """
    height, across = slots.shape
    dirty = _dirty_rows(planes[0])
    line = np.zeros((len(planes), across + 2, CELL_PX), np.float32)
    found = np.empty((len(planes), CELL_PX + MARGIN_PX), np.float32)
    live, count = np.zeros(across, np.bool_), 0
    pixels, values = np.empty((2, 1 << 10), np.int64), np.empty((len(planes), 1 << 10), np.float32)
    for row in range(len(whole)):
        top = row + whole[row, 0] - BEFORE_PX
        seen = range(max(top, 0), min(top + MARGIN_PX + 1, height * CELL_PX))
        if not len(seen):
            continue
        near = np.flatnonzero(np.maximum(slots[seen.start // CELL_PX], slots[(seen.stop - 1) // CELL_PX]) >= 0)
        for c in near:
            live[c] = False
            for y in seen:
                slot = slots[y // CELL_PX, c]
                live[c] |= slot >= 0 and dirty[slot, y % CELL_PX]
            for y in seen:
                slot = slots[y // CELL_PX, c]
                if live[c] and slot >= 0:
                    for plane in range(len(planes)):
                        _add(line[plane, c + 1], weights[row, 0, y - top], planes[plane, slot, y % CELL_PX])
        stop = -MARGIN_PX
        for c in near:
            if not live[c]:
                continue
            begin = int(c) * CELL_PX + BEFORE_PX
            start, stop = max(begin - MARGIN_PX, stop), begin + CELL_PX
            first = CELL_PX + start - BEFORE_PX
            for plane in range(len(planes)):
                weigh(line[plane].reshape(-1)[first:], weights[row, 1], found[plane, : stop - start])
            for i in range(stop - start):
                column = start + i - whole[row, 1]
                if abs(found[0, i]) >= least and 0 <= column < width:
                    if count == pixels.shape[1]:
                        pixels, values = np.hstack((pixels, pixels)), np.hstack((values, values))
                    pixels[0, count], pixels[1, count] = row, column
                    for plane in range(len(planes)):
                        values[plane, count] = found[plane, i]
                    count += 1
        for c in near:
            line[:, c + 1] = 0
    return pixels[:, :count], values[:, :count]


@kernel
def _dirty_rows(cells: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """In which rows of cells (cells, 32, 32) there is anything: (cells, 32)."""
    dirty = np.zeros((len(cells), CELL_PX), np.bool_)
    for slot in range(len(cells)):
        for y in range(CELL_PX):
            for x in range(cells.shape[2]):
                dirty[slot, y] |= cells[slot, y, x] != 0
    return dirty


@kernel
def _add(total: npt.NDArray[np.float32], weight: np.float32, values: npt.NDArray[np.float32]) -> None:
    for x in range(len(total)):
        total[x] += weight * values[x]


def _find(span: Span, dirt: FrameDirt, min_density_d: float) -> _Found:
    """Look at the rows of a span alone."""
    own = Span(span.start, span.stop, span.start, span.stop)
    dirty = dirt_in_frame(dirt, own, min_density_d)
    codes = dirt.codes.read(own.start, own.stop, 0, dirt.codes.width)
    moduli = Moduli.of(codes).without(codes, dirty.pixels[0] - own.start, dirty.pixels[1])
    return _Found(own, dirty, moduli)


def _with_surroundings(plan: list[Span], found: Iterator[_Found], residual: ResidualParams) -> Iterator[_Around]:
    """Each span of the plan with what was found there and as far around it as matters, each row looked at but once."""
    reach = max(reach_px(residual) + SQUARE_PX, _HALO_PX)
    held: deque[_Found] = deque()
    for span in plan:
        while not held or held[-1].span.stop < min(span.stop + reach, plan[-1].stop):
            held.append(next(found))
        while held[0].span.stop <= span.start - reach:
            held.popleft()
        dirty = Dirty.joined([one.dirty.within(span) for one in held])
        texture = Moduli.stacked([one.moduli for one in held]).texture(residual)
        yield _Around(span, dirty, texture, held[0].span.start)


def _jobs(info: ImageInfo, rows: Rows, parts: list[Span], around: Iterable[_Around]) -> Iterator[_Job]:
    """The tiles of each band of a frame, from left to right."""
    for one in around:
        span = one.span
        band = np.empty((span.stop - span.start, info.width, info.samples), info.dtype)
        for columns in parts:
            picture = rows.read(span.low, span.high, slice(columns.low, columns.high))
            yield _Job(Tile(span, columns), picture, band, one.dirty, one.texture, one.top)


def _repair_tile(job: _Job, info: ImageInfo, tone: Tone, params: RepairParams) -> _Repaired:
    rows, columns = job.tile.rows, job.tile.columns
    column = job.dirty.pixels[1]
    near = job.dirty.where((column >= columns.low) & (column < columns.high))
    corner = np.array([[rows.low], [columns.low]])
    inside = _inside(job.tile, near.pixels)
    reaching = reaching_in(near.pixels - corner, inside, job.tile.shape)
    seen, own = near.where(reaching), near.where(inside)
    holes = Holes(seen.pixels - corner, job.tile.shape)

    def shown(at: Pixels) -> Scan:
        return job.picture.reshape(-1, info.samples)[at[0] * job.tile.shape[1] + at[1], : info.colours]

    spanned = holes.span(density_table(tone, int(np.iinfo(info.dtype).max))[shown(holes.edge)].T)
    mended = mend(
        shown(own.pixels - corner),
        own.density,
        own.doubt,
        job.texture.at(own.pixels[0] - job.top, own.pixels[1]),
        spanned[:, inside[reaching]],
        tone,
        params.scanner_noise,
    )
    changed = own.where(mended.changed)
    job.band[:, columns.start : columns.stop] = job.picture[job.tile.inner]
    places = (changed.pixels[0] - rows.start) * info.width + changed.pixels[1]
    job.band.reshape(-1, info.samples)[places, : info.colours] = mended.values[mended.changed]
    return _Repaired(job.band, changed, mended.share[mended.changed] > FILLED_SHARE)


def _joined(tiles: list[_Repaired]) -> tuple[Scan, Dirty, npt.NDArray[np.bool_]]:
    """The rows of a band as its tiles have left them, what was changed in them row after row, and what was filled."""
    changed, filled = Dirty.joined([tile.changed for tile in tiles]), np.hstack([tile.filled for tile in tiles])
    order = np.argsort(changed.pixels[0], kind="stable")
    return tiles[0].band, changed.where(order), filled[order]


def reaching_in(pixels: Pixels, inside: npt.NDArray[np.bool_], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which pixels of a picture of this `shape` belong to spots that have some of those `inside`.

    Spots are apart as `APART_PX` says.
    """
    squares = tuple(pixels // APART_PX)
    marks = np.zeros([-(-length // APART_PX) for length in shape], np.bool_)
    marks[squares] = True
    labels, count = ndimage.label(marks, TOUCHING)
    spots = labels[squares]
    reaching = np.zeros(count + 1, np.bool_)
    reaching[spots[inside]] = True
    return reaching[spots]


def _inside(tile: Tile, pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Which pixels lie in a tile, not in its halo."""
    (row, column), (rows, columns) = pixels, (tile.rows, tile.columns)
    return (row >= rows.start) & (row < rows.stop) & (column >= columns.start) & (column < columns.stop)
