"""What a glass is recognised by."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.processing.cells import Cells
from dustwatch.processing.fingerprint import Fingerprint, MatchParams, by_row, coincide, same_scene
from dustwatch.processing.landmarks import Landmarks, landmarks, number_scenes, recognise, tallied
from tests.signatures import TEXTURE_D, Rng, a_film, scattered, signature

PARAMS = MatchParams()
OFFSETS = [(0.0, 0.0), (1.4, -0.7), (-2.2, 3.1), (0.5, 0.5)]

examples = settings(max_examples=15)
seeds = st.integers(0, 2**32 - 1)


def members(rng: Rng, dirt: np.ndarray, count: int = 4) -> list[tuple[Fingerprint, tuple[float, float]]]:
    return [(signature(rng, dirt, offset=offset), offset) for offset in OFFSETS[:count]]


def same(first: Fingerprint, second: Fingerprint) -> bool:
    return same_scene(first, second, PARAMS)


def learnt(members: Sequence[tuple[Fingerprint, tuple[float, float]]]) -> Landmarks:
    return landmarks(members, number_scenes([one for one, _ in members], same), PARAMS)


@examples
@given(seed=seeds)
def test_landmarks_are_the_dirt_that_several_frames_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 80)
    known = learnt(members(rng, dirt)).points
    assert len(coincide(known, dirt, (0, 0), 0.5)) >= 0.9 * len(known)
    assert len(coincide(dirt, known, (0, 0), 0.5)) >= 0.85 * len(dirt)
    assert (np.diff(known[:, 0]) >= 0).all()


def test_the_contrast_of_a_landmark_is_in_density() -> None:
    rng = np.random.default_rng(3)
    dirt = scattered(rng, 40)
    known = learnt([(signature(rng, dirt, shown=1, clutter=0), (0.0, 0.0)) for _ in range(3)]).points
    pairs = coincide(known, dirt, (0, 0), 0.6)
    assert len(pairs) >= 38
    np.testing.assert_allclose(known[pairs[:, 0], 2], dirt[pairs[:, 1], 2] * TEXTURE_D, rtol=1e-4)


def test_what_stays_on_film_is_no_landmark_although_a_scan_without_film_does_not_show_it() -> None:
    rng = np.random.default_rng(6)
    dirt, text = scattered(rng, 60), scattered(rng, 60) * np.array([0.06, 1, 1], np.float32)
    films = [a_film(rng) for _ in range(3)]
    for film in films:
        film[:2] = 0.3
    both = np.concatenate([dirt, text])
    empty = signature(rng, dirt, film=np.full_like(films[0], 0.05))
    frames = [(one, (0.0, 0.0)) for one in (empty, *(signature(rng, both, film=film) for film in films))]
    known = landmarks(frames, range(4), PARAMS, {0}).points
    assert known[:, 0].min() > 60
    assert len(known) > 40
    assert (landmarks(frames, range(4), PARAMS).points[:, 0] < 50).sum() > 20


def test_landmarks_do_not_depend_on_the_order_of_the_frames() -> None:
    rng = np.random.default_rng(9)
    dirt = scattered(rng, 80)
    frames = members(rng, dirt)
    known, again = (learnt(some).points for some in (frames, frames[::-1]))
    assert len(coincide(known, again, (0, 0), 0.5)) >= 0.97 * max(len(known), len(again))


def test_one_frame_has_no_landmarks() -> None:
    rng = np.random.default_rng(1)
    assert not len(learnt(members(rng, scattered(rng, 80), 1)).points)


def test_a_scene_taken_again_is_no_second_witness() -> None:
    rng = np.random.default_rng(2)
    first = signature(rng, scattered(rng, 0), clutter=300)
    again = replace(first, film=Cells(first.film.values + np.float32(0.05)))
    assert not len(learnt([(first, (0.0, 0.0)), (again, (0.0, 0.0))]).points)


def test_scenes_are_numbered_as_they_come() -> None:
    rng = np.random.default_rng(6)
    nothing = scattered(rng, 0)
    films = [a_film(rng) for _ in range(3)]
    frames = [signature(np.random.default_rng(k), nothing, film=films[k]) for k in (0, 1, 0, 2, 1)]
    assert number_scenes(frames, same) == [0, 1, 0, 2, 1]
    assert number_scenes([], same) == []


@examples
@given(seed=seeds, offset=st.tuples(st.floats(-7, 7), st.floats(-7, 7)))
def test_a_frame_of_the_glass_is_recognised_where_it_lies(seed: int, offset: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 80)
    glass = learnt(members(rng, dirt))
    found = recognise(glass, signature(rng, dirt, offset=offset), PARAMS)
    assert found is not None
    np.testing.assert_allclose(found.offset, offset, atol=0.1)
    assert found.hits > 40


@examples
@given(seed=seeds)
def test_neither_a_stranger_nor_the_wiped_glass_is_recognised(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 80)
    glass = learnt(members(rng, dirt))
    assert recognise(glass, signature(rng, scattered(rng, 80)), PARAMS) is None
    left_behind = dirt[rng.random(len(dirt)) < 0.15]
    assert recognise(glass, signature(rng, left_behind), PARAMS) is None


@examples
@given(seed=seeds)
def test_dirt_is_heard_on_a_film_so_busy_that_hardly_any_makes_a_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 60)
    glass = learnt(members(rng, dirt))
    frame = signature(rng, dirt, offset=(30.4, -20.2), busy=3.3, clutter=400)
    assert len(coincide(dirt, frame.dark, (30.4, -20.2), 0.5)) < 20
    found = recognise(glass, frame, PARAMS)
    assert found is not None
    np.testing.assert_allclose(found.offset, (30.4, -20.2), atol=1)


def test_a_few_leftovers_however_loud_are_no_glass() -> None:
    rng = np.random.default_rng(3)
    dirt = scattered(rng, 12)
    dirt[:, 2] = 40
    glass = learnt(members(rng, dirt))
    assert len(glass.points) >= 10
    assert recognise(glass, signature(rng, dirt), PARAMS)
    assert recognise(glass, signature(rng, dirt[::4], shown=1), PARAMS) is None


def test_too_little_dirt_recognises_nothing() -> None:
    rng = np.random.default_rng(1)
    dirt = scattered(rng, 5)
    glass = learnt([(signature(rng, dirt, shown=1, clutter=0), (0.0, 0.0)) for _ in range(3)])
    assert 0 < len(glass.points) < 6
    assert recognise(glass, signature(rng, dirt, shown=1, clutter=0), PARAMS) is None


def tallied_at_once(seen: np.ndarray, points: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    old, new = pairs.T
    out = seen.copy()
    out[old, :3] += (points[new] - out[old, :3]) / (out[old, 3:] + 1)
    out[old, 3] += 1
    fresh = np.delete(points, new, axis=0)
    out = np.concatenate([out, np.column_stack([fresh, np.ones(len(fresh))])])
    return out[np.lexsort((out[:, 1], out[:, 0]))]


@examples
@given(seed=seeds, radius_px=st.sampled_from([0.5, 1.0, 3.0]))
def test_points_are_tallied_as_if_all_were_sorted_anew(seed: int, radius_px: float) -> None:
    rng = np.random.default_rng(seed)
    seen = np.zeros((0, 4))
    for _ in range(6):
        points = rng.uniform((0, 0, 1), (30, 40, 5), (rng.integers(0, 120), 3)).astype(np.float32)
        points[:, :2] = points[:, :2].round(rng.integers(0, 2))  # some lie level with each other
        points = by_row(points)
        pairs = coincide(seen[:, :3].astype(np.float32), points, (0.0, 0.0), radius_px)
        before = seen.copy()
        found = tallied(seen, points, pairs)
        expected = tallied_at_once(seen, points, pairs)
        np.testing.assert_array_equal(found[:, :2], expected[:, :2])
        np.testing.assert_array_equal(*(one[np.lexsort(one.T)] for one in (found, expected)))
        np.testing.assert_array_equal(seen, before)
        seen = found
