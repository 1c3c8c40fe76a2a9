"""Faults are asked for by a short text, and a wrong one says how it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.virtual.faults import STATUS, Fault, FaultKind, parse_fault

FAULTS = st.builds(Fault, st.sampled_from(FaultKind), st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0])))


@given(fault=FAULTS)
def test_a_fault_is_read_as_it_is_written(fault: Fault) -> None:
    assert parse_fault(str(fault)) == fault


def test_a_fault_without_a_time_comes_at_the_start() -> None:
    assert parse_fault("jammed") == parse_fault("jammed@start") == Fault(FaultKind.JAMMED)


@pytest.mark.parametrize("text", ["", "crumpled", "jammed@1.5", "jammed@-0.1", "jammed@nan", "jammed@soon"])
def test_what_is_no_fault_says_how_it_is_written(text: str) -> None:
    with pytest.raises(ValueError, match=r"no fault: write KIND@start or KIND@0\.5, where KIND is one of jammed,"):
        parse_fault(text)


def test_faults_that_a_client_must_notice_by_itself_have_no_status() -> None:
    assert {kind.value for kind in FaultKind} - {kind.value for kind in STATUS} == {
        "short",
        "stall",
        "vanish",
        "blank",
        "white",
        "none",
    }
