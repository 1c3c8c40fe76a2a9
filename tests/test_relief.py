"""What is heard of points in a relief."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.processing import relief as module
from dustwatch.processing.placement import ORIENTATIONS, turned, turned_points
from dustwatch.processing.relief import HALO_STEPS, Relief, loudest, raised, step_of, thinned
from tests import naive

seeds = st.integers(0, 2**32 - 1)


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.integers(-40, 41, shape, np.int8)


@settings(max_examples=40)
@given(seed=seeds, rows=st.integers(1, 12), columns=st.integers(1, 12), reach=st.integers(0, 6))
def test_sums_are_those_of_the_slow_twin(seed: int, rows: int, columns: int, reach: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-127, 128, (rows, columns), np.int8)
    places = rng.uniform((-4, -4), (rows + 4, columns + 4), (8, 2)).astype(np.float32)
    weights = rng.random(8, np.float32)
    out = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    module._sum(places, weights, values, out)
    np.testing.assert_allclose(out, naive.sums(places, weights, values, reach), atol=1e-3)


@settings(max_examples=30)
@given(seed=seeds, offset=st.tuples(st.integers(-60, 60), st.integers(-60, 60)))
def test_many_faint_pieces_are_heard_where_they_lie(seed: int, offset: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    values = noise(rng, (200, 300))
    points = rng.uniform((70, 70, 1), (330, 530, 1), (200, 3)).astype(np.float32)
    for row, column, _ in points + np.array([*offset, 0]):
        values[round(row / 2 - 0.25), round(column / 2 - 0.25)] += 40
    found = loudest(Relief(values, 2).sums(points, np.ones(200, np.float32), 64), 2, 64)
    assert found.score > 5
    np.testing.assert_allclose(found.offset, offset, atol=1)


def test_chance_is_not_less_than_it_is_said_to_be() -> None:
    rng = np.random.default_rng(1)
    scores = []
    for _ in range(400):
        points = rng.uniform(0, (400, 600), (200, 2)).astype(np.float32)
        scores.append(
            loudest(Relief(noise(rng, (200, 300)), 2).sums(points, np.ones(200, np.float32), 64), 2, 64).score
        )
    assert np.mean(np.array(scores) > 1) < 0.1
    assert max(scores) < 4


def test_nothing_is_heard_where_there_is_nothing() -> None:
    relief = Relief(np.zeros((20, 30), np.int8), 2)
    for points in (np.zeros((0, 3), np.float32), np.full((5, 3), 20, np.float32)):
        found = loudest(relief.sums(points, np.ones(len(points), np.float32), 16), 2, 16)
        assert (found.above, found.score) == (0, 0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turned_relief_has_everything_where_the_turned_frame_has_it(orientation: int) -> None:
    """The frame's size is no multiple of a step."""
    rng = np.random.default_rng(2)
    relief = replace(Relief(noise(rng, (30, 45)), 4), corner=(-3, -2))
    points = rng.uniform(8, 100, (30, 2)).astype(np.float32)
    weights = rng.random(30, np.float32)
    sums = relief.sums(points, weights, 64)
    moved = relief.turned(orientation, 121, 183).sums(turned_points(points, orientation, 121, 183), weights, 64)
    np.testing.assert_allclose(moved, turned(sums, orientation), atol=1e-3)


def test_an_inverted_relief_tells_of_what_is_light() -> None:
    rng = np.random.default_rng(2)
    relief = Relief(noise(rng, (30, 45)), 4)
    points, weights = rng.uniform(8, 100, (30, 2)).astype(np.float32), rng.random(30, np.float32)
    np.testing.assert_array_equal(relief.inverted.sums(points, weights, 8), -relief.sums(points, weights, 8))
    assert relief.inverted.inverted == relief


@pytest.mark.parametrize(("size", "step"), [((400, 600), 2), ((1200, 1800), 2), ((4000, 6000), 4), ((5600, 5900), 4)])
def test_a_relief_is_at_most_two_megabytes(size: tuple[int, int], step: int) -> None:
    assert step_of(*size) == step
    assert size[0] // step * (size[1] // step) <= 2 << 20


def test_but_never_coarser_than_dirt_is_heard_in() -> None:
    assert step_of(12_800, 16_000) == 4


@settings(max_examples=40)
@given(seed=seeds, rows=st.integers(1, 9), columns=st.integers(1, 9), size=st.integers(1, 4))
def test_a_plane_is_thinned_to_the_means_of_its_squares(seed: int, rows: int, columns: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    residual, known = rng.normal(size=(rows, columns)).astype(np.float32), rng.random((rows, columns)) < 0.9
    means, sure = thinned(residual, known, size)
    assert means.shape == sure.shape == (rows // size, columns // size)
    for y, x in np.ndindex(means.shape):
        square = np.s_[y * size : (y + 1) * size, x * size : (x + 1) * size]
        assert means[y, x] == pytest.approx(residual[square].mean(), abs=1e-6)
        assert sure[y, x] == known[square].all()


def test_a_window_has_the_relief_of_the_whole_and_what_is_unknown_tells_nothing() -> None:
    rng = np.random.default_rng(4)
    residual, texture = rng.normal(0, 0.02, (80, 100)).astype(np.float32), np.full((80, 100), 0.02, np.float32)
    known = np.ones((80, 100), np.bool_)
    known[30:34, 40:44] = False
    whole = raised(residual, known, texture, 2)
    assert (whole[15:17, 20:22] == 0).all()
    assert np.count_nonzero(whole) > 0.9 * whole.size
    halo = 2 * HALO_STEPS
    window = np.s_[10:70, 20:90]
    part = raised(residual[window], known[window], texture[window], 2)
    inner = np.s_[halo // 2 : -halo // 2, halo // 2 : -halo // 2]
    np.testing.assert_array_equal(part[inner], whole[5:35, 10:45][inner])
