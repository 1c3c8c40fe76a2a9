"""Scan values to density and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.density import (
    MARKS_PER_D,
    Tone,
    density_table,
    light,
    stored,
    to_values,
    value_at,
    value_edges,
    value_marks,
)

tones = st.builds(
    Tone,
    encoding=st.sampled_from(["linear", "gamma", "srgb"]),
    gamma=st.floats(1.0, 4.0),
    dirt=st.sampled_from(["darkens", "brightens"]),
    black=st.floats(0.0, 0.2),
)


@given(tone=tones, linear=st.lists(st.floats(0, 1), min_size=1))
def test_light_undoes_stored(tone: Tone, linear: list[float]) -> None:
    np.testing.assert_allclose(light(stored(np.array(linear), tone), tone), linear, atol=1e-7)


@given(tone=tones, values=st.lists(st.floats(0, 1), min_size=1))
def test_stored_undoes_light_above_the_black_level(tone: Tone, values: list[float]) -> None:
    black = stored(np.zeros(1), tone)
    expected = np.maximum(values, black)
    np.testing.assert_allclose(stored(light(np.array(values), tone), tone), expected, atol=1e-7)


def test_srgb_is_that_of_the_standard() -> None:
    """Mid-grey and both sides of the knee, as IEC 61966-2-1 has them."""
    values = np.array([0.0, 0.04045, 0.5, 1.0])
    expected = [0.0, 0.0031308, 0.214041, 1.0]
    np.testing.assert_allclose(light(values, Tone(encoding="srgb")), expected, atol=1e-6)


def test_densities_of_linear_light() -> None:
    table = density_table(Tone(), 255)
    assert table[255] == 0
    assert table[51] == pytest.approx(np.log10(5))
    assert table[0] == pytest.approx(np.log10(255 / 0.5))
    inverted = density_table(Tone(dirt="brightens"), 255)
    np.testing.assert_array_equal(inverted, -table)


@given(tone=tones, maximum=st.sampled_from([255, 65535]))
def test_a_table_is_finite_and_monotone_and_shared_by_nobody_who_writes(tone: Tone, maximum: int) -> None:
    table = density_table(tone, maximum)
    assert table.shape == (maximum + 1,)
    assert np.isfinite(table).all()
    assert (np.diff(table) * -tone.sign >= 0).all()
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1


@given(tone=tones, maximum=st.sampled_from([255, 65535]))
def test_nothing_is_denser_than_half_a_step_above_the_black_level(tone: Tone, maximum: int) -> None:
    half_a_step = light(stored(np.zeros(1), tone) + 0.5 / maximum, tone)[0]
    assert abs(density_table(tone, maximum)[0]) == pytest.approx(-np.log10(half_a_step), rel=1e-5)


@given(tone=tones, maximum=st.sampled_from([255, 65535]))
def test_values_above_the_black_level_survive_the_way_through_density(tone: Tone, maximum: int) -> None:
    values = np.arange(int(np.ceil(stored(np.zeros(1), tone)[0] * maximum)) + 1, maximum + 1)
    np.testing.assert_array_equal(to_values(density_table(tone, maximum)[values], tone, maximum), values)


def test_values_are_clipped_to_what_a_file_holds() -> None:
    density = np.array([-1.0, 0.0, 9.0], np.float32)
    np.testing.assert_array_equal(to_values(density, Tone(), 255), [255, 255, 0])
    np.testing.assert_array_equal(to_values(density, Tone(black=0.2), 255), [255, 255, 51])


@given(tone=tones, maximum=st.sampled_from([255, 65535]), lights=st.lists(st.floats(-400, 2), max_size=50))
def test_values_are_found_between_the_marks_as_among_all_edges(tone: Tone, maximum: int, lights: list[float]) -> None:
    edges, marks = value_edges(tone, maximum), value_marks(tone, maximum)
    near = np.arange(-7 * MARKS_PER_D, MARKS_PER_D) / MARKS_PER_D
    every = np.concatenate([lights, edges[::97], near, np.nextafter(near, -9), np.nextafter(near, 9)])
    found = [value_at(one, edges, marks) for one in every]
    np.testing.assert_array_equal(found, np.searchsorted(edges, every, side="right"))
