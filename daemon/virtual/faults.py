"""What can go wrong with a scan, as it is asked for: ``jammed@start``, ``io-error@0.5``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .protocol import Status


class FaultKind(Enum):
    """What goes wrong."""

    JAMMED = "jammed"
    COVER_OPEN = "cover-open"
    NO_DOCUMENTS = "no-documents"
    BUSY = "busy"
    IO_ERROR = "io-error"
    CANCELLED = "cancelled"  # somebody stops it at the device
    SHORT = "short"  # fewer rows than announced, and no word about it
    STALL = "stall"  # nothing more comes
    VANISH = "vanish"  # the connection breaks
    BLANK = "blank"  # the lamp goes out: all black
    WHITE = "white"  # no film holds the light off: all white
    NONE = "none"  # this scan goes well


STATUS = {
    FaultKind.JAMMED: Status.JAMMED,
    FaultKind.COVER_OPEN: Status.COVER_OPEN,
    FaultKind.NO_DOCUMENTS: Status.NO_DOCUMENTS,
    FaultKind.BUSY: Status.DEVICE_BUSY,
    FaultKind.IO_ERROR: Status.IO_ERROR,
    FaultKind.CANCELLED: Status.CANCELLED,
}
"""What the client is told. Of the other faults it must notice by itself."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one scan when the share `at` of its bytes has been delivered; None: as it is started."""

    kind: FaultKind
    at: float | None = None

    def __str__(self) -> str:
        return f"{self.kind.value}@{'start' if self.at is None else format(self.at, 'g')}"


def parse_fault(text: str) -> Fault:
    """Read ``KIND``, ``KIND@start`` or ``KIND@SHARE`` with 0 <= SHARE <= 1. Raises ValueError, which says how."""
    name, _, when = text.partition("@")
    try:
        fault = Fault(FaultKind(name), None if when in ("", "start") else float(when))
        if fault.at is None or 0 <= fault.at <= 1:
            return fault
    except ValueError:
        pass
    names = ", ".join(kind.value for kind in FaultKind)
    raise ValueError(f"{text!r} is no fault: write KIND@start or KIND@0.5, where KIND is one of {names}")
