"""Everything is written and read back by tifffile, which shares no code with what is tested."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dustwatch.processing import tiff, tiff_directory, tiff_layout
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

ICC = b"a profile" * 50
XMP = b"<x:xmpmeta>dust</x:xmpmeta>"
PRIVATE = bytes(range(200))
PALETTE = np.zeros((3, 256), "uint16")
EXTRA_TAGS = [
    (271, 2, 0, "Scanner works", True),
    (274, 3, 1, 6, True),
    (306, 2, 0, "2024:01:02 03:04:05", True),
    (700, 1, len(XMP), XMP, True),
    (33723, 7, 30, b"\x1c\x02iptc data of thirty bytes....", True),
    (34675, 7, len(ICC), ICC, True),
    (40001, 7, len(PRIVATE), PRIVATE, True),
]


def picture(height: int, width: int, samples: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Noise on a slope: compresses, but not to nothing."""
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 200, height)[:, None, None] + np.zeros((height, width, samples))
    image = slope + random.integers(0, 8, slope.shape)
    return (image * (256 if dtype == "uint16" else 1)).astype(dtype)


def write(path: Path, image: np.ndarray, **options: object) -> None:
    samples = image.shape[2]
    options.setdefault("photometric", "rgb" if samples > 2 else "minisblack")
    options.setdefault("planarconfig", "contig" if samples > 2 else None)
    tifffile.imwrite(path, image if samples > 1 else image[:, :, 0], metadata=None, **options)


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


def rows_changed(image: np.ndarray, rows: list[int], seed: int = 1) -> np.ndarray:
    """A copy in which some `rows` hold other, noisier values: their strips get longer."""
    after = image.copy()
    top = np.iinfo(image.dtype).max
    after[rows] = np.random.default_rng(seed).integers(0, top, after[rows].shape, endpoint=True)
    return after


def check(path: Path, after: np.ndarray, before: np.ndarray, threads: tuple[int, ...] = (1, 3)) -> Path:
    """Rewrite `path` and see that tifffile reads what was asked for; the result's path."""
    info = probe(path)
    out = path.with_name("out.tif")
    written = set()
    for number in threads:
        rewrite(info, out, bands(before, after), number)
        written.add(out.read_bytes())
    assert len(written) == 1
    with tifffile.TiffFile(out) as file:
        np.testing.assert_array_equal(file.pages[0].asarray().reshape(after.shape), after)
    np.testing.assert_array_equal(read_all(probe(out), threads[-1]), after)
    return out


def strips(path: Path) -> list[bytes]:
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        places = zip(page.dataoffsets, page.databytecounts, strict=True)
        return [data[offset : offset + size] for offset, size in places]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_geometry_reads_back_as_asked(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 30))
    samples = data.draw(st.sampled_from([1, 2, 3, 4]))
    dtype = data.draw(st.sampled_from(["uint8", "uint16"]))
    compression = data.draw(st.sampled_from([None, "lzw", "adobe_deflate", "deflate"]))
    path = tmp_path_factory.mktemp("tiff") / "in.tif"
    before = picture(height, width, samples, dtype)
    write(
        path,
        before,
        byteorder=data.draw(st.sampled_from("<>")),
        compression=compression,
        predictor=data.draw(st.booleans()) if compression else None,
        rowsperstrip=data.draw(st.integers(1, height)),
        extrasamples=[0] if samples in (2, 4) else None,
    )
    info = probe(path)
    assert (info.format, info.height, info.width, info.samples) == ("tiff", height, width, samples)
    assert (info.colours, info.dtype) == (1 if samples < 3 else 3, np.dtype(dtype))
    for threads in (1, 3):
        np.testing.assert_array_equal(read_all(info, threads, data.draw(st.integers(1, height))), before)
    after = rows_changed(before, data.draw(st.lists(st.integers(0, height - 1), max_size=5, unique=True)))
    check(path, after, before)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_nothing_changed_is_a_copy(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "in.tif"
    image = picture(50, 20, 3, "uint16")
    write(path, image, compression=compression, rowsperstrip=8)
    assert check(path, image, image).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_everything_but_the_changed_strips_is_kept(tmp_path: Path, compression: str | None, byteorder: str) -> None:
    path = tmp_path / "in.tif"
    before = picture(64, 30, 4, "uint16")
    second = picture(20, 10, 3, "uint8", 5)
    with tifffile.TiffWriter(path, byteorder=byteorder) as file:
        file.write(
            before,
            photometric="rgb",
            planarconfig="contig",
            extrasamples=["unspecified"],
            compression=compression,
            predictor=2 if compression else None,
            rowsperstrip=8,
            resolution=(4000, 4000),
            resolutionunit=2,
            software="scan software",
            extratags=EXTRA_TAGS,
            subifds=1,
            metadata=None,
        )
        file.write(before[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        file.write(second, photometric="rgb", compression="deflate", metadata=None)
    after = rows_changed(before, [17, 40, 41])
    after[:, :, 3] = before[:, :, 3]

    out = check(path, after, before)

    with tifffile.TiffFile(path) as old, tifffile.TiffFile(out) as new:
        assert len(new.pages) == 2
        np.testing.assert_array_equal(new.pages[1].asarray(), second)
        np.testing.assert_array_equal(new.pages[0].pages[0].asarray(), before[::4, ::4])
        for page in (0, 1):
            tags = {tag.code: tag.value for tag in old.pages[page].tags}
            assert [tag.code for tag in new.pages[page].tags] == list(tags)
            for tag in new.pages[page].tags:
                if page == 1 or tag.code not in (273, 279):
                    assert tag.value == tags[tag.code], tag.name
        assert {271, 274, 282, 296, 305, 306, 330, 338, 700, 33723, 34675, 40001} < set(old.pages[0].tags.keys())
    for number, (mine, theirs) in enumerate(zip(strips(out), strips(path), strict=True)):
        assert (mine == theirs) == (number not in (2, 5))


def with_directory_last(path: Path) -> None:
    """Move the first directory behind everything else, as libtiff and most scan software place it."""
    data = path.read_bytes()
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    table = data[start : start + 6 + 12 * count]
    pad = len(data) % 2
    path.write_bytes(data[:4] + struct.pack("<I", len(data) + pad) + data[8:] + b"\0" * pad + table)


def test_strips_before_the_directory_are_packed_and_the_overflow_goes_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    before = picture(80, 50, 3, "uint16")
    write(path, before, compression="deflate", rowsperstrip=8)
    with_directory_last(path)
    after = rows_changed(before, [0, 33])

    out = check(path, after, before)

    old, new = strips(path), strips(out)
    grown = sum(map(len, new)) - sum(map(len, old))
    assert grown > 0
    assert out.stat().st_size - path.stat().st_size <= grown + max(map(len, new))
    (directory,) = struct.unpack_from("<I", path.read_bytes(), 4)
    assert struct.unpack_from("<I", out.read_bytes(), 4) == (directory,)
    assert [number for number in range(10) if new[number] != old[number]] == [0, 4]


def test_a_file_that_ends_in_its_picture_leaves_no_hole(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    after = picture(80, 50, 3, "uint16")
    before = rows_changed(after, list(range(10, 20)))
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
    out = check(path, rows_changed(before, [3, 77]), before)
    with Image.open(out) as image:
        np.testing.assert_array_equal(np.asarray(image), rows_changed(before, [3, 77]))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_strips_anywhere_in_the_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Strips in any order, with padding or other bytes between, around the directory: only strips move."""
    path = tmp_path_factory.mktemp("tiff") / "in.tif"
    count = data.draw(st.integers(1, 6))
    before = picture(8 * count, 30, 3, "uint8")
    packed = [zlib.compress(before[8 * n : 8 * n + 8].tobytes(), 9) for n in range(count)]
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
    fields = [(256, 30), (257, 8 * count), (258, 8), (259, 8), (262, 2), (273, offsets), (277, 3), (278, 8)]
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
    out = check(path, flat if data.draw(st.booleans()) else rows_changed(before, rows), before)

    result = out.read_bytes()
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
    out = check(path, rows_changed(before, [5, 25]), before)
    assert out.read_bytes().count(b"something else") == 4
    assert out.read_bytes()[: len(data)].endswith(b"the end")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("height", [60, 120, 180])
def test_short_byte_counts_give_way_to_long_ones(tmp_path: Path, byteorder: str, height: int) -> None:
    """Strips of 60 rows that compress well, then not at all: their lengths pass 65535."""
    path = tmp_path / "in.tif"
    before = np.zeros((height, 400, 3), "uint8")
    write(path, before, compression="deflate", rowsperstrip=60, byteorder=byteorder)
    as_shorts(path, 279)
    after = rows_changed(before, list(range(height)))
    assert read_all(probe(path)).max() == 0
    out = check(path, after, before)
    assert min(map(len, strips(out))) > 0xFFFF
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(out) as new:
        assert (old.pages[0].tags[279].dtype, new.pages[0].tags[279].dtype) == (3, 4)


def as_shorts(path: Path, code: int) -> None:
    with tifffile.TiffFile(path) as file:
        order, tag = file.byteorder, file.pages[0].tags[code]
        numbers = tag.value
        position = tag.offset
    data = bytearray(path.read_bytes())
    packed = struct.pack(f"{order}{len(numbers)}H", *numbers)
    struct.pack_into(order + "H", data, position + 2, 3)
    if len(packed) <= 4:
        data[position + 8 : position + 12] = packed.ljust(4, b"\0")
    else:
        data += b"\0" * (len(data) % 2)
        struct.pack_into(order + "I", data, position + 8, len(data))
        data += packed
    path.write_bytes(data)


def test_a_large_deflate_strip_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.tif"
    before = picture(200, 90, 3, "uint16")
    write(path, before, compression="deflate", predictor=True, rowsperstrip=150)
    with_directory_last(path)
    monkeypatch.setattr(tiff_layout, "STREAMED_BYTES", 10_000)
    monkeypatch.setattr("dustwatch.processing.tiff_segment.PIECE_BYTES", 5_000)
    np.testing.assert_array_equal(read_all(probe(path)), before)
    out = check(path, rows_changed(before, [160]), before)
    assert strips(out)[0] == strips(path)[0]

    spoil(path, 0)
    with pytest.raises(DamagedImage, match=r"strip 1 of 2 \(rows 0-149\)"):
        read_all(probe(path))


def test_nothing_is_written_past_four_gibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.tif"
    before = picture(80, 50, 3, "uint16")
    write(path, before, compression="deflate", rowsperstrip=8)
    limit = path.stat().st_size + 100
    monkeypatch.setattr(tiff, "FILE_LIMIT", limit)
    out = tmp_path / "out.tif"
    with pytest.raises(UnsupportedImage, match="4 GiB"):
        rewrite(probe(path), out, bands(before, rows_changed(before, [0, 33])))
    assert out.stat().st_size <= limit


def test_a_last_strip_filled_to_full_height(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    full = picture(24, 20, 3, "uint8")
    write(path, full, compression="deflate", rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[257].valueoffset
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, place, 20)
    path.write_bytes(data)
    check(path, rows_changed(full[:20], [18]), full[:20])


# --- what is refused ---


@pytest.mark.parametrize(
    ("options", "samples", "dtype", "message"),
    [
        ({"tile": (16, 16)}, 3, "uint8", "tiles"),
        ({"planarconfig": "separate"}, 3, "uint8", "planar"),
        ({"compression": "zstd"}, 3, "uint8", "zstd"),
        ({"compression": "packbits"}, 3, "uint8", "PackBits"),
        ({"compression": "jpeg"}, 3, "uint8", "lossy JPEG"),
        ({"bigtiff": True}, 3, "uint8", "BigTIFF"),
        ({"photometric": "miniswhite"}, 1, "uint8", "min-is-white"),
        ({"photometric": "separated"}, 4, "uint8", "CMYK"),
        ({"photometric": "cielab"}, 3, "uint8", "CIELAB"),
        ({"photometric": "palette", "colormap": PALETTE}, 1, "uint8", "palette"),
        ({}, 3, "uint32", "32 bits"),
        ({}, 3, "float32", "floating point"),
        ({}, 1, "int16", "signed"),
        ({"subfiletype": 1}, 3, "uint8", "preview"),
    ],
)
def test_other_kinds_are_refused_by_name(
    tmp_path: Path, options: dict[str, object], samples: int, dtype: str, message: str
) -> None:
    path = tmp_path / "in.tif"
    image = np.zeros((32, 32, samples), dtype)
    if options.get("planarconfig") == "separate":
        tifffile.imwrite(path, np.zeros((3, 32, 32), dtype), photometric="rgb", metadata=None, **options)
    else:
        write(path, image, **options)
    with pytest.raises(UnsupportedImage, match=message):
        probe(path)


def set_value(path: Path, code: int, value: int, number: int = 0) -> None:
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[code]
        kind = {3: "H", 4: "I"}[tag.dtype]
        place = tag.valueoffset + number * struct.calcsize(kind)
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + kind, data, place, value)
    path.write_bytes(data)


def test_an_unknown_predictor_and_a_huge_lzw_strip_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, 3), "uint8"), compression="lzw", predictor=True)
    monkeypatch.setattr(tiff_layout, "HELD_LIMIT", 1000)
    with pytest.raises(UnsupportedImage, match="LZW strips are larger"):
        probe(path)
    set_value(path, 317, 3)
    with pytest.raises(UnsupportedImage, match="predictor is number 3"):
        probe(path)


def test_reversed_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, 3), "uint8"), extratags=[(274, 3, 1, 2, True)])
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[274].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, place, 266)  # instead of the orientation
    path.write_bytes(data)
    with pytest.raises(UnsupportedImage, match="fill order 2"):
        probe(path)


def test_shared_strips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, np.zeros((32, 32, 3), "uint8"), compression="deflate", rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].dataoffsets[0]
    set_value(path, 273, first, 2)
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


def spoil(path: Path, number: int) -> None:
    """Flip bits in the middle of a strip."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        middle = page.dataoffsets[number] + page.databytecounts[number] // 2
    data[middle] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_spoilt_strip_is_named(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(64, 50, 3, "uint16"), compression="deflate", rowsperstrip=8)
    spoil(path, 3)
    with pytest.raises(DamagedImage, match=r"strip 4 of 8 \(rows 24-31\)"):
        read_all(probe(path), threads)


def test_a_short_lzw_strip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(64, 50, 3, "uint16"), compression="lzw", rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        size = file.pages[0].databytecounts[1]
    set_value(path, 279, size // 2, 1)
    with pytest.raises(DamagedImage, match=r"strip 2 of 8 \(rows 8-15\)"):
        read_all(probe(path))


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("last", [False, True])
def test_a_file_cut_anywhere_is_noticed(tmp_path: Path, compression: str | None, last: bool) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(20, 12, 3, "uint16"), compression=compression, rowsperstrip=8, extratags=EXTRA_TAGS)
    if last:
        with_directory_last(path)
    data = path.read_bytes()
    for length in [*range(1, 40), *range(40, len(data), 37), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DamagedImage):
            probe(path)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(4, 400), value=st.integers(0, 255))
def test_a_spoilt_header_is_an_image_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "in.tif"
    write(path, picture(20, 12, 3, "uint16"), compression="deflate", rowsperstrip=8)
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data)
    try:
        info = probe(path)
        read_all(info)
    except (DamagedImage, UnsupportedImage):
        return
    assert info.height > 0


def test_an_absurd_height_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(20, 12, 3, "uint16"), rowsperstrip=1, byteorder="<")
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[257]
    data = bytearray(path.read_bytes())
    struct.pack_into("<HHII", data, tag.offset, 257, 4, 1, 2**32 - 1)
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match="needs 4294967295 strips"):
        probe(path)


def test_a_file_replaced_after_probing_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(20, 12, 3, "uint16"))
    info = probe(path)
    write(path, picture(20, 14, 3, "uint16"))
    with pytest.raises(DamagedImage, match="replaced"):
        read_all(info)
