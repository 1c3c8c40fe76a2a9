"""Segments cover the picture; what cannot be stored is refused by name."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.processing import tiff_layout
from dustwatch.processing.raster import DamagedImage, UnsupportedImage, probe
from dustwatch.processing.tiff_layout import read_layout
from tests.tiffs import STORAGES, picture, place_of, read_all, segments, set_value, write

if TYPE_CHECKING:
    from pathlib import Path

PALETTE = np.zeros((3, 256), "uint16")


def rename(path: Path, code: int, new: int) -> None:
    """Make a tag of the first page another one."""
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[code].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, place, new)
    path.write_bytes(data)


@settings(max_examples=60)
@given(data=st.data())
def test_tiers_cover_every_sample_once(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    samples = data.draw(st.sampled_from([1, 3]))
    path = tmp_path_factory.mktemp("tiff") / "in.tif"
    write(path, picture(height, width, samples, "uint8"), **STORAGES[data.draw(st.sampled_from(sorted(STORAGES)))])
    layout = read_layout(path)
    covered = np.zeros((height, width, samples), int)
    bottom = 0
    for tier in layout.tiers:
        assert {segment.top for segment in tier} == {bottom}
        (rows,) = {segment.height for segment in tier}
        for segment in tier:
            covered[bottom : bottom + rows, segment.columns, segment.samples] += 1
        bottom += rows
    assert (covered == 1).all()
    assert sorted(segment.number for segment in layout.segments) == list(range(len(segments(path))))


# --- kinds that are not handled ---


@pytest.mark.parametrize(
    ("options", "samples", "dtype", "message"),
    [
        ({"compression": "packbits"}, 3, "uint8", "PackBits; save it as an uncompressed, LZW, deflate or zstd TIFF"),
        ({"compression": "jpeg"}, 3, "uint8", "lossy JPEG"),
        ({"compression": "jpeg", "tile": (16, 16)}, 3, "uint8", "lossy JPEG"),
        ({"compression": "jpegxl"}, 3, "uint8", "JPEG XL"),
        ({"compression": "webp"}, 3, "uint8", "WebP"),
        ({"compression": "lzma"}, 3, "uint8", "LZMA"),
        ({"photometric": "miniswhite"}, 1, "uint8", "min-is-white"),
        ({"photometric": "separated"}, 4, "uint8", "CMYK"),
        ({"photometric": "cielab"}, 3, "uint8", "CIELAB"),
        ({"photometric": "palette", "colormap": PALETTE}, 1, "uint8", "palette"),
        ({}, 3, "uint32", "32 bits"),
        ({}, 3, "float32", "floating point"),
        ({}, 1, "int16", "signed"),
        ({"subfiletype": 1}, 3, "uint8", "preview"),
        ({"compression": "zstd", "predictor": 3}, 3, "float32", "floating point"),
    ],
)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_other_kinds_are_refused_by_name(
    tmp_path: Path, options: dict[str, Any], samples: int, dtype: str, message: str, bigtiff: bool
) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, samples), dtype), bigtiff=bigtiff, **options)
    with pytest.raises(UnsupportedImage, match=message):
        probe(path)


@pytest.mark.parametrize("compression", ["lzw", "zstd"])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_tier_too_large_to_be_held_is_refused(
    tmp_path: Path, storage: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, 3), "uint8"), compression=compression, **STORAGES[storage])
    tier = read_layout(path).tier_bytes
    monkeypatch.setattr(tiff_layout, "HELD_LIMIT", tier)
    assert probe(path).height == 32
    monkeypatch.setattr(tiff_layout, "HELD_LIMIT", tier - 1)
    name = f"{'LZW' if compression == 'lzw' else 'zstd'} {'tiles' if 'tile' in STORAGES[storage] else 'strips'}"
    with pytest.raises(UnsupportedImage, match=f"a row of its {name} takes more than 0 MiB; save it with smaller ones"):
        probe(path)


def test_an_unknown_predictor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, 3), "uint8"), compression="lzw", predictor=True)
    set_value(path, 317, 3)
    with pytest.raises(UnsupportedImage, match="predictor is number 3"):
        probe(path)


def test_samples_of_undefined_format_are_unsigned(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    image = picture(20, 12, 1, "uint16")
    write(path, image.astype("int16"))
    set_value(path, 339, 4)
    np.testing.assert_array_equal(read_all(probe(path)), image)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("fault", ["missing", "0"])
def test_strips_of_unknown_size_are_refused_with_what_helps(
    tmp_path: Path, compression: str | None, fault: str
) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(50, 40, 3, "uint16"), compression=compression, rowsperstrip=50)
    if fault == "missing":
        rename(path, 279, 40002)
    else:
        set_value(path, 279, 0)
    with pytest.raises(UnsupportedImage, match=r"how many bytes its strips have; save it .* with other software"):
        probe(path)


def test_reversed_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, 3), "uint8"), extratags=[(274, 3, 1, 2, True)])
    rename(path, 274, 266)  # the orientation
    with pytest.raises(UnsupportedImage, match="fill order 2"):
        probe(path)


# --- bytes that are shared ---


@pytest.mark.parametrize("storage", ["strips", "planes in strips", "tiles", "BigTIFF"])
def test_shared_segments_are_refused(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, 3), "uint8"), compression="deflate", **STORAGES[storage])
    set_value(path, 324 if "tile" in STORAGES[storage] else 273, segments(path)[0].offset, 1)
    with pytest.raises(UnsupportedImage, match="share"):
        probe(path)


def test_a_page_that_uses_the_first_pages_strips_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    image = picture(32, 32, 3, "uint8")
    with tifffile.TiffWriter(path) as file:
        for _ in range(2):
            file.write(image, photometric="rgb", rowsperstrip=32, compression="deflate", metadata=None)
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].dataoffsets[0]
        second = file.pages[1].tags[273].valueoffset
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, second, first)
    path.write_bytes(data)
    with pytest.raises(UnsupportedImage, match="share"):
        probe(path)


def test_tiles_in_the_directory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(32, 32, 3, "uint8"), tile=(16, 16), bigtiff=True)
    set_value(path, 324, 16, 2)
    with pytest.raises(UnsupportedImage, match="share"):
        probe(path)


# --- structure that makes no sense ---


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("code", [256, 257])
def test_an_absurd_size_is_refused_at_once(tmp_path: Path, storage: str, code: int) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(20, 12, 3, "uint16"), **STORAGES[storage])
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[code]
        kind = "<HHQQ" if file.is_bigtiff else "<HHII"
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, tag.offset, code, 4, 1, 2**32 - 1)
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match=r"needs \d+ strips or tiles, but lists|bytes cannot hold strip 1"):
        probe(path)


@pytest.mark.parametrize(
    ("storage", "code", "value", "message"),
    [
        ("tiles", 322, 0, "tiles have no pixels"),
        ("tiles", 323, 0, "tiles have no pixels"),
        ("tiles", 322, 16, "needs 12 strips or tiles, but lists 8"),
        ("tiles", 323, 0x4000, "bytes cannot hold tile 1 of 2"),
        ("tiles", 325, 0, "0 bytes cannot hold tile 1 of 8"),
        ("strips", 278, 0, "strips have no rows"),
        ("strips", 284, 2, "needs 21 strips or tiles, but lists 7"),
        ("strips", 284, 3, "how its colours are arranged"),
        ("planes in strips", 284, 1, "bytes cannot hold strip 1 of 7"),
        ("planes in tiles", 277, 2, "makes no sense"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, storage: str, code: int, value: int, message: str
) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(50, 40, 3, "uint16"), **STORAGES[storage])
    set_value(path, code, value)
    with pytest.raises(DamagedImage, match=message):
        probe(path)


def test_tiles_without_their_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(50, 40, 3, "uint16"), tile=(16, 16))
    rename(path, 325, 40002)
    with pytest.raises(DamagedImage, match="lacks tag 325"):
        probe(path)


def test_uncompressed_tiles_that_are_too_short_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(50, 40, 3, "uint16"), tile=(16, 16))
    place, _ = place_of(path, 325)
    assert place
    set_value(path, 325, 16 * 16 * 6 - 1, 11)
    with pytest.raises(DamagedImage, match=r"1535 bytes cannot hold tile 12 of 12 \(rows 48-49, columns 32-39\)"):
        probe(path)
