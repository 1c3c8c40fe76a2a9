"""The two errors of the service: one ends the command, the other concerns a single frame.

Both keep all their arguments in ``args``, so that they survive the way out of a worker process.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller; scripts and systemd rely on the numbers."""

    DONE = 0  # every frame was handled, those included that needed no repair
    SOME_FAILED = 1  # the rest was done; the failed frames are named on stderr
    USAGE = 2  # nothing was started: the command line, the configuration or a profile is wrong
    INTERRUPTED = 130  # Ctrl-C: what was finished is kept, and the next run goes on from there


class ServiceError(Exception):
    """Ends the command: `message` says what is wrong and what to do, `exit_code` what the process returns."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class Remedy(Enum):
    """What becomes of a frame that failed."""

    SKIP = "skip"  # leave it alone: not a frame, or nothing that can be done with it
    RETRY = "retry"  # look again later: half-written, or the disk was full
    QUARANTINE = "quarantine"  # never try again by itself: it would fail the same way


class FrameError(Exception):
    """One frame cannot be handled: `reason` names file and fault, `remedy` says what becomes of the frame."""

    def __init__(self, reason: str, remedy: Remedy) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return self.reason
