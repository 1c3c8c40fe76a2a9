"""What is known by cells, and where all films are the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.cells import CELL_PX, Cells, Patch, films_on, fixed_cells


def test_points_take_the_value_of_their_cell() -> None:
    cells = Cells(np.arange(6).reshape(2, 3))
    points = np.array([[0, 0, 1], [31.9, 32, 1], [40, 95, 1], [-0.4, 200, 1], [99, -1, 1]], np.float32)
    assert cells.at(points).tolist() == [0, 1, 5, 2, 3]
    np.testing.assert_array_equal(Cells(cells.values == 5).within(points), points[2:3])
    moved = points + np.array([-7, 1000, 0], np.float32)
    assert Cells(cells.values, (-7, 1000)).at(moved).tolist() == [0, 1, 5, 2, 3]


offsets = st.tuples(st.floats(-90, 90), st.floats(-90, 90))


@given(frames=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300), offsets), min_size=1, max_size=4))
def test_a_patch_holds_every_frame_and_no_more(frames: list[tuple[int, int, tuple[float, float]]]) -> None:
    patch = Patch.under(frames)
    for axis, length in enumerate((patch.height, patch.width)):
        begins = [-offset[axis] for _, _, offset in frames]
        ends = [begin + frame[axis] for begin, frame in zip(begins, frames, strict=True)]
        assert patch.corner[axis] <= min(begins) < patch.corner[axis] + 1
        assert patch.corner[axis] + length - 1 < max(ends) <= patch.corner[axis] + length


def test_films_are_laid_over_each_other_and_end_where_their_frames_do() -> None:
    """Their density grows by 3 with each row of cells on the glass, and by 1 with each column."""
    rows, columns = np.mgrid[:4, :5].astype(np.float32)
    patch = Patch((-CELL_PX, 0), 4 * CELL_PX, 5 * CELL_PX)
    offset = (1.5 * CELL_PX, -0.25 * CELL_PX)
    film = Cells(3 * (rows - 1.5) + columns + 0.25)
    frames = [(128, 160, Cells(3 * rows + columns), (0.0, 0.0)), (128, 160, film, offset)]
    here, there = films_on(patch, frames)
    expected = 3 * (rows - 1) + columns
    assert np.isnan(here[0]).all()
    np.testing.assert_allclose(here[1:], expected[1:], atol=1e-5)
    # Beyond the middles of its outermost cells a film goes on as there.
    np.testing.assert_allclose(there[:3, 1:], expected[:3, 1:], atol=1e-5)
    assert np.isnan(there[3]).all() == (2 * CELL_PX + offset[0] >= 127)
    np.testing.assert_array_equal(list(films_on(patch, frames, 3)), np.stack([here, there])[:, ::3, ::3])


def test_what_stays_along_the_border_is_widened_by_a_cell_and_elsewhere_not() -> None:
    rng = np.random.default_rng(2)
    films = rng.uniform(0.3, 1.5, (3, 12, 16)).astype(np.float32)
    films[:, :2] = 0.5  # rebate
    films[:, 7, 8] = 0.7  # by chance
    films[1, 0, 0] += 0.019
    expected = np.zeros((12, 16), np.bool_)
    expected[:3] = True
    expected[7, 8] = True
    np.testing.assert_array_equal(fixed_cells(films, 0.02), expected)


def test_one_film_tells_nothing() -> None:
    assert fixed_cells(np.random.default_rng(0).random((1, 4, 5), np.float32), 0.02).all()


def test_where_only_one_frame_shows_the_film_nothing_is_told_and_nothing_widened() -> None:
    films = np.random.default_rng(4).uniform(0.3, 1.5, (2, 12, 16)).astype(np.float32)
    films[1] += 1.5
    films[0, :3] = np.nan
    films[:, 3, 2] = 0.5  # a holder's corner, beside what is not shown
    expected = np.zeros((12, 16), np.bool_)
    expected[:3] = True
    expected[2:5, 1:4] = True
    np.testing.assert_array_equal(fixed_cells(films, 0.02), expected)
