"""How a glass drifts in the frames of a carriage that wobbles is found from points; without wobble there is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.processing.cells import Patch
from dustwatch.processing.drift import STEADY, Drift, Wobble, wobble
from dustwatch.processing.fingerprint import Fingerprint, MatchParams
from tests.signatures import HEIGHT, WIDTH, ordered, scattered, signature

Seen = tuple[Fingerprint, tuple[float, float]]

LENGTHS = (HEIGHT, WIDTH)
PARAMS = MatchParams()


def swing(phase: float, axis: int) -> np.ndarray:
    """Drift (n, 2) at each row or column: twice as much down as across, of two periods."""
    angles = np.linspace(0, 4 * np.pi, LENGTHS[axis])
    return np.stack([0.7 * np.sin(angles + phase), 0.35 * np.cos(angles - phase)], axis=1)


def frames(count: int, swings: float, axis: int = 0, dirt: int = 150, seed: int = 0) -> tuple[list[Seen], np.ndarray]:
    """Frames of one glass and their true drifts (frames, length, 2), `swings` times `swing`."""
    rng = np.random.default_rng(seed)
    glass = scattered(rng, dirt)
    found, drifts = [], []
    for number in range(count):
        drift, offset = swings * swing(2.0 * number, axis), tuple(rng.normal(0, 3, 2).tolist())
        bent = glass.copy()
        bent[:, :2] += drift[glass[:, axis].astype(int)]
        found.append((signature(rng, ordered(bent), offset=offset), offset))
        drifts.append(drift)
    return found, np.array(drifts)


def told(seen: list[Seen], bare: frozenset[int] = frozenset()) -> Wobble | None:
    patch = Patch.under((one.height, one.width, offset) for one, offset in seen)
    return wobble(seen, range(len(seen)), bare, patch, PARAMS)


def apart(found: list[Drift], true: np.ndarray) -> float:
    """Root mean square, in px, of how the frames lie on each other; where all lie together does not matter."""
    errors = np.array([one.at(np.arange(true.shape[1])) for one in found]) - true
    return float((errors - errors.mean(axis=0)).std())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_drifts_are_found_and_the_axis_along_which_they_are(count: int, axis: int) -> None:
    seen, true = frames(count, 1.0, axis)
    found = told(seen)
    assert found is not None
    assert {drift.axis for drift in found.drifts} == {axis}
    assert apart(list(found.drifts), true) < 0.08 < 0.25 < apart([STEADY] * count, true)


@settings(max_examples=30)
@given(count=st.integers(2, 6), dirt=st.sampled_from([5, 20, 40, 150]), seed=st.integers(0, 2**32 - 1))
def test_a_carriage_that_does_not_wobble_is_not_said_to(count: int, dirt: int, seed: int) -> None:
    assert told(frames(count, 0.0, dirt=dirt, seed=seed)[0]) is None


def test_where_few_points_tell_a_steady_carriage_is_not_said_to_wobble_either() -> None:
    wrong = [seed for seed in range(150) if told(frames(2 + seed % 5, 0.0, dirt=40, seed=seed)[0]) is not None]
    assert not wrong


def test_a_later_frame_is_followed_as_well_as_those_of_the_map() -> None:
    seen, true = frames(8, 1.0)
    found = told(seen[:-1])
    assert found is not None
    late = found.drift(*seen[-1])
    assert late.axis == 0
    assert apart([*found.drifts, late], true) < 0.08


def test_of_a_frame_that_shows_too_little_nothing_is_said() -> None:
    seen, _ = frames(6, 1.0)
    found = told(seen)
    assert found is not None
    one, offset = seen[0]
    silent = found.drift(replace(one, dark=one.dark[:0]), offset)
    assert not silent.at(np.arange(HEIGHT)).any()


def test_a_scan_without_film_drifts_as_frames_do() -> None:
    seen, true = frames(3, 1.0)
    found = told(seen, bare=frozenset([0]))
    assert found is not None
    assert apart(list(found.drifts), true) < 0.08


@given(
    coefficients=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=15, max_size=15),
    place=st.floats(-1e4, 1e4),
)
def test_a_drift_lies_within_its_coefficients_and_does_not_change_beyond_its_ends(
    coefficients: list[tuple[float, float]], place: float
) -> None:
    drift = Drift(0, -5.0, 700.0, tuple(coefficients))
    (here,), (within,) = drift.at(np.array([place])), drift.at(np.array([min(max(place, -5.0), 700.0)]))
    np.testing.assert_allclose(here, within, atol=1e-12)
    assert (here >= np.min(coefficients, axis=0) - 1e-9).all()
    assert (here <= np.max(coefficients, axis=0) + 1e-9).all()


def test_a_steady_carriage_drifts_nowhere() -> None:
    assert not STEADY.at(np.arange(-10, 10)).any()
