"""Frames that were turned and moved, and glasses that turn out to be the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from dustwatch.processing.placement import (
    ORIENTATIONS,
    Placement,
    turned,
    turned_back,
    turned_back_points,
    turned_box,
    turned_points,
    turned_window,
    upright_size,
)
from dustwatch.processing.planes import PlaneFile

SHAPE = (3, 5)
PLANE = np.arange(15, dtype=np.uint8).reshape(SHAPE)

orientations = st.sampled_from(ORIENTATIONS)
shifts = st.tuples(st.floats(-70, 70), st.floats(-70, 70))
placements = st.builds(Placement, shifts, orientations)


def on_glass(points: np.ndarray, placement: Placement) -> np.ndarray:
    """Where points of any frame lie on the glass, as `Placement` says it."""
    return turned_points(points, placement.orientation, 1, 1) - np.array(placement.offset)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientations_are_those_of_exif(orientation: int) -> None:
    picture = Image.fromarray(PLANE)
    picture.getexif()[Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(turned(PLANE, orientation), expected)
    np.testing.assert_array_equal(turned_back(expected, orientation), PLANE)
    assert upright_size(orientation, *SHAPE) == expected.shape
    for row, column in np.ndindex(SHAPE):
        ((down, right),) = turned_points(np.array([[row, column]]), orientation, *SHAPE)
        assert expected[down, right] == PLANE[row, column]


@given(placement=placements, height=st.integers(1, 50), width=st.integers(1, 50))
def test_the_upright_offset_is_that_of_the_turned_frame(placement: Placement, height: int, width: int) -> None:
    points = np.random.default_rng(0).uniform(0, 50, (10, 2))
    down, right = placement.upright(height, width)
    expected = turned_points(points, placement.orientation, height, width) - (down, right)
    np.testing.assert_allclose(on_glass(points, placement), expected, atol=1e-9)
    again = Placement.of_upright((down, right), placement.orientation, height, width)
    assert again.orientation == placement.orientation
    np.testing.assert_allclose(again.offset, placement.offset, atol=1e-9)


@given(here=placements, there=placements, member=placements)
def test_a_glass_that_is_another_takes_its_frames_with_it(here: Placement, there: Placement, member: Placement) -> None:
    """A frame that shows both says where each point of the one glass is on the other; so does the member, moved."""
    of_the_frame = np.random.default_rng(1).uniform(-50, 50, (10, 2))
    on_this, on_that = (on_glass(of_the_frame, one) for one in (there, here))
    # Points of the member that lie on this glass where those of the frame do.
    moved = member.after(here, there)
    origin = on_glass(np.zeros((1, 2)), member)
    axes = on_glass(np.eye(2), member) - origin
    of_the_member = (on_this - origin) @ axes.T
    np.testing.assert_allclose(on_glass(of_the_member, member), on_this, atol=1e-9)
    np.testing.assert_allclose(on_glass(of_the_member, moved), on_that, atol=1e-9)


@given(
    orientation=orientations,
    top=st.integers(-4, 6),
    left=st.integers(-4, 6),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_a_window_of_a_turned_plane_is_that_of_the_plane_turned(
    tmp_path_factory: pytest.TempPathFactory, orientation: int, top: int, left: int, shape: tuple[int, int]
) -> None:
    file = PlaneFile(tmp_path_factory.getbasetemp() / "plane", *SHAPE, np.dtype(np.uint8))
    file.create()
    file.write(0, 0, PLANE)
    wide = np.pad(turned(PLANE, orientation), 20, constant_values=99)
    expected = wide[top + 20 : top + 20 + shape[0], left + 20 : left + 20 + shape[1]]
    np.testing.assert_array_equal(turned_window(file, orientation, top, left, shape, 99), expected)


@given(orientation=orientations)
def test_a_box_is_turned_with_its_frame(orientation: int) -> None:
    marked = np.zeros(SHAPE, np.bool_)
    marked[1:3, 2:5] = True
    top, left, (rows, columns) = turned_box(orientation, 1, 2, (2, 3), *SHAPE)
    expected = np.zeros(upright_size(orientation, *SHAPE), np.bool_)
    expected[top : top + rows, left : left + columns] = True
    np.testing.assert_array_equal(turned(marked, orientation), expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_points_are_turned_back(orientation: int) -> None:
    points = np.argwhere(PLANE >= 0)
    there = turned_points(points, orientation, *SHAPE)
    np.testing.assert_array_equal(turned_back_points(there, orientation, *SHAPE), points)
