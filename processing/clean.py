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
from .strips import Span, Tile, bands
from .texture import SQUARE_PX, Moduli, reach_px

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .arrays import Plane, Scan
    from .divide import Values
    from .drift import Drift
    from .placement import Placement
    from .planes import PlaneFile
    from .residual import ResidualParams

_BAND_BYTES = 64 << 20
_FLIGHT_BYTES = 128 << 20
_ROWS_MULTIPLE = 32

_TILE_PX = 512

_PIXEL_BYTES = 6
"""What a pixel of a band takes in memory beside its samples."""


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
class _Dirty:
    """Dirty pixels of a frame, row after row, and their dirt's density and doubt in D."""

    pixels: Pixels
    density: Values
    doubt: Values

    def where(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> _Dirty:
        """Some of them, in this order."""
        return _Dirty(self.pixels[:, which], self.density[which], self.doubt[which])


@dataclass(frozen=True, slots=True)
class _Repaired:
    """Rows of a frame, from `start` on, repaired: `changed` where their dirt has been, which was `filled` in places."""

    start: int
    rows: Scan
    changed: _Dirty
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
) -> CleanReport:
    """Write the cleaned picture to `destination` and, as 8-bit PNG, where it differs (255) to `mask_destination`.

    The picture is read once, from top to bottom, in a few bands of memory; pixels without dirt keep every bit and
    extra samples pass through. The mask is written in step with it. The result does not depend on `threads`. Raises
    ImageError where the file does not decode or cannot be rewritten, OSError where the disk is full.
    """
    residual = residual.on(info.height, info.width)
    halo = reach_px(residual) + SQUARE_PX
    row_bytes = info.row_bytes + _PIXEL_BYTES * info.width
    plan = bands(info.height, row_bytes, budget_bytes=_BAND_BYTES, halo=halo, multiple=_ROWS_MULTIPLE)
    band_bytes = max(_BAND_BYTES, (2 * halo + _ROWS_MULTIPLE) * row_bytes)
    defects = DefectList()

    def work(job: tuple[Span, Scan]) -> _Repaired:
        return _repair_band(*job, info, dirt, tone, residual, params)

    def repaired(write: Callable[[npt.NDArray[np.uint8]], None]) -> Iterator[Band]:
        with open_rows(info, threads) as rows:
            jobs = ((span, rows.read(span.low, span.high)) for span in plan)
            for band in in_order(threads, band_bytes, work, jobs, flight_bytes=_FLIGHT_BYTES):
                changed, count = band.changed, len(band.rows)
                defects.add(changed.pixels, changed.density, band.filled)
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


def _groups_in_frame(dirt: FrameDirt, rows: Span) -> Iterator[tuple[Group, Tile]]:
    """The groups of the map's dirty cells that lie in some rows of the frame, halo included, in tiles without halo."""
    orientation, size = dirt.placement.orientation, (dirt.codes.height, dirt.codes.width)
    top, left, shape = turned_box(orientation, rows.low, 0, (rows.high - rows.low, size[1]), *size)
    offset, axis = dirt.placement.upright(*size), dirt.drift.axis
    places = np.arange(shape[axis]) + ((top, left)[axis] - offset[axis])
    shifts = -np.add(offset, dirt.glass.patch.corner) - dirt.drift.at(places)
    least, most = np.floor(shifts.min(axis=0)) - MARGIN_PX, np.ceil(shifts.max(axis=0)) + MARGIN_PX
    (up, before), (down, after) = least.astype(int).tolist(), most.astype(int).tolist()
    around = (shape[0] + down - up, shape[1] + after - before)
    for group in dirt.glass.groups(top + up, left + before, around):
        first, begin, (height, width) = group.box
        covered = first - down, begin - after, (height + down - up, width + after - before)
        low, start, (height, width) = turned_back_box(orientation, *covered, *size)
        low, high = (min(max(edge, rows.low), rows.high) for edge in (low, low + height))
        start, stop = (min(max(side, 0), size[1]) for side in (start, start + width))
        for above in range(low, high, _TILE_PX):
            for beside in range(start, stop, _TILE_PX):
                edge, side = min(above + _TILE_PX, high), min(beside + _TILE_PX, stop)
                yield group, Tile(Span(above, edge, above, edge), Span(beside, side, beside, side))


def _dirty_in_frame(dirt: FrameDirt, rows: Span, min_density_d: float) -> _Dirty:
    """The pixels in some rows of the frame, halo included, on which dirt of some density lies."""
    found = [_Dirty(np.empty((2, 0), np.int64), np.empty(0, np.float32), np.empty(0, np.float32))]
    for group, box in _groups_in_frame(dirt, rows):
        here = dirt_in_frame(dirt, box, group)
        if here is not None:
            where = np.nonzero(np.abs(here[0]) >= min_density_d)
            corner = np.array([[box.rows.low], [box.columns.low]])
            found.append(_Dirty(np.array(where) + corner, here[0][where], here[1][where]))
    pixels = np.concatenate([one.pixels for one in found], axis=1)
    density, doubt = (np.concatenate([getattr(one, name) for one in found]) for name in ("density", "doubt"))
    order = np.argsort(pixels[0] * dirt.codes.width + pixels[1], kind="stable")
    return _Dirty(pixels, density, doubt).where(order)


def _repair_band(
    span: Span,
    rows: Scan,
    info: ImageInfo,
    dirt: FrameDirt,
    tone: Tone,
    residual: ResidualParams,
    params: RepairParams,
) -> _Repaired:
    """Repair the rows of `span`; `rows` holds them with their halo."""
    seen = _dirty_in_frame(dirt, span, params.min_density_d)
    codes = dirt.codes.read(span.low, span.high, 0, info.width)
    texture = Moduli.of(codes).without(codes, seen.pixels[0] - span.low, seen.pixels[1]).texture(residual)
    # What lies in the halo alone is for another band to fill.
    spots, count = connected(seen.pixels)
    ours = np.zeros(count, np.bool_)
    ours[spots[_within(span, seen)]] = True
    seen = seen.where(ours[spots])
    picture = rows[..., : info.colours]
    hole = np.zeros(picture.shape[:2], np.bool_)
    hole[seen.pixels[0] - span.low, seen.pixels[1]] = True
    holes = Holes(hole)
    spanned = holes.span(density_table(tone, int(np.iinfo(rows.dtype).max))[picture[holes.edge]].T)
    inside = _within(span, seen)
    own = seen.where(inside)
    places = own.pixels[0] - span.low, own.pixels[1]
    mended = mend(
        picture[places],
        own.density,
        own.doubt,
        texture.at(*places),
        spanned[:, inside],
        tone,
        params.scanner_noise,
    )
    picture[places] = mended.values
    filled = mended.share[mended.changed] > FILLED_SHARE
    return _Repaired(span.start, rows[span.inner], own.where(mended.changed), filled)


def _within(span: Span, dirty: _Dirty) -> npt.NDArray[np.bool_]:
    """Which pixels lie in the rows of a span, not in its halo."""
    return (dirty.pixels[0] >= span.start) & (dirty.pixels[0] < span.stop)
