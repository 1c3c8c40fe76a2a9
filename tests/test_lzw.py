"""LZW against that of imagecodecs, and against data that nobody meant for it."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dustwatch.processing.lzw import DamagedCodes, decode, encode
from dustwatch.processing.raster import DamagedImage, probe
from tests.tiffs import picture, read_all, set_value, strips, write

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ["constant", "few", "noise", "ramp", "walk", "16 bit"]


def kind_of(kind: str, size: int, seed: int = 0) -> bytes:
    """`size` bytes of some kind."""
    random = np.random.default_rng(seed)
    half = -(-size // 2)
    data = {
        "constant": lambda: np.full(size, seed),
        "few": lambda: random.integers(0, 3, size),
        "noise": lambda: random.integers(0, 256, size),
        "ramp": lambda: np.arange(size) // (1 + seed % 50),
        "walk": lambda: np.cumsum(random.integers(-1, 2, size)),
        "16 bit": lambda: np.round(random.normal(0, 150, half)).astype("<i2").view(np.uint8)[:size],
    }[kind]()
    return data.astype(np.uint8).tobytes()


def bits(*codes: tuple[int, int]) -> bytes:
    """Codes of given widths, packed."""
    text = "".join(f"{code:0{width}b}" for code, width in codes)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


def encoded(data: bytes) -> bytes:
    return bytes(encode(data))


def decoded(data: bytes, room: int) -> bytes | None:
    """What is decoded, None if it is damaged."""
    try:
        return bytes(decode(data, room))
    except DamagedCodes:
        return None


def by_the_book(data: bytes, room: int) -> bytes | None:
    """The same as the specification words it, code by code; imagecodecs misreads a last code that no EOI follows."""
    out, table, before, width, bit = bytearray(), list[bytes](), b"", 9, 0
    if data and (len(data) == 1 or data[0] != 128 or data[1] > 127):
        return None
    while bit + width <= 8 * len(data) and len(out) < room:
        word = int.from_bytes(data[bit // 8 : bit // 8 + 3].ljust(3, b"\0"))
        code = word >> (24 - bit % 8 - width) & ((1 << width) - 1)
        bit += width
        if code == 257:
            break
        if code == 256:
            table, before, width = [bytes([i]) for i in range(256)] + [b"", b""], b"", 9
            continue
        if code > len(table) or (code == len(table) and not before):
            return None
        if before and len(table) < 4096:
            table.append(before + (table[code][:1] if code < len(table) else before[:1]))
        before = table[code]
        out += before
        width = max(9, min((len(table) + 1).bit_length(), 12))  # the encoder is one entry ahead
    return bytes(out[:room])


plain = st.one_of(
    st.binary(max_size=300),
    st.builds(kind_of, st.sampled_from(KINDS), st.integers(0, 40_000), st.integers(0, 255)),
    st.builds(lambda part, times: part * times, st.binary(max_size=40), st.integers(0, 2000)),
)


@given(data=plain)
@example(data=b"")
@example(data=b"\0")
@example(data=bytes(2))
def test_what_is_encoded_is_decoded_by_both(data: bytes) -> None:
    packed = encoded(data)
    assert bytes(imagecodecs.lzw_decode(packed, out=len(data) + 5)) == data
    assert decode(packed, len(data)) == data
    assert decode(packed, len(data) + 5) == data


@given(data=plain)
def test_what_another_encodes_is_decoded(data: bytes) -> None:
    assert decode(bytes(imagecodecs.lzw_encode(data)), len(data)) == data


@pytest.mark.parametrize("codes", [253, 254, 255, 765, 766, 767, 1789, 1790, 1791, 3836, 3837, 3838, 3839, 7674, 7675])
@pytest.mark.parametrize("more", [b"", b"\0", b"\0\1"])
def test_data_may_end_where_codes_widen_and_tables_are_full(codes: int, more: bytes) -> None:
    pairs = np.stack(np.divmod(np.random.default_rng(1).permutation(1 << 16), 256), 1)  # no pair comes twice
    for data in (pairs.astype(np.uint8).tobytes()[:codes] + more, bytes(range(256)) * (codes // 100) + more):
        packed = encoded(data)
        assert bytes(imagecodecs.lzw_decode(packed, out=len(data))) == data
        assert decode(packed, len(data) + 1) == data
        assert decode(bytes(imagecodecs.lzw_encode(data)), len(data) + 1) == data


@pytest.mark.parametrize("kind", KINDS)
def test_encoded_data_are_as_small_as_others(kind: str) -> None:
    data = kind_of(kind, 500_000, 7)
    packed = encoded(data)
    assert decode(packed, len(data)) == data
    assert len(packed) <= 1.001 * len(imagecodecs.lzw_encode(data))


def test_what_is_made_is_held_once() -> None:
    """Noise becomes larger by a third; strips may be hundreds of megabytes."""
    data = kind_of("noise", 1 << 22)
    packed = encoded(data)
    tracemalloc.start()
    try:
        assert len(encode(data)) > 1.3 * len(data)
        assert tracemalloc.get_traced_memory()[1] < 1.6 * len(data)
        tracemalloc.reset_peak()
        assert len(decode(packed, len(data))) == len(data)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_strip_is_read_by_libtiff_and_tifffile(tmp_path: Path, kind: str) -> None:
    path, rows, columns = tmp_path / "one.tif", 300, 500
    data = kind_of(kind, rows * columns, 5)
    packed = encoded(data)
    tifffile.imwrite(
        path,
        iter([packed]),
        shape=(rows, columns),
        dtype=np.uint8,
        compression="lzw",
        rowsperstrip=rows,
        photometric="minisblack",
        metadata=None,
    )
    assert strips(path) == [packed]
    assert tifffile.imread(path).tobytes() == data
    with Image.open(path) as image:
        assert image.tobytes() == data


@given(data=plain, room=st.integers(0, 50_000))
def test_no_more_is_decoded_than_there_is_room_for(data: bytes, room: int) -> None:
    assert decode(encoded(data), room) == data[:room]


@given(data=plain, part=st.floats(0, 1))
def test_of_data_cut_short_the_beginning_is_decoded(data: bytes, part: float) -> None:
    packed = encoded(data)
    packed = packed[: int(part * len(packed))]
    result = decoded(packed, len(data))
    assert result == by_the_book(packed, len(data))
    assert result is None or result == data[: len(result)]


@settings(max_examples=300)
@given(data=st.binary(min_size=1), begun=st.booleans(), room=st.integers(0, 5000), times=st.integers(1, 300))
def test_garbage_gives_what_the_specification_makes_of_it_or_is_damage(
    data: bytes, begun: bool, room: int, times: int
) -> None:
    garbage = (b"\x80\0" if begun else b"") + data * times
    if garbage[0] or not garbage[1:2] or not garbage[1] & 1:  # not of the old kind
        assert decoded(garbage, room) == by_the_book(garbage, room)


@given(data=plain, flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4))
def test_spoilt_codes_give_what_the_specification_makes_of_them_or_are_damage(
    data: bytes, flips: list[tuple[float, int]]
) -> None:
    packed = bytearray(encode(data))
    for place, flip in flips:
        packed[max(2, int(place * len(packed)))] ^= flip
    assert decoded(bytes(packed), len(data)) == by_the_book(bytes(packed), len(data))


@pytest.mark.parametrize("seed", range(40))
def test_long_garbage_fills_tables_without_harm(seed: int) -> None:
    """Codes that are valid wherever they can be, in a table that is never cleared."""
    random = np.random.default_rng(seed)
    codes, following = [(256, 9), (7, 9)], 258
    for _ in range(6000):
        code = 256
        while code in (256, 257):
            code = min(int(following - random.exponential(5)), 4095) if random.random() < 0.8 else seed
        codes.append((max(code, 0), 9 + (following >= 511) + (following >= 1023) + (following >= 2047)))
        following += 1
    data = bits(*codes)
    whole = decode(data, 1 << 26)
    assert len(whole) > 6000
    assert whole == by_the_book(data, 1 << 26)
    for room in (0, 1, 100, len(whole) - 1, len(whole)):
        assert decode(data, room) == whole[:room]


def test_codes_before_their_strings_are_damage() -> None:
    for code in (258, 300, 511):
        with pytest.raises(DamagedCodes):
            decode(bits((256, 9), (code, 9), (257, 9)), 100)
    assert decode(bits((256, 9), (65, 9), (258, 9), (257, 9)), 100) == b"AAA"
    with pytest.raises(DamagedCodes):
        decode(bits((256, 9), (65, 9), (259, 9), (257, 9)), 100)


def test_data_that_do_not_begin_with_a_clear_code_are_damage() -> None:
    for data in (b"\x80", b"\0", b"\x80\x80\0\0", bits((65, 9), (66, 9), (257, 9))):
        with pytest.raises(DamagedCodes):
            decode(data, 100)


def test_clear_codes_may_come_one_after_the_other_and_with_nothing_after_them() -> None:
    assert decode(bits((256, 9), (256, 9), (65, 9), (256, 9), (256, 9), (66, 9), (257, 9)), 9) == b"AB"
    assert decode(bits((256, 9), (257, 9)), 9) == b""
    assert decode(bits((256, 9)), 9) == b""
    assert decode(b"", 9) == b""


def old(data: bytes) -> bytes:
    """Encode as before TIFF 5.0: the lowest bit first, and a clear code before codes widen."""
    text = ""
    for i, byte in enumerate(data):
        if i % 200 == 0:
            text = f"{256:09b}" + text
        text = f"{byte:09b}" + text
    text = f"{257:09b}" + text
    return int(text, 2).to_bytes(-(-len(text) // 8), "little")


def test_files_of_before_tiff_5_are_read_and_their_damage_is_named(tmp_path: Path) -> None:
    data = kind_of("walk", 40 * 30)
    assert decode(old(data), len(data)) == data
    path = tmp_path / "old.tif"
    tifffile.imwrite(
        path,
        iter([old(data)]),
        shape=(40, 30),
        dtype=np.uint8,
        compression="lzw",
        rowsperstrip=40,
        photometric="minisblack",
        metadata=None,
    )
    assert read_all(probe(path)).tobytes() == data
    set_value(path, 279, 200)
    with pytest.raises(DamagedImage, match="strip 1 of 1"):
        read_all(probe(path))


def test_spoilt_codes_in_a_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(64, 50, 3, "uint16"), compression="lzw", rowsperstrip=8)
    file, strip = bytearray(path.read_bytes()), strips(path)[3]
    start = file.index(strip)
    file[start + 2 : start + 6] = b"\xff" * 4
    path.write_bytes(file)
    with pytest.raises(DamagedImage, match=r"strip 4 of 8 \(rows 24-31\) cannot be decoded"):
        read_all(probe(path))
