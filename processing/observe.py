"""Pass 1 over a file: what stands out of it and its fingerprint, both left on disk. Needs to know nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from .cells import CELL_PX
from .fingerprint import Fingerprint, fingerprint
from .fingerprint_file import load_fingerprint, save_fingerprint
from .image import ImageInfo, untold
from .planes import PlaneFile, PlaneOnDisk
from .pool import in_order
from .raster import open_rows
from .residual import BLOCK_PX, Codes, Knowledge, ResidualParams, background, block_means, encode, mean_density
from .strips import Span, bands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from .arrays import Plane, Scan
    from .density import Tone

_BAND_BYTES = 24 << 20


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame has to say about the glass: on disk, its residual and its fingerprint."""

    codes: PlaneOnDisk
    fingerprint_file: Path

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint, read anew each time. Raises OSError where it has been given up."""
        return load_fingerprint(self.fingerprint_file)


def observe(
    info: ImageInfo,
    tone: Tone,
    params: ResidualParams,
    destination: Path,
    threads: int,
    told: Callable[[float], None] = untold,
) -> Observation:
    """Read the picture once, from top to bottom; leave its coded residual in `destination`, its fingerprint beside it.

    Memory is a few bands, whatever the picture's size; the result does not depend on `threads`. `told` is called
    with how much of it is done, 0..1. Raises ImageError where the file does not decode, OSError where the disk is full.
    """
    codes = PlaneFile(destination, info.height, info.width, np.dtype(np.int8))
    codes.create()
    film = np.empty((-(-info.height // CELL_PX), -(-info.width // CELL_PX)), np.float32)
    maximum = int(np.iinfo(info.dtype).max)
    params = params.on(info.height, info.width)
    row_bytes = info.row_bytes + 12 * info.width
    plan = bands(info.height, row_bytes, budget_bytes=_BAND_BYTES, halo=0, multiple=CELL_PX)

    def measure(job: tuple[Span, Scan]) -> _Band:
        span, rows = job
        density, known = mean_density(rows, info.colours, tone, maximum)
        return _Band(span, density, known, block_means(density))

    def code(job: tuple[_Band, Plane, int]) -> tuple[Span, Codes, Plane]:
        band, around, above = job
        first = above // BLOCK_PX
        seam = min(first, 1)  # what lies between two bands is interpolated between their outermost blocks
        low_pass = background(around, params, slice(first - seam, first + len(band.blocks) + 1))
        coded = encode(band.density, band.known, low_pass, seam * BLOCK_PX)
        return band.span, coded, _cell_means(low_pass[seam : seam + len(band.blocks)])

    with open_rows(info, threads) as rows:
        jobs = ((span, rows.read(span.start, span.stop)) for span in plan)
        measured = in_order(threads, _BAND_BYTES, measure, jobs)
        surrounded = _with_surroundings(measured, params.reach_blocks)
        for span, coded, cells in in_order(threads, _BAND_BYTES, code, surrounded):
            codes.write(span.start, 0, coded)
            top = span.start // CELL_PX
            film[top : top + len(cells)] = cells
            told(span.stop / info.height)
    seen = Observation(codes, destination.with_suffix(".fingerprint"))
    save_fingerprint(fingerprint(codes, film, params, threads), seen.fingerprint_file)
    return seen


@dataclass(frozen=True, slots=True)
class _Band:
    """Rows of a picture: density, how it is known, and the means of its blocks."""

    span: Span
    density: Plane
    known: Knowledge
    blocks: Plane


def _with_surroundings(bands_down: Iterable[_Band], reach: int) -> Iterator[tuple[_Band, Plane, int]]:
    """Give each band with the blocks around it, `reach` rows of them, and how many px above it they begin.

    The background of a band depends on bands yet to come, so as many are held back as that needs, no more.
    """
    held: list[_Band] = []
    waiting = 0  # the first of `held` that has not been given
    for band in chain(bands_down, [None]):
        if band is not None:
            held.append(band)
        below = 0 if not held else held[-1].span.stop // BLOCK_PX
        while waiting < len(held) and (band is None or held[waiting].span.stop // BLOCK_PX + reach <= below):
            current = held[waiting]
            blocks = np.concatenate([one.blocks for one in held])
            first = held[0].span.start // BLOCK_PX
            start = max(current.span.start // BLOCK_PX - reach, first)
            stop = -(-current.span.stop // BLOCK_PX) + reach
            yield current, blocks[start - first : stop - first], current.span.start - start * BLOCK_PX
            waiting += 1
            while held[0].span.stop // BLOCK_PX + reach <= current.span.stop // BLOCK_PX:
                del held[0]
                waiting -= 1


def _cell_means(blocks: Plane) -> Plane:
    """Means over cells of those over blocks; a partial cell at the right or lower edge is the mean of what is there."""
    per_cell = CELL_PX // BLOCK_PX
    steps = [range(0, n, per_cell) for n in blocks.shape]
    sums = np.add.reduceat(np.add.reduceat(blocks, steps[0], axis=0), steps[1], axis=1)
    counts = [np.diff([*step, n]) for step, n in zip(steps, blocks.shape, strict=True)]
    return (sums / np.outer(*counts)).astype(np.float32)
