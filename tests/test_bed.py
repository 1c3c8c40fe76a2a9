"""Film is changed when all of it has been scanned, and the dirt stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dustwatch.daemon.virtual.bed import Bed
from dustwatch.processing.flatbed import Samples, View, exposed
from dustwatch.processing.platen import Area, Grid

SLOTS = (Area(10.0, 20.0, 9.0, 6.0), Area(10.0, 30.0, 9.0, 6.0))


def over(area: Area, px_per_mm: float = 20.0) -> Grid:
    return Grid(area.y, area.x, px_per_mm, round(area.height * px_per_mm), round(area.width * px_per_mm))


def scan(bed: Bed, area: Area, samples: Samples = "colour") -> View:
    view = bed.view(over(area), samples, reflected=False)
    bed.scanned(view)
    return view


def pixels(view: View) -> npt.NDArray[np.uint16]:
    return np.concatenate([band.scan for band in exposed(view)])


def shown(view: View) -> set[int]:
    """Numbers of the pictures whose film lies there."""
    return {film.number for film in view.films}


def test_the_same_scans_give_the_same_pixels_and_another_seed_others() -> None:
    first, second, other = (Bed(seed, SLOTS) for seed in (1, 1, 2))
    for area in (*SLOTS, SLOTS[0]):
        views = [scan(bed, area) for bed in (first, second, other)]
        np.testing.assert_array_equal(pixels(views[0]), pixels(views[1]))
        assert (pixels(views[0]) != pixels(views[2])).mean() > 0.9


def test_new_film_comes_when_all_slots_have_been_scanned_and_one_is_again() -> None:
    bed = Bed(1, SLOTS)
    loads = []
    for area in (*SLOTS, *SLOTS, SLOTS[1], SLOTS[0], SLOTS[1]):
        scan(bed, area)
        loads.append(bed.load_number)
    assert loads == [1, 1, 2, 2, 3, 3, 4]


def test_a_slot_that_is_scanned_again_before_the_others_shows_the_same_film() -> None:
    bed = Bed(1, SLOTS)
    assert shown(scan(bed, SLOTS[0])) == shown(scan(bed, SLOTS[0]))


def test_a_scan_that_was_not_delivered_does_not_count() -> None:
    bed = Bed(1, SLOTS)
    scan(bed, SLOTS[0])
    failed = bed.view(over(SLOTS[1]), "colour", reflected=False)
    assert shown(scan(bed, SLOTS[1])) == shown(failed)
    assert bed.load_number == 1


@pytest.mark.parametrize("order", [("colour", "infrared"), ("infrared", "colour")])
def test_infrared_shows_the_film_of_the_scan_beside_it(order: tuple[Samples, Samples]) -> None:
    bed = Bed(1, SLOTS)
    loads = [(scan(bed, area, samples), bed.load_number)[1] for _ in range(2) for area in SLOTS for samples in order]
    assert loads == [1, 1, 1, 1, 2, 2, 2, 2]


def test_without_slots_film_fills_the_window_and_is_new_each_time() -> None:
    bed = Bed(1)
    first, infrared, second = (scan(bed, SLOTS[0], samples) for samples in ("colour", "infrared", "colour"))
    assert shown(first) == shown(infrared) != shown(second)
    assert second.films[0].area == over(SLOTS[0]).area


def test_no_two_slots_or_loads_show_the_same_picture() -> None:
    bed = Bed(1, SLOTS)
    numbers = []
    for _ in range(3):
        numbers += shown(scan(bed, SLOTS[0]))
        scan(bed, SLOTS[1])
    assert len(numbers) == len(set(numbers)) == 6


def test_the_dirt_of_a_slot_stays_but_for_a_little_and_goes_with_a_wipe() -> None:
    bed = Bed(1, SLOTS)
    dirt = []
    for _ in range(8):
        dirt.append(set(scan(bed, SLOTS[0]).dirt))
        scan(bed, SLOTS[1])
    bed.wipe()
    wiped = set(scan(bed, SLOTS[0]).dirt)
    assert len(dirt[0] & dirt[-1]) > 0.85 * len(dirt[0])
    assert len(dirt[-1] & wiped) < 0.35 * len(dirt[-1])


def test_the_carriage_stops_up_to_half_a_pixel_away() -> None:
    bed = Bed(1, SLOTS)
    offsets = np.array([scan(bed, SLOTS[0]).offset_px for _ in range(50)])
    assert np.abs(offsets).max() <= 0.5
    assert np.abs(offsets).max() > 0.4
    assert len(np.unique(offsets)) == 100


def test_a_frame_that_is_repeated_has_the_same_pixels_until_somebody_loads() -> None:
    bed = Bed(1, SLOTS, repeat_frame=True)
    first = scan(bed, SLOTS[0])
    assert scan(bed, SLOTS[1]).films == first.films
    assert scan(bed, SLOTS[0]) == first
    bed.load()
    assert shown(scan(bed, SLOTS[0])) != shown(first)
