"""How the first page of a TIFF is stored: in strips or tiles, of all samples or of one.

A *segment* is a strip or a tile, of all samples of its pixels or, where the planes lie apart (planar), of one.
The segments that cover the same rows are a *tier*: one strip, a strip of each plane, a row of tiles, or that of
each plane. Tiers follow each other from top to bottom.

References: TIFF Revision 6.0, Adobe 1992, with Technical Note 2 for deflate; zstd is libtiff's.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from .image import DamagedImage, ImageInfo, UnsupportedImage
from .tiff_directory import (
    CUT_SHORT,
    DESCRIPTION,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_OFFSETS,
    Structure,
    open_unbuffered,
)

if TYPE_CHECKING:
    from pathlib import Path

    from .tiff_directory import Entry, Variant

STREAMED_BYTES = 64 << 20
"""Strips in deflate of which a tier is larger than this (decoded) are streamed instead of being held whole."""

HELD_LIMIT = 256 << 20
"""The largest tier (decoded) of segments that have to be held whole."""

MOST_PACKED = 1 << 15
"""No segment holds more than so many times its size: a header that says so is spoilt."""

NONE, LZW, DEFLATE, OLD_DEFLATE, ZSTD = 1, 5, 8, 32946, 50000
HORIZONTAL = 2  # predictor
CHUNKY, SEPARATE = 1, 2  # planar configuration
MIN_IS_BLACK, RGB = 1, 2
UNSIGNED, UNDEFINED = 1, 4  # sample formats; the latter is read as if nothing were said

# Tags.
SUBFILE_TYPE, WIDTH, HEIGHT, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, PLANAR, PREDICTOR = 266, 277, 278, 284, 317
TILE_WIDTH, TILE_HEIGHT, SAMPLE_FORMAT = 322, 323, 339

_READ = {NONE: "uncompressed", LZW: "LZW", DEFLATE: "deflate", OLD_DEFLATE: "deflate", ZSTD: "zstd"}
_NOT_READ = {
    2: "CCITT",
    3: "fax",
    4: "fax",
    6: "lossy JPEG",
    7: "lossy JPEG",
    32773: "PackBits",
    34712: "JPEG 2000",
    34925: "LZMA",
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

_RESAVE = "save it as an uncompressed, LZW, deflate or zstd TIFF"


@dataclass(frozen=True, slots=True)
class Segment:
    """`height` rows from row `top` on, of some columns and samples of the picture, in `size` bytes at `offset`.

    `number` is its place in the file's lists. `stored_rows` are more than `height` in a tile at the bottom edge:
    there, and at the right edge, tiles are padded.
    """

    number: int
    top: int
    height: int
    stored_rows: int
    columns: slice
    samples: slice
    offset: int
    size: int

    @property
    def stop(self) -> int:
        """The byte after the last."""
        return self.offset + self.size

    @property
    def width(self) -> int:
        """Columns of the picture in it."""
        width: int = self.columns.stop - self.columns.start
        return width


Tier: TypeAlias = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the first page is stored.

    `shape` are the rows, columns and samples of a full segment; tiles are full, padding included, and the last
    strip may be shorter.
    """

    info: ImageInfo
    order: Literal["<", ">"]
    variant: Variant
    compression: int
    predictor: int
    tiled: bool
    shape: tuple[int, int, int]
    tiers: tuple[Tier, ...]
    offsets: Entry
    sizes: Entry
    file_bytes: int

    @property
    def segments(self) -> list[Segment]:
        """All segments, tier by tier."""
        return [segment for tier in self.tiers for segment in tier]

    @property
    def stored(self) -> np.dtype[Any]:
        """The sample type in the byte order of the file."""
        return self.info.dtype.newbyteorder(self.order)

    @property
    def row_bytes(self) -> int:
        """Decoded bytes of a row of a segment."""
        return self.shape[1] * self.shape[2] * self.info.dtype.itemsize

    @property
    def segment_bytes(self) -> int:
        """Decoded bytes of a full segment."""
        return self.shape[0] * self.row_bytes

    @property
    def tier_bytes(self) -> int:
        """Decoded bytes of a full tier."""
        return self.segment_bytes * len(self.tiers[0])

    @property
    def split(self) -> bool:
        """Whether rows lie in several segments, or in tiles, which may be padded."""
        return self.tiled or len(self.tiers[0]) > 1

    @property
    def work_bytes(self) -> int:
        """What coding a segment takes: packed, with differences, and without; of split rows also as it was."""
        return (5 if self.split else 3) * self.segment_bytes

    @property
    def streamed(self) -> bool:
        """Whether segments are too large to be held whole, and can be decoded a few rows at a time."""
        return self.compression in (DEFLATE, OLD_DEFLATE) and not self.tiled and self.tier_bytes > STREAMED_BYTES

    def name(self, segment: Segment) -> str:
        """How a segment is called in messages."""
        count = len(self.tiers) * len(self.tiers[0])
        rows = f"rows {segment.top}-{segment.top + segment.height - 1}"
        if not self.tiled:
            return f"strip {segment.number + 1} of {count} ({rows})"
        columns = f"columns {segment.columns.start}-{segment.columns.stop - 1}"
        return f"tile {segment.number + 1} of {count} ({rows}, {columns})"


def read_layout(path: Path) -> Layout:
    """Find out where and how the first page is stored. Raises UnsupportedImage or DamagedImage."""
    with open_unbuffered(path) as file:
        structure = Structure(file)
        info = _supported(path, structure)
        compression, tiled = structure.first(COMPRESSION, NONE), TILE_WIDTH in structure.pages[0]
        offsets = structure.entry(TILE_OFFSETS if tiled else STRIP_OFFSETS)
        sizes = structure.entry(TILE_BYTE_COUNTS if tiled else STRIP_BYTE_COUNTS)
        shape = _shape(structure, info, tiled=tiled)
        layout = Layout(
            info,
            structure.order,
            structure.variant,
            compression,
            structure.first(PREDICTOR, 1) if compression != NONE else 1,
            tiled,
            shape,
            _tiers(structure, info, shape, offsets, sizes),
            offsets,
            sizes,
            structure.file_bytes,
        )
        if compression != NONE and not layout.streamed and layout.tier_bytes > HELD_LIMIT:
            noun = f"{_READ[compression]} {'tiles' if tiled else 'strips'}"
            raise UnsupportedImage(
                f"a row of its {noun} takes more than {HELD_LIMIT >> 20} MiB; save it with smaller ones"
            )
        _require_whole(layout)
        _require_apart(structure, layout)
        return layout


def _supported(path: Path, structure: Structure) -> ImageInfo:
    """Describe the first page, or refuse it by what it is."""
    first = structure.first
    compression, photometric = first(COMPRESSION, NONE), first(PHOTOMETRIC)
    height, width, samples = first(HEIGHT), first(WIDTH), first(SAMPLES_PER_PIXEL, 1)
    bits = set(structure.values(BITS_PER_SAMPLE, 1))
    if first(SUBFILE_TYPE, 0) & 1:
        raise UnsupportedImage("its first page is a preview; save it with the full picture first")
    if compression not in _READ:
        name = _NOT_READ.get(compression, f"unknown (number {compression})")
        raise UnsupportedImage(f"its compression is {name}; {_RESAVE}")
    if photometric not in (MIN_IS_BLACK, RGB):
        name = _PHOTOMETRICS.get(photometric, f"unknown (number {photometric})")
        raise UnsupportedImage(f"its colour kind is {name}; save it as grey (black is 0) or RGB")
    if not set(structure.values(SAMPLE_FORMAT, 1)) <= {UNSIGNED, UNDEFINED}:
        raise UnsupportedImage("its samples are signed or floating point; save it as unsigned 8 or 16 bit")
    if bits not in ({8}, {16}):
        depths = "/".join(map(str, sorted(bits)))
        raise UnsupportedImage(f"it has {depths} bits per sample; save it as 8 or 16 bit")
    if first(PLANAR, CHUNKY) not in (CHUNKY, SEPARATE):
        raise DamagedImage(f"how its colours are arranged (number {first(PLANAR)}) is not known; scan it again")
    if first(FILL_ORDER, 1) != 1:
        raise UnsupportedImage(f"its bits are stored in reverse (fill order 2); {_RESAVE}")
    if compression != NONE and first(PREDICTOR, 1) not in (1, HORIZONTAL):
        raise UnsupportedImage(f"its predictor is number {first(PREDICTOR)}; save it with predictor 2 or none")
    colours = 1 if photometric == MIN_IS_BLACK else 3
    if height < 1 or width < 1 or samples < colours:
        raise DamagedImage(f"its size makes no sense ({width} x {height} x {samples}); scan it again")
    if TILE_WIDTH not in structure.pages[0] and not any(structure.values(STRIP_BYTE_COUNTS, 0)):
        raise UnsupportedImage(f"it does not say how many bytes its strips have; {_RESAVE} with other software")
    dtype: np.dtype[np.uint8] | np.dtype[np.uint16]
    dtype = np.dtype(np.uint8) if bits == {8} else np.dtype(np.uint16)
    return ImageInfo(path, "tiff", height, width, samples, colours, dtype, structure.text(DESCRIPTION))


def _shape(structure: Structure, info: ImageInfo, *, tiled: bool) -> tuple[int, int, int]:
    """Rows, columns and samples of a full segment."""
    samples = 1 if structure.first(PLANAR, CHUNKY) == SEPARATE else info.samples
    if tiled:
        shape = structure.first(TILE_HEIGHT), structure.first(TILE_WIDTH), samples
    else:
        shape = min(structure.first(ROWS_PER_STRIP, info.height), info.height), info.width, samples
    if min(shape) < 1:
        raise DamagedImage(f"its {'tiles have no pixels' if tiled else 'strips have no rows'}; scan it again")
    return shape


def _tiers(
    structure: Structure, info: ImageInfo, shape: tuple[int, int, int], offsets: Entry, sizes: Entry
) -> tuple[Tier, ...]:
    """Read where the segments are; of uncompressed ones without what lies beyond their rows.

    The lists may be longer than is needed.
    """
    rows, columns, samples = shape
    down, across, planes = -(-info.height // rows), -(-info.width // columns), info.samples // samples
    if min(offsets.count, sizes.count) < down * across * planes:
        raise DamagedImage(
            f"it needs {down * across * planes} strips or tiles, but lists {offsets.count} offsets "
            f"and {sizes.count} sizes; scan it again"
        )
    places = list(zip(structure.integers(offsets), structure.integers(sizes), strict=False))
    tiled, raw = TILE_WIDTH in structure.pages[0], structure.first(COMPRESSION, NONE) == NONE

    def segment(plane: int, row: int, column: int) -> Segment:
        number = (plane * down + row) * across + column
        height = min(rows, info.height - row * rows)
        stored_rows = rows if tiled else height
        offset, size = places[number]
        if raw:
            size = min(size, stored_rows * columns * samples * info.dtype.itemsize)
        left, sample = column * columns, plane * samples
        reach = slice(left, min(left + columns, info.width)), slice(sample, sample + samples)
        return Segment(number, row * rows, height, stored_rows, *reach, offset, size)

    return tuple(
        tuple(segment(plane, row, column) for plane in range(planes) for column in range(across)) for row in range(down)
    )


def _require_whole(layout: Layout) -> None:
    """Refuse segments that cannot hold their rows, or lie beyond the end of the file."""
    most = 1 if layout.compression == NONE else MOST_PACKED
    for segment in layout.segments:
        if segment.stored_rows * layout.row_bytes > segment.size * most:
            raise DamagedImage(f"{segment.size} bytes cannot hold {layout.name(segment)}; scan it again")
        if segment.stop > layout.file_bytes:
            raise DamagedImage(CUT_SHORT.format(layout.name(segment)))


def _require_apart(structure: Structure, layout: Layout) -> None:
    """Refuse a file in which what we write is also used for something else."""
    own = [(segment.offset, segment.stop) for segment in layout.segments]
    others = structure.extents.copy()
    for entry in (layout.offsets, layout.sizes):
        if not entry.inline:
            own.append((entry.values_at, entry.values_at + entry.value_bytes))
            others.remove(own[-1])
    first = {code: entry for code, entry in structure.pages[0].items() if entry not in (layout.offsets, layout.sizes)}
    for page in (first, *structure.pages[1:]):
        others += structure.data_extents(page)
    own.sort()
    starts = [start for start, _ in own]
    overlap = any(one[1] > other[0] for one, other in pairwise(own))
    for start, stop in others:
        nearest = bisect_right(starts, stop - 1) - 1
        overlap |= start < stop and nearest >= 0 and own[nearest][1] > start
    if overlap:
        raise UnsupportedImage(f"parts of the file share the same bytes; {_RESAVE} with other software")
