"""Dirt taken off pixels by division and by the fill, against numpy step by step; and the noise that is left."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.density import Tone, density_table, to_values
from dustwatch.processing.divide import mend, noise_table
from dustwatch.processing.particles import FILL_ERROR

tones = st.builds(
    Tone,
    encoding=st.sampled_from(["linear", "gamma", "srgb"]),
    dirt=st.sampled_from(["darkens", "brightens"]),
    black=st.floats(0.0, 0.05),
)
NEVER_FILLED, ALWAYS_FILLED = 1e9, 1e-9


@given(
    tone=tones, kind=st.sampled_from([np.uint8, np.uint16]), colours=st.sampled_from([1, 3]), seed=st.integers(0, 99)
)
def test_pixels_are_the_mean_of_division_and_fill_by_inverse_variance(
    tone: Tone, kind: type, colours: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count, maximum = 200, int(np.iinfo(kind).max)
    values = rng.integers(0, maximum + 1, (count, colours)).astype(kind)
    values[:5], values[5:10, 0] = maximum, 0
    dirt, doubt, busy = (rng.uniform(low, high, count) for low, high in ((-0.1, 1.5), (1e-4, 0.1), (0.003, 0.2)))
    spanned = rng.uniform(-0.5, 2, (colours, count)).astype(np.float32)
    pixels = (plane.astype(np.float32) for plane in (dirt, doubt, busy))
    found = mend(values, *pixels, spanned, tone, 0.005)

    noise = noise_table(tone, maximum, 0.005)[values].mean(axis=1)
    division = doubt**2 + (1 - 10 ** -np.maximum(dirt, 0)) * noise**2
    share = division / (division + FILL_ERROR * busy**2)
    share[((values == 0) | (values == maximum)).any(axis=1)] = 1
    divided = density_table(tone, maximum)[values] - dirt[:, None]
    density = divided * (1 - share[:, None]) + spanned.T * share[:, None]
    ought = to_values(density, tone, maximum)
    np.testing.assert_allclose(found.share, share, rtol=1e-5)
    assert (found.share[:10] == 1).all()
    assert found.values.dtype == kind
    assert (np.abs(found.values.astype(int) - ought) <= 1).all()
    assert (found.values != ought).mean() < 0.02
    np.testing.assert_array_equal(found.changed, (found.values != values).any(axis=1))


def divided(values: np.ndarray, dirt: np.ndarray, tone: Tone) -> np.ndarray:
    """What division alone makes of values (pixels, colours)."""
    count = len(values)
    dirt, doubt, busy = (np.broadcast_to(np.float32(one), count).copy() for one in (dirt, ALWAYS_FILLED, NEVER_FILLED))
    return mend(values, dirt, doubt, busy, np.zeros(values.shape[::-1], np.float32), tone, 0.0).values


@given(tone=tones, dirt=st.floats(0, 0.5), film=st.integers(1_000, 30_000))
def test_known_dirt_is_undone_to_the_step(tone: Tone, dirt: float, film: int) -> None:
    """As far as the file's steps tell values apart: where dirt has pressed many into one, one of them comes back."""
    table = density_table(tone, 65535)
    values = np.arange(film, film + 20)
    seen = to_values(table[values] + np.float32(dirt), tone, 65535).astype(np.uint16)[:, None]
    usable = ((seen > 0) & (seen < 65535))[:, 0] & (np.abs(table[values]) < 3)
    back = table[divided(seen, dirt, tone)[:, 0]]
    slope = np.abs(np.gradient(table))
    rounding = slope[np.clip(seen[:, 0].astype(int), 1, 65534)] + slope[values]
    assert (np.abs(back - table[values])[usable] <= 0.75 * rounding[usable] + 2e-6).all()


def test_dirt_is_neutral() -> None:
    values = np.array([[100, 150, 200], [50, 60, 70]], np.uint8)
    back = divided(values, np.array([0.1, -0.2]), Tone())
    np.testing.assert_allclose(back, values * 10 ** np.array([[0.1], [-0.2]]), atol=0.5)


@pytest.mark.parametrize("level", [0.05, 0.3, 1.0])
def test_noise_is_what_measurement_shows(level: float) -> None:
    """Light with noise that falls with its root, stored in 8 bit, as densities."""
    noise = 0.01
    rng = np.random.default_rng(5)
    light = level * 0.9 + noise * np.sqrt(level * 0.9) * rng.standard_normal(100_000)
    stored = np.rint(light * 255).clip(1, 255).astype(np.uint8)
    measured = density_table(Tone(), 255)[stored].std()
    expected = noise_table(Tone(), 255, noise)[stored]
    assert np.sqrt((expected**2).mean()) == pytest.approx(measured, rel=0.08)


def test_an_inverted_positive_is_noisiest_where_it_is_light() -> None:
    tone = Tone(dirt="brightens")
    deviation = noise_table(tone, 65535, 0.01)[[2000, 20000, 60000]]
    assert (np.diff(deviation) > 0).all()
