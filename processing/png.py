"""PNG: what the headers say, and the same file with its picture compressed anew; and masks.

All chunks are copied as they stand, except the picture data (IDAT) and Apple's index of it. The picture is
filtered and compressed in blocks of a fixed size that do not depend on each other, so that they can be worked
on at once and the bytes come out the same on any number of threads; joined, they are one zlib stream.

Reference: Portable Network Graphics Specification, W3C (third edition).
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from .image import Band, DamagedImage, ImageInfo, UnsupportedImage, even_heights, regroup
from .pool import in_order

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

SIGNATURE = b"\x89PNG\r\n\x1a\n"

BLOCK_BYTES = 256 << 10
"""Bytes of picture that are filtered and compressed as one: little enough to stay in the cache meanwhile."""

DEFLATE_LEVEL = 6

_MASK_LEVEL = 1

_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type
_COLOUR_TYPES = {1: 0, 3: 2}  # by samples


@dataclass(frozen=True, slots=True)
class Layout:
    """A PNG: what stands in front of the picture, and from which byte on what stands behind it."""

    info: ImageInfo
    head: bytes
    tail: int


def probe(path: Path) -> ImageInfo:
    """Describe a PNG whose chunks are all there. Raises UnsupportedImage or DamagedImage."""
    return read_layout(path).info


def read_layout(path: Path) -> Layout:
    """Describe a PNG and where its picture lies. Raises UnsupportedImage or DamagedImage."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(33)
        info = _header(path, head)
        at, tail, kind = 33, 0, b""
        while kind != b"IEND":
            file.seek(at)
            chunk = file.read(8)
            start, at = at, at + 12 + int.from_bytes(chunk[:4], "big")
            if len(chunk) < 8 or at > size:
                raise DamagedImage("it is cut short: its last chunks are missing; copy or scan it again")
            kind = chunk[4:]
            if kind == b"acTL":
                raise UnsupportedImage("it is animated; save it as a plain PNG")
            if kind == b"IDAT":
                if tail not in (0, start):
                    raise DamagedImage("its picture data is not in one place; save it again")
                tail = at
            elif not tail and kind != b"iDOT":  # which tells where in the IDAT chunks half the picture is
                head += chunk + file.read(at - start - 8)
    if not tail:
        raise DamagedImage("it has no picture data; copy or scan it again")
    return Layout(info, head, tail)


def rewrite(info: ImageInfo, destination: Path, bands: Iterable[Band], threads: int) -> None:
    """Write the file again to `destination` with the picture of `bands`."""
    layout = read_layout(info.path)
    if layout.info != info:
        raise DamagedImage("it was replaced while it was being read; try again")
    with info.path.open("rb") as source, destination.open("wb") as target:
        target.write(layout.head)
        _write_picture(target, info, bands, threads)
        source.seek(layout.tail)
        target.write(source.read())


def create(destination: Path, info: ImageInfo, bands: Iterable[Band], threads: int = 1) -> None:
    """Write a new PNG of the size and dtype of `info`, grey for 1 sample and RGB for 3."""
    header = struct.pack(
        ">IIBBBBB", info.width, info.height, 8 * info.dtype.itemsize, _COLOUR_TYPES[info.samples], 0, 0, 0
    )
    with destination.open("wb") as target:
        target.write(SIGNATURE)
        _write_chunk(target, b"IHDR", header)
        _write_picture(target, info, bands, threads)
        _write_chunk(target, b"IEND", b"")


class MaskWriter:
    """Writes a new 8-bit grey PNG of next to nothing but zeros, as its rows come."""

    def __init__(self, destination: Path, height: int, width: int) -> None:
        self._target = destination.open("wb")
        self._height, self._width, self._written = height, width, 0
        self._stream = isal_zlib.compressobj(_MASK_LEVEL)
        self._plain, self._packed = bytearray(), bytearray()
        self._target.write(SIGNATURE)
        _write_chunk(self._target, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._target.close()

    def write(self, rows: npt.NDArray[np.uint8]) -> None:
        """Write the next rows, (n, width). Raises ValueError where they do not fit, OSError where the disk is full."""
        if rows.shape[1] != self._width or self._written + len(rows) > self._height:
            raise ValueError(f"{rows.shape} after row {self._written} of a mask of {self._height} x {self._width}")
        # Filters would make more of what is not 0.
        unfiltered = np.zeros((len(rows), 1 + self._width), np.uint8)
        unfiltered[:, 1:] = rows
        self._plain += unfiltered.data
        self._written += len(rows)
        # What ISA-L makes of data depends on the pieces that it is given them in.
        while len(self._plain) >= BLOCK_BYTES:
            self._packed += self._stream.compress(self._plain[:BLOCK_BYTES])
            del self._plain[:BLOCK_BYTES]
        while len(self._packed) > BLOCK_BYTES:
            _write_chunk(self._target, b"IDAT", bytes(self._packed[:BLOCK_BYTES]))
            del self._packed[:BLOCK_BYTES]

    def finish(self) -> None:
        """Write what is left, once all rows are written (ValueError). Raises OSError where the disk is full."""
        if self._written != self._height:
            raise ValueError(f"a mask ends at row {self._written} of {self._height}")
        self._packed += self._stream.compress(self._plain)
        _write_chunk(self._target, b"IDAT", bytes(self._packed) + self._stream.flush())
        _write_chunk(self._target, b"IEND", b"")
        self._target.flush()


def _header(path: Path, data: bytes) -> ImageInfo:
    if len(data) < 33 or data[:16] != SIGNATURE + b"\0\0\0\rIHDR":
        raise DamagedImage("its header is cut short or spoilt; copy or scan it again")
    width, height, bits, colour_type, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    if struct.unpack(">I", data[29:33])[0] != zlib.crc32(data[12:29]):
        raise DamagedImage("its header is spoilt (wrong checksum); copy or scan it again")
    if colour_type == 3:
        raise UnsupportedImage("its colours are a palette; save it as grey or RGB")
    if bits not in (8, 16):
        raise UnsupportedImage(f"it has {bits} bits per sample; save it as 8 or 16 bit")
    if interlace:
        raise UnsupportedImage("it is interlaced; save it without interlacing")
    if colour_type not in _SAMPLES or not width or not height:
        raise DamagedImage("its header makes no sense; copy or scan it again")
    samples = _SAMPLES[colour_type]
    dtype: np.dtype[np.uint8] | np.dtype[np.uint16]
    dtype = np.dtype(np.uint8) if bits == 8 else np.dtype(np.uint16)
    return ImageInfo(path, "png", height, width, samples, 1 if samples < 3 else 3, dtype)


def _write_chunk(target: IO[bytes], kind: bytes, data: bytes) -> None:
    check = zlib.crc32(data, zlib.crc32(kind))
    target.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check))


def _write_picture(target: IO[bytes], info: ImageInfo, bands: Iterable[Band], threads: int) -> None:
    """Write the IDAT chunks."""
    pixel_bytes = info.samples * info.dtype.itemsize

    def compress(block: npt.NDArray[np.uint8]) -> tuple[bytes, bytes]:
        data = _filtered(block, pixel_bytes).tobytes()
        stream = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED)
        return data, stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)

    check = zlib.adler32(b"")
    lead = b"\x78\x9c"  # zlib: deflate, 32 KiB window, default level
    # While it is filtered a block takes some ten times its size.
    with closing(in_order(threads, 10 * BLOCK_BYTES, compress, _blocks(info, bands))) as blocks:
        for data, packed in blocks:
            _write_chunk(target, b"IDAT", lead + packed)
            check = zlib.adler32(data, check)
            lead = b""
    _write_chunk(target, b"IDAT", b"\x03\0" + struct.pack(">I", check))  # an empty last block


def _blocks(info: ImageInfo, bands: Iterable[Band]) -> Generator[npt.NDArray[np.uint8], None, None]:
    """Yield (1 + n, bytes of a row) in the byte order of the file, the row above first."""
    above = np.zeros((1, info.row_bytes), np.uint8)
    big_endian = info.dtype.newbyteorder(">")
    for band in regroup(info, bands, even_heights(info.height, info.rows_in(BLOCK_BYTES))):
        rows = band.rows.reshape(len(band.rows), -1).astype(big_endian, copy=False).view(np.uint8)
        yield np.concatenate([above, rows])
        above = rows[-1:]


def _filtered(block: npt.NDArray[np.uint8], pixel_bytes: int) -> npt.NDArray[np.uint8]:
    """Filter rows 1... of a block, each with the filter of the smallest sum of absolute differences.

    Returns (n, 1 + bytes of a row), the number of the filter first. Section 12.7 of the specification.
    """
    shifted = np.pad(block[:, :-pixel_bytes], ((0, 0), (pixel_bytes, 0)))
    row, up, left, corner = block[1:], block[:-1], shifted[1:], shifted[:-1]
    average = ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    choices = np.stack([row, row - left, row - up, row - average, row - _paeth(left, up, corner)])
    # As signed bytes; -128 wraps to 128 again.
    costs = np.abs(choices.view(np.int8)).view(np.uint8).sum(axis=2, dtype=np.uint32)
    best = costs.argmin(axis=0)
    filtered = np.empty((len(row), 1 + row.shape[1]), np.uint8)
    filtered[:, 0] = best
    filtered[:, 1:] = choices[best, np.arange(len(row))]
    return filtered


def _paeth(
    left: npt.NDArray[np.uint8], up: npt.NDArray[np.uint8], corner: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Return whichever of the three is nearest to left + up - corner, in this order where they tie."""
    to_left = up.astype(np.int16) - corner
    to_up = left.astype(np.int16) - corner
    to_corner = np.abs(to_left + to_up)
    np.abs(to_left, out=to_left)
    np.abs(to_up, out=to_up)
    nearest = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
