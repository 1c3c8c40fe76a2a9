"""Maps on disk: what was written cell by cell is there in any window, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.cells import CELL_PX, Patch
from dustwatch.processing.glass_map import DENSITY_STEP_D, GlassMap, MapDraft, MapWindow, in_steps
from dustwatch.processing.strips import tiles

PATCH = Patch((-7, 12), 150, 230)
SHAPE = (PATCH.height, PATCH.width)
NAMES = ("density", "doubt", "lives")


def dirt(seed: int = 1, spots: int = 6) -> MapWindow:
    """Some squares of noise."""
    rng = np.random.default_rng(seed)
    lives = np.zeros(SHAPE, np.uint32)
    for row, column in rng.integers(0, SHAPE, (spots, 2)):
        lives[row : row + 9, column : column + 7] = rng.integers(1, 1 << 32)
    density, doubt = rng.integers(-999, 999, SHAPE), rng.integers(1, 99, SHAPE)
    return MapWindow((density * (lives > 0)).astype(np.int16), (doubt * (lives > 0)).astype(np.uint16), lives)


def part(dirt: MapWindow, rows: slice, columns: slice) -> MapWindow:
    return MapWindow(*(getattr(dirt, name)[rows, columns] for name in NAMES))


def drafted(path: Path, dirt: MapWindow, size: int = 64) -> GlassMap:
    with MapDraft(path, PATCH) as draft:
        for tile in tiles(*SHAPE, size=size, halo=0):
            here = slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop)
            draft.add(tile.rows.start, tile.columns.start, part(dirt, *here))
        return draft.finish()


@pytest.fixture(scope="module")
def glass(tmp_path_factory: pytest.TempPathFactory) -> GlassMap:
    return drafted(tmp_path_factory.getbasetemp() / "map", dirt())


@given(top=st.integers(-99, 180), left=st.integers(-99, 280), rows=st.integers(1, 300), columns=st.integers(1, 300))
def test_a_window_shows_what_was_written(glass: GlassMap, top: int, left: int, rows: int, columns: int) -> None:
    found = glass.window(top, left, (rows, columns))
    for name in NAMES:
        around = np.pad(getattr(dirt(), name), 600)
        ought = around[600 + top : 600 + top + rows, 600 + left : 600 + left + columns]
        if found is None:
            assert not ought.any()
        else:
            np.testing.assert_array_equal(getattr(found, name), ought)
            assert getattr(found, name).dtype == ought.dtype


def test_where_there_is_no_dirty_cell_there_is_no_window(glass: GlassMap) -> None:
    for row, column in np.argwhere(glass.cells["count"] == 0) * CELL_PX:
        assert glass.window(row, column, (CELL_PX, CELL_PX)) is None
    assert glass.window(-50, 0, (50, 500)) is None
    assert glass.window(160, 0, (50, 500)) is None


@given(top=st.integers(-50, 150), left=st.integers(-50, 230), rows=st.integers(1, 200), columns=st.integers(1, 250))
def test_a_part_is_of_whole_cells(glass: GlassMap, top: int, left: int, rows: int, columns: int) -> None:
    part = glass.part(top, left, (rows, columns))
    assert sorted(part.slots[part.slots >= 0]) == list(range(len(part.begins) - 1))
    height, width = (CELL_PX * count for count in part.slots.shape)
    if part.slots.size:
        assert 0 <= max(top, 0) - part.corner[0] < CELL_PX
        assert 0 <= max(left, 0) - part.corner[1] < CELL_PX
        assert part.corner[0] + height >= min(top + rows, PATCH.height)
        assert part.corner[1] + width >= min(left + columns, PATCH.width)
    for name in NAMES:
        planes = np.pad(getattr(dirt(), name), ((0, 99), (0, 99)))[part.corner[0] :, part.corner[1] :]
        for row, column in np.argwhere(part.slots >= 0):
            here = np.s_[row * CELL_PX : (row + 1) * CELL_PX, column * CELL_PX : (column + 1) * CELL_PX]
            slot = part.slots[row, column]
            pixels = part.pixels[part.begins[slot] : part.begins[slot + 1]]
            cell = np.zeros(CELL_PX**2, planes.dtype)
            cell[pixels["place"]] = pixels[name]
            np.testing.assert_array_equal(cell.reshape(CELL_PX, CELL_PX), planes[here])
        for row, column in np.argwhere(part.slots < 0):
            here = np.s_[row * CELL_PX : (row + 1) * CELL_PX, column * CELL_PX : (column + 1) * CELL_PX]
            assert not planes[here].any()


def test_only_dirty_pixels_take_room(glass: GlassMap) -> None:
    assert glass.dirty_px == np.count_nonzero(dirt().lives)
    assert glass.path.stat().st_size == 5 * 8 * 6 + 10 * glass.dirty_px


def test_it_can_be_opened_again(glass: GlassMap) -> None:
    again = GlassMap.open(glass.path, PATCH, None)
    np.testing.assert_array_equal(again.cells, glass.cells)
    found = again.window(0, 0, SHAPE)
    assert found is not None
    np.testing.assert_array_equal(found.lives, dirt().lives)


@pytest.mark.parametrize("size", [32, 96, 512])
def test_in_whichever_rectangles_it_comes_it_is_the_same(glass: GlassMap, tmp_path: Path, size: int) -> None:
    again = drafted(tmp_path / "map", dirt(), size)
    np.testing.assert_array_equal(again.cells["count"], glass.cells["count"])
    assert again.path.stat().st_size == glass.path.stat().st_size
    for name in NAMES:
        np.testing.assert_array_equal(getattr(again.window(0, 0, SHAPE), name), getattr(dirt(), name))


def test_an_old_file_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(b"\1" * 100_000)
    assert drafted(tmp_path / "map", dirt(spots=0)).window(0, 0, SHAPE) is None
    assert (tmp_path / "map").stat().st_size == 5 * 8 * 6


@pytest.mark.parametrize(("top", "left", "shape"), [(1, 0, (32, 32)), (0, 0, (30, 32)), (128, 0, (32, 32))])
def test_what_is_no_whole_cells_is_refused(tmp_path: Path, top: int, left: int, shape: tuple[int, int]) -> None:
    one = part(dirt(), slice(0, shape[0]), slice(0, shape[1]))
    with MapDraft(tmp_path / "map", PATCH) as draft, pytest.raises(ValueError, match="are no whole cells"):
        draft.add(top, left, one)


def test_a_cell_is_not_written_twice(tmp_path: Path) -> None:
    ones = np.ones((32, 32))
    one = MapWindow(ones.astype(np.int16), ones.astype(np.uint16), ones.astype(np.uint32))
    with MapDraft(tmp_path / "map", PATCH) as draft:
        draft.add(32, 64, one)
        with pytest.raises(ValueError, match="have been written"):
            draft.add(32, 64, one)


def test_a_file_that_ends_too_early_is_an_error(glass: GlassMap, tmp_path: Path) -> None:
    short, whole = tmp_path / "map", glass.path.read_bytes()
    for part in (whole[:-1], whole[:9], b""):
        short.write_bytes(part)
        with pytest.raises(OSError, match=f"map ends at byte {len(part)}"):
            GlassMap.open(short, PATCH, None)
    short.write_bytes(whole)
    opened = GlassMap.open(short, PATCH, None)
    short.write_bytes(whole[:-1])
    with pytest.raises(OSError, match="map ends at byte"):
        opened.window(0, 0, SHAPE)


def test_no_file_stays_open(glass: GlassMap) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    glass.window(0, 0, SHAPE)
    GlassMap.open(glass.path, PATCH, None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_densities_are_rounded_to_steps_and_cut_off_where_they_do_not_fit() -> None:
    density = np.array([[0.00014, -0.00016, 9.0]], np.float32)
    doubt = np.array([[0.00016, 0.0, 9.0]], np.float32)
    found = in_steps(density, doubt, np.ones((1, 3), np.uint32))
    assert found.density.tolist() == [[1, -2, 32767]]
    assert found.doubt.tolist() == [[2, 0, 65535]]
    assert DENSITY_STEP_D == 1e-4
