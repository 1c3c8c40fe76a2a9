"""Directories that are spoilt are refused."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.processing.raster import DamagedImage, ImageError, probe
from dustwatch.processing.tiff_directory import Structure, open_unbuffered
from tests.tiffs import (
    EXTRA_TAGS,
    STORAGES,
    changed,
    check,
    picture,
    place_of,
    read_all,
    segments,
    set_value,
    with_directory_last,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tags_are_read_as_tifffile_reads_them(tmp_path: Path, bigtiff: bool, byteorder: str) -> None:
    path = tmp_path / "in.tif"
    image = picture(64, 48, 3, "uint16")
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        file.write(image, photometric="rgb", tile=(16, 16), extratags=EXTRA_TAGS, subifds=1, metadata=None)
        file.write(image[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        file.write(image, photometric="rgb", rowsperstrip=5, metadata=None)
    with open_unbuffered(path) as raw, tifffile.TiffFile(path) as file:
        structure = Structure(raw)
        first, second = file.pages
        assert len(structure.pages) == 3
        found = {
            code: (entry.position, entry.kind, entry.count, entry.values_at)
            for code, entry in structure.pages[0].items()
        }
        assert found == {tag.code: (tag.offset, tag.dtype, tag.count, tag.valueoffset) for tag in first.tags}
        assert structure.values(324) == list(first.dataoffsets)
        assert structure.values(258) == [16, 16, 16]
        extents = {start: stop for page in structure.pages for start, stop in structure.data_extents(page)}
        for page in (first, second, *first.pages):
            for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
                assert extents[offset] == offset + size


@pytest.mark.parametrize(
    ("said", "read"),
    [("a", "a"), ("Lake, 5 o\u2019clock", "Lake, 5 o\u2019clock"), ("a\0b", "a"), ("long " * 13107 + "er", "")],
)
def test_a_description_is_read_unless_it_is_too_long(tmp_path: Path, said: str, read: str) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(8, 8, 3, "uint8"), description=said.encode())
    assert probe(path).description == read
    write(path, picture(8, 8, 3, "uint8"))
    assert probe(path).description == ""


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("last", [False, True])
def test_a_file_cut_anywhere_is_noticed(tmp_path: Path, storage: str, compression: str | None, last: bool) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(20, 12, 3, "uint8"), compression=compression, extratags=EXTRA_TAGS, **STORAGES[storage])
    if last:
        with_directory_last(path)
    with path.open("r+b") as file:
        for length in range(path.stat().st_size - 1, 0, -3):
            file.truncate(length)
            with pytest.raises(DamagedImage):
                probe(path)


@pytest.mark.parametrize("storage", STORAGES)
@settings(max_examples=100)
@given(position=st.integers(4, 700), value=st.integers(0, 255))
def test_a_spoilt_header_is_an_image_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, storage: str, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "in.tif"
    write(path, picture(40, 40, 3, "uint16"), compression="deflate", **STORAGES[storage])
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data)
    try:
        info = probe(path)
        read_all(info)
    except ImageError:
        return
    assert info.height > 0


@pytest.mark.parametrize("storage", STORAGES)
def test_an_offset_beyond_the_end_is_cut_short(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(40, 40, 3, "uint16"), compression="zstd", **STORAGES[storage])
    data = path.read_bytes()
    code = 324 if "tile" in STORAGES[storage] else 273
    noun = "tile" if code == 324 else "strip"
    widest = 2 ** (8 * struct.calcsize(place_of(path, code)[1])) - 1
    count = len(segments(path))
    for value in (len(data) - 1, len(data), widest):
        path.write_bytes(data)
        set_value(path, code, value, count - 1)
        with pytest.raises(DamagedImage, match=rf"cut short: {noun} {count} of {count}"):
            probe(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_directories_that_form_a_loop_are_refused(tmp_path: Path, bigtiff: bool) -> None:
    path = tmp_path / "in.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        for _ in range(2):
            file.write(picture(20, 12, 3, "uint8"), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        first, second = file.pages
        start, tags = second.offset, len(second.tags)
        back = struct.pack("<Q" if bigtiff else "<I", first.offset)
    place = start + (8 + 20 * tags if bigtiff else 2 + 12 * tags)
    data = path.read_bytes()
    path.write_bytes(data[:place] + back + data[place + len(back) :])
    with pytest.raises(DamagedImage, match="loop"):
        probe(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_sub_directories_may_be_listed_and_follow_each_other_too(tmp_path: Path, bigtiff: bool) -> None:
    path = tmp_path / "in.tif"
    image = picture(64, 48, 3, "uint16")
    halves = [image[::step, ::step] for step in (2, 4)]
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        file.write(image, photometric="rgb", compression="deflate", rowsperstrip=8, subifds=2, metadata=None)
        for half in halves:
            file.write(half, photometric="rgb", subfiletype=1, metadata=None)
        file.write(image, photometric="rgb", metadata=None)
    with open_unbuffered(path) as raw:
        assert len(Structure(raw).pages) == 4
    out = check(path, changed(image, range(20, 30)), image)
    with tifffile.TiffFile(out) as file:
        for half, page in zip(halves, file.pages[0].pages, strict=True):
            np.testing.assert_array_equal(page.asarray(), half)
        np.testing.assert_array_equal(file.pages[1].asarray(), image)
        first = file.pages[0].offset
    set_value(out, 330, first)  # the page itself
    with open_unbuffered(out) as raw:
        assert len(Structure(raw).pages) == 3


@pytest.mark.parametrize(
    ("place", "code", "value", "message"),
    [
        (4, "<H", 4, "header makes no sense"),
        (6, "<H", 1, "header makes no sense"),
        (8, "<Q", 0, "no pages"),
        (8, "<Q", 2**64 - 1, "cut short"),
        (16, "<Q", 2**64 - 1, "18446744073709551615 entries"),
        (16, "<Q", 40_000, "cut short"),
    ],
)
def test_a_bigtiff_whose_start_is_spoilt_is_refused(
    tmp_path: Path, place: int, code: str, value: int, message: str
) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(20, 12, 3, "uint16"), bigtiff=True)
    data = bytearray(path.read_bytes())
    assert struct.unpack_from("<Q", data, 8) == (16,)
    struct.pack_into(code, data, place, value)
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match=message):
        probe(path)


def test_what_lies_beyond_four_gibibytes_is_found(tmp_path: Path) -> None:
    """A BigTIFF whose picture lies behind a hole of 5 GiB, which takes no room on the disk."""
    path = tmp_path / "in.tif"
    image = picture(20, 12, 3, "uint16")
    write(path, image, bigtiff=True, compression="zstd", rowsperstrip=20)
    (strip,) = segments(path)
    set_value(path, 273, 5 << 30)
    with path.open("r+b") as file:
        file.seek(5 << 30)
        file.write(strip.data)
    np.testing.assert_array_equal(read_all(probe(path)), image)
    with path.open("r+b") as file:
        file.truncate((5 << 30) + len(strip.data) - 1)
    with pytest.raises(DamagedImage, match="cut short: strip 1 of 1"):
        probe(path)
