"""Rounded residuals: as they are read, or in the room that they need, a third of a byte a pixel.

A packed file begins with where its blocks of 32 x 512 px begin, int64, row after row, and where the last one ends. Each
block is packed by Huffman's code alone, as a zlib stream, for grain does not repeat: the median moduli that its 16
cells have after rounding, which as a rule are the steps of that; then its pixels, each by its rank in the list of all
codes that begins with the multiples of that step.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from .cells import CELL_PX
from .kernel import kernel
from .planes import PlaneOnDisk
from .pool import in_order
from .rounding import BLOCK_CELLS, MULTIPLES, looked_up, median_moduli, rounded
from .strips import bands

if TYPE_CHECKING:
    from pathlib import Path

    from .residual import Codes
    from .rounding import Medians

_BLOCK_PX = BLOCK_CELLS * CELL_PX
_BAND_BYTES = 1 << 20

Ranks = npt.NDArray[np.uint8]


def _by_rank() -> Codes:
    """All codes, multiples of a step first, the smaller the earlier, for each step: (128, 256)."""
    codes = np.arange(-128, 128, dtype=np.int8)
    between = codes != MULTIPLES
    return codes[np.lexsort((np.broadcast_to(np.abs(codes.astype(np.int16)), between.shape), between))]


_CODE = _by_rank()
_RANK: Ranks = np.argsort(_CODE, axis=1).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class PackedCodes(PlaneOnDisk):
    """The residual of a frame in a file that `pack` has made; of type int8."""

    def read(self, top: int, bottom: int, left: int, right: int) -> Codes:
        """All blocks that meet the rectangle are unpacked."""
        self.require_inside(top, left, bottom - top, right - left)
        out = np.empty((bottom - top, right - left), np.int8)
        if not out.size:
            return out
        across = -(-self.width // _BLOCK_PX)
        first, stop = left // _BLOCK_PX, -(-right // _BLOCK_PX)
        file = os.open(self.path, os.O_RDONLY)
        try:
            for row in range(top // CELL_PX, -(-bottom // CELL_PX)):
                begins = self._bytes(file, 8 * (row * across + first), 8 * (stop - first + 1))
                ends = np.frombuffer(begins, np.int64).tolist()
                packed = memoryview(self._bytes(file, ends[0], ends[-1] - ends[0]))
                for number, (begin, end) in enumerate(pairwise(ends), start=first):
                    corner = row * CELL_PX, number * _BLOCK_PX
                    steps, ranks = self._unpacked(packed[begin - ends[0] : end - ends[0]], *corner)
                    _put(ranks, steps, _CODE, corner[0] - top, corner[1] - left, out)
        finally:
            os.close(file)
        return out

    def _bytes(self, file: int, position: int, count: int) -> bytes:
        found = os.pread(file, count, position)
        if len(found) < count:
            raise OSError(f"{self.path} ends at byte {os.fstat(file).st_size}")
        return found

    def _unpacked(self, block: memoryview, top: int, left: int) -> tuple[Medians, Ranks]:
        """The steps (cells) and ranks (rows, columns) of the block that begins at `top`, `left`."""
        rows, columns = min(CELL_PX, self.height - top), min(_BLOCK_PX, self.width - left)
        cells = -(-columns // CELL_PX)
        try:
            held = np.frombuffer(isal_zlib.decompress(block, bufsize=cells + rows * columns), np.uint8)
            return held[:cells].view(np.int8), held[cells:].reshape(rows, columns)
        except (isal_zlib.IsalError, ValueError) as error:  # type: ignore[misc]  # isal's stubs say it is an instance
            raise OSError(f"{self.path} is damaged in row {top}: {error}") from error


@dataclass(frozen=True, slots=True)
class _RoundedCodes(PlaneOnDisk):
    """An exact residual that is rounded as it is read."""

    exact: PlaneOnDisk

    def read(self, top: int, bottom: int, left: int, right: int) -> Codes:
        """All blocks that meet the rectangle are rounded."""
        self.require_inside(top, left, bottom - top, right - left)
        low, first = top // CELL_PX * CELL_PX, left // _BLOCK_PX * _BLOCK_PX
        high, stop = (
            min(-(-bottom // CELL_PX) * CELL_PX, self.height),
            min(-(-right // _BLOCK_PX) * _BLOCK_PX, self.width),
        )
        blocks = rounded(self.exact.read(low, high, first, stop))
        return blocks[top - low : bottom - low, left - first : right - first]


def coarse(codes: PlaneOnDisk) -> PlaneOnDisk:
    """The same residual, `rounded`; what is packed has been so already."""
    if isinstance(codes, PackedCodes):
        return codes
    return _RoundedCodes(codes.path, codes.height, codes.width, codes.dtype, codes)


def pack(codes: PlaneOnDisk, destination: Path, threads: int) -> PackedCodes:
    """Write the residual of a frame, `rounded`, as `PackedCodes`.

    Memory is a few rows of blocks; the result does not depend on `threads`. Raises OSError where the disk is full.
    """
    plan = bands(codes.height, codes.width, budget_bytes=_BAND_BYTES, halo=0, multiple=CELL_PX)
    index = [8 * (-(-codes.height // CELL_PX) * -(-codes.width // _BLOCK_PX) + 1)]
    with destination.open("wb") as file:
        file.seek(index[0])
        read = (codes.read(span.start, span.stop, 0, codes.width) for span in plan)
        for blocks in in_order(threads, _BAND_BYTES, _packed, read):
            for block in blocks:
                file.write(block)
                index.append(index[-1] + len(block))
        file.seek(0)
        file.write(np.array(index, np.int64).tobytes())
    return PackedCodes(destination, codes.height, codes.width, codes.dtype)


def _packed(codes: Codes) -> list[bytes]:
    """The blocks of some whole rows of cells."""
    left = rounded(codes)
    steps = median_moduli(left)
    ranks = looked_up(left, steps, _RANK)
    return [
        _squeezed(own[first : first + BLOCK_CELLS], ranks[row * CELL_PX :, first * CELL_PX :][:CELL_PX, :_BLOCK_PX])
        for row, own in enumerate(steps)
        for first in range(0, len(own), BLOCK_CELLS)
    ]


def _squeezed(steps: Medians, ranks: Ranks) -> bytes:
    stream = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    return stream.compress(steps.tobytes() + ranks.tobytes()) + stream.flush()


@kernel
def _put(ranks: Ranks, steps: Medians, code: Codes, top: int, left: int, out: Codes) -> None:
    """Put the codes of a block into `out` where it begins at `top`, `left`, as far as they meet."""
    for cell in range(len(steps)):
        of = code[steps[cell]]
        first, stop = max(cell * CELL_PX, -left), min((cell + 1) * CELL_PX, ranks.shape[1], out.shape[1] - left)
        for y in range(max(-top, 0), min(len(ranks), len(out) - top)):
            for x in range(first, stop):
                out[top + y, left + x] = of[ranks[y, x]]
