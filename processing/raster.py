"""Picture files: what they are, their rows from top to bottom, and the same file with some rows changed.

The only module that imports pyvips, which streams the rows of PNG and JPEG in. The strips and tiles of a TIFF
are decoded by imagecodecs and `lzw` instead, several at once. Seconds to read 16-bit RGB (best of three, two cores):

====================  =======  ==========================
picture               libvips  ours on 1 and on 2 threads
====================  =======  ==========================
54 MP, uncompressed   0.23     0.05, 0.05
54 MP, deflate        1.4      1.0, 0.5
54 MP, LZW            2.4      1.5, 0.8
216 MP, deflate       4.5      3.2, 1.6
====================  =======  ==========================
"""

from __future__ import annotations

import stat
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pyvips

from . import jpeg, png, tiff, tiff_directory
from .image import (
    PIECE_BYTES,
    Band,
    DamagedImage,
    ImageError,
    ImageInfo,
    Rows,
    UnsupportedImage,
    even_heights,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from .arrays import Scan

__all__ = [
    "Band",
    "DamagedImage",
    "ImageError",
    "ImageInfo",
    "Rows",
    "UnsupportedImage",
    "open_rows",
    "probe",
    "rewrite",
    "write_mask",
    "write_png",
]

_FORMATS = {"tiff": tiff, "png": png, "jpeg": jpeg}

_FAIL_ON = {"png": "error", "jpeg": "warning"}
"""What libvips must not pass over.

A JPEG whose data ends early is only a warning to it; with PNG, so is a colour profile that it finds odd.
"""


def probe(path: Path) -> ImageInfo:
    """Describe the picture in a file, by its content and not by its name, and check that the file is whole.

    Raises UnsupportedImage for anything that is no regular file and for kinds that are not handled,
    DamagedImage for what is cut short or no picture, OSError where it cannot be opened. Picture data is not
    decoded: that it can be shows when the rows are read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnsupportedImage("it is no regular file; give the name of a picture file")
    with path.open("rb") as file:
        head = file.read(len(png.SIGNATURE))
    if not head:
        raise DamagedImage("it is empty (0 bytes); copy or scan it again")
    if head[:4] in tiff_directory.SIGNATURES:
        return tiff.probe(path)
    if head == png.SIGNATURE:
        return png.probe(path)
    if head.startswith(jpeg.SIGNATURE):
        return jpeg.probe(path)
    raise DamagedImage("it is no TIFF, PNG or JPEG; save it as one of these")


@contextmanager
def open_rows(info: ImageInfo, threads: int = 1) -> Iterator[Rows]:
    """Read the rows of a picture from top to bottom, `threads` strips or tiles of a TIFF at once.

    `Rows.read` raises DamagedImage where the file does not decode or is no longer what `info` says.
    """
    with closing(tiff.pieces(info, threads) if info.format == "tiff" else _streamed(info)) as pieces:
        yield Rows(info, pieces)


def rewrite(info: ImageInfo, destination: Path, bands: Iterable[Band], threads: int = 1) -> None:
    """Write the picture's file to `destination` with the changed rows of `bands`, everything else as it is.

    `bands` come in order without gaps and cover the picture; they may be of any height and are taken one by
    one. The bytes written do not depend on `threads`. Raises ImageError where the format cannot hold the
    result, ValueError where the bands do not fit; `destination` is then unfinished and for the caller to
    remove.
    """
    _FORMATS[info.format].rewrite(info, destination, bands, threads)


@contextmanager
def write_mask(destination: Path, height: int, width: int) -> Iterator[Callable[[npt.NDArray[np.uint8]], None]]:
    """Write an 8-bit grey PNG, of which the block calls what it is given with consecutive (n, width) bands.

    Raises ValueError where they do not make up `height` rows; `destination` is then unfinished, as it is where the
    block fails, and for the caller to remove.
    """
    with png.MaskWriter(destination, height, width) as mask:
        yield mask.write
        mask.finish()


def write_png(destination: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write an 8-bit PNG of (height, width), grey, or (height, width, 3), RGB."""
    pixels = image.reshape(*image.shape[:2], -1)
    height, width, samples = pixels.shape
    info = ImageInfo(destination, "png", height, width, samples, samples, np.dtype(np.uint8))
    png.create(destination, info, _numbered([pixels]))


def _numbered(bands: Iterable[npt.NDArray[np.uint8]]) -> Iterator[Band]:
    start = 0
    for band in bands:
        yield Band(start, band.reshape(*band.shape[:2], -1), np.ones(len(band), np.bool_))
        start += len(band)


def _streamed(info: ImageInfo) -> Generator[Scan, None, None]:
    """Yield all rows of a PNG or JPEG in order, as stored: not turned, no colour management."""
    start = 0
    try:
        # Given a name, libvips would take `[...]` at its end for options, and wants it to be UTF-8.
        with info.path.open("rb") as file:
            source = pyvips.Source.new_from_descriptor(file.fileno())
            image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on=_FAIL_ON[info.format])
            if (image.height, image.width) != (info.height, info.width) or image.bands < info.samples:
                raise DamagedImage("it was replaced while it was being read; try again")
            if image.bands > info.samples:  # a PNG's transparent colour, made an alpha channel
                image = image.extract_band(0, n=info.samples)
            region = pyvips.Region.new(image)
            for rows in even_heights(info.height, info.rows_in(PIECE_BYTES)):
                data = region.fetch(0, start, info.width, rows)
                yield cast("Scan", np.frombuffer(data, info.dtype).reshape(rows, info.width, info.samples))
                start += rows
    except pyvips.Error as error:
        raise DamagedImage(f"it cannot be decoded from about row {start} on; scan it again") from error
