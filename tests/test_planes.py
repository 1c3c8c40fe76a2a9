"""Numbers on disk, by rectangles."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing import planes as module
from dustwatch.processing.planes import PlaneFile

KINDS = [np.dtype(kind) for kind in (np.int8, np.uint8, np.int16, np.uint16, np.uint32)]


def plane(folder: Path, values: np.ndarray) -> PlaneFile:
    file = PlaneFile(folder / "plane", *values.shape, values.dtype)
    file.create()
    file.write(0, 0, values)
    return file


def numbers(height: int, width: int, kind: np.dtype = KINDS[2]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 100, (height, width)).astype(kind)


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    corner=st.tuples(st.integers(-9, 15), st.integers(-9, 15)),
    shape=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    kind=st.sampled_from(KINDS),
)
def test_a_window_is_a_slice_of_the_padded_plane(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    corner: tuple[int, int],
    shape: tuple[int, int],
    kind: np.dtype,
) -> None:
    values = numbers(*size, kind)
    file = plane(tmp_path_factory.mktemp("planes"), values)
    padded = np.pad(values, 40, constant_values=7)
    rows, columns = (slice(40 + low, 40 + low + n) for low, n in zip(corner, shape, strict=True))
    found = file.window(*corner, shape, outside=7)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, padded[rows, columns])


@pytest.mark.parametrize("gap", [0, 1, 1 << 20])
@pytest.mark.parametrize("chunk", [1, 40, 1 << 20])
def test_it_does_not_matter_how_rows_are_read(
    tmp_path: Path, gap: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GAP_BYTES", gap)
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
    values = numbers(9, 7)
    file = plane(tmp_path, values)
    for rows, columns in (((0, 9), (0, 7)), ((2, 8), (1, 6)), ((3, 4), (6, 7)), ((3, 3), (1, 4)), ((2, 5), (4, 4))):
        np.testing.assert_array_equal(file.read(*rows, *columns), values[slice(*rows), slice(*columns)])


def test_a_new_plane_is_zero_and_an_old_one_emptied(tmp_path: Path) -> None:
    file = plane(tmp_path, numbers(5, 7))
    file.create()
    assert not file.read(0, 5, 0, 7).any()
    assert file.path.stat().st_size == 5 * 7 * 2


def test_rectangles_are_written_where_they_belong(tmp_path: Path) -> None:
    expected = numbers(9, 11)
    file = plane(tmp_path, expected)
    for top, left, shape in ((2, 3, (4, 5)), (6, 0, (3, 11)), (0, 10, (9, 1))):
        piece = -numbers(*shape)
        file.write(top, left, piece)
        expected[top : top + shape[0], left : left + shape[1]] = piece
    np.testing.assert_array_equal(file.read(0, 9, 0, 11), expected)
    np.testing.assert_array_equal(file.read(3, 8, 2, 9), expected[3:8, 2:9])


def test_what_is_read_belongs_to_the_reader(tmp_path: Path) -> None:
    values = numbers(4, 4)
    file = plane(tmp_path, values)
    file.read(0, 4, 0, 4)[:] = 0
    np.testing.assert_array_equal(file.read(0, 4, 0, 4), values)


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    values = numbers(6, 8)
    file = plane(tmp_path, values.T[::-1])
    np.testing.assert_array_equal(file.read(0, 8, 0, 6), values.T[::-1])


@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (3, 0), (0, 3)])
def test_outside_the_plane_is_refused(tmp_path: Path, corner: tuple[int, int]) -> None:
    file = plane(tmp_path, numbers(4, 4))
    with pytest.raises(ValueError, match=r"2 x 2 at .* is outside 4 x 4"):
        file.write(*corner, numbers(2, 2))
    with pytest.raises(ValueError, match=r"2 x 2 at .* is outside 4 x 4"):
        file.read(corner[0], corner[0] + 2, corner[1], corner[1] + 2)


@pytest.mark.parametrize("columns", [6, 3])
def test_a_file_cut_short_is_reported_with_its_row(tmp_path: Path, columns: int) -> None:
    file = plane(tmp_path, numbers(5, 6))
    with file.path.open("r+b") as opened:
        opened.truncate(3 * 6 * 2)
    with pytest.raises(OSError, match="plane ends in row 3"):
        file.read(1, 5, 0, columns)


def test_a_full_disk_is_reported() -> None:
    full = PlaneFile(Path("/dev/full"), 2, 2, np.dtype(np.int8))
    with pytest.raises(OSError, match="No space left"):
        full.write(0, 0, np.ones((2, 2), np.int8))
