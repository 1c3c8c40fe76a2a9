"""The lives of particles."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.processing.particles import LifeParams, accepted, amplitude, lives, odds
from tests import naive

PARAMS = LifeParams()

seeds = st.integers(0, 2**32 - 1)


def brute_force(ratios: np.ndarray, change_rate: float) -> np.ndarray:
    """Probability of being there, for one particle, summed over every possible life."""
    chance = np.zeros(len(ratios))
    whole = 0.0
    for life in product((0, 1), repeat=len(ratios)):
        changes = sum(a != b for a, b in pairwise(life))
        prior = change_rate**changes * (1 - change_rate) ** (len(life) - 1 - changes)
        likely = prior * np.exp(np.dot(life, ratios))
        whole += likely
        chance += likely * np.array(life)
    return chance / whole


@given(
    frames=st.integers(1, 7),
    particles=st.integers(1, 3),
    rate=st.floats(0.001, 0.3),
    loud=st.sampled_from([1.0, 5.0, 20.0]),
    seed=seeds,
)
def test_lives_are_those_of_brute_force(frames: int, particles: int, rate: float, loud: float, seed: int) -> None:
    ratios = np.random.default_rng(seed).normal(0, loud, (frames, particles))
    found = lives(ratios, LifeParams(change_rate=rate))
    chance = np.stack([brute_force(column, rate) for column in ratios.T], axis=1)
    undecided = np.abs(chance - 0.5) < 1e-9
    np.testing.assert_array_equal(found[~undecided], (chance > 0.5)[~undecided])


def test_a_doubtful_frame_follows_its_neighbours() -> None:
    ratios = np.array([[6.0], [-1.0], [5.0], [-7.0], [1.0], [-6.0]])
    assert lives(ratios, PARAMS)[:, 0].tolist() == [True, True, True, False, False, False]


def test_lives_can_be_very_sure() -> None:
    ratios = np.repeat([[1e5], [-1e5]], 4, axis=0)
    assert lives(ratios, PARAMS)[:, 0].tolist() == [True] * 4 + [False] * 4


def dirty(
    rng: np.random.Generator, there: np.ndarray, noise: float = 0.02
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What is missing, the particles' densities, the deviation, and labels: particles of 20 px, .05 to .2 D."""
    frames, particles = there.shape
    labels = np.repeat(np.arange(particles), 20)
    template = rng.uniform(0.05, 0.2, len(labels)).astype(np.float32)
    missing = there[:, labels] * template + rng.normal(0, noise, (frames, len(labels)))
    return missing.astype(np.float32), template, np.full(missing.shape, noise, np.float32), labels


@settings(max_examples=30)
@given(seed=seeds)
def test_odds_tell_who_is_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    there = rng.random((6, 5)) < 0.5
    missing, template, deviation, labels = dirty(rng, there)
    np.testing.assert_array_equal(odds(missing, template, deviation, labels, 5) > 0, there)
    by_frame = np.broadcast_to(template, missing.shape)
    np.testing.assert_array_equal(
        odds(missing, by_frame, deviation, labels, 5), odds(missing, template, deviation, labels, 5)
    )


@settings(max_examples=20)
@given(seed=seeds)
def test_odds_are_those_of_the_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    missing, template, deviation, labels = dirty(rng, rng.random((3, 4)) < 0.5, noise=0.1)
    deviation *= rng.uniform(0.5, 2, deviation.shape).astype(np.float32)
    mixed = rng.permutation(len(labels))
    told = (missing[:, mixed], template[mixed], deviation[:, mixed], labels[mixed], 4)
    np.testing.assert_allclose(odds(*told), naive.odds(*told), atol=1e-5)


def test_odds_of_half_are_even_and_an_edge_of_the_film_decides_little() -> None:
    template = np.full(10, 0.1, np.float32)
    labels = np.zeros(10, np.intp)
    missing = np.array([[0.05], [3.0], [0.1]], np.float32).repeat(10, axis=1)
    half, edge, there = odds(missing, template, np.full((3, 10), 0.02, np.float32), labels, 1)[:, 0]
    assert half == pytest.approx(0, abs=1e-5)
    assert abs(edge) < 1
    assert there > 5


def test_a_particle_as_dense_as_the_film_is_busy_can_be_seen_in_one_frame() -> None:
    template = np.full((1, 10), 0.05, np.float32)
    (absent,), (there,) = odds(
        np.concatenate([0 * template, template]), template[0], template.repeat(2, axis=0), np.zeros(10, np.intp), 1
    )
    assert there == pytest.approx(-absent)
    assert there > 4


@settings(max_examples=30)
@given(seed=seeds, level=st.floats(0.5, 2))
def test_the_amplitude_is_that_of_the_frames_in_which_it_shows(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    there = np.zeros((8, 3), np.bool_)
    there[:5, 0] = there[4:, 1] = there[:, 2] = True
    missing, template, deviation, labels = dirty(rng, there, noise=0.01)
    found = amplitude(missing, (template / np.float32(level)).astype(np.float32), deviation, labels, 3)
    np.testing.assert_allclose(found, level, rtol=0.12)


@given(seed=seeds)
def test_what_lay_in_a_few_of_many_frames_keeps_its_amplitude(seed: int) -> None:
    rng = np.random.default_rng(seed)
    there = np.zeros((32, 3), np.bool_)
    there[-3:, 0] = there[:3, 1] = there[14:17, 2] = True
    missing, template, deviation, labels = dirty(rng, there, noise=0.04)
    found = amplitude(missing, (template / np.float32(3.0)).astype(np.float32), deviation, labels, 3)
    np.testing.assert_allclose(found, 3.0, rtol=0.25)


@settings(max_examples=30)
@given(seed=seeds)
def test_the_amplitude_is_the_level_whose_odds_are_best_in_a_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    missing, template, deviation, labels = dirty(rng, rng.random((6, 4)) < 0.5)
    found = amplitude(missing, template, deviation, labels, 4)
    for particle in range(4):
        own = labels == particle
        levels = [max(float(row[own] @ template[own] / (template[own] ** 2).sum()), 0.0) for row in missing]
        best = 0.0
        for level in {*levels, float(found[particle])}:
            ratios = odds(missing[:, own], np.float32(level) * template[own], deviation[:, own], 0 * labels[own], 1)
            runs = [ratios[first:stop].sum() for first in range(6) for stop in range(first, 7)]
            best = max(best, *runs)
            if level == found[particle]:
                chosen = max(runs)
        assert chosen == pytest.approx(best, rel=1e-4)
        assert min(abs(found[particle] - level) for level in levels) < 1e-5


def test_the_amplitude_is_never_negative() -> None:
    labels = np.zeros(5, np.intp)
    missing, deviation = np.full((3, 5), -0.1, np.float32), np.full((3, 5), 0.02, np.float32)
    assert amplitude(missing, np.full(5, 0.1, np.float32), deviation, labels, 1) == [0]


def test_several_scenes_must_say_so_without_the_loudest() -> None:
    enough = PARAMS.min_support + 0.1
    ratios = np.array(
        [
            [90.0, 90.0, 90.0, enough, 90.0],
            [90.0, enough, 0.5, enough, enough],
            [90.0, -9.0, 0.5, 0.0, enough],
        ]
    )
    there = np.ones(ratios.shape, np.bool_)
    there[1:, 4] = False
    assert accepted(ratios, there, np.arange(3), PARAMS).tolist() == [True, True, False, True, False]
    assert accepted(ratios, there, np.array([0, 0, 1]), PARAMS).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(("scenes", "times"), [(2, 1), (4, 1), (16, 2)])
def test_many_scenes_must_say_more_than_few(scenes: int, times: float) -> None:
    """Each of them as much; the last particle is short of what is needed, the first is not."""
    enough = times * PARAMS.min_support / (scenes - 1)
    ratios = np.full((scenes, 2), [1.01 * enough, 0.99 * enough])
    there = np.ones(ratios.shape, np.bool_)
    assert accepted(ratios, there, np.arange(scenes), PARAMS).tolist() == [True, False]


def test_what_a_frame_without_film_shows_needs_no_other_witness() -> None:
    enough = PARAMS.min_support + 0.1
    ratios = np.array([[enough, enough, 0.5, enough], [0.0, 0.0, 90.0, enough]])
    there = np.array([[True, False, True, True], [True, True, True, True]])
    assert accepted(ratios, there, np.arange(2), PARAMS).tolist() == [False, False, False, True]
    bare = np.array([True, False])
    assert accepted(ratios, there, np.arange(2), PARAMS, bare).tolist() == [True, False, False, True]


def test_a_particle_must_be_seen_in_enough_scenes() -> None:
    ratios = np.full((4, 1), 50.0)
    there = np.array([[True], [True], [True], [False]])
    assert accepted(ratios, there, np.arange(4), LifeParams(fewest_scenes=3)).all()
    assert not accepted(ratios, there, np.arange(4), LifeParams(fewest_scenes=4)).any()
