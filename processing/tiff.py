"""Classic TIFF: the rows of the first page, and the same file with some of its rows changed.

A TIFF is rewritten as the file it was. Of an uncompressed one a copy is made and the changed rows are put
into it. In a compressed one a changed strip has a new length, so something has to move. Tags of any kind may
hold offsets (sub-directories, EXIF, maker notes, private tags), and only some are known to us; therefore
every byte that is not picture data of the first page keeps its place, and strips alone are moved. Strips that
lie side by side form a *run*; the strips of a run are packed into the room that the run had, the untouched
ones as the bytes they were, and what no longer fits goes to the end of the file. So about one strip's length
per run is lost, as a hole that takes no room on most disks. Afterwards StripOffsets and StripByteCounts are
set in place. A file that ends in its picture data just becomes longer or shorter.

The structure is read strictly, and by code of our own: libraries mend or skip what is wrong in a file, which
is right for looking at it and wrong before it is written again.

Reference: TIFF Revision 6.0, Adobe 1992, with Technical Note 2 for deflate.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import zlib
from bisect import bisect_right
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, cast

import imagecodecs
import numpy as np

from .image import (
    PIECE_BYTES,
    Band,
    DamagedImage,
    ImageInfo,
    UnsupportedImage,
    even_heights,
    in_order,
    regroup,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from .arrays import Scan

BIG_SIGNATURES = (b"II+\0", b"MM\0+")
SIGNATURES = (b"II*\0", b"MM\0*", *BIG_SIGNATURES)

FILE_LIMIT = 1 << 32
"""Bytes that the 32-bit offsets of a classic TIFF reach."""

STREAMED_BYTES = 64 << 20
"""A deflate strip larger than this (decoded) is streamed through zlib instead of being held whole."""

LZW_STRIP_LIMIT = 256 << 20
"""The largest LZW strip (decoded) that is read; it is held whole."""

PADDING = 4
"""A gap of at most so many bytes between strips is padding: nothing found by its offset is so small."""

MOST_PACKED = 4096
"""No LZW or deflate strip holds more than so many times its size: a header that says so is spoilt."""

DEFLATE_LEVEL = 6

NONE, LZW, DEFLATE, OLD_DEFLATE = 1, 5, 8, 32946
HORIZONTAL = 2  # predictor
MIN_IS_BLACK, RGB = 1, 2
LONG = 4  # field type

# Tags.
SUBFILE_TYPE, WIDTH, HEIGHT, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, STRIP_BYTE_COUNTS = 266, 273, 277, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_OFFSETS, TILE_BYTE_COUNTS = 284, 317, 322, 324, 325
SUB_DIRECTORIES, SAMPLE_FORMAT, JPEG_OFFSET, JPEG_BYTES = 330, 339, 513, 514
DATA_TAGS = ((STRIP_OFFSETS, STRIP_BYTE_COUNTS), (TILE_OFFSETS, TILE_BYTE_COUNTS), (JPEG_OFFSET, JPEG_BYTES))

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I"}

_COMPRESSIONS = {
    2: "CCITT",
    3: "fax",
    4: "fax",
    6: "lossy JPEG",
    7: "lossy JPEG",
    32773: "PackBits",
    34712: "JPEG 2000",
    34925: "LZMA",
    50000: "zstd",
    50001: "WebP",
    50002: "JPEG XL",
}
_PHOTOMETRICS = {
    0: "min-is-white grey",
    3: "palette colour",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELAB",
    9: "ICCLAB",
    32803: "colour filter array (camera raw)",
    34892: "linear raw",
}

_CUT_SHORT = "it is cut short: {} lies beyond its end; copy or scan it again"
_RESAVE = "save it as an uncompressed, LZW or deflate TIFF in strips"


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a directory: where it stands, its type and count, and where its values are."""

    position: int
    kind: int
    count: int
    values_at: int

    @property
    def value_bytes(self) -> int:
        """Bytes that the values take, 0 where the type is unknown."""
        return self.count * _TYPE_BYTES.get(self.kind, 0)

    @property
    def inline(self) -> bool:
        """Whether the values stand in the directory itself."""
        return self.values_at == self.position + 8


Directory = dict[int, Entry]
Extent = tuple[int, int]  # first byte, byte after the last


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows `start` to `stop` - 1, stored in `size` bytes at `offset`."""

    start: int
    stop: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the first page is stored."""

    info: ImageInfo
    order: Literal["<", ">"]
    compression: int
    predictor: int
    strip_rows: int
    strips: tuple[Strip, ...]
    offsets: Entry
    sizes: Entry
    file_bytes: int

    @property
    def stored(self) -> np.dtype[Any]:
        """The sample type in the byte order of the file."""
        return self.info.dtype.newbyteorder(self.order)

    @property
    def strip_bytes(self) -> int:
        """Decoded bytes of a full strip."""
        return self.strip_rows * self.info.row_bytes

    @property
    def work_bytes(self) -> int:
        """What coding a strip takes: packed, with differences, and without."""
        return 3 * self.strip_bytes

    @property
    def streamed(self) -> bool:
        """Whether the strips are too large to be held whole."""
        return self.compression in (DEFLATE, OLD_DEFLATE) and self.strip_bytes > STREAMED_BYTES


def probe(path: Path) -> ImageInfo:
    """Describe the first page of a TIFF.

    All pages, their values and picture data must lie inside the file. Raises UnsupportedImage or
    DamagedImage.
    """
    return read_layout(path).info


def pieces(info: ImageInfo, threads: int) -> Generator[Scan, None, None]:
    """Yield all rows in order, in pieces of (n, width, samples), native byte order; some are read-only."""
    layout = _same(info)
    with _open_unbuffered(info.path) as source:
        if layout.compression == NONE:
            yield from _stored_rows(source, layout)
        elif layout.streamed:
            for number in range(len(layout.strips)):
                yield from _inflated_rows(source, layout, number)
        else:
            numbers = range(len(layout.strips))
            decoded = in_order(threads, layout.work_bytes, lambda n: _decode(source, layout, n), numbers)
            with closing(decoded):
                yield from decoded


def rewrite(info: ImageInfo, destination: Path, bands: Iterable[Band], threads: int) -> None:
    """Write the file again to `destination` with the changed rows of `bands`; see the module for what moves.

    Raises UnsupportedImage where the result would pass 4 GiB; what has been written by then is of no use.
    """
    layout = _same(info)
    if layout.compression == NONE:
        _rewrite_rows(layout, destination, bands)
    else:
        _rewrite_strips(layout, destination, bands, threads)


# --- structure ----------------------------------------------------------------------------------------------


class _Structure:
    """The directories of a TIFF, checked against the length of the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.file_bytes = os.fstat(file.fileno()).st_size
        head = self._take(0, 8, "its header")
        if head[:4] in BIG_SIGNATURES:
            raise UnsupportedImage(f"it is a BigTIFF; {_RESAVE} of less than 4 GiB")
        if head[:4] not in SIGNATURES:
            raise DamagedImage("it is no TIFF; scan it again")
        self.order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
        self.extents: list[Extent] = [(0, 8)]  # of directories and their values
        self.pages: list[Directory] = []
        self._walk(struct.unpack(self.order + "I", head[4:])[0])
        if not self.pages:
            raise DamagedImage("it has no pages; scan it again")
        if any(stop > self.file_bytes for page in self.pages[1:] for _, stop in self.data_extents(page)):
            raise DamagedImage(_CUT_SHORT.format("the picture data of a later page"))

    def values(self, code: int, default: int | None = None) -> list[int]:
        """Return the values of tag `code` of the first page, `default` where it is absent."""
        entry = self.pages[0].get(code)
        if entry is not None and entry.count:
            return self.integers(entry)
        if default is None:
            raise DamagedImage(f"its first page lacks tag {code}; scan it again")
        return [default]

    def first(self, code: int, default: int | None = None) -> int:
        """Return the first value of tag `code` of the first page, `default` where it is absent."""
        return self.values(code, default)[0]

    def integers(self, entry: Entry) -> list[int]:
        """Return the values of a field of BYTE, SHORT, LONG or IFD type."""
        if entry.kind not in _INTEGERS:
            raise DamagedImage("a field that must hold whole numbers does not; scan it again")
        data = self._take(entry.values_at, entry.value_bytes, "a value")
        return list(struct.unpack(f"{self.order}{entry.count}{_INTEGERS[entry.kind]}", data))

    def data_extents(self, page: Directory) -> list[Extent]:
        """Return where the strips, tiles and JPEG data of a page lie."""
        found: list[Extent] = []
        for offsets, sizes in DATA_TAGS:
            if offsets in page and sizes in page:
                pairs = zip(self.integers(page[offsets]), self.integers(page[sizes]), strict=False)
                found += [(offset, offset + size) for offset, size in pairs]
        return found

    def _walk(self, first: int) -> None:
        """Read the directory at byte `first`, those that follow it and their sub-directories."""
        pending, seen = [first] if first else [], set()
        while pending:
            offset = pending.pop()
            if offset in seen:
                raise DamagedImage("its directories form a loop; scan it again")
            seen.add(offset)
            (count,) = struct.unpack(self.order + "H", self._take(offset, 2, "a directory"))
            table = self._take(offset + 2, 12 * count + 4, "a directory")
            self.extents.append((offset, offset + 6 + 12 * count))
            page: Directory = {}
            for n in range(count):
                code, entry = self._entry(table, offset + 2, 12 * n)
                page.setdefault(code, entry)
            self.pages.append(page)
            following = struct.unpack_from(self.order + "I", table, 12 * count)
            children = self.integers(page[SUB_DIRECTORIES]) if SUB_DIRECTORIES in page else []
            pending += [place for place in (*following, *children) if place]

    def _entry(self, table: bytes, base: int, at: int) -> tuple[int, Entry]:
        code, kind, count, offset = struct.unpack_from(self.order + "HHII", table, at)
        length = count * _TYPE_BYTES.get(kind, 0)
        if length <= 4:
            return code, Entry(base + at, kind, count, base + at + 8)
        if offset + length > self.file_bytes:
            raise DamagedImage(_CUT_SHORT.format(f"the value of tag {code}"))
        self.extents.append((offset, offset + length))
        return code, Entry(base + at, kind, count, offset)

    def _take(self, offset: int, size: int, what: str) -> bytes:
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise DamagedImage(_CUT_SHORT.format(what))
        return data


def read_layout(path: Path) -> Layout:
    """Find out where and how the first page is stored. Raises UnsupportedImage or DamagedImage."""
    with _open_unbuffered(path) as file:
        structure = _Structure(file)
        info = _supported(path, structure)
        compression, predictor = structure.first(COMPRESSION, NONE), structure.first(PREDICTOR, 1)
        strip_rows = min(structure.first(ROWS_PER_STRIP, info.height), info.height)
        if strip_rows < 1:
            raise DamagedImage("its strips have no rows; scan it again")
        offsets, sizes = structure.values(STRIP_OFFSETS), structure.values(STRIP_BYTE_COUNTS)
        needed = -(-info.height // strip_rows)
        if not len(offsets) == len(sizes) == needed:
            raise DamagedImage(
                f"it needs {needed} strips, but lists {len(offsets)} offsets and {len(sizes)} sizes; scan it again"
            )
        heights = even_heights(info.height, strip_rows)
        strips = tuple(
            _whole_strip(structure, info, compression, Strip(n * strip_rows, n * strip_rows + rows, offset, size))
            for n, (rows, offset, size) in enumerate(zip(heights, offsets, sizes, strict=True))
        )
        layout = Layout(
            info,
            structure.order,
            compression,
            predictor if compression != NONE else 1,
            strip_rows,
            strips,
            structure.pages[0][STRIP_OFFSETS],
            structure.pages[0][STRIP_BYTE_COUNTS],
            structure.file_bytes,
        )
        if compression == LZW and layout.strip_bytes > LZW_STRIP_LIMIT:
            raise UnsupportedImage(
                f"its LZW strips are larger than {LZW_STRIP_LIMIT >> 20} MiB; save it with smaller strips"
            )
        _require_apart(structure, layout)
        return layout


def _supported(path: Path, structure: _Structure) -> ImageInfo:
    """Describe the first page, or refuse it by what it is."""
    first = structure.first
    compression, photometric = first(COMPRESSION, NONE), first(PHOTOMETRIC)
    height, width, samples = first(HEIGHT), first(WIDTH), first(SAMPLES_PER_PIXEL, 1)
    bits = set(structure.values(BITS_PER_SAMPLE, 1))
    if first(SUBFILE_TYPE, 0) & 1:
        raise UnsupportedImage("its first page is a preview; save it with the full picture first")
    if TILE_WIDTH in structure.pages[0]:
        raise UnsupportedImage(f"it is stored in tiles; {_RESAVE}")
    if compression not in (NONE, LZW, DEFLATE, OLD_DEFLATE):
        name = _COMPRESSIONS.get(compression, f"unknown (number {compression})")
        raise UnsupportedImage(f"its compression is {name}; {_RESAVE}")
    if photometric not in (MIN_IS_BLACK, RGB):
        name = _PHOTOMETRICS.get(photometric, f"unknown (number {photometric})")
        raise UnsupportedImage(f"its colour kind is {name}; save it as grey (black is 0) or RGB")
    if set(structure.values(SAMPLE_FORMAT, 1)) != {1}:
        raise UnsupportedImage("its samples are signed or floating point; save it as unsigned 8 or 16 bit")
    if bits not in ({8}, {16}):
        depths = "/".join(map(str, sorted(bits)))
        raise UnsupportedImage(f"it has {depths} bits per sample; save it as 8 or 16 bit")
    if first(PLANAR, 1) != 1 and samples > 1:
        raise UnsupportedImage(f"its colours are stored one after another (planar); {_RESAVE}, interleaved")
    if first(FILL_ORDER, 1) != 1:
        raise UnsupportedImage(f"its bits are stored in reverse (fill order 2); {_RESAVE}")
    if compression != NONE and first(PREDICTOR, 1) not in (1, HORIZONTAL):
        raise UnsupportedImage(f"its predictor is number {first(PREDICTOR)}; save it with predictor 2 or none")
    colours = 1 if photometric == MIN_IS_BLACK else 3
    if height < 1 or width < 1 or samples < colours:
        raise DamagedImage(f"its size makes no sense ({width} x {height} x {samples}); scan it again")
    dtype: np.dtype[np.uint8] | np.dtype[np.uint16]
    dtype = np.dtype(np.uint8) if bits == {8} else np.dtype(np.uint16)
    return ImageInfo(path, "tiff", height, width, samples, colours, dtype)


def _whole_strip(structure: _Structure, info: ImageInfo, compression: int, strip: Strip) -> Strip:
    """Return `strip`, uncompressed without what lies beyond its rows; refuse it where it cannot be whole."""
    rows = f"rows {strip.start}-{strip.stop - 1}"
    needed = (strip.stop - strip.start) * info.row_bytes
    if needed > strip.size * (1 if compression == NONE else MOST_PACKED):
        raise DamagedImage(f"{strip.size} bytes cannot hold {rows}; scan it again")
    if compression == NONE:
        strip = replace(strip, size=needed)
    if strip.offset + strip.size > structure.file_bytes:
        raise DamagedImage(_CUT_SHORT.format(f"the strip of {rows} of {info.height}"))
    return strip


def _require_apart(structure: _Structure, layout: Layout) -> None:
    """Refuse a file in which what we write is also used for something else."""
    own = [(strip.offset, strip.offset + strip.size) for strip in layout.strips]
    lists = [entry for entry in (layout.offsets, layout.sizes) if not entry.inline]
    others = structure.extents.copy()
    for entry in lists:
        own.append((entry.values_at, entry.values_at + entry.value_bytes))
        others.remove(own[-1])
    for page in structure.pages[1:]:
        others += structure.data_extents(page)
    own.sort()
    starts = [start for start, _ in own]
    overlap = any(first[1] > second[0] for first, second in pairwise(own))
    for start, stop in others:
        nearest = bisect_right(starts, stop - 1) - 1
        overlap |= start < stop and nearest >= 0 and own[nearest][1] > start
    if overlap:
        raise UnsupportedImage(f"parts of the file share the same bytes; {_RESAVE} with other software")


def _same(info: ImageInfo) -> Layout:
    layout = read_layout(info.path)
    if layout.info != info:
        raise DamagedImage("it was replaced while it was being read; try again")
    return layout


# --- reading ------------------------------------------------------------------------------------------------


def _open_unbuffered(path: Path) -> IO[bytes]:
    """Open for `os.pread`: no buffer of Python's in between."""
    return path.open("rb", buffering=0)


def _native(layout: Layout, data: bytes | bytearray, rows: int) -> Scan:
    """Turn decoded bytes into samples, differences undone."""
    info = layout.info
    stored = np.frombuffer(data, layout.stored, rows * info.width * info.samples)
    samples = cast("Scan", stored.reshape(rows, info.width, info.samples).astype(info.dtype, copy=False))
    if layout.predictor == HORIZONTAL:
        samples = imagecodecs.delta_decode(samples, axis=-2)
    return samples


def _stored_rows(source: IO[bytes], layout: Layout) -> Iterator[Scan]:
    info = layout.info
    most = info.rows_in(PIECE_BYTES)
    for number, strip in enumerate(layout.strips):
        at = strip.offset
        for rows in even_heights(strip.stop - strip.start, most):
            data = os.pread(source.fileno(), rows * info.row_bytes, at)
            if len(data) < rows * info.row_bytes:
                raise _undecodable(layout, number)
            yield _native(layout, data, rows)
            at += len(data)


def _decode(source: IO[bytes], layout: Layout, number: int) -> Scan:
    strip = layout.strips[number]
    codec = imagecodecs.lzw_decode if layout.compression == LZW else imagecodecs.deflate_decode
    rows = strip.stop - strip.start
    try:
        # Some writers fill the last strip up to its full height, hence room for a full one.
        data = codec(os.pread(source.fileno(), strip.size, strip.offset), out=layout.strip_bytes)
    except (imagecodecs.DeflateError, imagecodecs.LzwError) as error:
        raise _undecodable(layout, number) from error
    if len(data) < rows * layout.info.row_bytes:
        raise _undecodable(layout, number)
    return _native(layout, data, rows)


def _inflated_rows(source: IO[bytes], layout: Layout, number: int) -> Iterator[Scan]:
    """Yield the rows of one large deflate strip, a few at a time."""
    info, strip = layout.info, layout.strips[number]
    chunks = _chunks(source, strip.offset, strip.size)
    stream = zlib.decompressobj()
    try:
        for rows in even_heights(strip.stop - strip.start, info.rows_in(PIECE_BYTES)):
            data = bytearray()
            while len(data) < rows * info.row_bytes:
                packed = stream.unconsumed_tail or next(chunks, b"")
                if not packed or stream.eof:
                    raise _undecodable(layout, number)
                data += stream.decompress(packed, rows * info.row_bytes - len(data))
            yield _native(layout, data, rows)
        while not stream.eof:  # what is left is the checksum
            packed = stream.unconsumed_tail or next(chunks, b"")
            if not packed:
                raise _undecodable(layout, number)
            stream.decompress(packed, PIECE_BYTES)
    except zlib.error as error:
        raise _undecodable(layout, number) from error


def _undecodable(layout: Layout, number: int) -> DamagedImage:
    strip = layout.strips[number]
    return DamagedImage(
        f"strip {number + 1} of {len(layout.strips)} (rows {strip.start}-{strip.stop - 1}) "
        "cannot be decoded; copy or scan it again"
    )


def _chunks(source: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    stop = offset + size
    while offset < stop:
        data = os.pread(source.fileno(), min(1 << 20, stop - offset), offset)
        if not data:
            raise DamagedImage("it became shorter while it was being read; try again")
        yield data
        offset += len(data)


# --- writing ------------------------------------------------------------------------------------------------


def _stored_bytes(layout: Layout, rows: Scan) -> bytes:
    """Turn samples into the bytes to compress: differences taken, byte order of the file."""
    if layout.predictor == HORIZONTAL:
        rows = imagecodecs.delta_encode(rows, axis=-2)
    return rows.astype(layout.stored, copy=False).tobytes()


def _rewrite_rows(layout: Layout, destination: Path, bands: Iterable[Band]) -> None:
    info = layout.info
    shutil.copyfile(info.path, destination)
    with destination.open("r+b", buffering=0) as target:
        for band in regroup(info, bands, _heights(layout)):
            strip = layout.strips[band.start // layout.strip_rows]
            at = strip.offset + (band.start - strip.start) * info.row_bytes
            edges = np.flatnonzero(np.diff(band.changed, prepend=False, append=False))
            for first, last in edges.reshape(-1, 2):
                data = _stored_bytes(layout, band.rows[first:last])
                _write_at(target, [data], at + int(first) * info.row_bytes)


def _heights(layout: Layout) -> Iterator[int]:
    """Heights of bands of which each lies in one strip and is small where strips are large."""
    most = layout.info.rows_in(PIECE_BYTES)
    for strip in layout.strips:
        yield from even_heights(strip.stop - strip.start, most)


@dataclass(slots=True)
class _Run:
    """Room for strips: bytes `start` to `stop` - 1 of the file, of which those before `cursor` are taken."""

    start: int
    stop: int
    cursor: int
    moved: bool = False

    def take(self, size: int, home: Strip | None = None) -> int | None:
        """Where `size` bytes go, None where they do not fit.

        `home` is the strip they belong to, if it belongs to this run: it stays until one before it has moved.
        """
        at = self.cursor if self.moved or home is None else home.offset
        if at + size > self.stop:
            return None
        self.moved |= home is None or home.size != size
        self.cursor = at + size
        return at


class _Space:
    """The room that the strips leave free.

    Strips side by side and in order share a run; the last run is the open end of the file.
    """

    def __init__(self, layout: Layout) -> None:
        self.runs: list[_Run] = []
        self._run_of: dict[Strip, _Run] = {}
        previous = -1
        for strip in layout.strips:
            stop = strip.offset + strip.size
            if self.runs and 0 <= strip.offset - previous <= PADDING:
                self.runs[-1].stop = stop
            else:
                self.runs.append(_Run(strip.offset, stop, strip.offset))
            self._run_of[strip] = self.runs[-1]
            previous = stop
        if previous == layout.file_bytes:
            self.runs[-1].stop = FILE_LIMIT
        else:
            self.runs.append(_Run(layout.file_bytes, FILE_LIMIT, layout.file_bytes))

    def place(self, strip: Strip, size: int) -> int:
        """Where `strip`, now of `size` bytes, goes."""
        at = self._run_of[strip].take(size, strip)
        return self.tail(size) if at is None else at

    def tail(self, size: int) -> int:
        """Room for `size` bytes at the end of the file."""
        at = self.runs[-1].take(size)
        if at is None:
            raise UnsupportedImage("rewritten it would pass the 4 GiB that a TIFF can hold; save it as PNG")
        return at


Encoded: TypeAlias = (
    "tuple[int, Iterable[bytes | bytearray]] | None"  # size and chunks; None where the strip is as it was
)


def _rewrite_strips(layout: Layout, destination: Path, bands: Iterable[Band], threads: int) -> None:
    space = _Space(layout)
    with _open_unbuffered(layout.info.path) as source, destination.open("w+b", buffering=0) as target:
        _copy_rest(layout, space, source, target)
        if layout.streamed:
            encoded = _deflated_strips(layout, bands, destination.parent)
        else:
            encoded = _encoded_strips(layout, bands, threads)
        offsets, sizes = [], []
        with closing(encoded):
            for strip, new in zip(layout.strips, encoded, strict=True):
                size, chunks = new or (strip.size, _chunks(source, strip.offset, strip.size))
                at = space.place(strip, size)
                offsets.append(at)
                sizes.append(size)
                _write_at(target, chunks, at)
        _set_values(layout, space, target, layout.offsets, offsets)
        _set_values(layout, space, target, layout.sizes, sizes)


def _copy_rest(layout: Layout, space: _Space, source: IO[bytes], target: IO[bytes]) -> None:
    """Every byte outside the runs, at its place."""
    at = 0
    for run in sorted(space.runs, key=lambda run: run.start):
        _write_at(target, _chunks(source, at, run.start - at), at)
        at = min(run.stop, layout.file_bytes)


def _encoded_strips(layout: Layout, bands: Iterable[Band], threads: int) -> Generator[Encoded, None, None]:
    """Encode every strip anew where a row of it has changed."""

    def encode(band: Band) -> Encoded:
        if not band.changed.any():
            return None
        data = _stored_bytes(layout, band.rows)
        if layout.compression == LZW:
            packed: bytes | bytearray = imagecodecs.lzw_encode(data)
        else:
            packed = imagecodecs.deflate_encode(data, level=DEFLATE_LEVEL)
        return len(packed), [packed]

    strips = regroup(layout.info, bands, even_heights(layout.info.height, layout.strip_rows))
    yield from in_order(threads, layout.work_bytes, encode, strips)


def _deflated_strips(layout: Layout, bands: Iterable[Band], folder: Path) -> Generator[Encoded, None, None]:
    """Do the same for large strips: only a few rows are held, the bytes wait in a file without a name."""
    parts = regroup(layout.info, bands, _heights(layout))
    for strip in layout.strips:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as spill:
            stream, changed, size = zlib.compressobj(DEFLATE_LEVEL), False, 0
            for band in parts:
                changed |= bool(band.changed.any())
                packed = stream.compress(_stored_bytes(layout, band.rows))
                size = _write_at(spill, [packed], size)
                if band.start + len(band.rows) == strip.stop:
                    break
            size = _write_at(spill, [stream.flush()], size)
            yield (size, _chunks(spill, 0, size)) if changed else None
    for _ in parts:  # lets `regroup` see that nothing follows
        pass


def _set_values(layout: Layout, space: _Space, target: IO[bytes], entry: Entry, values: list[int]) -> None:
    """Put `values` where the field's values are; a type too small for them gives way to LONG at the end."""
    kind, at = entry.kind, entry.values_at
    if max(values) >= 256 ** _TYPE_BYTES[kind]:
        kind = LONG
        if len(values) == 1:
            at = entry.position + 8
        else:
            at = space.tail(4 * len(values))
            _write_at(target, [struct.pack(layout.order + "I", at)], entry.position + 8)
        _write_at(target, [struct.pack(layout.order + "H", kind)], entry.position + 2)
    _write_at(target, [struct.pack(f"{layout.order}{len(values)}{_INTEGERS[kind]}", *values)], at)


def _write_at(target: IO[bytes], chunks: Iterable[bytes | bytearray], offset: int) -> int:
    """Write `chunks` from byte `offset` on; return the byte after them."""
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            written = os.pwrite(target.fileno(), view, offset)
            view, offset = view[written:], offset + written
    return offset
