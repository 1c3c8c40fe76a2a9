"""What the image formats share: what a picture is, how its rows come and go, and how it can fail.

Every reader gives whole rows from top to bottom and every writer takes them in the same order, so that the
memory depends on the height of a band and never on the height of the picture.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .arrays import Scan

PIECE_BYTES = 4 << 20
"""Decoded bytes of one piece where the format leaves the size to us."""


class ImageError(Exception):
    """A file cannot be used. The text says what is wrong and what to do; the caller names the file."""


class UnsupportedImage(ImageError):  # noqa: N818 - says what the file is
    """The file is whole, but of a kind that is not read or not written."""


class DamagedImage(ImageError):  # noqa: N818 - says what the file is
    """The file is cut short, spoilt, or no image at all."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """A picture file as its headers describe it.

    `samples` are stored per pixel (4 for RGBA or RGBI); the first `colours` of them (1 or 3) are the picture,
    the rest are carried through untouched. `dtype` is uint8 or uint16 in native byte order. `description` is what a
    TIFF says of its first page in words, empty where it is too long to be that.
    """

    path: Path
    format: Literal["tiff", "png", "jpeg"]
    height: int
    width: int
    samples: int
    colours: int
    dtype: np.dtype[np.uint8] | np.dtype[np.uint16]
    description: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of one decoded row."""
        return self.width * self.samples * self.dtype.itemsize

    def rows_in(self, size: int) -> int:
        """How many whole rows fit into `size` bytes, at least 1 and at most the height."""
        return min(self.height, max(1, size // self.row_bytes))


def untold(share: float) -> None:
    """For where nobody is to be told how much of a picture is done."""


@dataclass(frozen=True, slots=True)
class Band:
    """Rows `start`... of a picture as they shall be written.

    `rows` is (n, width, samples) of the picture's dtype; `changed` is (n,), True where a row differs from the
    file.
    """

    start: int
    rows: Scan
    changed: npt.NDArray[np.bool_]


class Rows:
    """The rows of a picture, from top to bottom, with a window that only moves down."""

    def __init__(self, info: ImageInfo, pieces: Iterator[Scan]) -> None:
        self._info = info
        self._pieces = pieces
        self._held: deque[Scan] = deque()
        self._top = 0  # row of the first held piece
        self._bottom = 0  # row after the last held piece
        self._window = (0, 0)

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Scan:
        """Rows `start` to `stop` - 1, or some columns of them, as a new (rows, columns, samples) array, native order.

        Windows may overlap or leave rows out. Raises ValueError where `start` or `stop` is less than in the
        call before or outside the picture, DamagedImage where the file does not decode.
        """
        if not (self._window[0] <= start < stop <= self._info.height and self._window[1] <= stop):
            raise ValueError(f"rows {start}:{stop} of {self._info.height} asked for after {self._window}")
        self._window = (start, stop)
        while self._bottom < stop:
            piece = next(self._pieces)
            self._held.append(piece)
            self._bottom += len(piece)
            self._drop(start)
        self._drop(start)
        left, right, _ = columns.indices(self._info.width)
        window = np.empty((stop - start, right - left, self._info.samples), self._info.dtype)
        row = self._top
        for piece in self._held:
            first, last = max(start, row), min(stop, row + len(piece))
            window[first - start : last - start] = piece[first - row : last - row, columns]
            row += len(piece)
        return window

    def _drop(self, start: int) -> None:
        while self._held and self._top + len(self._held[0]) <= start:
            self._top += len(self._held.popleft())


def regroup(info: ImageInfo, bands: Iterable[Band], heights: Iterable[int]) -> Iterator[Band]:
    """Cut contiguous bands of any height anew into bands of the given `heights`, whose sum is the picture's.

    Raises ValueError where the bands leave a gap, do not cover the picture or are of another shape or dtype.
    """
    incoming = iter(bands)
    band = Band(0, np.empty((0, info.width, info.samples), info.dtype), np.zeros(0, np.bool_))
    used = start = 0

    def cut(height: int) -> Band:
        """The next rows; nothing else of what they were put together from is held while they are used."""
        nonlocal band, used
        parts = []
        filled = 0
        while filled < height:
            if used == len(band.rows):
                band, used = _checked(info, next(incoming, None), start + filled), 0
            n = min(height - filled, len(band.rows) - used)
            parts.append((band.rows[used : used + n], band.changed[used : used + n]))
            filled, used = filled + n, used + n
        rows, changed = (one[0] if len(one) == 1 else np.concatenate(one) for one in zip(*parts, strict=True))
        return Band(start, rows, changed)

    for height in heights:
        yield cut(height)
        start += height
    if used != len(band.rows) or next(incoming, None) is not None:
        raise ValueError(f"bands go on after row {info.height}, where the picture ends")


def _checked(info: ImageInfo, band: Band | None, start: int) -> Band:
    if band is None:
        raise ValueError(f"bands end at row {start} of {info.height}")
    if (
        band.start != start
        or band.rows.shape[1:] != (info.width, info.samples)
        or band.rows.dtype != info.dtype
        or band.changed.shape != band.rows.shape[:1]
    ):
        raise ValueError(
            f"expected a band from row {start} of (n, {info.width}, {info.samples}) {info.dtype}, "
            f"got one from row {band.start} of {band.rows.shape} {band.rows.dtype}"
        )
    return band


def even_heights(height: int, rows: int) -> Iterator[int]:
    """`rows`, `rows`, ... and what is left: the heights that cut `height` rows into equal pieces."""
    for start in range(0, height, rows):
        yield min(rows, height - start)
