"""One strip or tile of a TIFF: its bytes decoded to samples, and samples encoded to bytes."""

from __future__ import annotations

import os
import zlib
from typing import IO, TYPE_CHECKING, TypeAlias, cast

import imagecodecs
import numpy as np
from isal import isal_zlib

from . import lzw
from .image import PIECE_BYTES, DamagedImage, even_heights
from .tiff_layout import DEFLATE, HORIZONTAL, LZW, NONE, OLD_DEFLATE, ZSTD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .arrays import Scan
    from .tiff_layout import Layout, Segment

DEFLATE_LEVEL = 2
"""Of ISA-L: with film scans three times as fast as level 1 of libdeflate, and no more than 2 % larger."""

ZSTD_LEVEL = 9
"""As libtiff has it."""

CHUNK_BYTES = 1 << 20

Data: TypeAlias = bytes | bytearray | memoryview
"""Bytes of a file, whoever holds them."""

_DECODERS: dict[int, Callable[[bytes, int], Data]] = {
    LZW: lzw.decode,
    DEFLATE: lambda data, room: imagecodecs.deflate_decode(data, out=room),
    OLD_DEFLATE: lambda data, room: imagecodecs.deflate_decode(data, out=room),
    ZSTD: lambda data, room: imagecodecs.zstd_decode(data, out=room),
}


def decode(source: IO[bytes], layout: Layout, segment: Segment) -> Scan:
    """Decode a segment that is held whole, to (rows, columns, samples), padding included; may be read-only.

    Raises DamagedImage where it does not decode.
    """
    try:
        # Some writers fill the last strip up to its full height, hence room for a full one.
        data = _DECODERS[layout.compression](
            os.pread(source.fileno(), segment.size, segment.offset), layout.segment_bytes
        )
    except (imagecodecs.DeflateError, lzw.DamagedCodes, imagecodecs.ZstdError) as error:
        raise _undecodable(layout, segment) from error
    if len(data) < segment.stored_rows * layout.row_bytes:
        raise _undecodable(layout, segment)
    return _native(layout, data, segment.stored_rows)


def decode_rows(source: IO[bytes], layout: Layout, segment: Segment) -> Iterator[Scan]:
    """Decode a segment, uncompressed or streamed, in the heights that `thin_heights` gives its tier.

    Columns may be padded. Raises DamagedImage where it does not decode.
    """
    heights = thin_heights(layout, segment.height)
    read = _stored_rows if layout.compression == NONE else _inflated_rows
    for data in read(source, layout, segment, (rows * layout.row_bytes for rows in heights)):
        yield _native(layout, data, len(data) // layout.row_bytes)


def thin_heights(layout: Layout, height: int) -> Iterator[int]:
    """Cut `height` rows of the picture into pieces that are small also where segments are large."""
    return even_heights(height, layout.info.rows_in(PIECE_BYTES))


def encode(layout: Layout, rows: Scan) -> Data:
    """Encode samples as the file does."""
    data = stored_bytes(layout, rows)
    packed: Data
    if layout.compression == LZW:
        packed = lzw.encode(data)
    elif layout.compression == ZSTD:
        packed = imagecodecs.zstd_encode(cast("bytes", data), level=ZSTD_LEVEL)  # any view of bytes will do
    else:
        packed = isal_zlib.compress(data, DEFLATE_LEVEL)
    return packed


def stored_bytes(layout: Layout, rows: Scan) -> memoryview:
    """Turn samples into the bytes to compress: differences taken, byte order of the file."""
    if layout.predictor == HORIZONTAL:
        differences = np.empty_like(rows)
        differences[:, :1] = rows[:, :1]
        np.subtract(rows[:, 1:], rows[:, :-1], out=differences[:, 1:])
        rows = differences
    return np.ascontiguousarray(rows, layout.stored).reshape(-1).view(np.uint8).data


def chunks(source: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    """Read `size` bytes from byte `offset` on, a little at a time."""
    stop = offset + size
    while offset < stop:
        data = os.pread(source.fileno(), min(CHUNK_BYTES, stop - offset), offset)
        if not data:
            raise DamagedImage("it became shorter while it was being read; try again")
        yield data
        offset += len(data)


def _native(layout: Layout, data: Data, rows: int) -> Scan:
    """Turn decoded bytes into samples, differences undone."""
    _, columns, samples = layout.shape
    stored = np.frombuffer(data, layout.stored, rows * columns * samples)
    decoded = cast("Scan", stored.reshape(rows, columns, samples).astype(layout.info.dtype, copy=False))
    if layout.predictor == HORIZONTAL:
        decoded = imagecodecs.delta_decode(decoded, axis=-2)
    return decoded


def _stored_rows(source: IO[bytes], layout: Layout, segment: Segment, sizes: Iterator[int]) -> Iterator[bytes]:
    at = segment.offset
    for size in sizes:
        data = os.pread(source.fileno(), size, at)
        if len(data) < size:
            raise _undecodable(layout, segment)
        yield data
        at += size


def _inflated_rows(source: IO[bytes], layout: Layout, segment: Segment, sizes: Iterator[int]) -> Iterator[bytearray]:
    packed_chunks = chunks(source, segment.offset, segment.size)
    stream = zlib.decompressobj()
    try:
        for size in sizes:
            data = bytearray()
            while len(data) < size:
                packed = stream.unconsumed_tail or next(packed_chunks, b"")
                if not packed or stream.eof:
                    raise _undecodable(layout, segment)
                data += stream.decompress(packed, size - len(data))
            yield data
        while not stream.eof:  # what is left is the checksum
            packed = stream.unconsumed_tail or next(packed_chunks, b"")
            if not packed:
                raise _undecodable(layout, segment)
            stream.decompress(packed, PIECE_BYTES)
    except zlib.error as error:
        raise _undecodable(layout, segment) from error


def _undecodable(layout: Layout, segment: Segment) -> DamagedImage:
    return DamagedImage(f"{layout.name(segment)} cannot be decoded; copy or scan it again")
