"""Dirt on the glass lies where it lies: whatever window is looked at, at whatever resolution, in whatever order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.processing.platen import Area, Dirt, Grid, Platen, densities, scattered

if TYPE_CHECKING:
    from dustwatch.processing.arrays import Plane

SLOT = Area(20.0, 30.0, 36.0, 24.0)


def drawn(
    dirt: tuple[Dirt, ...], grid: Grid, offset_px: tuple[float, float] = (0.0, 0.0), height: int | None = None
) -> Plane:
    """All of a grid, put together from bands of `height` rows."""
    step = height or grid.rows
    bands = [(first, min(first + step, grid.rows)) for first in range(0, grid.rows, step)]
    return np.concatenate(list(densities(dirt, grid, offset_px, bands)))


def inside(dirt: tuple[Dirt, ...], area: Area) -> set[Dirt]:
    return {one for one in dirt if area.x <= one.x <= area.x + area.width and area.y <= one.y <= area.y + area.height}


def test_what_lies_in_a_slot_does_not_depend_on_what_was_looked_at_before() -> None:
    first, second = Platen(7), Platen(7)
    first.dirt(Area(0, 0, 200, 200))
    for platen in (first, second):
        platen.turn_over()
        platen.wipe()
        platen.turn_over()
    assert inside(first.dirt(Area(0, 0, 90, 90)), SLOT) == inside(second.dirt(SLOT), SLOT)
    assert inside(Platen(8).dirt(SLOT), SLOT) != inside(Platen(7).dirt(SLOT), SLOT)


def test_glass_is_as_dirty_as_the_simulators() -> None:
    counts = [len(inside(Platen(seed).dirt(SLOT), SLOT)) for seed in range(10)]
    assert np.mean(counts) == pytest.approx(260, rel=0.05)


def test_little_changes_from_load_to_load_and_nearly_all_by_a_wipe() -> None:
    platen = Platen(3)
    before = inside(platen.dirt(SLOT), SLOT)
    for _ in range(10):
        platen.turn_over()
    after = inside(platen.dirt(SLOT), SLOT)
    assert 0.9 < len(before & after) / len(before) < 1
    assert 0 < len(after - before) < 0.1 * len(before)
    platen.wipe()
    wiped = inside(platen.dirt(SLOT), SLOT)
    assert len(wiped & after) < 0.2 * len(after)
    assert len(wiped) == pytest.approx(len(after), rel=0.2)


@settings(max_examples=20)
@given(height=st.integers(1, 150), offset=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)))
def test_bands_put_together_are_the_whole(height: int, offset: tuple[float, float]) -> None:
    grid = Grid(30.0, 20.0, 20.0, 150, 200)
    dirt = Platen(1).dirt(grid.area)
    np.testing.assert_array_equal(drawn(dirt, grid, offset, height), drawn(dirt, grid, offset))


def test_a_window_shows_what_a_larger_one_shows_there() -> None:
    large = Grid(10.0, 10.0, 20.0, 400, 500)
    small = Grid(15.0, 17.5, 20.0, 120, 130)
    seen = drawn(Platen(1).dirt(large.area), large)[100:220, 150:280]
    np.testing.assert_allclose(drawn(Platen(1).dirt(small.area), small), seen, atol=1e-5)
    assert seen.max() > 0.1


@pytest.mark.parametrize("px_per_mm", [11.81, 23.0, 47.24, 99.0, 189.0])
def test_a_particle_is_as_large_and_as_dense_at_every_resolution(px_per_mm: float) -> None:
    rng = np.random.default_rng(4)
    for one in scattered(Area(2.0, 2.0, 0.5, 0.5), 8, rng):
        grid = Grid(0.0, 0.0, px_per_mm, round(4.5 * px_per_mm), round(4.5 * px_per_mm))
        plane = drawn((one,), grid)
        reference = drawn((one,), Grid(0.0, 0.0, 50.0, 225, 225))
        assert plane.sum() / px_per_mm**2 == pytest.approx(reference.sum() / 2500, rel=0.05)
        for axis in (0, 1):
            places = (np.arange(plane.shape[axis]) + 0.5) / px_per_mm
            expected = (np.arange(225) + 0.5) / 50
            middle = (plane.sum(axis=1 - axis) * places).sum() / plane.sum()
            assert middle == pytest.approx((reference.sum(axis=1 - axis) * expected).sum() / reference.sum(), abs=0.02)


def test_an_offset_moves_the_dirt_by_so_many_pixels() -> None:
    (one,) = scattered(Area(2.0, 2.0, 0.1, 0.1), 1, np.random.default_rng(2))
    grid = Grid(0.0, 0.0, 50.0, 200, 200)
    places = np.arange(200)
    middles = []
    for offset in ((0.0, 0.0), (0.3, -0.4)):
        plane = drawn((one,), grid, offset)
        middles.append([(plane.sum(axis=1 - axis) * places).sum() / plane.sum() for axis in (0, 1)])
    np.testing.assert_allclose(np.subtract(*middles[::-1]), (0.3, -0.4), atol=0.01)
