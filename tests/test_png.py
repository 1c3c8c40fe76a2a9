"""Files are written by a plain encoder of the test's own and read back by imagecodecs or Pillow."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dustwatch.processing import png
from dustwatch.processing.raster import (
    Band,
    DamagedImage,
    ImageInfo,
    UnsupportedImage,
    open_rows,
    probe,
    rewrite,
)

if TYPE_CHECKING:
    from pathlib import Path

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
ANCILLARY = [
    (b"gAMA", struct.pack(">I", 45455)),
    (b"pHYs", struct.pack(">IIB", 157480, 157480, 1)),
    (b"tEXt", b"Software\0scan software"),
    (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>"),
    (b"dwPr", b"a private chunk"),
]
AFTER = [(b"eXIf", b"II*\0\x08\0\0\0\0\0\0\0\0\0"), (b"tIME", struct.pack(">HBBBBB", 2024, 1, 2, 3, 4, 5))]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks(path: Path) -> list[tuple[bytes, bytes]]:
    data, at, found = path.read_bytes(), 8, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def write(path: Path, image: np.ndarray, before: list = ANCILLARY, after: list = AFTER) -> None:
    """Without filters, the picture in several IDAT chunks."""
    height, width, samples = image.shape
    rows = image.astype(image.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    packed = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 8 * image.itemsize, COLOUR_TYPES[samples], 0, 0, 0)
    parts = [packed[at : at + 1000] for at in range(0, len(packed), 1000)]
    path.write_bytes(
        png.SIGNATURE
        + chunk(b"IHDR", header)
        + b"".join(chunk(*item) for item in before)
        + b"".join(chunk(b"IDAT", part) for part in parts)
        + b"".join(chunk(*item) for item in after)
        + chunk(b"IEND", b"")
    )


def picture(height: int, width: int, samples: int, dtype: str) -> np.ndarray:
    random = np.random.default_rng(height * width)
    smooth = random.normal(0, 3, (height, width, samples)).cumsum(0).cumsum(1)
    top = np.iinfo(dtype).max
    return (smooth * top / 500 + top / 2).clip(0, top).astype(dtype)


def bands(image: np.ndarray, height: int) -> list[Band]:
    return [
        Band(start, image[start : start + height], np.ones(len(image[start : start + height]), bool))
        for start in range(0, len(image), height)
    ]


def read_all(info: ImageInfo, step: int = 5) -> np.ndarray:
    with open_rows(info) as rows:
        return np.concatenate(
            [rows.read(start, min(start + step, info.height)) for start in range(0, info.height, step)]
        )


@settings(max_examples=40)
@given(data=st.data())
def test_any_geometry_reads_back_as_asked(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    samples = data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from(["uint8", "uint16"]))
    path = tmp_path_factory.mktemp("png") / "in.png"
    before = picture(height, width, samples, dtype)
    write(path, before)
    info = probe(path)
    assert (info.format, info.height, info.width, info.samples) == ("png", height, width, samples)
    assert (info.colours, info.dtype) == (1 if samples < 3 else 3, np.dtype(dtype))
    np.testing.assert_array_equal(read_all(info, data.draw(st.integers(1, 40))), before)

    after = before.copy()
    after[data.draw(st.integers(0, height - 1))] += 1
    out = path.with_name("out.png")
    rewrite(info, out, bands(after, data.draw(st.integers(1, 40))))
    np.testing.assert_array_equal(imagecodecs.png_decode(out.read_bytes()).reshape(after.shape), after)
    np.testing.assert_array_equal(read_all(probe(out)), after)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_other_chunk_is_kept_and_threads_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    path, out = tmp_path / "in.png", tmp_path / "out.png"
    write(path, picture(100, 30, 3, dtype), [*ANCILLARY, (b"iDOT", bytes(28))])
    after = picture(100, 30, 3, dtype)[::-1].copy()
    monkeypatch.setattr(png, "BLOCK_BYTES", 2000)
    written = set()
    for threads in (1, 3):
        rewrite(probe(path), out, bands(after, 7), threads)
        written.add(out.read_bytes())
    assert len(written) == 1

    def others(path: Path) -> list[tuple[bytes, bytes]]:
        return [item for item in chunks(path) if item[0] not in (b"IDAT", b"iDOT")]

    assert others(out) == others(path)
    kinds = [kind for kind, _ in chunks(out)]
    assert b"iDOT" not in kinds  # it would point to where the data was
    assert kinds.index(b"dwPr") < kinds.index(b"IDAT") < kinds.index(b"eXIf")
    with Image.open(out) as image:
        assert image.info["Software"] == "scan software"
    np.testing.assert_array_equal(imagecodecs.png_decode(out.read_bytes()), after)


def test_filters_make_it_smaller(tmp_path: Path) -> None:
    """About as small as libpng makes it, which filters in the same way."""
    path, out = tmp_path / "in.png", tmp_path / "out.png"
    image = picture(200, 200, 3, "uint8")
    Image.fromarray(image).save(path)
    rewrite(probe(path), out, bands(image, 64))
    assert out.stat().st_size < 1.02 * path.stat().st_size


def test_a_transparent_colour_is_kept_and_is_no_sample(tmp_path: Path) -> None:
    for samples, key in ((1, b"\0\x05"), (3, b"\0\x05\0\x05\0\x05")):
        path, out = tmp_path / "in.png", tmp_path / "out.png"
        image = picture(20, 20, samples, "uint16")
        write(path, image, [(b"tRNS", key)])
        info = probe(path)
        assert info.samples == samples
        np.testing.assert_array_equal(read_all(info), image)
        rewrite(info, out, bands(image, 20))
        assert (b"tRNS", key) in chunks(out)


def header(width: int = 4, height: int = 4, bits: int = 8, colour_type: int = 2, interlace: int = 0) -> bytes:
    content = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlace)
    return png.SIGNATURE + chunk(b"IHDR", content) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(interlace=1), "interlaced"),
        (header(colour_type=3), "palette"),
        (header(bits=1, colour_type=0), "1 bits"),
        (header(bits=4, colour_type=0), "4 bits"),
        (header()[:33] + chunk(b"acTL", b"\0" * 8) + header()[33:], "animated"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "in.png"
    path.write_bytes(data)
    with pytest.raises(UnsupportedImage, match=message):
        probe(path)


def test_a_spoilt_header_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    good = header()
    for position in range(8, 33):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        with pytest.raises(DamagedImage):
            probe(path)


def test_a_file_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    write(path, picture(30, 30, 3, "uint8"))
    data = path.read_bytes()
    for length in [*range(8, 300), *range(300, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DamagedImage):
            probe(path)


def test_picture_data_that_ends_early_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    write(path, picture(300, 300, 3, "uint8"))
    parts = chunks(path)
    last = max(number for number, (kind, _) in enumerate(parts) if kind == b"IDAT")
    del parts[last - 3 : last + 1]
    path.write_bytes(png.SIGNATURE + b"".join(chunk(*part) for part in parts))
    info = probe(path)
    with pytest.raises(DamagedImage, match="row"):
        read_all(info)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    write(path, picture(100, 100, 3, "uint8"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    info = probe(path)
    with pytest.raises(DamagedImage):
        read_all(info)
