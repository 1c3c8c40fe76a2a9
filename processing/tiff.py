"""TIFF and BigTIFF: the rows of the first page, and the same file with some of its rows changed.

A TIFF is rewritten as the file it was. An uncompressed one is copied but for the changed rows, which are
written in their places as they come. In a compressed one a changed strip or tile (both are *segments*, see
`tiff_layout`) has a new length, so something has to move. Tags of any kind may hold offsets (sub-directories,
EXIF, maker notes, private tags), and only some are known to us; therefore every byte that is not picture data
of the first page keeps its place, and segments alone are moved. Segments that lie side by side form a *run*;
the segments of a run are packed into the room that the run had, the untouched ones as the bytes they were, and
what no longer fits goes to the end of the file. So about one segment's length per run is lost, as a hole that
takes no room on most disks. Afterwards the lists of offsets and byte counts are set in place. A file that ends
in its picture data just becomes longer or shorter.

For the same reason a classic TIFF never becomes a BigTIFF: all directories would have to be written anew in
another form, and those behind tags that are not known would stay behind, unreadable. One that would pass 4 GiB
is refused instead. What is a BigTIFF stays one and has no such limit.
"""

from __future__ import annotations

import os
import struct
import tempfile
from contextlib import ExitStack, closing
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
from isal import isal_zlib

from .image import Band, DamagedImage, ImageInfo, UnsupportedImage, regroup
from .pool import in_order
from .tiff_directory import INTEGERS, TYPE_BYTES, open_unbuffered
from .tiff_layout import NONE, read_layout
from .tiff_segment import DEFLATE_LEVEL, chunks, decode, decode_rows, encode, stored_bytes, thin_heights

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from .arrays import Scan
    from .tiff_directory import Entry
    from .tiff_layout import Layout, Segment, Tier
    from .tiff_segment import Data

PADDING = 4
"""A gap of at most so many bytes between segments is padding: nothing found by its offset is so small."""

Encoded: TypeAlias = "tuple[int, Iterable[Data]] | None"
"""Size and chunks; None where the segment is as it was."""


def probe(path: Path) -> ImageInfo:
    """Describe the first page of a TIFF.

    All pages, their values and picture data must lie inside the file. Raises UnsupportedImage or
    DamagedImage.
    """
    return read_layout(path).info


def pieces(info: ImageInfo, threads: int) -> Generator[Scan, None, None]:
    """Yield all rows in order, in pieces of (n, width, samples), native byte order; some are read-only."""
    layout = _same(info)
    with open_unbuffered(info.path) as source:
        if layout.compression == NONE or layout.streamed:
            for tier in layout.tiers:
                for parts in zip(*(decode_rows(source, layout, segment) for segment in tier), strict=True):
                    yield _joined(layout, tier, len(parts[0]), iter(parts))
        else:
            decoded = in_order(
                threads, layout.work_bytes, lambda segment: decode(source, layout, segment), layout.segments
            )
            with closing(decoded):
                for tier in layout.tiers:
                    yield _joined(layout, tier, tier[0].height, decoded)


def rewrite(info: ImageInfo, destination: Path, bands: Iterable[Band], threads: int) -> None:
    """Write the file again to `destination` with the changed rows of `bands`; see the module for what moves.

    Raises UnsupportedImage where a classic TIFF would pass 4 GiB; what has been written by then is of no use.
    """
    layout = _same(info)
    if layout.compression == NONE:
        _rewrite_stored(layout, destination, bands)
    else:
        _rewrite_encoded(layout, destination, bands, threads)


def _same(info: ImageInfo) -> Layout:
    layout = read_layout(info.path)
    if layout.info != info:
        raise DamagedImage("it was replaced while it was being read; try again")
    return layout


def _joined(layout: Layout, tier: Tier, height: int, parts: Iterator[Scan]) -> Scan:
    """Put together `height` rows from what was decoded of each segment of a tier, without padding."""
    if not layout.split:
        return next(parts)
    joined: Scan = np.empty((height, layout.info.width, layout.info.samples), layout.info.dtype)
    for segment, part in zip(tier, parts, strict=False):
        joined[:, segment.columns, segment.samples] = part[:height, : segment.width]
    return joined


# --- uncompressed -------------------------------------------------------------------------------------------


def _rewrite_stored(layout: Layout, destination: Path, bands: Iterable[Band]) -> None:
    with open_unbuffered(layout.info.path) as source, destination.open("wb", buffering=0) as target:
        written = 0
        for tier, band in _thin_bands(layout, bands):
            written = _put(layout, source, target, written, _changed_rows(layout, tier, band))
        _write_at(target, chunks(source, written, layout.file_bytes - written), written)


def _put(
    layout: Layout, source: IO[bytes], target: IO[bytes], written: int, changed: Iterable[tuple[int, Scan]]
) -> int:
    """Write changed rows where they lie, and copy what lies before them.

    Up to byte `written` there is everything, and nothing behind it; return where that is then.
    """
    for at, rows in sorted(changed, key=itemgetter(0)):
        _write_at(target, chunks(source, written, at - written), written)
        written = max(written, _write_at(target, [stored_bytes(layout, rows)], at))
    return written


def _changed_rows(layout: Layout, tier: Tier, band: Band) -> Iterator[tuple[int, Scan]]:
    """The changed rows of a band by where they lie in the file: those of one segment together if without a gap."""
    edges = np.flatnonzero(np.diff(band.changed, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2).tolist():
        for segment in tier:
            # Rows follow each other without a gap unless they are padded.
            step = last - first if segment.width == layout.shape[1] else 1
            for row in range(first, last, step):
                at = segment.offset + (band.start + row - segment.top) * layout.row_bytes
                yield at, band.rows[row : row + step, segment.columns, segment.samples]


def _thin_bands(layout: Layout, bands: Iterable[Band]) -> Iterator[tuple[Tier, Band]]:
    """Cut into bands of which each lies in one tier and is small where segments are large."""
    heights = (rows for tier in layout.tiers for rows in thin_heights(layout, tier[0].height))
    for band in regroup(layout.info, bands, heights):
        yield layout.tiers[band.start // layout.shape[0]], band


# --- compressed ---------------------------------------------------------------------------------------------


class _Run:
    """Room for segments: bytes `start` to `stop` - 1 of the file, of which those before `cursor` are taken."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self._cursor = start
        self._moved = False

    def take(self, size: int, home: Segment | None = None) -> int | None:
        """Where `size` bytes go, None where they do not fit.

        `home` is the segment they belong to, if it belongs to this run: it stays until one before it has moved.
        """
        at = self._cursor if self._moved or home is None else home.offset
        if at + size > self.stop:
            return None
        self._moved |= home is None or home.size != size
        self._cursor = at + size
        return at


class _Space:
    """The room that the segments leave free.

    Segments side by side, in the order in which they are written, share a run; the last run is the open end of
    the file.
    """

    def __init__(self, layout: Layout) -> None:
        self.runs: list[_Run] = []
        self._run_of: dict[int, _Run] = {}
        written = {segment.number: n for n, segment in enumerate(layout.segments)}
        stop = turn = -1
        for segment in sorted(layout.segments, key=attrgetter("offset")):
            if self.runs and segment.offset - stop <= PADDING and written[segment.number] > turn:
                self.runs[-1].stop = segment.stop
            else:
                self.runs.append(_Run(segment.offset, segment.stop))
            self._run_of[segment.number] = self.runs[-1]
            stop, turn = segment.stop, written[segment.number]
        if stop == layout.file_bytes:
            self.runs[-1].stop = layout.variant.limit
        else:
            self.runs.append(_Run(layout.file_bytes, layout.variant.limit))

    def place(self, segment: Segment, size: int) -> int:
        """Where `segment`, now of `size` bytes, goes."""
        at = self._run_of[segment.number].take(size, segment)
        return self.tail(size) if at is None else at

    def tail(self, size: int) -> int:
        """Room for `size` bytes at the end of the file."""
        at = self.runs[-1].take(size)
        if at is None:
            raise UnsupportedImage("rewritten it would pass the 4 GiB that a classic TIFF can hold; save it as BigTIFF")
        return at


def _rewrite_encoded(layout: Layout, destination: Path, bands: Iterable[Band], threads: int) -> None:
    space = _Space(layout)
    with open_unbuffered(layout.info.path) as source, destination.open("wb", buffering=0) as target:
        _copy_rest(layout, space, source, target)
        if layout.streamed:
            encoded = _streamed_segments(layout, source, bands, destination.parent)
        else:
            encoded = _held_segments(layout, source, bands, threads)
        offsets, sizes = [0] * len(layout.segments), [0] * len(layout.segments)
        with closing(encoded):
            for segment, new in zip(layout.segments, encoded, strict=True):
                size, data = new or (segment.size, chunks(source, segment.offset, segment.size))
                at = space.place(segment, size)
                offsets[segment.number], sizes[segment.number] = at, size
                _write_at(target, data, at)
        _set_values(layout, space, target, layout.offsets, offsets)
        _set_values(layout, space, target, layout.sizes, sizes)


def _copy_rest(layout: Layout, space: _Space, source: IO[bytes], target: IO[bytes]) -> None:
    """Every byte outside the runs, at its place."""
    at = 0
    for run in space.runs:
        _write_at(target, chunks(source, at, run.start - at), at)
        at = min(run.stop, layout.file_bytes)


def _held_segments(
    layout: Layout, source: IO[bytes], bands: Iterable[Band], threads: int
) -> Generator[Encoded, None, None]:
    """Encode every segment anew in which a pixel has changed, tier by tier."""

    def encode_anew(item: tuple[Segment, Band]) -> Encoded:
        segment, band = item
        if not band.changed.any():
            return None
        rows = band.rows[:, segment.columns, segment.samples]
        if layout.split:  # the change may lie in another segment, and padding is kept
            whole = decode(source, layout, segment).copy()
            picture = whole[: segment.height, : segment.width]
            if np.array_equal(picture, rows):
                return None
            picture[...] = rows
            rows = whole
        packed = encode(layout, rows)
        return len(packed), [packed]

    heights = (tier[0].height for tier in layout.tiers)
    tiers = zip(layout.tiers, regroup(layout.info, bands, heights), strict=True)
    items = ((segment, band) for tier, band in tiers for segment in tier)
    yield from in_order(threads, layout.work_bytes, encode_anew, items)


def _streamed_segments(
    layout: Layout, source: IO[bytes], bands: Iterable[Band], folder: Path
) -> Generator[Encoded, None, None]:
    """Do the same for large strips in deflate, of which only a few rows are held."""
    for tier, parts in groupby(_thin_bands(layout, bands), itemgetter(0)):
        with ExitStack() as stack:
            spills = [stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0)) for _ in tier]
            strips = [_StreamedStrip(layout, source, *pair) for pair in zip(tier, spills, strict=True)]
            for _, band in parts:
                for strip in strips:
                    strip.add(band)
            for strip in strips:
                yield strip.encoded()


class _StreamedStrip:
    """A strip on its way through deflate; the bytes wait in the file `spill`."""

    def __init__(self, layout: Layout, source: IO[bytes], strip: Segment, spill: IO[bytes]) -> None:
        self._layout, self._strip, self._spill = layout, strip, spill
        self._before = decode_rows(source, layout, strip)
        self._stream = isal_zlib.compressobj(DEFLATE_LEVEL)
        self._size = 0
        self._changed = False

    def add(self, band: Band) -> None:
        """Take the next rows; where planes lie apart, look whether they have changed in this one."""
        rows = band.rows[:, :, self._strip.samples]
        if self._layout.split:
            self._changed |= not np.array_equal(rows, next(self._before))
        else:
            self._changed |= bool(band.changed.any())
        self._size = _write_at(self._spill, [self._stream.compress(stored_bytes(self._layout, rows))], self._size)

    def encoded(self) -> Encoded:
        """What was made of all rows."""
        self._size = _write_at(self._spill, [self._stream.flush()], self._size)
        return (self._size, chunks(self._spill, 0, self._size)) if self._changed else None


def _set_values(layout: Layout, space: _Space, target: IO[bytes], entry: Entry, values: list[int]) -> None:
    """Put `values` where the field's first values are; a type too small for them gives way to that of offsets.

    So wide they no longer fit where they were: one stands in the directory itself, several go to the end, both without
    what the field held besides.
    """
    kind, at, variant = entry.kind, entry.values_at, layout.variant
    if max(values) >= 256 ** TYPE_BYTES[kind]:
        kind, at = variant.kind, entry.offset_at
        if len(values) > 1:
            at = space.tail(len(values) * variant.offset_bytes)
            _write_at(target, [struct.pack(layout.order + variant.offset, at)], entry.offset_at)
        _write_at(target, [struct.pack(layout.order + "H" + variant.offset, kind, len(values))], entry.position + 2)
    _write_at(target, [struct.pack(f"{layout.order}{len(values)}{INTEGERS[kind]}", *values)], at)


def _write_at(target: IO[bytes], data: Iterable[Data], offset: int) -> int:
    """Write the chunks of `data` from byte `offset` on; return the byte after them."""
    for chunk in data:
        view = memoryview(chunk)
        while view:
            written = os.pwrite(target.fileno(), view, offset)
            view, offset = view[written:], offset + written
    return offset
