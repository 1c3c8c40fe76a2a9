"""Pass 2 over a file: the dirt of the map divided out of the frame, and filled where division tells too little.

Each dirty pixel is estimated twice: by division, whose error is the map's doubt and the scanner's noise, which the dirt
has amplified; and by the fill, whose error is as large as the film is busy. What is written is their mean, weighted by
inverse variance: division nearly everywhere, the fill in opaque cores, and no seam between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from .defects import FILLED_SHARE, Defect, DefectList
from .density import Tone, density_table, to_values
from .divide import divided, division_noise
from .drift import STEADY
from .fill import Holes
from .glass_map import DENSITY_STEP_D, GlassMap
from .image import Band, ImageInfo, in_order
from .particles import FILL_ERROR
from .placement import turned_back, turned_box
from .planes import PlaneFile
from .raster import open_rows, rewrite, write_mask
from .register import BEFORE_PX, MARGIN_PX, resample, split
from .residual import ResidualParams, decode, texture
from .strips import Span, Tile, bands, spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .arrays import Mask, Plane, Scan
    from .drift import Drift
    from .placement import Placement

_BAND_BYTES = 48 << 20
_FLIGHT_BYTES = 112 << 20
_ROWS_MULTIPLE = 32
_TILE_PX = 2048


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
class _Repaired:
    start: int
    rows: Scan
    changed: Mask
    density: Plane
    filled: Mask


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
    extra samples pass through. The mask goes by way of a scratch file beside it. The result does not depend on
    `threads`. Raises ImageError where the file does not decode or cannot be rewritten, OSError where the disk is full.
    """
    residual = residual.on(info.height, info.width)
    row_bytes = 2 * info.row_bytes + 8 * info.width
    halo = _halo_px(residual)
    plan = bands(info.height, row_bytes, budget_bytes=_BAND_BYTES, halo=halo, multiple=_ROWS_MULTIPLE)
    band_bytes = max(_BAND_BYTES, (2 * halo + _ROWS_MULTIPLE) * row_bytes)
    defects = DefectList(info.width)
    scratch = PlaneFile(
        mask_destination.with_name(mask_destination.name + ".raw"),
        info.height,
        info.width,
        np.dtype(np.uint8),
    )

    def work(job: tuple[Span, Scan]) -> _Repaired:
        return _repair_band(*job, info, dirt, tone, residual, params)

    def repaired() -> Iterator[Band]:
        with open_rows(info, threads) as rows:
            jobs = ((span, rows.read(span.low, span.high)) for span in plan)
            for band in in_order(threads, band_bytes, work, jobs, flight_bytes=_FLIGHT_BYTES):
                defects.add(band.start, band.changed, band.density, band.filled)
                scratch.write(band.start, 0, band.changed.astype(np.uint8) * np.uint8(255))
                yield Band(band.start, band.rows, np.asarray(band.changed.any(axis=1)))

    try:
        scratch.create()
        rewrite(info, destination, repaired(), threads)
        masks = (scratch.read(span.start, span.stop, 0, info.width) for span in plan)
        write_mask(mask_destination, info.height, info.width, masks)
    finally:
        scratch.path.unlink(missing_ok=True)
    return CleanReport(defects.finish())


def dirt_in_frame(dirt: FrameDirt, tile: Tile) -> tuple[Plane, Plane] | None:
    """Density of the dirt in a tile of the frame and its doubt, in D, (rows, columns) with the halo; None if clean."""
    orientation, size = dirt.placement.orientation, (dirt.codes.height, dirt.codes.width)
    top, left, shape = turned_box(orientation, tile.rows.low, tile.columns.low, tile.shape, *size)
    offset = dirt.placement.upright(*size)
    drift, axis = dirt.drift, dirt.drift.axis
    places = np.arange(shape[axis]) + ((top, left)[axis] - offset[axis])
    whole, beyond, more = split(-np.add(offset, dirt.glass.patch.corner) - drift.at(places))
    corner = (top + whole[0] - BEFORE_PX, left + whole[1] - BEFORE_PX)
    shape = (shape[0] + MARGIN_PX + more[0], shape[1] + MARGIN_PX + more[1])
    here = dirt.glass.window(*corner, shape)
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
    out = rows[span.inner]
    density = np.zeros(out.shape[:2], np.float32)
    changed, filled = (np.zeros(out.shape[:2], np.bool_) for _ in range(2))
    repaired = []
    for columns in spans(info.width, _TILE_PX, _halo_px(residual)):
        tile = Tile(span, columns)
        here = dirt_in_frame(dirt, tile)
        if here is None:
            continue
        dirty = np.abs(here[0]) >= params.min_density_d
        if not dirty[tile.inner].any():
            continue
        stands_out, known = decode(dirt.codes.read(span.low, span.high, columns.low, columns.high))
        busy = texture(stands_out, known & ~dirty, residual)
        scan = rows[:, columns.low : columns.high, : info.colours]
        values, by_fill = _repair(scan, *here, dirty, busy, tone, params)
        part, own = slice(columns.start, columns.stop), dirty[tile.inner]
        inside = np.zeros(dirty.shape, np.bool_)
        inside[tile.inner] = True
        inside = inside[dirty]
        density[:, part] = here[0][tile.inner]
        changed[:, part][own] = (values[inside] != out[:, part, : info.colours][own]).any(axis=1)
        filled[:, part][own] = by_fill[inside]
        repaired.append((part, own, values[inside]))
    # Not before the last tile: what lies beside it must still be seen as it was.
    for part, own, values in repaired:
        out[:, part, : info.colours][own] = values
    return _Repaired(span.start, out, changed, density, filled & changed)


def _halo_px(residual: ResidualParams) -> int:
    return residual.texture_px + 16


def _repair(
    scan: Scan,
    density: Plane,
    doubt: Plane,
    dirty: Mask,
    busy: Plane,
    tone: Tone,
    params: RepairParams,
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.bool_]]:
    """Values for the `dirty` pixels of a scan (rows, columns, colours) and whether they are mostly the fill's.

    (pixels, colours) and (pixels), row after row.
    """
    maximum = int(np.iinfo(scan.dtype).max)
    holes = Holes(dirty)
    spanned = holes.span(density_table(tone, maximum)[scan[holes.edge]].T).T
    values, dirt = scan[dirty], density[dirty]
    # Of the noise only what the dirt has added counts: what clean film would have shown is left as it is.
    added = 1 - np.power(np.float32(10), -np.maximum(dirt, 0))
    division_error = doubt[dirty] ** 2 + added * division_noise(values, tone, maximum, params.scanner_noise) ** 2
    fill_error = np.float32(FILL_ERROR) * busy[dirty] ** 2
    clipped = ((values == 0) | (values == maximum)).any(axis=1)
    share = np.where(clipped, np.float32(1), division_error / (division_error + fill_error))
    estimate = divided(values, dirt, tone, maximum) * (1 - share[:, None]) + spanned * share[:, None]
    return to_values(estimate, tone, maximum).astype(scan.dtype), share > FILLED_SHARE
