"""Pass 1 over a file: what stands out of it, coded on disk, and its fingerprint. Needs to know nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .fingerprint import CELL_PX, Fingerprint, fingerprint
from .image import ImageInfo, in_order
from .planes import PlaneFile
from .raster import open_rows
from .residual import BLOCK_PX, Codes, ResidualParams, background, encode, mean_density
from .strips import Span, bands

if TYPE_CHECKING:
    from pathlib import Path

    from .arrays import Plane, Scan
    from .density import Tone

_BAND_BYTES = 24 << 20


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame has to say about the glass: its residual on disk, one byte a pixel, and its fingerprint."""

    codes: PlaneFile
    fingerprint: Fingerprint


def observe(info: ImageInfo, tone: Tone, params: ResidualParams, destination: Path, threads: int) -> Observation:
    """Read the picture once, from top to bottom, and leave its coded residual in `destination`.

    Memory is a few bands, whatever the picture's size; the result does not depend on `threads`. Raises
    ImageError where the file does not decode, OSError where the disk is full.
    """
    codes = PlaneFile(destination, info.height, info.width, np.dtype(np.int8))
    codes.create()
    film = np.empty((-(-info.height // CELL_PX), -(-info.width // CELL_PX)), np.float32)
    maximum = int(np.iinfo(info.dtype).max)
    plan = bands(
        info.height,
        info.row_bytes + 12 * info.width,
        budget_bytes=_BAND_BYTES,
        halo=params.halo_px,
        multiple=CELL_PX,
    )

    def work(job: tuple[Span, Scan]) -> tuple[Span, Codes, Plane]:
        span, rows = job
        density, known = mean_density(rows, info.colours, tone, maximum)
        blocks = background(density, params)
        coded = encode(density, known, blocks)[span.inner]
        per_cell = CELL_PX // BLOCK_PX
        inner = blocks[(span.start - span.low) // BLOCK_PX :][: -(-(span.stop - span.start) // BLOCK_PX)]
        steps = [range(0, n, per_cell) for n in inner.shape]
        cells = np.add.reduceat(np.add.reduceat(inner, steps[0], axis=0), steps[1], axis=1)
        counts = [np.diff([*step, n]) for step, n in zip(steps, inner.shape, strict=True)]
        return span, coded, (cells / np.outer(*counts)).astype(np.float32)

    with open_rows(info, threads) as rows:
        jobs = ((span, rows.read(span.low, span.high)) for span in plan)
        for span, coded, cells in in_order(threads, _BAND_BYTES, work, jobs):
            codes.write(span.start, 0, coded)
            top = span.start // CELL_PX
            film[top : top + len(cells)] = cells
    return Observation(codes, fingerprint(codes, film, params))
