"""Which frames lie on the same glass."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.daemon.groups import Group, Groups, Member
from dustwatch.processing.cells import Cells
from dustwatch.processing.fingerprint import Fingerprint, MatchParams
from dustwatch.processing.placement import ORIENTATIONS
from tests.signatures import HEIGHT, WIDTH, Rng, a_film, scattered, signature

PARAMS = MatchParams()

examples = settings(max_examples=8)
seeds = st.integers(0, 2**32 - 1)


def scans(rng: Rng, glasses: list[np.ndarray], of: list[int], shown: float = 0.7) -> list[Fingerprint]:
    """A frame for every number in `of`, on the glass of that number, at offsets of up to a pixel or so."""
    return [signature(rng, glasses[k], offset=tuple(rng.normal(0, 0.5, 2)), shown=shown) for k in of]


def group(frames: Sequence[Fingerprint], params: MatchParams, places: Sequence[str] = ()) -> list[Group]:
    """All groups that frames admitted in this order are sorted into, by first frame; `places`: where each lay."""
    groups = Groups(frames.__getitem__, params)
    where = places or [""] * len(frames)
    newcomers = (Member(number, str(number), place=place) for number, place in enumerate(where))
    ended = [one for newcomer in newcomers for one in groups.admit(newcomer)]
    return sorted([*ended, *groups.live], key=lambda one: one.first)


def frames_in(groups: list[Group]) -> list[list[int]]:
    return [[member.frame for member in one.members] for one in groups]


def by_glass(of: Sequence[object]) -> list[list[int]]:
    """The true groups, by first frame."""
    return [[i for i, k in enumerate(of) if k == glass] for glass in dict.fromkeys(of)]


@examples
@given(seed=seeds, dirt=st.sampled_from([60, 150]))
def test_a_wipe_parts_the_groups_even_if_some_dirt_is_left_behind(seed: int, dirt: int) -> None:
    rng = np.random.default_rng(seed)
    before = scattered(rng, dirt)
    left_behind = before[rng.random(dirt) < 0.08]
    after = np.concatenate([left_behind, scattered(rng, dirt)])
    of = [0] * 7 + [1] * 6
    assert frames_in(group(scans(rng, [before, after], of), PARAMS)) == by_glass(of)


@examples
@given(seed=seeds)
def test_slots_come_interleaved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of = [0, 1, 2, 0, 1, 2, 0, 2, 1, 1, 0, 2]
    found = group(scans(rng, [scattered(rng, 60) for _ in range(3)], of), PARAMS)
    assert frames_in(found) == by_glass(of)


@settings(max_examples=4)
@given(seed=seeds)
def test_slots_with_little_dirt_come_interleaved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of = [0, 1, 2, 3] * 4
    frames = scans(rng, [scattered(rng, 30) for _ in range(4)], of, shown=0.9)
    assert frames_in(group(frames, PARAMS, [f"slot {k}" for k in of])) == by_glass(of)


@examples
@given(seed=seeds, of=st.lists(st.sampled_from("ABC "), max_size=12))
def test_frames_of_different_places_never_lie_on_one_glass_whatever_they_share(seed: int, of: list[str]) -> None:
    rng = np.random.default_rng(seed)
    frames = scans(rng, [scattered(rng, 60)], [0] * len(of))
    assert frames_in(group(frames, PARAMS, [place.strip() for place in of])) == by_glass(of)


@examples
@given(seed=seeds, data=st.data())
def test_the_order_of_frames_on_lasting_glass_does_not_matter(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    of = [0] * 5 + [1] * 4 + [2]
    frames = scans(rng, [scattered(rng, 70) for _ in range(3)], of)
    order = data.draw(st.permutations(range(len(of))))
    found = group([frames[i] for i in order], PARAMS)
    assert frames_in(found) == by_glass([of[i] for i in order])


@settings(max_examples=3)
@given(seed=seeds)
def test_dirt_that_comes_and_goes_keeps_the_group(seed: int) -> None:
    """Over 30 frames a quarter of it is replaced."""
    rng = np.random.default_rng(seed)
    pool = rng.permutation(scattered(rng, 150))
    frames = [signature(rng, pool[k : k + 120]) for k in range(30)]
    assert frames_in(group(frames, PARAMS)) == [list(range(30))]


@examples
@given(seed=seeds)
def test_offsets_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 80)
    true = rng.uniform(-3, 3, (6, 2))
    (found,) = group([signature(rng, dirt, offset=tuple(offset)) for offset in true], PARAMS)
    offsets = np.array([member.placement.offset for member in found.members])
    np.testing.assert_allclose(offsets - offsets.mean(axis=0), true - true.mean(axis=0), atol=0.12)


@examples
@given(seed=seeds)
def test_who_joined_for_a_few_leftovers_is_sent_away_when_the_glass_is_known(seed: int) -> None:
    """A fifth of the dirt survived a wipe: enough for two frames to be alike, too little for one glass."""
    rng = np.random.default_rng(seed)
    before = scattered(rng, 150)
    after = np.concatenate([before[::5], scattered(rng, 150)])
    of = [0, 1, 1, 1, 1, 1]
    frames = [signature(rng, [before, after][k], shown=0.9, clutter=20) for k in of]
    assert frames_in(group(frames[:2], PARAMS)) == [[0, 1]]
    assert frames_in(group(frames, PARAMS)) == by_glass(of)


def test_two_halves_of_a_glass_become_one_when_a_frame_shows_both() -> None:
    """The film is too busy for dirt on the right in two frames, and on the left in two others."""
    rng = np.random.default_rng(4)
    dirt = scattered(rng, 120)
    offsets = [(0.0, 0.0), (0.4, 0.2), (1.5, -2.0), (1.2, -1.8), (0.7, 0.9)]
    on_the_left = np.where(np.arange(a_film(rng).shape[1]) < 19, 8.0, 1.0)
    busy = [on_the_left[::-1], on_the_left[::-1], on_the_left, on_the_left, np.ones(1)]
    frames = [signature(rng, dirt, offset=offset, busy=b) for offset, b in zip(offsets, busy, strict=True)]
    assert frames_in(group(frames[:4], PARAMS)) == [[0, 1], [2, 3]]
    (found,) = group(frames, PARAMS)
    assert [member.frame for member in found.members] == [0, 1, 2, 3, 4]
    true = np.diff(offsets, axis=0)
    np.testing.assert_allclose(np.diff([member.placement.offset for member in found.members], axis=0), true, atol=0.15)


def test_scans_without_film_and_frames_find_each_other() -> None:
    rng = np.random.default_rng(12)
    dirt = scattered(rng, 80)
    empty = np.full_like(a_film(rng), 0.05)
    frames = [*(signature(rng, dirt, film=empty, clutter=0) for _ in range(2)), signature(rng, dirt)]
    groups = Groups(frames.__getitem__, PARAMS)
    found = []
    for number in range(3):
        groups.admit(Member(number, str(number), bare=number < 2))
        found.append(frames_in(list(groups.live)))
    assert found == [[[0]], [[0, 1]], [[0, 1, 2]]]
    assert [member.bare for member in groups.live[0].members] == [True, True, False]


def test_a_scan_without_film_knows_a_wipe_by_the_dirt_that_is_missing() -> None:
    """A fifth of it survived: enough for two frames to be alike."""
    rng = np.random.default_rng(0)
    before = scattered(rng, 150)
    after = np.concatenate([before[::5], scattered(rng, 150)])
    empty = signature(rng, before, film=np.full_like(a_film(rng), 0.05), shown=0.9, clutter=0)
    frames = [empty, signature(rng, after, shown=0.9)]
    assert frames_in(group(frames, PARAMS)) == [[0, 1]]
    groups = Groups(frames.__getitem__, PARAMS)
    for number in range(2):
        groups.admit(Member(number, str(number), bare=number < 1))
    assert frames_in(list(groups.live)) == [[0], [1]]


def test_who_was_not_recognised_at_first_joins_when_the_glass_is_known() -> None:
    """The film of the first frame is so busy that only the ten strongest stand out."""
    rng = np.random.default_rng(11)
    dirt = scattered(rng, 80)
    dirt[:, 2] = 4
    dirt[::8, 2] = 40
    frames = [signature(rng, dirt, busy=5), *(signature(rng, dirt, shown=0.6) for _ in range(6))]
    assert frames_in(group(frames[:2], PARAMS)) == [[0], [1]]
    assert frames_in(group(frames, PARAMS)) == [list(range(7))]


@examples
@given(seed=seeds)
def test_sparse_dirt_is_recognised_on_busy_film(seed: int) -> None:
    """A third of the frames are so busy that of 40 pieces of dirt they hide most."""
    rng = np.random.default_rng(seed)
    glasses = [scattered(rng, 40) for _ in range(2)]
    of = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    frames = [signature(rng, glasses[k], shown=0.9, busy=3 if n % 3 == 2 else 1) for n, k in enumerate(of)]
    assert frames_in(group(frames, PARAMS)) == by_glass(of)


@examples
@given(seed=seeds, count=st.integers(0, 6))
def test_frames_on_clean_glass_stay_alone(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    found = group(scans(rng, [scattered(rng, 0)], [0] * count), PARAMS)
    assert frames_in(found) == [[k] for k in range(count)]


def test_a_scene_taken_twice_is_no_glass() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(4):
        once = signature(rng, scattered(rng, 0), clutter=300)
        frames += [once, replace(once, film=Cells(once.film.values + np.float32(0.02)))]
    assert frames_in(group(frames, PARAMS)) == [[k] for k in range(8)]


def test_frames_of_quite_another_size_lie_on_another_glass() -> None:
    """No cropping explains it."""
    rng = np.random.default_rng(2)
    of = [0, 0, 0, 1, 1, 0, 1]
    dirt = scattered(rng, 80)
    frames = scans(rng, [dirt, dirt], of)
    less = 2 * PARAMS.search_px + 1
    sized = [replace(frame, height=frame.height - k * less) for frame, k in zip(frames, of, strict=True)]
    assert frames_in(group(sized, PARAMS)) == by_glass(of)


@examples
@given(seed=seeds)
def test_frames_that_were_cropped_turned_and_mirrored_find_their_glass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 100)
    ways = [1, *rng.choice(ORIENTATIONS, 6).tolist()]
    crops = rng.integers(0, 60, (7, 2)).tolist()
    frames = []
    for way, (top, left) in zip(ways, crops, strict=True):
        upright = cropped(signature(rng, dirt), top, left)
        back = {6: 8, 8: 6}.get(way, way)  # the others undo themselves
        frames.append(upright.turned(back))
    (found,) = group(frames, PARAMS)
    for member, frame, way, crop in zip(found.members, frames, ways, crops, strict=True):
        assert member.placement.orientation == way
        lies = np.array(member.placement.upright(frame.height, frame.width))
        np.testing.assert_allclose(lies + crop, np.array(crops[0]), atol=0.2)


def cropped(frame: Fingerprint, top: int, left: int) -> Fingerprint:
    """A frame without its first rows and columns."""
    moved = [points - np.array([top, left, 0], np.float32) for points in (frame.dark, frame.light)]
    dark, light = (points[(points[:, :2] >= 0).all(axis=1)] for points in moved)
    texture, film = (Cells(cells.values, (-top, -left)) for cells in (frame.texture, frame.film))
    relief = replace(frame.relief, corner=(-top, -left))
    return Fingerprint(frame.height - top, frame.width - left, dark, light, texture, film, relief)


@examples
@given(seed=seeds, scale=st.floats(1.0025, 1.2))
def test_a_frame_of_another_scale_is_not_taken_for_one_of_the_glass(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 100)
    frames = [signature(rng, dirt, shown=0.9) for _ in range(4)]
    grown = dirt * np.array([scale, scale, 1], np.float32)
    larger = signature(rng, grown[(grown[:, :2] < (HEIGHT, WIDTH)).all(axis=1)], shown=0.9)
    assert frames_in(group([*frames, larger], PARAMS)) == [[0, 1, 2, 3], [4]]


@pytest.mark.parametrize("seed", range(3))
def test_every_frame_is_in_one_group_and_all_are_in_order(seed: int) -> None:
    """Whatever the frames: here some that share too little to be sure."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, 3, 14).tolist()
    glasses = [scattered(rng, 25) for _ in range(3)]
    found = frames_in(group(scans(rng, glasses, of, shown=0.5), PARAMS))
    assert sorted(frame for one in found for frame in one) == list(range(14))
    assert all(one == sorted(one) for one in found)
    assert all(one[0] < other[0] for one, other in pairwise(found))


def test_fingerprints_go_with_the_groups_that_have_looked_at_them() -> None:
    """At once: what comes next needs the memory, and when circles are looked for nobody knows."""
    rng = np.random.default_rng(0)
    frames = scans(rng, [scattered(rng, 150)], [0] * 4)
    held = []

    def read(number: int) -> Fingerprint:
        seen = replace(frames[number], dark=frames[number].dark.copy())
        held.append(weakref.ref(seen.dark))
        return seen

    gc.disable()
    try:
        groups = Groups(read, PARAMS)
        for number in range(len(frames)):
            groups.admit(Member(number, str(number)))
        assert len(groups.live) == 1
        assert any(one() is not None for one in held)
        del groups
        assert all(one() is None for one in held)
    finally:
        gc.enable()
