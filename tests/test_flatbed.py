"""What a flatbed makes of film on its glass: the truth beside it, the same in every window, in bounded memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from dustwatch.processing.flatbed import CHANNELS, Band, Film, Samples, View, exposed
from dustwatch.processing.platen import Area, Grid, Platen

SLOT = Area(10.0, 20.0, 9.0, 6.0)
GRID = Grid(SLOT.y, SLOT.x, 40.0, 240, 360)


def view(grid: Grid = GRID, samples: Samples = "colour", film: Area = SLOT) -> View:
    return View(grid, (Film(film, 1, 0),), Platen(1).dirt(grid.area), (0.2, -0.3), (1, 2), samples)


def whole(of: View) -> Band:
    """All bands of a scan as one."""
    bands = list(exposed(of))
    return Band(
        *(np.concatenate([getattr(band, name) for band in bands]) for name in ("scan", "film", "glass", "specks"))
    )


def shares(band: Band) -> npt.NDArray[np.float64]:
    return band.scan / 65535.0


def test_the_same_view_gives_the_same_pixels_and_other_noise_others() -> None:
    first = whole(view()).scan
    np.testing.assert_array_equal(first, whole(view()).scan)
    assert (first != whole(replace(view(), noise=(1, 3))).scan).mean() > 0.9


@pytest.mark.parametrize("samples", CHANNELS)
def test_a_scan_is_film_times_dirt_and_noise(samples: Samples) -> None:
    seen = whole(view(samples=samples))
    assert seen.scan.shape == (240, 360, CHANNELS[samples])
    assert seen.scan.dtype == np.uint16
    assert (seen.glass > 0.04).mean() > 0.005
    expected = seen.film * 10.0 ** -(seen.glass + seen.specks)[..., None]
    error = (shares(seen) - expected) / np.sqrt(expected)
    assert abs(error.mean()) < 1e-4
    assert error.std() == pytest.approx(0.0075, rel=0.05)


def test_infrared_sees_the_dirt_and_hardly_the_picture() -> None:
    colour, infrared = whole(view()), whole(view(samples="infrared"))
    np.testing.assert_array_equal(infrared.glass, colour.glass)
    assert np.log10(infrared.film).std() < 0.1 * np.log10(colour.film).std()
    both = whole(view(samples="colour and infrared"))
    np.testing.assert_array_equal(both.film, np.concatenate([colour.film, infrared.film], axis=-1))


def test_infrared_beside_them_leaves_the_colours_as_they_are_bit_for_bit() -> None:
    colour, infrared, both = (whole(view(samples=one)).scan for one in ("colour", "infrared", "colour and infrared"))
    np.testing.assert_array_equal(both, np.concatenate([colour, infrared], axis=-1))


def test_a_window_shows_film_holder_and_film() -> None:
    grid = Grid(SLOT.y - 1, SLOT.x - 1, 20.0, 160, 220)
    seen = whole(view(grid))
    within = np.zeros((160, 220), bool)
    within[20:140, 20:200] = True
    assert (seen.film[~within] == seen.film.min()).all()
    assert seen.film[within].min() > 10 * seen.film.min()


def test_the_picture_is_the_same_at_every_resolution() -> None:
    fine, coarse = (whole(view(Grid(SLOT.y, SLOT.x, px, round(6 * px), round(9 * px)))).film for px in (50.0, 10.0))
    averaged = fine.reshape(60, 5, 90, 5, 3).mean(axis=(1, 3))
    difference = np.log10(averaged) - np.log10(coarse)
    assert np.corrcoef(np.log10(averaged).ravel(), np.log10(coarse).ravel())[0, 1] > 0.95
    assert abs(difference.mean()) < 0.02


def test_reflected_light_passes_everything_twice() -> None:
    through, reflected = whole(view()), whole(replace(view(), reflected=True))
    np.testing.assert_allclose(reflected.film, through.film**2, rtol=1e-6)
    np.testing.assert_array_equal(reflected.glass, 2 * through.glass)


def test_no_two_pictures_of_a_roll_are_the_same() -> None:
    first, second = (whole(replace(view(), films=(Film(SLOT, 1, number),))).film for number in (0, 1))
    assert np.abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.9


def test_memory_does_not_grow_with_the_length_of_a_scan() -> None:
    peaks = []
    for rows in (1200, 6000):
        length_mm = rows / 40
        of = view(Grid(0.0, 0.0, 40.0, rows, 500), film=Area(0.0, 0.0, 12.5, length_mm))
        next(exposed(of))
        tracemalloc.start()
        for _ in exposed(of):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
