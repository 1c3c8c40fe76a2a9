"""Rounded residuals: the same as they are read and packed, in any rectangle, in little room."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing import packed as module
from dustwatch.processing.packed import PackedCodes, coarse, pack
from dustwatch.processing.planes import PlaneFile
from dustwatch.processing.residual import UNKNOWN, Codes, code_of
from dustwatch.processing.rounding import rounded

INT8 = np.dtype(np.int8)


def grain(height: int, width: int, seed: int = 1) -> Codes:
    """Film that gets busier to the right, with a dense spot and a clipped one."""
    rng = np.random.default_rng(seed)
    codes = code_of(rng.normal(0, 0.03, (height, width)) * np.linspace(0.3, 2, width))
    codes[height // 3 :][:9, width // 3 :][:, :14] = 100
    codes[height // 2 :][:5, width // 2 :][:, :7] = UNKNOWN
    return codes


def plane(folder: Path, codes: Codes) -> PlaneFile:
    file = PlaneFile(folder / "plane", *codes.shape, INT8)
    file.create()
    file.write(0, 0, codes)
    return file


def packed(folder: Path, codes: Codes, threads: int = 1) -> PackedCodes:
    return pack(plane(folder, codes), folder / "packed", threads)


@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 1300)),
    corner=st.tuples(st.integers(-9, 80), st.integers(-9, 1300)),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 1300)),
    seed=st.integers(0, 99),
)
def test_a_window_is_that_of_the_rounded_plane(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    corner: tuple[int, int],
    shape: tuple[int, int],
    seed: int,
) -> None:
    codes = grain(*size, seed)
    exact = plane(tmp_path_factory.mktemp("packed"), codes)
    kept = pack(exact, exact.path.with_suffix(".packed"), 1)
    exact_too = plane(tmp_path_factory.mktemp("rounded"), rounded(codes))
    for read in (coarse(exact), kept, coarse(kept)):
        found = read.window(*corner, shape, outside=int(UNKNOWN))
        assert found.dtype == INT8
        np.testing.assert_array_equal(found, exact_too.window(*corner, shape, outside=int(UNKNOWN)))


def test_any_codes_come_back_rounded(tmp_path: Path) -> None:
    codes = np.random.default_rng(3).integers(-128, 128, (100, 700)).astype(np.int8)
    codes[:, 300:] = np.arange(-128, 128).repeat(400).reshape(-1, 400)[: len(codes)]
    np.testing.assert_array_equal(packed(tmp_path, codes).read(0, 100, 0, 700), rounded(codes))


def test_grain_takes_a_third_of_a_byte_a_pixel(tmp_path: Path) -> None:
    codes = code_of(np.random.default_rng(3).normal(0, 0.03, (512, 1024)))
    assert packed(tmp_path, codes).path.stat().st_size < 0.33 * codes.size


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("band_bytes", [1, 1 << 16, 1 << 30])
def test_neither_threads_nor_bands_leave_a_trace(
    tmp_path: Path, threads: int, band_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = grain(333, 700)
    expected = packed(tmp_path, codes).path.read_bytes()
    monkeypatch.setattr(module, "_BAND_BYTES", band_bytes)
    assert packed(tmp_path, codes, threads).path.read_bytes() == expected


def test_outside_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path, grain(40, 50))
    for read in (file, coarse(plane(tmp_path, grain(40, 50)))):
        with pytest.raises(ValueError, match="2 x 2 at 39, 0 is outside 40 x 50"):
            read.read(39, 41, 0, 2)
        assert read.read(3, 3, 5, 9).shape == (0, 4)


def test_a_file_cut_short_is_reported(tmp_path: Path) -> None:
    file = packed(tmp_path, grain(70, 600))
    whole = file.path.read_bytes()
    for size in (len(whole) - 1, 30, 0):
        file.path.write_bytes(whole[:size])
        with pytest.raises(OSError, match=f"packed ends at byte {size}"):
            file.read(0, 70, 0, 600)


@pytest.mark.parametrize("spoil", [b"\0\0\0\0", b"\x28\xb5\x2f\xfd\x20\x01\x09\x00\x00\x07"])
def test_a_damaged_file_is_reported_with_its_row(tmp_path: Path, spoil: bytes) -> None:
    file = packed(tmp_path, grain(70, 300))
    begin = np.frombuffer(file.path.read_bytes()[:32], np.int64)[1]
    with file.path.open("r+b") as opened:
        opened.seek(begin)
        opened.write(spoil)
    assert file.read(0, 32, 0, 300).shape == (32, 300)
    with pytest.raises(OSError, match="packed is damaged in row 32"):
        file.read(0, 70, 0, 300)


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        pack(plane(tmp_path, grain(40, 50)), Path("/dev/full"), 1)


def test_no_file_stays_open(tmp_path: Path) -> None:
    file = packed(tmp_path, grain(70, 600), 2)
    before = len(list(Path("/proc/self/fd").iterdir()))
    file.read(0, 70, 0, 600)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
