"""The figures say what their definitions say, on frames made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dustwatch.processing.arrays import Plane
from dustwatch.processing.density import Tone
from dustwatch.processing.density import stored as encoded
from dustwatch.processing.figures import Figures, figures, mean_figures, same_groups
from dustwatch.processing.simulate import SimulatedFrame, as_seen


def stored(light: Plane) -> "np.ndarray":
    return np.rint(light * 65535).astype(np.uint16)


def frame(glass: Plane, specks: Plane | None = None) -> SimulatedFrame:
    film = np.full((*glass.shape, 3), 0.25, np.float32)
    specks = np.zeros_like(glass) if specks is None else specks
    scan = stored(film * 10.0 ** -(glass + specks)[..., None])
    return SimulatedFrame(scan, film, glass, specks, (0.0, 0.0), 0)


@pytest.fixture
def glass() -> Plane:
    """100 pixels: 10 in the dirt, 10 in its halo, 80 clean."""
    plane = np.zeros((10, 10), np.float32)
    plane[0], plane[1] = 0.3, 0.02
    return plane


def test_the_scan_itself(glass: Plane) -> None:
    made = frame(glass)
    found = figures(made.scan, made)
    error = 0.25 ** (1 / 2.2) - (0.25 * 10**-0.3) ** (1 / 2.2)
    assert found.psnr_db == found.psnr_scan_db == pytest.approx(-20 * math.log10(error), abs=0.01)
    assert (found.treated, found.harm, found.halo_harm) == (0, 0, 0)


def test_the_film_itself(glass: Plane) -> None:
    made = frame(glass)
    found = figures(stored(made.film), made)
    assert found.psnr_db > 80
    assert (found.treated, found.harm, found.halo_harm) == (1, 0, 0)


def test_shares_are_of_their_own_regions(glass: Plane) -> None:
    made = frame(glass)
    cleaned = made.scan.copy()
    cleaned[0, :3] = stored(made.film)[0, :3]
    cleaned[1, :2] = 0
    cleaned[2, :4] //= 2
    cleaned[3, :5] += 1
    found = figures(cleaned, made)
    assert found.treated == pytest.approx(0.3)
    assert found.halo_harm == pytest.approx(0.2)
    assert found.harm == pytest.approx(4 / 80)


def test_inverted_positives_are_measured_as_they_are_stored(glass: Plane) -> None:
    tone = Tone(encoding="srgb", dirt="brightens")
    made = frame(glass)
    film, scan = (
        np.rint(255 * encoded(as_seen(light, tone), tone)).astype(np.uint8)
        for light in (made.film, made.film * 10.0 ** -glass[..., None])
    )
    made = replace(made, scan=scan)
    step = (scan[0, 0, 0] - film[0, 0, 0]) / 255
    assert figures(scan, made, tone).psnr_db == pytest.approx(-20 * math.log10(step), abs=0.5)
    assert figures(film, made, tone).treated == 1
    harmed = scan.copy()
    harmed[2] += 1
    harmed[3] += 2
    assert figures(harmed, made, tone).harm == pytest.approx(10 / 80)


def test_one_step_of_8_bit_is_no_harm_whatever_the_value() -> None:
    values = np.arange(254, dtype=np.uint8).reshape(1, -1, 1).repeat(3, axis=-1)
    clean = np.zeros(values.shape[:2], np.float32)
    made = SimulatedFrame(values, np.full(values.shape, 0.5, np.float32), clean, clean, (0.0, 0.0), 0)
    srgb = Tone(encoding="srgb")
    assert figures(values + 1, made, srgb).harm == 0
    assert figures(values + 2, made, srgb).harm == 1


def test_dirt_on_the_film_counts_nowhere(glass: Plane) -> None:
    made = frame(glass, np.full_like(glass, 0.5))
    found = figures(np.zeros_like(made.scan), made)
    assert all(math.isnan(getattr(found, name)) for name in ("psnr_db", "treated", "harm", "halo_harm"))


def test_means_leave_out_what_is_unknown() -> None:
    mean = mean_figures([Figures(1, 2, 0, math.nan, 1), Figures(3, 4, 1, math.nan, math.nan)])
    assert (mean.psnr_scan_db, mean.psnr_db, mean.treated, mean.halo_harm) == (2, 3, 0.5, 1)
    assert math.isnan(mean.harm)


def test_another_shape_or_depth_is_refused(glass: Plane) -> None:
    made = frame(glass)
    with pytest.raises(ValueError, match="cleaned is"):
        figures(made.scan[1:], made)
    with pytest.raises(ValueError, match="cleaned is"):
        figures(made.scan.astype(np.uint8), made)


def test_groups_are_compared_as_partitions() -> None:
    assert same_groups(["b", "b", "a"], [0, 0, 1])
    assert not same_groups(["b", "b", "b"], [0, 0, 1])
    assert not same_groups(["a", "b", "c"], [0, 0, 1])
    assert not same_groups(["a", "b", "b"], [0, 0, 1])
