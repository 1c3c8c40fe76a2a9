"""Errors keep what they carry, also across a process boundary."""

import pickle

import pytest

from dustwatch.daemon.errors import ExitCode, FrameError, Remedy, ServiceError


@pytest.mark.parametrize(
    "error", [ServiceError("no such folder", ExitCode.USAGE), FrameError("a.tif: half-written", Remedy.RETRY)]
)
def test_survives_pickling(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_text_is_the_message_alone() -> None:
    assert str(ServiceError("no such folder", ExitCode.USAGE)) == "no such folder"
    assert str(FrameError("a.tif: half-written", Remedy.RETRY)) == "a.tif: half-written"


def test_exit_codes_are_the_documented_numbers() -> None:
    assert (ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.USAGE, ExitCode.INTERRUPTED) == (0, 1, 2, 130)
