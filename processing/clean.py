"""Pass 2 over a file: the dirt of the map taken off the frame.

But for a pass over the codes, which tells how busy the film is, and the marks of holes, all work is in proportion to
the dirt: of the map only dirty cells are read, resampled where they lie in the frame, and then it is lists of pixels.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from .cells import CELL_PX
from .defects import FILLED_SHARE, Defect, DefectList
from .density import Tone, density_table
from .divide import mend
from .drift import STEADY
from .fill import Holes
from .glass_map import DENSITY_STEP_D, GlassMap
from .image import Band, ImageInfo, in_order
from .kernel import kernel
from .placement import turned_back_points, turned_box
from .raster import open_rows, rewrite, write_mask
from .register import BEFORE_PX, LANCZOS, MARGIN_PX
from .spots import Pixels, connected
from .strips import Span, bands
from .texture import SQUARE_PX, Moduli, reach_px

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from .arrays import Scan
    from .divide import Values
    from .drift import Drift
    from .placement import Placement
    from .planes import PlaneFile
    from .residual import ResidualParams

_BAND_BYTES = 48 << 20
_FLIGHT_BYTES = 112 << 20
_ROWS_MULTIPLE = 32

_HALO_PX = 64
"""How far beyond its own rows a band sees the film that spans holes."""

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
class Dirty:
    """Dirty pixels of a frame, row after row, and their dirt's density and doubt in D."""

    pixels: Pixels
    density: Values
    doubt: Values

    def where(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Dirty:
        """Some of them, in this order."""
        return Dirty(self.pixels[:, which], self.density[which], self.doubt[which])


@dataclass(frozen=True, slots=True)
class _Found:
    """What a pass over the codes tells of the rows of a span: the dirt in them, and how busy the film beside it is."""

    span: Span
    dirty: Dirty
    moduli: Moduli


@dataclass(frozen=True, slots=True)
class _Repaired:
    """Rows of a frame, from `start` on, repaired: `changed` where their dirt has been, which was `filled` in places."""

    start: int
    rows: Scan
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
) -> CleanReport:
    """Write the cleaned picture to `destination` and, as 8-bit PNG, where it differs (255) to `mask_destination`.

    The picture is read once, from top to bottom, in a few bands of memory; pixels without dirt keep every bit and
    extra samples pass through. The mask is written in step with it. The result does not depend on `threads`. Raises
    ImageError where the file does not decode or cannot be rewritten, OSError where the disk is full.
    """
    residual = residual.on(info.height, info.width)
    row_bytes = info.row_bytes + _PIXEL_BYTES * info.width
    plan = bands(info.height, row_bytes, budget_bytes=_BAND_BYTES, halo=_HALO_PX, multiple=_ROWS_MULTIPLE)
    band_bytes = max(_BAND_BYTES, (2 * _HALO_PX + _ROWS_MULTIPLE) * row_bytes)
    defects = DefectList()

    def find(span: Span) -> _Found:
        return _find(span, dirt, params.min_density_d)

    def work(job: tuple[Span, Scan, _Found]) -> _Repaired:
        return _repair_band(*job, info, tone, residual, params)

    def repaired(write: Callable[[npt.NDArray[np.uint8]], None]) -> Iterator[Band]:
        with open_rows(info, threads) as rows:
            found = _with_surroundings(plan, in_order(threads, _BAND_BYTES, find, plan), residual)
            jobs = ((span, rows.read(span.low, span.high), around) for span, around in zip(plan, found, strict=True))
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
    alive = (part.cells["lives"] >> np.uint32(dirt.witness)) & np.uint32(1)
    unit = alive.astype(np.float32) * np.float32(DENSITY_STEP_D)
    cells = np.stack([part.cells[name] * unit for name in ("density", "doubt")])
    weights = LANCZOS.weights(shifts - whole)
    from_part = whole + np.subtract((top, left), part.corner)
    # Along the lines that are shifted alike: rows, or columns.
    turn = slice(None, None, -1 if axis else 1)
    slots, cells = (part.slots.T, cells.swapaxes(2, 3)) if axis else (part.slots, cells)
    lines, values = _resample(slots, cells, from_part[:, turn], weights[:, turn], shape[1 - axis], min_density_d)
    pixels = turned_back_points((lines[turn] + np.array([[top], [left]])).T, orientation, *size).T
    order = np.argsort(pixels[0] * size[1] + pixels[1], kind="stable")
    found = Dirty(pixels, values[0], np.maximum(values[1], np.float32(DENSITY_STEP_D)))
    return found.where(order)


@kernel
def _resample(
    slots: npt.NDArray[np.int32],
    cells: npt.NDArray[np.float32],
    whole: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    width: int,
    least: float,
) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """Density and doubt (2, pixels) of cells (2, cells, 32, 32) at pixels where that is `least` or more, line by line.

    The pixel (row, column) lies at (row, column) + `whole`[row] of what `slots` numbers the cells of, and beyond that
    as Lanczos' `weights` (rows, 2, 8) say, down and to the right. There are as many rows as these, and `width` columns.
    """
    height, across = slots.shape
    line = np.zeros((2, across * CELL_PX + 2 * MARGIN_PX + 2), np.float32)
    live = np.zeros(across, np.bool_)
    pixels, values, count = np.empty((2, 1 << 10), np.int64), np.empty((2, 1 << 10), np.float32), 0
    for row in range(len(whole)):
        top = row + whole[row, 0] - BEFORE_PX
        live[:] = False
        for k in range(MARGIN_PX + 1):
            y = top + k
            if not 0 <= y < height * CELL_PX:
                continue
            for c in range(across):
                slot = slots[y // CELL_PX, c]
                if slot < 0:
                    continue
                live[c] = True
                start = MARGIN_PX + c * CELL_PX
                for p in range(2):
                    for x in range(CELL_PX):
                        line[p, start + x] += weights[row, 0, k] * cells[p, slot, y % CELL_PX, x]
        done = -MARGIN_PX
        for c in range(across):
            if not live[c]:
                continue
            for place in range(max(c * CELL_PX - MARGIN_PX + BEFORE_PX, done), (c + 1) * CELL_PX + BEFORE_PX):
                density = doubt = np.float32(0)
                for k in range(MARGIN_PX + 1):
                    x = MARGIN_PX + place - BEFORE_PX + k
                    density += weights[row, 1, k] * line[0, x]
                    doubt += weights[row, 1, k] * line[1, x]
                column = place - whole[row, 1]
                if abs(density) >= least and 0 <= column < width:
                    if count == pixels.shape[1]:
                        pixels, values = np.hstack((pixels, pixels)), np.hstack((values, values))
                    pixels[0, count], pixels[1, count] = row, column
                    values[0, count], values[1, count] = density, doubt
                    count += 1
            done = (c + 1) * CELL_PX + BEFORE_PX
        for c in range(across):
            if live[c]:
                line[:, MARGIN_PX + c * CELL_PX : MARGIN_PX + (c + 1) * CELL_PX] = 0
    return pixels[:, :count], values[:, :count]


def _find(span: Span, dirt: FrameDirt, min_density_d: float) -> _Found:
    """Look at the rows of a span alone."""
    own = Span(span.start, span.stop, span.start, span.stop)
    dirty = dirt_in_frame(dirt, own, min_density_d)
    codes = dirt.codes.read(own.start, own.stop, 0, dirt.codes.width)
    moduli = Moduli.of(codes).without(codes, dirty.pixels[0] - own.start, dirty.pixels[1])
    return _Found(own, dirty, moduli)


def _with_surroundings(plan: list[Span], found: Iterator[_Found], residual: ResidualParams) -> Iterator[_Found]:
    """For each span of the plan what was found there and as far around it as matters, each row looked at but once."""
    reach = max(reach_px(residual) + SQUARE_PX, _HALO_PX)
    held: deque[_Found] = deque()
    for span in plan:
        while not held or held[-1].span.stop < min(span.stop + reach, plan[-1].stop):
            held.append(next(found))
        while held[0].span.stop <= span.start - reach:
            held.popleft()
        yield _joined(held)


def _joined(parts: Collection[_Found]) -> _Found:
    """What was found in consecutive spans as that of one."""
    rows = [part.span for part in parts]
    dirty = Dirty(
        np.hstack([part.dirty.pixels for part in parts]),
        np.hstack([part.dirty.density for part in parts]),
        np.hstack([part.dirty.doubt for part in parts]),
    )
    span = Span(rows[0].start, rows[-1].stop, rows[0].low, rows[-1].high)
    return _Found(span, dirty, Moduli.stacked([part.moduli for part in parts]))


def _repair_band(
    span: Span,
    rows: Scan,
    around: _Found,
    info: ImageInfo,
    tone: Tone,
    residual: ResidualParams,
    params: RepairParams,
) -> _Repaired:
    """Repair the rows of `span`; `rows` holds them with their halo."""
    texture = around.moduli.texture(residual)
    seen = around.dirty
    seen = seen.where((seen.pixels[0] >= span.low) & (seen.pixels[0] < span.high))
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
        texture.at(own.pixels[0] - around.span.start, own.pixels[1]),
        spanned[:, inside],
        tone,
        params.scanner_noise,
    )
    picture[places] = mended.values
    filled = mended.share[mended.changed] > FILLED_SHARE
    return _Repaired(span.start, rows[span.inner], own.where(mended.changed), filled)


def _within(span: Span, dirty: Dirty) -> npt.NDArray[np.bool_]:
    """Which pixels lie in the rows of a span, not in its halo."""
    return (dirty.pixels[0] >= span.start) & (dirty.pixels[0] < span.stop)
