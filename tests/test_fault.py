"""Faults of scanners: each says what to do, and comes out of a worker process as it went in."""

import pickle

import pytest

from dustwatch.daemon.scanner.fault import Fault, ScannerError, scanner_error


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_names_the_device_what_is_wrong_and_what_to_do(fault: Fault) -> None:
    error = scanner_error("test:0", fault, "it stopped")
    device, said = str(error).split(": ", 1)
    what, to_do = said.split("; ", 1)
    assert (device, what) == ("test:0", "it stopped")
    assert len(to_do) > 10
    assert str(scanner_error("test:0", fault)) == f"test:0: {to_do}"


def test_several_things_that_are_wrong_stand_in_a_line_each() -> None:
    assert str(scanner_error("test:0", Fault.REFUSED, "too long", "too wide")).splitlines() == [
        "test:0: all of this is wrong:",
        "  too long",
        "  too wide",
        '"dustwatch devices --options" tells what is possible',
    ]


def test_an_error_survives_the_way_out_of_a_process() -> None:
    error = pickle.loads(pickle.dumps(scanner_error("test:0", Fault.JAMMED, "it stopped")))
    assert isinstance(error, ScannerError)
    assert (error.fault, error.message, str(error)) == (Fault.JAMMED, error.message, error.message)
    assert error.message.startswith("test:0: it stopped; ")


def test_trying_again_is_for_what_may_pass() -> None:
    for_good = {fault for fault in Fault if not scanner_error("test:0", fault).retry}
    assert for_good == {Fault.DENIED, Fault.BLANK, Fault.NO_INFRARED, Fault.CANCELLED, Fault.REFUSED}
