"""Division by the dirt, and the noise it leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.density import Tone, density_table, to_values
from dustwatch.processing.divide import divided, division_noise

tones = st.builds(
    Tone,
    encoding=st.sampled_from(["linear", "gamma", "srgb"]),
    dirt=st.sampled_from(["darkens", "brightens"]),
    black=st.floats(0.0, 0.05),
)


@given(tone=tones, dirt=st.floats(0, 0.5), film=st.integers(1_000, 30_000))
def test_known_dirt_is_undone_to_the_step(tone: Tone, dirt: float, film: int) -> None:
    """As far as the file's steps tell values apart: where dirt has pressed many into one, one of them comes back."""
    table = density_table(tone, 65535)
    values = np.arange(film, film + 20)
    seen = to_values(table[values] + np.float32(dirt), tone, 65535).astype(np.uint16)[:, None]
    usable = ((seen > 0) & (seen < 65535))[:, 0] & (np.abs(table[values]) < 3)
    back = divided(seen, np.full(20, dirt, np.float32), tone, 65535)[:, 0]
    slope = np.abs(np.gradient(table))
    rounding = slope[np.clip(seen[:, 0].astype(int), 1, 65534)]
    assert (np.abs(back - table[values])[usable] <= 0.75 * rounding[usable] + 2e-6).all()


def test_dirt_is_neutral() -> None:
    values = np.array([[100, 150, 200], [50, 60, 70]], np.uint8)
    table = density_table(Tone(), 255)
    back = divided(values, np.array([0.1, -0.2], np.float32), Tone(), 255)
    np.testing.assert_allclose(back, table[values] - np.array([[0.1], [-0.2]], np.float32), atol=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.3, 1.0])
def test_noise_is_what_measurement_shows(level: float) -> None:
    """Light with noise that falls with its root, stored in 8 bit, as densities."""
    noise = 0.01
    rng = np.random.default_rng(5)
    light = level * 0.9 + noise * np.sqrt(level * 0.9) * rng.standard_normal(100_000)
    stored = np.rint(light * 255).clip(1, 255).astype(np.uint8)
    measured = density_table(Tone(), 255)[stored].std()
    expected = division_noise(stored[:, None], Tone(), 255, noise)
    assert expected.shape == (100_000,)
    assert np.sqrt((expected**2).mean()) == pytest.approx(measured, rel=0.08)


def test_noise_is_the_mean_over_channels() -> None:
    one = division_noise(np.array([[10], [200]], np.uint8), Tone(), 255, 0.01)
    both = division_noise(np.array([[10, 200]], np.uint8), Tone(), 255, 0.01)
    assert both == pytest.approx([one.mean()])


def test_an_inverted_positive_is_noisiest_where_it_is_light() -> None:
    tone = Tone(dirt="brightens")
    deviation = division_noise(np.array([[2000], [20000], [60000]], np.uint16), tone, 65535, 0.01)
    assert (np.diff(deviation) > 0).all()
