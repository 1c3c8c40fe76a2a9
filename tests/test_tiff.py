"""What is rewritten is read back by tifffile, which shares no code with what is tested."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dustwatch.processing import tiff_directory
from dustwatch.processing.raster import DamagedImage, UnsupportedImage, probe, rewrite
from tests.tiffs import (
    DATA_TAGS,
    EXTRA_TAGS,
    STORAGES,
    arranged,
    bands,
    changed,
    check,
    picture,
    read,
    read_all,
    segments,
    set_value,
    strips,
    with_directory_last,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

COMPRESSIONS = [None, "lzw", "adobe_deflate", "deflate", "zstd"]


@st.composite
def storages(draw: st.DrawFn, height: int) -> dict[str, Any]:
    """Options of tifffile: all the ways to store a picture that are read."""
    compression = draw(st.sampled_from(COMPRESSIONS))
    if draw(st.booleans()):
        shape = {"tile": (16 * draw(st.integers(1, 3)), 16 * draw(st.integers(1, 3)))}
    else:
        shape = {"rowsperstrip": draw(st.integers(1, height))}
    return {
        "byteorder": draw(st.sampled_from("<>")),
        "bigtiff": draw(st.booleans()),
        "planarconfig": draw(st.sampled_from(["contig", "separate"])),
        "compression": compression,
        "predictor": draw(st.booleans()) if compression else None,
        **shape,
    }


@settings(max_examples=150)
@given(data=st.data())
def test_a_picture_stored_in_any_way_reads_back_as_asked(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    samples = data.draw(st.sampled_from([1, 2, 3, 4]))
    dtype = data.draw(st.sampled_from(["uint8", "uint16"]))
    path = tmp_path_factory.mktemp("tiff") / "in.tif"
    before = picture(height, width, samples, dtype)
    write(
        path,
        before,
        extrasamples=[0] if samples in (2, 4) else None,
        extratags=EXTRA_TAGS,
        **data.draw(storages(height)),
    )
    if data.draw(st.booleans()):
        with_directory_last(path)

    info = probe(path)
    assert (info.format, info.height, info.width, info.samples) == ("tiff", height, width, samples)
    assert (info.colours, info.dtype) == (1 if samples < 3 else 3, np.dtype(dtype))
    for threads in (1, 3):
        np.testing.assert_array_equal(read_all(info, threads, data.draw(st.integers(1, height))), before)

    after = before
    for seed in range(data.draw(st.integers(0, 3))):
        after = changed(after, *(data.draw(st.slices(size)) for size in before.shape), seed=seed)
    assert_nothing_else_changed(path, check(path, after, before), before, after)


def assert_nothing_else_changed(path: Path, out: Path, before: np.ndarray, after: np.ndarray) -> None:
    """Segments without a changed pixel, tags and all bytes that are neither are as they were, and where."""
    old, new = segments(path), segments(out)
    assert [piece.where for piece in new] == [piece.where for piece in old]
    for was, now in zip(old, new, strict=True):
        assert (now.data == was.data) == np.array_equal(before[was.where], after[was.where])
    content, result = path.read_bytes(), out.read_bytes()
    kept = np.ones(len(content), bool)
    for piece in old:
        kept[piece.offset : piece.offset + len(piece.data)] = False
    with tifffile.TiffFile(path) as one, tifffile.TiffFile(out) as other:
        assert (other.is_bigtiff, other.byteorder) == (one.is_bigtiff, one.byteorder)
        for tag in one.pages[0].tags:
            if tag.code in DATA_TAGS:
                kept[tag.valueoffset : tag.valueoffset + tag.valuebytecount] = False
                kept[tag.offset : tag.offset + (20 if one.is_bigtiff else 12)] = False  # may become wider
        assert tags_of(other) == tags_of(one)
    stored, written = (np.frombuffer(data, np.uint8) for data in (content, result.ljust(len(content), b"\0")))
    np.testing.assert_array_equal(written[: len(stored)][kept], stored[kept])


def tags_of(file: tifffile.TiffFile) -> list[list[tuple[Any, ...]]]:
    """Type, count and value of all tags of all pages, but of the places of the first one's picture data."""
    return [
        [(tag.code, tag.dtype, tag.count, tag.value) for tag in page.tags if number or tag.code not in DATA_TAGS]
        for number, page in enumerate(file.pages)
    ]


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("storage", STORAGES)
def test_nothing_changed_is_a_copy(tmp_path: Path, storage: str, compression: str | None) -> None:
    path = tmp_path / "in.tif"
    image = picture(50, 40, 3, "uint16")
    write(path, image, compression=compression, **STORAGES[storage])
    assert check(path, image, image).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("storage", STORAGES)
def test_everything_but_the_changed_segments_is_kept(
    tmp_path: Path, storage: str, compression: str | None, byteorder: str
) -> None:
    path = tmp_path / "in.tif"
    before = picture(64, 50, 4, "uint16")
    second = picture(20, 10, 3, "uint8", 5)
    options = STORAGES[storage].copy()
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=options.pop("bigtiff", False)) as file:
        image, options = arranged(before, options)
        file.write(
            image,
            extrasamples=["unspecified"],
            compression=compression,
            predictor=2 if compression else None,
            resolution=(4000, 4000),
            resolutionunit=2,
            software="scan software",
            extratags=EXTRA_TAGS,
            subifds=1,
            **options,
        )
        file.write(before[::4, ::4], photometric="rgb", planarconfig="contig", subfiletype=1, metadata=None)
        file.write(second, photometric="rgb", compression="deflate", tile=(16, 16), metadata=None)
    after = changed(before, [17, 40, 41], np.s_[:20], np.s_[:3])

    out = check(path, after, before)

    assert_nothing_else_changed(path, out, before, after)
    np.testing.assert_array_equal(read(out, 1), second)
    with tifffile.TiffFile(out) as file:
        np.testing.assert_array_equal(file.pages[0].pages[0].asarray(), before[::4, ::4])
        assert {271, 274, 282, 296, 305, 306, 330, 338, 700, 33723, 34675, 40001} < set(file.pages[0].tags.keys())


@pytest.mark.parametrize("predictor", [None, True])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_the_padding_of_a_changed_tile_is_kept(
    tmp_path: Path, planarconfig: str, compression: str | None, predictor: bool | None
) -> None:
    """A picture whose tiles are full is made smaller by its tags: what is no longer in it has become padding."""
    path = tmp_path / "in.tif"
    full = picture(64, 64, 3, "uint16")
    predictor = predictor and compression is not None
    write(path, full, tile=(32, 32), planarconfig=planarconfig, compression=compression, predictor=predictor)
    set_value(path, 256, 41)
    set_value(path, 257, 50)
    before = full[:50, :41]
    out = check(path, changed(before, [3, 48]), before)
    for code in (256, 257):
        set_value(out, code, 64)
    full[:50, :41] = changed(before, [3, 48])
    np.testing.assert_array_equal(read(out), full)


def test_strips_before_the_directory_are_packed_and_the_overflow_goes_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    before = picture(80, 50, 3, "uint16")
    write(path, before, compression="deflate", rowsperstrip=8)
    with_directory_last(path)
    after = changed(before, [0, 33])

    out = check(path, after, before)

    old, new = strips(path), strips(out)
    grown = sum(map(len, new)) - sum(map(len, old))
    assert grown > 0
    assert out.stat().st_size - path.stat().st_size <= grown + max(map(len, new))
    (directory,) = struct.unpack_from("<I", path.read_bytes(), 4)
    assert struct.unpack_from("<I", out.read_bytes(), 4) == (directory,)
    assert [number for number in range(10) if new[number] != old[number]] == [0, 4]


def test_planes_that_lie_one_after_another_are_packed_each_into_its_room(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    after = picture(80, 50, 3, "uint16")
    before = changed(after, list(range(10, 20)))
    write(path, before, compression="deflate", rowsperstrip=8, planarconfig="separate")
    with_directory_last(path)
    out = check(path, after, before)
    old, new = segments(path), segments(out)
    for plane in (0, 10, 20):
        assert new[plane].offset == old[plane].offset
        assert all(one.offset + len(one.data) == two.offset for one, two in pairwise(new[plane : plane + 10]))
    assert out.stat().st_size == path.stat().st_size


def test_a_file_that_ends_in_its_picture_leaves_no_hole(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    after = picture(80, 50, 3, "uint16")
    before = changed(after, list(range(10, 20)))
    write(path, before, compression="deflate", rowsperstrip=8)
    out = check(path, after, before)
    saved = sum(map(len, strips(path))) - sum(map(len, strips(out)))
    assert saved > 0
    assert path.stat().st_size - out.stat().st_size == saved


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"])
def test_libtiff_writes_it_and_reads_the_result(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "in.tif"
    before = picture(90, 400, 3, "uint8")
    Image.fromarray(before).save(path, compression=compression)
    out = check(path, changed(before, [3, 77]), before)
    with Image.open(out) as image:
        np.testing.assert_array_equal(np.asarray(image), changed(before, [3, 77]))


@settings(max_examples=80)
@given(data=st.data())
def test_strips_anywhere_in_the_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Strips in any order, with padding or other bytes between, around the directory: only deflated strips move."""
    path = tmp_path_factory.mktemp("tiff") / "in.tif"
    count = data.draw(st.integers(1, 6))
    before = picture(8 * count, 30, 3, "uint8")
    packed = [before[8 * n : 8 * n + 8].tobytes() for n in range(count)]
    deflated = data.draw(st.booleans())
    if deflated:
        packed = [zlib.compress(strip, 9) for strip in packed]
    order = list(range(count))
    if data.draw(st.booleans()):
        order = data.draw(st.permutations(order))
    pieces: list[int | bytes] = []
    for number in order:
        length = data.draw(st.sampled_from([0, 0, 0, 1, 4, 5, 20]))
        pieces += [b"other" * 4 if length == 20 else bytes(length), number]
    pieces.append(b"the end" * data.draw(st.integers(0, 1)))
    pieces.insert(data.draw(st.integers(0, len(pieces))), b"directory")

    content, offsets, directory = bytearray(8), [0] * count, 0
    for piece in pieces:
        if isinstance(piece, int):
            offsets[piece] = len(content)
            content += packed[piece]
        elif piece == b"directory":
            directory = len(content)
            content += bytes(2 + 9 * 12 + 4 + 8 * count)
        else:
            content += piece
    lists = directory + 2 + 9 * 12 + 4
    compression = 8 if deflated else 1
    fields = [(256, 30), (257, 8 * count), (258, 8), (259, compression), (262, 2), (273, offsets), (277, 3), (278, 8)]
    fields.append((279, [len(strip) for strip in packed]))
    for n, (code, value) in enumerate(fields):
        values = value if isinstance(value, list) else [value]
        place = lists + 4 * count * (code == 279) if len(values) > 1 else values[0]
        struct.pack_into("<HHII", content, directory + 2 + 12 * n, code, 4, len(values), place)
        if len(values) > 1:
            struct.pack_into(f"<{count}I", content, place, *values)
    struct.pack_into("<H", content, directory, 9)
    content[:8] = b"II*\0" + struct.pack("<I", directory)
    path.write_bytes(content)

    rows = data.draw(st.lists(st.integers(0, 8 * count - 1), max_size=4, unique=True))
    flat = before.copy()  # or shorter strips: rows that hold nothing
    flat[rows] = 0
    out = check(path, flat if data.draw(st.booleans()) else changed(before, rows), before)

    result = out.read_bytes()
    assert deflated or len(result) == len(content)
    kept = np.ones(len(content), bool)
    kept[directory : lists + 8 * count] = False
    for offset, strip in zip(offsets, packed, strict=True):
        kept[offset : offset + len(strip)] = False
    for start in sorted(offset + len(strip) for offset, strip in zip(offsets, packed, strict=True)):
        kept[start : start + 4] &= np.frombuffer(content, np.uint8)[start : start + 4] != 0  # padding
    for at in np.flatnonzero(kept):
        assert result[at] == content[at]


def test_strips_out_of_order_and_apart(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    before = picture(40, 30, 3, "uint8")
    write(path, before, compression="lzw", rowsperstrip=10)
    data = bytearray(path.read_bytes())
    parts = strips(path)
    places = []
    for part in reversed(parts):  # the last strip first, text between them
        data += b"something else"
        places.insert(0, len(data))
        data += part
    data += b"the end"
    with tifffile.TiffFile(path) as file:
        struct.pack_into("<4I", data, file.pages[0].tags[273].valueoffset, *places)
    path.write_bytes(data)
    out = check(path, changed(before, [5, 25]), before)
    assert out.read_bytes().count(b"something else") == 4
    assert out.read_bytes()[: len(data)].endswith(b"the end")


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("height", [60, 120, 180, 300])
def test_short_byte_counts_give_way_to_long_ones(tmp_path: Path, byteorder: str, height: int, bigtiff: bool) -> None:
    """Strips of 60 rows that compress well, then not at all: their lengths pass 65535."""
    path = tmp_path / "in.tif"
    before = np.zeros((height, 400, 3), "uint8")
    write(path, before, compression="deflate", rowsperstrip=60, byteorder=byteorder, bigtiff=bigtiff)
    as_shorts(path, 279)
    after = changed(before, list(range(height)))
    assert read_all(probe(path)).max() == 0
    out = check(path, after, before)
    assert min(map(len, strips(out))) > 0xFFFF
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(out) as new:
        assert old.pages[0].tags[279].dtype == 3
        assert new.pages[0].tags[279].dtype == (16 if bigtiff else 4)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("storage", [{"rowsperstrip": 8}, {"tile": (16, 48)}])
def test_what_lists_hold_besides_the_picture_is_kept(
    tmp_path: Path, storage: dict[str, Any], compression: str | None, bigtiff: bool
) -> None:
    """Of a picture whose height was made less in its header alone."""
    path = tmp_path / "in.tif"
    image = picture(56, 48, 3, "uint16")
    write(path, image, compression=compression, bigtiff=bigtiff, **storage)
    set_value(path, 257, 32)
    before = image[:32]
    out = check(path, changed(before, [5, 25]), before)
    set_value(out, 257, 56)
    np.testing.assert_array_equal(read(out)[32:], image[32:])


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("height", [60, 120])
def test_short_byte_counts_that_give_way_are_those_of_the_picture(tmp_path: Path, height: int, bigtiff: bool) -> None:
    path = tmp_path / "in.tif"
    before = np.zeros((300, 400, 3), "uint8")
    write(path, before, compression="deflate", rowsperstrip=60, bigtiff=bigtiff)
    as_shorts(path, 279)
    set_value(path, 257, height)
    out = check(path, changed(before[:height], list(range(height))), before[:height])
    with tifffile.TiffFile(out) as file:
        assert file.pages[0].tags[279].count == height // 60


def as_shorts(path: Path, code: int) -> None:
    with tifffile.TiffFile(path) as file:
        order, tag = file.byteorder, file.pages[0].tags[code]
        offset, room = (order + "Q", 8) if file.is_bigtiff else (order + "I", 4)
    data = bytearray(path.read_bytes())
    packed = struct.pack(f"{order}{tag.count}H", *tag.value)
    struct.pack_into(order + "H", data, tag.offset + 2, 3)
    place = tag.offset + 4 + room
    if len(packed) <= room:
        data[place : place + room] = packed.ljust(room, b"\0")
    else:
        data += b"\0" * (len(data) % 2)
        struct.pack_into(offset, data, place, len(data))
        data += packed
    path.write_bytes(data)


def test_a_classic_tiff_is_not_written_past_four_gibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = tmp_path / "in.tif", tmp_path / "out.tif"
    before = picture(80, 50, 3, "uint16")
    after = changed(before, [0, 33])
    write(path, before, compression="deflate", rowsperstrip=8)
    limit = path.stat().st_size + 100
    monkeypatch.setattr(tiff_directory, "CLASSIC", replace(tiff_directory.CLASSIC, limit=limit))
    with pytest.raises(UnsupportedImage, match="4 GiB that a classic TIFF can hold; save it as BigTIFF"):
        rewrite(probe(path), out, bands(before, after))
    assert out.stat().st_size <= limit
    write(path, before, compression="deflate", rowsperstrip=8, bigtiff=True)
    assert check(path, after, before).stat().st_size > limit


def test_a_last_strip_filled_to_full_height(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    full = picture(24, 20, 3, "uint8")
    write(path, full, compression="deflate", rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[257].valueoffset
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, place, 20)
    path.write_bytes(data)
    check(path, changed(full[:20], [18]), full[:20])


# --- what is refused ---


def test_a_file_replaced_after_probing_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(20, 12, 3, "uint16"))
    info = probe(path)
    write(path, picture(20, 14, 3, "uint16"))
    with pytest.raises(DamagedImage, match="replaced"):
        read_all(info)


# --- memory ---

REWRITE = """
import sys
from pathlib import Path
from dustwatch.processing import lzw
from dustwatch.processing.raster import Band, open_rows, probe, rewrite

lzw.decode(bytes(lzw.encode(b"")), 0)  # numba itself takes tens of MiB, once

def bands():
    with open_rows(info, 2) as rows:
        for start in range(0, info.height, 50):
            band = rows.read(start, min(start + 50, info.height))
            band[0, ::7, 0] ^= 1
            yield Band(start, band, (band[:, 0, 0] & 1).astype(bool))

def peak():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))

info = probe(Path(sys.argv[1]))
before = peak()
rewrite(info, Path(sys.argv[2]), bands(), 2)
print((peak() - before) >> 10)
"""


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (256, 256), "compression": "zstd", "predictor": True},
        {"tile": (256, 256), "planarconfig": "separate", "compression": "lzw"},
        {"rowsperstrip": 1 << 20, "planarconfig": "separate", "compression": "deflate", "predictor": True},
        {"rowsperstrip": 1 << 20, "planarconfig": "separate"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_large_picture_takes_little_memory(tmp_path: Path, options: dict[str, Any]) -> None:
    """103 MiB of picture; every tile of it is encoded anew."""
    path, out = tmp_path / "in.tif", tmp_path / "out.tif"
    image = np.zeros((3000, 6000, 3), np.uint16)
    image[...] = 2 * np.arange(3000, dtype=np.uint16)[:, None, None]
    write(path, image, **options)
    done = subprocess.run([sys.executable, "-c", REWRITE, path, out], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 80
    image[::50, ::7, 0] ^= 1
    np.testing.assert_array_equal(read(out), image)
