"""JPEG: what the headers say, and the same picture encoded anew as it was encoded before.

The new file has the old one's quantisation tables, chroma subsampling, and every APPn and COM segment in
front of the picture as it stands, as well as what cameras and others put behind its end; it is baseline, also
where the old one was progressive. The picture is encoded in bands of whole MCU rows that do not depend on each
other. A restart interval starts with fresh predictors, just as a file does: the entropy-coded data of the
bands, joined by restart markers, is that of the whole picture.

Reference: ITU-T T.81 (1992), sections B.2 and F.1; T.871 (JFIF) for the colours.
"""

from __future__ import annotations

import io
import shutil
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image

from .image import PIECE_BYTES, Band, DamagedImage, ImageInfo, UnsupportedImage, even_heights, regroup
from .pool import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SIGNATURE = b"\xff\xd8\xff"

SOI, EOI, SOS, DQT, DHT, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
PROGRESSIVE = 0xC2
FRAMES = (0xC0, 0xC1, PROGRESSIVE)  # baseline, extended, progressive; all of them Huffman coded
APPLICATION = range(0xE0, 0xF0)
APP2, APP14 = 0xE2, 0xEE
RESTART = 0xD0

MOST_MCUS = 0xFFFF
"""What a restart interval can count."""

HELD_LIMIT = 256 << 20
"""The most that the coefficients of a picture in several passes may take, for they are held all at once."""

_OTHER_FRAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic coded",
    0xCA: "arithmetic coded",
    0xCB: "arithmetic coded",
    0xCD: "arithmetic coded",
    0xCE: "arithmetic coded",
    0xCF: "arithmetic coded",
}
_SUBSAMPLING = {(1, 1): 0, (2, 1): 1, (2, 2): 2}  # Pillow's number by the sampling factors of luma
_ZIGZAG = sorted(range(64), key=lambda n: (n // 8 + n % 8, (n // 8 if (n // 8 + n % 8) % 2 else n % 8)))
_RESAVE = "save it as an ordinary JPEG or as TIFF"
_CUT_SHORT = "it is cut short; copy or scan it again"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a JPEG is encoded; `kept` are the segments that are copied, as is all from byte `tail` on, behind its end."""

    info: ImageInfo
    kept: bytes
    tables: tuple[tuple[int, ...], ...]  # of each component, in rows
    luma: tuple[int, int]  # sampling factors across and down
    tail: int

    @property
    def mcu(self) -> tuple[int, int]:
        """Height and width of a minimum coded unit in pixels."""
        return 8 * self.luma[1], 8 * self.luma[0]

    @property
    def mcus_across(self) -> int:
        """Minimum coded units in a row of them."""
        return -(-self.info.width // self.mcu[1])

    @property
    def coefficient_bytes(self) -> int:
        """What all coefficients take, two bytes each, also those that pad the last units."""
        blocks = self.luma[0] * self.luma[1] + self.info.samples - 1  # of a unit
        return 128 * blocks * self.mcus_across * -(-self.info.height // self.mcu[0])

    @property
    def band_mcu_rows(self) -> int:
        """Rows of minimum coded units in a band."""
        wanted = self.info.rows_in(PIECE_BYTES) // self.mcu[0]
        return max(1, min(wanted, MOST_MCUS // self.mcus_across))


def probe(path: Path) -> ImageInfo:
    """Describe a JPEG that has its end. Raises UnsupportedImage or DamagedImage."""
    return read_layout(path).info


def read_layout(path: Path) -> Layout:
    """Read the segments in front of the picture, and find its end. Raises UnsupportedImage or DamagedImage."""
    kept, frame, stored_rgb = bytearray(), b"", False
    progressive, first_scan = False, b""
    quantisation: dict[int, tuple[int, ...]] = {}
    with path.open("rb") as file:
        for marker, data in _segments(file):
            if marker in APPLICATION or marker == COM:
                if marker == APP2 and data.startswith(b"MPF\0"):
                    raise UnsupportedImage(f"it holds several pictures (MPF); {_RESAVE}")
                stored_rgb |= marker == APP14 and data.startswith(b"Adobe") and data[11:12] == b"\0"
                kept += struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
            elif marker == DQT:
                quantisation.update(_tables(data))
            elif marker in FRAMES:
                frame, progressive = data, marker == PROGRESSIVE
            elif marker == SOS:
                first_scan = data
            elif marker in _OTHER_FRAMES:
                raise UnsupportedImage(f"it is {_OTHER_FRAMES[marker]}; {_RESAVE}")
        tail = _end(file)
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        raise DamagedImage("its header is missing or spoilt; copy or scan it again")
    bits, height, width, samples = struct.unpack_from(">BHHB", frame)
    components = [frame[6 + 3 * n : 9 + 3 * n] for n in range(samples)]
    if bits != 8:
        raise UnsupportedImage(f"it has {bits} bits per sample; save it as TIFF")
    if samples not in (1, 3):
        raise UnsupportedImage(f"it has {samples} colours (CMYK has 4); save it as grey or RGB")
    stored_rgb |= bytes(component[0] for component in components) == b"RGB"
    if samples == 3 and stored_rgb:
        raise UnsupportedImage(f"its colours are stored as RGB; {_RESAVE}")
    if not height or not width:
        raise UnsupportedImage(f"its height is not in its header; {_RESAVE}")
    factors = [(component[1] >> 4, component[1] & 15) for component in components]
    if samples == 1:
        factors = [(1, 1)]  # without meaning where there is nothing to interleave
    if factors[0] not in _SUBSAMPLING or any(factor != (1, 1) for factor in factors[1:]):
        raise UnsupportedImage(f"its chroma subsampling is none of 4:4:4, 4:2:2 and 4:2:0; {_RESAVE}")
    if any(component[2] not in quantisation for component in components):
        raise DamagedImage("a quantisation table is missing; copy or scan it again")
    tables = tuple(quantisation[component[2]] for component in components)
    info = ImageInfo(path, "jpeg", height, width, samples, samples, np.dtype(np.uint8))
    layout = Layout(info, bytes(kept), tables, factors[0], tail)
    # Before the last of several scans no row is known, so libjpeg holds all coefficients.
    if (progressive or first_scan[:1] < bytes([samples])) and layout.coefficient_bytes > HELD_LIMIT:
        raise UnsupportedImage(
            f"it is stored in several passes (progressive), which take more than {HELD_LIMIT >> 20} MiB; "
            "save it as a baseline JPEG"
        )
    return layout


def rewrite(info: ImageInfo, destination: Path, bands: Iterable[Band], threads: int) -> None:
    """Encode the picture of `bands` to `destination`. Untouched pixels may differ by rounding."""
    layout = read_layout(info.path)
    if layout.info != info:
        raise DamagedImage("it was replaced while it was being read; try again")
    rows = layout.band_mcu_rows * layout.mcu[0]
    parts = regroup(info, bands, even_heights(info.height, rows))
    encoded = in_order(threads, rows * info.row_bytes, lambda band: _encode(layout, band), parts)
    with info.path.open("rb") as source, destination.open("wb") as target, closing(encoded):
        for number, (header, data) in enumerate(encoded):
            if number == 0:
                target.write(bytes([0xFF, SOI]) + layout.kept + header)
            else:
                target.write(bytes([0xFF, RESTART + (number - 1) % 8]))
            target.write(data)
        target.write(bytes([0xFF, EOI]))
        source.seek(layout.tail)
        shutil.copyfileobj(source, target)


def _end(file: IO[bytes]) -> int:
    """The byte after the first end marker from here on: entropy-coded data hold none."""
    last = b""
    while data := file.read(PIECE_BYTES):
        found = (last + data).find(bytes([0xFF, EOI]))
        if found >= 0:
            return file.tell() - len(last + data) + found + 2
        last = data[-1:]
    raise DamagedImage(_CUT_SHORT)


def _segments(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments up to the first scan and with it."""
    file.read(2)
    marker = 0
    while marker != SOS:
        lead = file.read(2)
        while lead == b"\xff\xff":  # a marker may be preceded by any number of these
            lead = b"\xff" + file.read(1)
        length = file.read(2)
        if len(lead) < 2 or lead[0] != 0xFF or len(length) < 2:
            raise DamagedImage(_CUT_SHORT)
        marker = lead[1]
        (size,) = struct.unpack(">H", length)
        data = file.read(max(0, size - 2))
        if len(data) != size - 2:
            raise DamagedImage(_CUT_SHORT)
        yield marker, data


def _tables(data: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the quantisation tables of a DQT segment by their number, in rows."""
    at = 0
    while at < len(data):
        precision, number = data[at] >> 4, data[at] & 15
        if precision:
            raise UnsupportedImage(f"its quantisation tables have 16 bits; {_RESAVE}")
        values = data[at + 1 : at + 65]
        if len(values) < 64:
            raise DamagedImage("a quantisation table is cut short; copy or scan it again")
        table = [0] * 64
        for place, value in zip(_ZIGZAG, values, strict=True):
            table[place] = value
        yield number, tuple(table)
        at += 65


def _encode(layout: Layout, band: Band) -> tuple[bytes, bytes]:
    """Encode a band as a file of its own; return its headers, made those of the picture, and its data."""
    tables = [list(table) for table in layout.tables]
    while len(tables) > 1 and tables[-1] == tables[-2]:  # the last also serves the components after it
        tables.pop()
    buffer = io.BytesIO()
    pixels = band.rows if layout.info.samples == 3 else band.rows[:, :, 0]
    Image.fromarray(pixels).save(buffer, "JPEG", qtables=tables, subsampling=_SUBSAMPLING[layout.luma])
    buffer.seek(0)
    header = b""
    for marker, data in _segments(buffer):
        if marker in FRAMES:
            data = data[:1] + struct.pack(">H", layout.info.height) + data[3:]
        if marker == SOS:
            interval = layout.band_mcu_rows * layout.mcus_across
            header += struct.pack(">BBHH", 0xFF, DRI, 4, interval)
        if marker in (DQT, DHT, SOS, *FRAMES):
            header += struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
    return header, buffer.read()[:-2]
