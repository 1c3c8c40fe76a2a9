"""Where a frame lay, as its file tells. (Receipts are tested in test_output.)"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.frame import place_of


def test_a_place_is_a_slot_of_a_holder_in_a_scanner() -> None:
    told = {"scanner": "Epson V850", "holder": "film-strips", "slot": "3", "options": {"mode": ["Color"]}}
    assert place_of(json.dumps(told)) == "Epson V850, film-strips, 3"
    assert place_of(json.dumps(told | {"slot": "4"})) != place_of(json.dumps(told))
    assert place_of(json.dumps(told | {"holder": None, "slot": None})) == "Epson V850"


@pytest.mark.parametrize(
    "said", ["", "the evening at the lake", "{", "[]", '{"slot": "1"}', '{"scanner": 7, "slot": "1"}', "[" * 60_000]
)
def test_whoever_says_nothing_of_it_lies_nowhere_in_particular(said: str) -> None:
    assert place_of(said) == ""


@given(
    said=st.text()
    | st.recursive(
        st.none() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.sampled_from(["scanner", "slot", "holder"]), one),
    ).map(json.dumps)
)
def test_whatever_it_says_is_no_fault(said: str) -> None:
    assert isinstance(place_of(said), str)
