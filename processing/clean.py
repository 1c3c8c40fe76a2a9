"""Pass 2 over a file: the dirt of the map taken off the frame.

But for one pass over the codes, which tells how busy the film is, all work is in proportion to the dirt: it is done
group by group of the map's dirty cells. They are clean cells apart, so that none is seen by the fill of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from .defects import FILLED_SHARE, Defect, DefectList
from .density import Tone, density_table
from .divide import mend
from .drift import STEADY
from .fill import Holes
from .glass_map import DENSITY_STEP_D, GlassMap, Group
from .image import Band, ImageInfo, in_order
from .placement import turned_back, turned_back_box, turned_box
from .raster import open_rows, rewrite, write_mask
from .register import BEFORE_PX, MARGIN_PX, resample, split
from .spots import Pixels, connected
from .strips import Span, Tile, bands, spans
from .texture import Moduli, Texture, reach_px

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .arrays import Plane, Scan
    from .divide import Values
    from .drift import Drift
    from .placement import Placement
    from .planes import PlaneFile
    from .residual import ResidualParams

_BAND_BYTES = 48 << 20
_FLIGHT_BYTES = 112 << 20
_ROWS_MULTIPLE = 32

_TILE_PX = 512
"""The widest piece of a picture that is looked at as a plane, and what a pixel of it takes in memory."""

_PIXEL_BYTES = 40

_WITHIN_PX = 16
_RIM_PX = 4
"""How far beyond its cells dirt may be seen, and what lies beside it."""

_NOTHING = np.empty((2, 0), np.int64)


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
    codes: PlaneFile
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
class _Piece:
    """Dirt in a tile of the frame: the dirty `pixels` of the tile with its halo, and their density and doubt in D."""

    tile: Tile
    pixels: Pixels
    density: Values
    doubt: Values

    @property
    def places(self) -> Pixels:
        """The pixels in the frame."""
        return self.pixels + np.array([[self.tile.rows.low], [self.tile.columns.low]])

    @property
    def in_columns(self) -> npt.NDArray[np.bool_]:
        """Which pixels are in the tile's own columns, be it in its halo above or below."""
        inner = self.tile.columns.inner
        return (self.pixels[1] >= inner.start) & (self.pixels[1] < inner.stop)

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Which pixels are the tile's own."""
        inner = self.tile.rows.inner
        return self.in_columns & (self.pixels[0] >= inner.start) & (self.pixels[0] < inner.stop)


@dataclass(frozen=True, slots=True)
class _Changed:
    """Pixels of the frame that were changed: their `values` now, the dirt's density in D, and which were filled."""

    pixels: Pixels
    values: npt.NDArray[np.integer]
    density: Values
    filled: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Repaired:
    """Rows of the frame, repaired, and what was changed in them, row after row."""

    start: int
    rows: Scan
    changed: _Changed


def clean(
    info: ImageInfo,
    dirt: FrameDirt,
    tone: Tone,
    residual: ResidualParams,
    params: RepairParams,
    destination: Path,
    mask_destination: Path,
    threads: int,
) -> CleanReport:
    """Write the cleaned picture to `destination` and, as 8-bit PNG, where it differs (255) to `mask_destination`.

    The picture is read once, from top to bottom, in a few bands of memory; pixels without dirt keep every bit and
    extra samples pass through. The mask is written in step with it. The result does not depend on `threads`. Raises
    ImageError where the file does not decode or cannot be rewritten, OSError where the disk is full.
    """
    residual = residual.on(info.height, info.width)
    halo = reach_px(residual) + _WITHIN_PX
    # The rows, their codes and the mask; and the widest piece.
    row_bytes = info.row_bytes + 2 * info.width + _PIXEL_BYTES * (min(info.width, _TILE_PX + 2 * halo))
    plan = bands(info.height, row_bytes, budget_bytes=_BAND_BYTES, halo=halo, multiple=_ROWS_MULTIPLE)
    band_bytes = max(_BAND_BYTES, (2 * halo + _ROWS_MULTIPLE) * row_bytes)
    defects = DefectList()

    def work(job: tuple[Span, Scan]) -> _Repaired:
        return _repair_band(*job, info, dirt, tone, residual, params, halo)

    def repaired(write: Callable[[npt.NDArray[np.uint8]], None]) -> Iterator[Band]:
        with open_rows(info, threads) as rows:
            jobs = ((span, rows.read(span.low, span.high)) for span in plan)
            for band in in_order(threads, band_bytes, work, jobs, flight_bytes=_FLIGHT_BYTES):
                changed, count = band.changed, len(band.rows)
                defects.add(changed.pixels, changed.density, changed.filled)
                rows_of, columns_of = changed.pixels[0] - band.start, changed.pixels[1]
                mask = np.zeros((count, info.width), np.uint8)
                mask[rows_of, columns_of] = 255
                write(mask)
                yield Band(band.start, band.rows, np.bincount(rows_of, minlength=count) > 0)

    with write_mask(mask_destination, info.height, info.width) as write:
        rewrite(info, destination, repaired(write), threads)
    return CleanReport(defects.finish())


def dirt_in_frame(dirt: FrameDirt, tile: Tile, group: Group | None = None) -> tuple[Plane, Plane] | None:
    """Density of the dirt in a tile of the frame and its doubt, in D, (rows, columns) with the halo; None if clean.

    Of a `group` of the map alone, if one is given.
    """
    orientation, size = dirt.placement.orientation, (dirt.codes.height, dirt.codes.width)
    top, left, shape = turned_box(orientation, tile.rows.low, tile.columns.low, tile.shape, *size)
    offset = dirt.placement.upright(*size)
    drift, axis = dirt.drift, dirt.drift.axis
    places = np.arange(shape[axis]) + ((top, left)[axis] - offset[axis])
    whole, beyond, more = split(-np.add(offset, dirt.glass.patch.corner) - drift.at(places))
    corner = (top + whole[0] - BEFORE_PX, left + whole[1] - BEFORE_PX)
    shape = (shape[0] + MARGIN_PX + more[0], shape[1] + MARGIN_PX + more[1])
    here = dirt.glass.window(*corner, shape, group)
    if here is None:
        return None
    there = (here.lives >> np.uint32(dirt.witness)) & np.uint32(1)
    if not there.any():
        return None
    step = np.float32(DENSITY_STEP_D)
    steps = (plane * there for plane in (here.density, here.doubt))
    planes = (resample(plane.astype(np.float32) * step, beyond, axis) for plane in steps)
    density, doubt = (np.ascontiguousarray(turned_back(plane, orientation)) for plane in planes)
    return density, np.maximum(doubt, step)


def _groups_in_frame(dirt: FrameDirt, rows: Span) -> Iterator[tuple[Group, Span, Span]]:
    """The groups of the map's dirty cells that lie in some rows of the frame, halo included.

    With each come the rows and the columns that it covers there, and all that its dirt depends on.
    """
    orientation, size = dirt.placement.orientation, (dirt.codes.height, dirt.codes.width)
    top, left, shape = turned_box(orientation, rows.low, 0, (rows.high - rows.low, size[1]), *size)
    offset, axis = dirt.placement.upright(*size), dirt.drift.axis
    places = np.arange(shape[axis]) + ((top, left)[axis] - offset[axis])
    shifts = -np.add(offset, dirt.glass.patch.corner) - dirt.drift.at(places)
    least, most = np.floor(shifts.min(axis=0)) - _RIM_PX, np.ceil(shifts.max(axis=0)) + _RIM_PX
    (up, before), (down, after) = least.astype(int).tolist(), most.astype(int).tolist()
    around = (shape[0] + down - up, shape[1] + after - before)
    for group in dirt.glass.groups(top + up, left + before, around):
        first, begin, (height, width) = group.box
        covered = first - down, begin - after, (height + down - up, width + after - before)
        low, start, (height, width) = turned_back_box(orientation, *covered, *size)
        edges = (min(max(edge, rows.low), rows.high) for edge in (low, low + height))
        sides = (min(max(side, 0), size[1]) for side in (start, start + width))
        (low, high), (start, stop) = edges, sides
        if low < high and start < stop:
            inner = (min(max(edge, low), high) for edge in (rows.start, rows.stop))
            yield group, Span(*inner, low, high), Span(start, stop, start, stop)


def _pieces(dirt: FrameDirt, span: Span, halo: int, min_density_d: float) -> Iterator[_Piece]:
    """The dirt in rows of the frame, halo included."""
    for group, rows, columns in _groups_in_frame(dirt, span):
        for part in spans(columns.stop - columns.start, _TILE_PX, halo):
            own = Span(*(columns.start + place for place in (part.start, part.stop, part.low, part.high)))
            here = dirt_in_frame(dirt, Tile(rows, own), group)
            if here is not None:
                dirty = np.nonzero(np.abs(here[0]) >= min_density_d)
                yield _Piece(Tile(rows, own), np.array(dirty), here[0][dirty], here[1][dirty])


def _repair_band(
    span: Span,
    rows: Scan,
    info: ImageInfo,
    dirt: FrameDirt,
    tone: Tone,
    residual: ResidualParams,
    params: RepairParams,
    halo: int,
) -> _Repaired:
    """Repair the rows of `span`; `rows` holds them with their halo."""
    out = rows[span.inner]
    pieces = list(_pieces(dirt, span, halo, params.min_density_d))
    codes = dirt.codes.read(span.low, span.high, 0, info.width)
    dirty = np.concatenate([_NOTHING, *(piece.places[:, piece.in_columns] for piece in pieces)], axis=1)
    texture = Moduli.of(codes).without(codes, dirty[0] - span.low, dirty[1]).texture(residual)
    picture = rows[..., : info.colours]
    changed = _in_order(
        [_repair(piece, picture, span.low, texture, tone, params) for piece in pieces if piece.inside.any()], picture
    )
    # Not before the last piece: what lies beside it must still be seen as it was.
    picture[changed.pixels[0] - span.low, changed.pixels[1]] = changed.values
    return _Repaired(span.start, out, changed)


def _repair(piece: _Piece, picture: Scan, top: int, texture: Texture, tone: Tone, params: RepairParams) -> _Changed:
    """What is to be changed in a piece of a picture, which begins at row `top` of the frame, as `texture` does."""
    rows, columns = piece.tile.rows, piece.tile.columns
    scan = picture[rows.low - top : rows.high - top, columns.low : columns.high]
    inside = piece.inside
    spots, count = connected(piece.pixels)
    ours = np.zeros(count, np.bool_)
    ours[spots[inside]] = True
    within = ours[spots]
    hole = np.zeros(scan.shape[:2], np.bool_)
    hole[tuple(piece.pixels[:, within])] = True
    holes = Holes(hole)
    film = density_table(tone, int(np.iinfo(scan.dtype).max))[scan[holes.edge]]
    spanned = holes.span(film.T)[:, inside[within]]
    values = scan[tuple(piece.pixels[:, inside])]
    density, doubt = piece.density[inside], piece.doubt[inside]
    places = piece.places[:, inside]
    busy = texture.at(places[0] - top, places[1])
    mended = mend(values, density, doubt, busy, spanned, tone, params.scanner_noise)
    differs = mended.changed
    filled = mended.share[differs] > FILLED_SHARE
    return _Changed(places[:, differs], mended.values[differs], density[differs], filled)


def _in_order(parts: list[_Changed], picture: Scan) -> _Changed:
    """All changes to a picture, row after row."""
    nothing = np.empty((0, picture.shape[2]), picture.dtype), np.empty(0, np.float32), np.empty(0, np.bool_)
    parts = [_Changed(_NOTHING, *nothing), *parts]
    pixels = np.concatenate([part.pixels for part in parts], axis=1)
    order = np.argsort(pixels[0] * picture.shape[1] + pixels[1], kind="stable")
    values, density, filled = (
        np.concatenate([getattr(part, name) for part in parts])[order] for name in ("values", "density", "filled")
    )
    return _Changed(pixels[:, order], values, density, filled)
