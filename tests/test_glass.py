"""From which frames of a glass its maps are learnt, and which glass has the wrong sign."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.glass import Glass, Glasses, Run
from dustwatch.daemon.groups import Member
from dustwatch.processing.fingerprint import Fingerprint, MatchParams
from dustwatch.processing.learn import MOST_FRAMES
from dustwatch.processing.placement import Placement
from tests.signatures import scattered, signature


def members(count: int) -> tuple[Member, ...]:
    return tuple(Member(3 * number, f"sha {number}", Placement((number / 7, -number / 3))) for number in range(count))


@given(count=st.integers(1, 150), data=st.data())
def test_every_frame_is_cleaned_once_and_maps_have_few_witnesses(count: int, data: st.DataObject) -> None:
    ripe = data.draw(st.integers(1, count))
    runs = list(Glass(members(count)).runs(ripe))
    assert [member for run in runs for member in run.cleaned] == list(members(count))
    for run in runs:
        assert 1 <= len(run.witnesses) <= MOST_FRAMES
        assert set(run.witnesses) <= set(members(ripe))
        later = set(run.cleaned) - set(run.witnesses)
        assert all(member.frame > run.witnesses[-1].frame for member in later)
    # Whoever comes later is cleaned with all that is known.
    if ripe < count:
        assert runs[-1].witnesses == members(ripe)[-MOST_FRAMES:]


@given(count=st.integers(1, 150), more=st.integers(0, 80))
def test_further_frames_leave_what_is_finished_as_it_is(count: int, more: int) -> None:
    before, after = (list(Glass(members(number)).runs()) for number in (count, count + more))
    finished = [run for run in before if len(run.cleaned) == MOST_FRAMES]
    assert after[: len(finished)] == finished


def test_what_is_bare_of_film_is_a_witness_and_never_cleaned() -> None:
    first, *others = members(MOST_FRAMES + 3)
    glass = Glass((replace(first, bare=True), *others))
    full, rest = glass.runs()
    assert full.witnesses[0].bare
    assert full.cleaned == glass.members[1:MOST_FRAMES]
    assert [member for run in (full, rest) for member in run.cleaned] == others
    assert full.map_sha256 != replace(full, witnesses=(first, *full.witnesses[1:])).map_sha256


def test_a_glass_is_named_after_its_first_frame_with_film() -> None:
    first, second, third = members(3)
    empty = replace(first, bare=True)
    assert Glass((empty, second, third)).glass_id == Glass((second, third)).glass_id
    assert Glass((empty,)).glass_id == Glass((first,)).glass_id
    assert [run.cleaned for run in Glass((empty,)).runs()] == [()]


def test_a_map_is_named_after_all_that_it_depends_on() -> None:
    (run,) = Glass(members(3)).runs()
    moved = replace(run.witnesses[1], placement=Placement((9.0, 9.0)))
    others = [
        *Glass(members(4)).runs(),
        *Glass(members(3), wrong_sign=True).runs(),
        *Glass(members(3)[1:]).runs(),
        replace(run, witnesses=(run.witnesses[0], moved, run.witnesses[2])),
    ]
    digests = {one.map_sha256 for one in (run, *others)}
    assert len(digests) == 5
    assert replace(run, cleaned=run.cleaned[:1]).map_sha256 == run.map_sha256


def test_placements_of_an_earlier_run_are_kept_if_its_witnesses_are_the_same() -> None:
    glass = Glass(members(5))
    (early,) = Glass(members(5)).runs(4)
    shifted = replace(glass, members=tuple(replace(one, placement=Placement((0.5, 0.5))) for one in members(6)))
    (now,) = shifted.runs(4)
    kept = now.as_in([replace(early, witnesses=early.witnesses[:2]), early])
    assert kept.map_sha256 == early.map_sha256
    assert kept.cleaned[:5] == early.cleaned
    assert kept.cleaned[5] == shifted.members[5]
    assert now.as_in([]) == now


def test_a_run_can_do_without_what_is_lost() -> None:
    (run,) = Glass(members(4)).runs(3)
    assert run.without({0}) == Run(run.glass_id, members(3)[1:], members(4)[1:])


@pytest.mark.parametrize("wrong", [False, True])
def test_dirt_of_the_wrong_sign_is_noticed(wrong: bool) -> None:
    rng = np.random.default_rng(7)
    dirt = scattered(rng, 80)
    frames: list[Fingerprint] = [signature(rng, dirt) for _ in range(5)]
    shown = [frame.inverted for frame in frames] if wrong else frames
    glasses = Glasses(shown.__getitem__, MatchParams())
    for number in range(5):
        glasses.admit(Member(number, str(number)))
    assert {glass.wrong_sign for glass in glasses.live} == {wrong}
    assert sum(len(glass.members) for glass in glasses.live) == 5


def test_a_frame_that_is_withdrawn_is_nowhere_any_more() -> None:
    rng = np.random.default_rng(8)
    dirt = scattered(rng, 80)
    frames = [signature(rng, dirt) for _ in range(4)]
    glasses = Glasses(frames.__getitem__, MatchParams())
    for number in range(4):
        glasses.admit(Member(number, str(number)))
    glasses.withdraw(1)
    assert [glass.numbers for glass in glasses.live] == [{0, 2, 3}]
    assert all(group.members for groups in glasses.folds.values() for group in groups.live)
    assert 1 not in {member.frame for group in glasses.inverted.live for member in group.members}
