"""What the tests of TIFF share: files written and read by tifffile, which shares no code with what is tested."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from dustwatch.processing.raster import Band, ImageInfo, open_rows, probe, rewrite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ICC = b"a profile" * 50
XMP = b"<x:xmpmeta>dust</x:xmpmeta>"
PRIVATE = bytes(range(200))
EXTRA_TAGS = [
    (271, 2, 0, "Scanner works", True),
    (274, 3, 1, 6, True),
    (306, 2, 0, "2024:01:02 03:04:05", True),
    (700, 1, len(XMP), XMP, True),
    (33723, 7, 30, b"\x1c\x02iptc data of thirty bytes....", True),
    (34675, 7, len(ICC), ICC, True),
    (40001, 7, len(PRIVATE), PRIVATE, True),
]
DATA_TAGS = (273, 279, 324, 325)

STORAGES: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 8},
    "one strip": {"rowsperstrip": 1 << 20},
    "planes in strips": {"planarconfig": "separate", "rowsperstrip": 8},
    "planes in one strip": {"planarconfig": "separate", "rowsperstrip": 1 << 20},
    "tiles": {"tile": (16, 32)},
    "planes in tiles": {"planarconfig": "separate", "tile": (16, 32)},
    "BigTIFF": {"bigtiff": True, "rowsperstrip": 8},
    "BigTIFF, planes in tiles": {"bigtiff": True, "planarconfig": "separate", "tile": (32, 16)},
}
"""Ways to store a picture, as options of tifffile."""


def picture(height: int, width: int, samples: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Noise on a slope: compresses, but not to nothing."""
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 200, height)[:, None, None] + np.zeros((height, width, samples))
    image = slope + random.integers(0, 8, slope.shape)
    return (image * (256 if dtype == "uint16" else 1)).astype(dtype)


def arranged(image: np.ndarray, options: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """The picture and the `options` as tifffile wants them; `planarconfig` is contiguous if not given."""
    samples = image.shape[2]
    photometric = "rgb" if samples > 2 else "minisblack"
    options = {"photometric": photometric, "planarconfig": "contig", "metadata": None} | options
    if samples == 1:
        return image[:, :, 0], options | {"planarconfig": None}
    return np.moveaxis(image, 2, 0).copy() if options["planarconfig"] == "separate" else image, options


def write(path: Path, image: np.ndarray, **options: Any) -> None:
    image, options = arranged(image, options)
    tifffile.imwrite(path, image, **options)


def read(path: Path, key: int = 0) -> np.ndarray:
    """(rows, columns, samples) of a page."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[key]
        image = page.asarray()
        if image.ndim == 2:
            return image[:, :, None]
        return np.moveaxis(image, 0, 2) if page.planarconfig == 2 else image


def bands(before: np.ndarray, after: np.ndarray, height: int = 7) -> list[Band]:
    changed = (before != after).any(axis=(1, 2))
    return [
        Band(start, after[start : start + height], changed[start : start + height])
        for start in range(0, len(after), height)
    ]


def read_all(info: ImageInfo, threads: int = 1, step: int = 5) -> np.ndarray:
    with open_rows(info, threads) as rows:
        return np.concatenate(
            [rows.read(start, min(start + step, info.height)) for start in range(0, info.height, step)]
        )


def changed(
    image: np.ndarray, rows: Sequence[int] | slice, columns: slice = np.s_[:], samples: slice = np.s_[:], seed: int = 1
) -> np.ndarray:
    """A copy in which some places hold other, noisier values: their segments get longer."""
    after = image.copy()
    part = after[rows, columns, samples]
    top = np.iinfo(image.dtype).max
    after[rows, columns, samples] = np.random.default_rng(seed).integers(0, top, part.shape, endpoint=True)
    return after


def check(path: Path, after: np.ndarray, before: np.ndarray, threads: tuple[int, ...] = (1, 3)) -> Path:
    """Rewrite `path` and see that tifffile reads what was asked for; the result's path."""
    info = probe(path)
    out = path.with_name("out.tif")
    written = []
    for number in threads:
        rewrite(info, out, bands(before, after), number)
        np.testing.assert_array_equal(read(out), after, f"written by {number} threads")
        written.append(np.frombuffer(out.read_bytes(), np.uint8))
    for other in written[1:]:
        np.testing.assert_array_equal(other, written[0], "threads make a difference")
    np.testing.assert_array_equal(read_all(probe(out), threads[-1]), after)
    return out


@dataclass(frozen=True)
class Piece:
    """A strip or tile: its bytes, the part of the picture that it holds, and what it decodes to, padding included."""

    offset: int
    data: bytes
    where: tuple[slice, slice, slice]
    decoded: np.ndarray


def segments(path: Path) -> list[Piece]:
    """All strips or tiles of the first page in the order of its lists, as tifffile reads them."""
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        found = []
        for number, (offset, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
            packed = data[offset : offset + size]
            decoded, (sample, _, top, left, _), (_, height, width, samples) = page.decode(packed, number)
            where = np.s_[top : top + height, left : left + width, sample : sample + samples]
            found.append(Piece(offset, packed, where, decoded[0]))
        return found


def strips(path: Path) -> list[bytes]:
    return [piece.data for piece in segments(path)]


def with_directory_last(path: Path) -> None:
    """Move the first directory behind everything else, as libtiff and most scan software place it."""
    data = path.read_bytes()
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    at, pointer, number, entry = (8, order + "Q", order + "Q", 20) if big else (4, order + "I", order + "H", 12)
    (start,) = struct.unpack_from(pointer, data, at)
    (count,) = struct.unpack_from(number, data, start)
    table = data[start : start + struct.calcsize(number) + entry * count + struct.calcsize(pointer)]
    pad = len(data) % 2
    moved = struct.pack(pointer, len(data) + pad)
    path.write_bytes(data[:at] + moved + data[at + len(moved) :] + b"\0" * pad + table)


def place_of(path: Path, code: int, number: int = 0) -> tuple[int, str]:
    """Where a value of a tag of the first page stands, and its type for `struct`."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[code]
        kind = file.byteorder + {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}[tag.dtype]
        return tag.valueoffset + number * struct.calcsize(kind), kind


def set_value(path: Path, code: int, value: int, number: int = 0) -> None:
    place, kind = place_of(path, code, number)
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, place, value)
    path.write_bytes(data)


def spoil(path: Path, number: int) -> None:
    """Flip bits in the middle of a strip or tile."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        middle = page.dataoffsets[number] + page.databytecounts[number] // 2
    data[middle] ^= 0xFF
    path.write_bytes(data)
