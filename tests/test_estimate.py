from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dustwatch.processing.estimate import SecondLook, _places, _robust_mean, _smoothed, estimate
from dustwatch.processing.particles import LifeParams
from tests import naive

RNG = np.random.default_rng(4)
FRAMES = 8


def blob(peak: float) -> np.ndarray:
    plane = np.zeros((60, 60), np.float32)
    plane[24:36, 20:40] = 1
    soft = ndimage.gaussian_filter(plane, 2)
    return np.asarray(soft * peak / soft.max(), np.float32)


def look(density: np.ndarray, there: np.ndarray, noise: float = 0.01, scenes: np.ndarray | None = None) -> SecondLook:
    """What `FRAMES` frames show of a piece of dirt that lies in those that are `there`."""
    mask = ndimage.binary_dilation(density > 0.005, iterations=3)
    film = RNG.normal(0, noise, (FRAMES, mask.sum())).astype(np.float32)
    return SecondLook(
        mask.astype(np.uint8),
        missing=(density[mask] * there[:, None] + film).astype(np.float32),
        deviation=np.full(film.shape, noise, np.float32),
        seen=np.ones(film.shape, np.bool_),
        scenes=np.arange(FRAMES) if scenes is None else scenes,
    )


@pytest.mark.parametrize("peak", [0.1, 0.8])
def test_density_and_lives_come_back(peak: float) -> None:
    density = blob(peak)
    there = np.array([1, 1, 1, 1, 1, 1, 0, 0])
    shown = look(density, there)
    found = estimate(shown, density[shown.mask], LifeParams())
    assert found is not None
    inside = density > 0.04
    np.testing.assert_allclose(found.density[inside], density[inside], atol=0.02)
    assert set(found.lives[inside]) == {0b00111111}
    assert not found.density[~shown.mask].any()
    assert not found.lives[density < 1e-4].any()


def test_a_frame_whose_film_has_an_edge_there_hardly_counts() -> None:
    density = blob(0.3)
    shown = look(density, np.ones(FRAMES))
    shown.missing[2] += 0.4
    found = estimate(shown, density[shown.mask], LifeParams())
    assert found is not None
    assert np.abs(found.density - density)[density > 0.04].max() < 0.025


def test_what_is_not_seen_has_no_say() -> None:
    density = blob(0.3)
    shown = look(density, np.ones(FRAMES))
    shown.missing[:3] = 5
    shown.seen[:3] = False
    found = estimate(shown, density[shown.mask], LifeParams())
    assert found is not None
    assert np.abs(found.density - density)[density > 0.04].max() < 0.025


def test_noise_is_no_dirt() -> None:
    shown = look(blob(0.3), np.zeros(FRAMES))
    assert estimate(shown, np.full(shown.mask.sum(), 0.02, np.float32), LifeParams()) is None


def test_noise_does_not_widen_a_particle() -> None:
    density = blob(0.3)
    shown = replace(look(density, np.ones(FRAMES)), parts=np.ones(density.shape, np.uint8))
    film = RNG.normal(0, 0.01, (FRAMES, 60, 60))
    # Errors of a fill are as wide as a particle's rim.
    smooth = np.stack([ndimage.gaussian_filter(one, 2) for one in film])
    missing = (density + smooth * 0.01 / smooth.std()).astype(np.float32).reshape(FRAMES, -1)
    whole = replace(shown, missing=missing, deviation=np.full_like(missing, 0.01), seen=np.ones_like(missing, np.bool_))
    found = estimate(whole, density.ravel(), LifeParams())
    assert found is not None
    assert found.lives[density > 0.04].all()
    around = density < 1e-4
    assert np.count_nonzero(found.lives[around]) < 0.01 * np.count_nonzero(around)


def test_one_scene_is_not_believed_however_many_frames_show_it() -> None:
    density = blob(0.3)
    shown = look(density, np.ones(FRAMES), scenes=np.zeros(FRAMES, np.int64))
    assert estimate(shown, density[shown.mask], LifeParams()) is None


def test_doubt_grows_with_noise() -> None:
    density = blob(0.5)
    quiet, loud = (look(density, np.ones(FRAMES), noise) for noise in (0.005, 0.02))
    first, second = (estimate(one, density[one.mask], LifeParams()) for one in (quiet, loud))
    assert first is not None
    assert second is not None
    inside = density > 0.1
    assert second.doubt[inside].mean() > 2 * first.doubt[inside].mean()


def test_parts_that_touch_are_particles_of_their_own() -> None:
    shown = look(blob(0.3), np.ones(FRAMES))
    parts = shown.parts.copy()
    parts[:, parts.shape[1] // 2 :] *= 2
    label, count = replace(shown, parts=parts).particles
    assert count == 2
    np.testing.assert_array_equal(label + 1, parts[shown.mask])


def test_the_doubt_grows_where_what_is_missing_goes_with_the_film() -> None:
    """As it does where dirt scatters light: little of it is missing in frames whose film is dense."""
    density = blob(0.3)
    shown = look(density, np.ones(FRAMES))
    veil = 0.1 * density[shown.mask] * np.linspace(-4, 4, FRAMES, dtype=np.float32)[:, None]
    scattered = replace(shown, missing=shown.missing - veil)
    plain, doubtful = (estimate(one, density[one.mask], LifeParams()) for one in (shown, scattered))
    assert plain is not None
    assert doubtful is not None
    core = density > 0.2
    assert doubtful.doubt[core].min() > 4 * plain.doubt[core].max()
    assert np.median(doubtful.doubt[core]) == pytest.approx(0.1 * 0.27 * np.linspace(-4, 4, FRAMES).std(), rel=0.5)


def test_one_frame_that_disagrees_casts_no_doubt() -> None:
    density = blob(0.3)
    shown = look(density, np.ones(FRAMES))
    edge = shown.missing.copy()
    edge[2] += 0.4
    plain, other = (
        estimate(replace(shown, missing=one), density[shown.mask], LifeParams()) for one in (edge, shown.missing)
    )
    assert plain is not None
    assert other is not None
    core = density > 0.04
    np.testing.assert_allclose(other.doubt[core], plain.doubt[core], rtol=0.3)


kernels = settings(max_examples=40)
seeds = st.integers(0, 2**32 - 1)


@kernels
@given(frames=st.integers(1, 9), seed=seeds)
def test_the_mean_is_reweighted_place_by_place(frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    missing = rng.normal(0, 0.1, (frames, 30)).astype(np.float32)
    deviation = rng.uniform(0.005, 0.1, missing.shape).astype(np.float32)
    usable, places = rng.random(missing.shape) < 0.6, rng.permutation(np.arange(30) // 8)
    for found, expected in zip(
        _robust_mean(missing, deviation, usable, places),
        naive.robust_mean(missing, deviation, usable, places),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@kernels
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), share=st.floats(0, 1), seed=seeds)
def test_smoothing_at_a_mask_is_that_of_a_plane_with_nothing_elsewhere(
    shape: tuple[int, int], share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    planes = rng.normal(size=(2, *shape)).astype(np.float32) * mask
    expected = np.stack([ndimage.gaussian_filter(plane, 1.0)[mask] for plane in planes])
    np.testing.assert_allclose(_smoothed(planes[:, mask], mask), expected, atol=2e-6)


@kernels
@given(seed=seeds)
def test_a_place_is_a_square_of_one_particle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(rng.random((50, 40)) < 0.5)
    label = rng.integers(0, 3, len(rows))
    places = _places(label, rows, columns, (50, 40))
    squares = list(zip(label.tolist(), (rows // 16).tolist(), (columns // 16).tolist(), strict=True))
    assert len(set(zip(places.tolist(), squares, strict=True))) == len(set(squares)) == len(set(places.tolist()))
    assert set(places.tolist()) == set(range(len(set(squares))))
