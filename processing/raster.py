"""Picture files: what they are, their rows from top to bottom, and the same file with some rows changed.

The only module that imports pyvips. It streams the rows of PNG and JPEG in. TIFF strips are decoded by
imagecodecs instead, several at once.
"""

from __future__ import annotations

import stat
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from . import tiff
from .image import Band, DamagedImage, ImageError, ImageInfo, Rows, UnsupportedImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

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
]


def probe(path: Path) -> ImageInfo:
    """Describe the picture in a file, by its content and not by its name, and check that the file is whole.

    Raises UnsupportedImage for anything that is no regular file and for kinds that are not handled,
    DamagedImage for what is cut short or no picture, OSError where it cannot be opened. Picture data is not
    decoded: that it can be shows when the rows are read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnsupportedImage("it is no regular file; give the name of a picture file")
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise DamagedImage("it is empty (0 bytes); copy or scan it again")
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return tiff.probe(path)
    raise DamagedImage("it is no TIFF, PNG or JPEG; save it as one of these")


@contextmanager
def open_rows(info: ImageInfo, threads: int = 1) -> Iterator[Rows]:
    """Read the rows of a picture from top to bottom, `threads` strips of a TIFF at once.

    Raises DamagedImage, also from `Rows.read`, where the file does not decode or is no longer what `info`
    says.
    """
    with closing(tiff.pieces(info, threads)) as pieces:
        yield Rows(info, pieces)


def rewrite(info: ImageInfo, destination: Path, bands: Iterable[Band], threads: int = 1) -> None:
    """Write the picture's file to `destination` with the changed rows of `bands`, everything else as it is.

    `bands` come in order without gaps and cover the picture; they may be of any height and are taken one by
    one. The bytes written do not depend on `threads`. Raises ImageError where the format cannot hold the
    result, ValueError where the bands do not fit; `destination` is then unfinished and for the caller to
    remove.
    """
    tiff.rewrite(info, destination, bands, threads)
