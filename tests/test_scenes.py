"""Generated scenes are pictures: repeatable, different, in range, as busy or as calm as they should be."""

import numpy as np
import pytest
from scipy import ndimage

from dustwatch.processing.arrays import Plane
from dustwatch.processing.scenes import BUSY, busy, landscape

KINDS = {"landscape": landscape, "busy": busy, **BUSY}


@pytest.mark.parametrize("kind", KINDS)
def test_is_linear_light_of_the_size_asked_for(kind: str) -> None:
    picture = KINDS[kind](3)(1, 121, 179)
    assert picture.shape == (121, 179, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_and_number_same_picture_whatever_came_before(kind: str) -> None:
    scene = KINDS[kind](5)
    scene(0, 60, 90)
    np.testing.assert_array_equal(scene(7, 60, 90), KINDS[kind](5)(7, 60, 90))


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_and_seed_gives_another_picture(kind: str) -> None:
    # Two moods of landscapes come round twice, and all busy kinds.
    scene, count = KINDS[kind](5), {"landscape": 11, "busy": 10}.get(kind, 4)
    pictures = [scene(number, 60, 90) for number in range(count)] + [KINDS[kind](6)(0, 60, 90)]
    for k, one in enumerate(pictures):
        for other in pictures[:k]:
            assert np.abs(one - other).mean() > 0.005


def texture(light: Plane) -> Plane:
    """Local contrast in density, as the negative shows it."""
    density = np.log10(np.maximum(light, 0.004))
    return np.asarray(ndimage.gaussian_filter(np.abs(density - ndimage.gaussian_filter(density, 6)), 12), np.float32)


def test_landscapes_have_both_calm_and_busy_places() -> None:
    contrasts = [texture(landscape(2)(number, 200, 300).mean(-1)) for number in range(9)]
    assert np.median([np.percentile(contrast, 5) for contrast in contrasts]) < 0.012
    assert np.median([np.percentile(contrast, 95) for contrast in contrasts]) > 0.03


@pytest.mark.parametrize("kind", ["foliage", "grass", "roofs", "stars"])
def test_busy_scenes_are_busy_everywhere(kind: str) -> None:
    contrast = texture(BUSY[kind](2)(0, 300, 450).mean(-1))
    assert np.percentile(contrast, 10) > 0.01
