"""Fingerprints that are fetched when they are asked for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing import fetched
from dustwatch.processing.fetched import Fetched, Remembered
from dustwatch.processing.fingerprint import Fingerprint
from tests.signatures import scattered, signature

ROOM_FOR = 3


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Fingerprint:
    """A fingerprint of which only a few fit into memory."""
    rng = np.random.default_rng(0)
    found = signature(rng, scattered(rng, 50))
    monkeypatch.setattr(fetched, "_BYTES", ROOM_FOR * found.nbytes)
    return found


def test_those_asked_for_last_are_held_as_many_as_fit(one: Fingerprint) -> None:
    asked = []

    def load(number: int) -> Fingerprint:
        asked.append(number)
        return replace(one, height=number)

    remembered = Remembered(load)
    wanted = [0, 1, 2, 0, 3, 0, 1, 3]
    assert [remembered(number).height for number in wanted] == wanted
    assert asked == [0, 1, 2, 3, 1]
    remembered.forget()
    assert remembered(3).height == 3
    assert asked[-1] == 3


def test_what_does_not_fit_at_all_is_fetched_each_time(one: Fingerprint) -> None:
    large = replace(one, dark=np.zeros((ROOM_FOR * one.nbytes // 12 + 1, 3), np.float32))
    asked = []

    def load(number: int) -> Fingerprint:
        asked.append(number)
        return large

    remembered = Remembered(load)
    assert remembered(7) is large
    assert remembered(7) is large
    assert asked == [7, 7]


@given(items=st.lists(st.integers()), index=st.integers(-9, 9), part=st.slices(9))
def test_fetched_items_are_a_sequence_like_any_other(items: list[int], index: int, part: slice) -> None:
    found = Fetched(lambda number: items[number], len(items))
    assert list(found) == items
    assert found[part] == items[part]
    if -len(items) <= index < len(items):
        assert found[index] == items[index]
    else:
        with pytest.raises(IndexError):
            found[index]
