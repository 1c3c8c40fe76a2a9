"""A TIFF written while its rows come, before anybody knows how many there will be.

The pixels follow each other from byte 16 on, so that rows can be put anywhere at any time, also sample by sample; then
comes the directory, and the header last of all. So the size alone decides between classic TIFF and BigTIFF, and what
has no header yet is no picture to anybody.
"""

from __future__ import annotations

import os
import struct
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .tiff_directory import BIG, CLASSIC, INTEGERS, STRIP_BYTE_COUNTS, STRIP_OFFSETS
from .tiff_layout import (
    BITS_PER_SAMPLE,
    CHUNKY,
    COMPRESSION,
    HEIGHT,
    MIN_IS_BLACK,
    NONE,
    PHOTOMETRIC,
    PLANAR,
    RGB,
    ROWS_PER_STRIP,
    SAMPLES_PER_PIXEL,
    WIDTH,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .arrays import Scan
    from .tiff_directory import Variant

IMAGE_DESCRIPTION, MAKE, MODEL, X_RESOLUTION, Y_RESOLUTION = 270, 271, 272, 282, 283
RESOLUTION_UNIT, SOFTWARE, DATE_TIME, EXTRA_SAMPLES = 296, 305, 306, 338
INCH = 2
UNSPECIFIED = 0
"""What an extra sample is that is no alpha, as infrared."""

STRIP_BYTES = 1 << 20
"""Strips are of about this size."""

DIRECTORY_ROOM = 1 << 20
"""What a classic TIFF keeps free of pixels below its 4 GiB."""

Tag: TypeAlias = str | Fraction

_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5


class StreamedTiff:
    """An uncompressed TIFF of `width` pixels of `samples` each, grey or RGB first, then extra ones.

    The file is made anew; it has to be closed. Raises OSError as writing does.
    """

    def __init__(self, path: Path, width: int, samples: int, dtype: np.dtype[Any]) -> None:
        self.width, self.samples, self.dtype = width, samples, dtype
        self.row_bytes = width * samples * dtype.itemsize
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def close(self) -> None:
        """Close the file, finished or not."""
        os.close(self._file)

    def put(self, top: int, first: int, rows: Scan) -> None:
        """Put rows (n, width, k) at row `top`, as the samples from `first` on; samples never put are 0."""
        offset = BIG.header_bytes + top * self.row_bytes
        if rows.shape[2] != self.samples:
            rows = self._filled(top, first, rows)
        self._write(np.ascontiguousarray(rows).data.cast("B"), offset)

    def rows(self, top: int, count: int) -> Scan:
        """So many rows from row `top` on, as they are by now: (count, width, samples)."""
        rows: Scan = np.zeros((count, self.width, self.samples), self.dtype)
        # Of what is not there yet nothing is read.
        os.preadv(self._file, [rows.data.cast("B")], BIG.header_bytes + top * self.row_bytes)
        return rows

    def finish(self, height: int, colours: int, tags: Mapping[int, Tag]) -> None:
        """Write directory and header, which make a picture of `height` rows of it; `tags` are in ASCII."""
        at = BIG.header_bytes + height * self.row_bytes
        os.truncate(self._file, at)
        at += at % 2
        variant = CLASSIC if at <= CLASSIC.limit - DIRECTORY_ROOM else BIG
        self._write(memoryview(self._directory(variant, at, height, colours, tags)), at)
        big = (ord("+"), 8, 0) if variant is BIG else (ord("*"),)
        mark = b"II" if sys.byteorder == "little" else b"MM"
        header = mark + struct.pack(f"={len(big)}H{variant.offset}", *big, at)
        self._write(memoryview(header), 0)

    def _directory(self, variant: Variant, at: int, height: int, colours: int, tags: Mapping[int, Tag]) -> bytes:
        """The directory that stands at byte `at`, with the values that do not fit into it."""
        rows = max(1, STRIP_BYTES // self.row_bytes)
        tops = range(0, height, rows)
        numbers = {
            WIDTH: (_LONG, [self.width]),
            HEIGHT: (_LONG, [height]),
            BITS_PER_SAMPLE: (_SHORT, [self.dtype.itemsize * 8] * self.samples),
            COMPRESSION: (_SHORT, [NONE]),
            PHOTOMETRIC: (_SHORT, [RGB if colours == 3 else MIN_IS_BLACK]),
            STRIP_OFFSETS: (variant.kind, [BIG.header_bytes + top * self.row_bytes for top in tops]),
            SAMPLES_PER_PIXEL: (_SHORT, [self.samples]),
            ROWS_PER_STRIP: (_LONG, [rows]),
            STRIP_BYTE_COUNTS: (variant.kind, [min(rows, height - top) * self.row_bytes for top in tops]),
            PLANAR: (_SHORT, [CHUNKY]),
            RESOLUTION_UNIT: (_SHORT, [INCH]),
            EXTRA_SAMPLES: (_SHORT, [UNSPECIFIED] * (self.samples - colours)),
        }
        fields = [
            (code, kind, len(values), struct.pack(f"={len(values)}{INTEGERS[kind]}", *values))
            for code, (kind, values) in numbers.items()
            if values
        ]
        fields += [_field(code, tag) for code, tag in tags.items()]
        beyond = at + variant.count_bytes + len(fields) * variant.entry_bytes + variant.offset_bytes
        entries, values = bytearray(), bytearray()
        for code, kind, count, data in sorted(fields):
            entries += struct.pack(f"=HH{variant.offset}", code, kind, count)
            if len(data) <= variant.offset_bytes:
                entries += data.ljust(variant.offset_bytes, b"\0")
            else:
                entries += struct.pack(f"={variant.offset}", beyond + len(values))
                values += data + b"\0" * (len(data) % 2)
        none_follows = struct.pack(f"={variant.offset}", 0)
        return struct.pack(f"={variant.count}", len(fields)) + entries + none_follows + values

    def _filled(self, top: int, first: int, rows: Scan) -> Scan:
        """All samples of the rows that begin at row `top`: these, and what others are there already."""
        filled = self.rows(top, len(rows))
        for sample in range(rows.shape[2]):  # one by one is five times as fast as at once
            filled[:, :, first + sample] = rows[:, :, sample]
        return filled

    def _write(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written


def _field(code: int, tag: Tag) -> tuple[int, int, int, bytes]:
    if isinstance(tag, Fraction):
        return code, _RATIONAL, 1, struct.pack("=2I", tag.numerator, tag.denominator)
    data = tag.encode("ascii", "replace") + b"\0"
    return code, _ASCII, len(data), data
