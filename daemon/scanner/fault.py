"""What can go wrong with a scanner, and what the operator is told to do about it."""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """What went wrong."""

    JAMMED = "jammed"
    COVER_OPEN = "cover open"
    NO_DOCUMENTS = "no documents"
    BUSY = "busy"  # another program holds it
    DENIED = "denied"  # this user may not open it
    IO_ERROR = "input/output error"
    SHORT = "short"  # fewer rows than announced
    STALLED = "stalled"  # it says nothing any more
    VANISHED = "vanished"  # it is not there, or its connection broke
    BLANK = "blank"  # all of the frame has one brightness
    NO_INFRARED = "no infrared"  # what came for it is a colour
    CANCELLED = "cancelled"
    REFUSED = "refused"  # an option, or what it leads to
    DISK = "disk"  # the scan cannot be written
    TAKEN = "taken"  # there is a file of its name
    NO_PROCESS = "no process"  # what talks to the scanner cannot be started


_REMEDIES = {
    Fault.JAMMED: "the film or its holder is jammed: take it out and put it in again",
    Fault.COVER_OPEN: "the cover is open: close it",
    Fault.NO_DOCUMENTS: "there is nothing in the scanner: put film in",
    Fault.BUSY: "another program is using it: close that program",
    Fault.DENIED: "this user may not use it: add the user to the group 'scanner', then log in again",
    Fault.IO_ERROR: "input or output failed: check its cable and power, switch it off and on again",
    Fault.SHORT: "check its cable and power, switch it off and on again",
    Fault.STALLED: "check its cable and power, switch it off and on again; if it hangs on another machine, look there",
    Fault.VANISHED: "check its name, its cable, its power and, if it hangs on another machine, that machine",
    Fault.BLANK: "is there film in the slot, does the lamp light, is the lid in its place?",
    Fault.NO_INFRARED: 'switch infrared on among options; "dustwatch devices" tells how',
    Fault.CANCELLED: "scan again when you like",
    Fault.REFUSED: '"dustwatch devices --options" tells what is possible',
    Fault.DISK: "free some space, mount the disk that is missing, or give another folder",
    Fault.TAKEN: "it is not replaced: move it away, or have the scan called otherwise",
    Fault.NO_PROCESS: "close other programs, or raise this user's limits of processes, open files and memory",
}
"""Ends of messages: what to do."""

_FOR_GOOD = frozenset({Fault.DENIED, Fault.BLANK, Fault.NO_INFRARED, Fault.CANCELLED, Fault.REFUSED})
"""What trying again does not mend."""


class ScannerError(Exception):
    """A scanner did not do what it was asked to.

    `message` names the device, says what is wrong and what to do. `retry` says whether trying again may help, once
    the operator has done that or by itself.
    """

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(fault, message)
        self.fault = fault
        self.message = message

    @property
    def retry(self) -> bool:
        """Whether trying again may help."""
        return self.fault not in _FOR_GOOD

    def __str__(self) -> str:
        return self.message


def scanner_error(device: str, fault: Fault, *what: str) -> ScannerError:
    """Make the error of a device: `what` is wrong, a line each where that is more than one thing, then what to do."""
    wrong = [*what, _REMEDIES[fault]]
    if len(what) > 1:
        wrong = ["\n  ".join(["all of this is wrong:", *what]) + f"\n{_REMEDIES[fault]}"]
    return ScannerError(fault, f"{device}: {'; '.join(wrong)}")
