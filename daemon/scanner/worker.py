"""The worker process of a session: does with the scanner what it is asked for.

``python -m dustwatch.daemon.scanner.worker CONNECTION PARENT`` is started by `session`. It ends when the connection is
closed, and after an error, since backends of SANE cannot be trusted after one. With the thread that started it it is
killed by the kernel: a library that hangs would not let it notice.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ..errors import ExitCode, ServiceError
from .fault import Fault, ScannerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .device import Device, Option, Value
    from .plan import Plan, Progress, Scanned, Starting, Window
    from .sane import Scanner
    from .section import ScannerSection

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer the session's requests until it closes the connection."""
    handle, parent = map(int, sys.argv[1:])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it ended before that
    # Whether a scan goes on is for the session to say; a service is sent SIGTERM with all its processes.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    session = Connection(handle)
    worker = _Worker(session)
    try:
        while True:
            what, *arguments = session.recv()
            session.send(worker.answer(what, arguments))
    except (EOFError, ConnectionError):
        pass
    except (ScannerError, ServiceError) as error:
        with suppress(ConnectionError):
            session.send(error)
    worker.leave()


class _Worker:
    """What a session may ask for, and the scanner once it is open."""

    _scanner: Scanner

    def __init__(self, session: Connection) -> None:
        self._session = session

    def answer(self, what: str, arguments: list[Any]) -> object:
        """Do what is asked for; that a frame is blank is an answer, since the scanner has done what it was asked to."""
        try:
            return getattr(self, what)(*arguments)
        except ScannerError as error:
            if error.fault is not Fault.BLANK:
                raise
            return error

    def devices(self) -> tuple[Device, ...]:
        """See `session.devices`."""
        _require_sane()
        from .sane import devices

        return devices()

    def open(self, name: str) -> None:
        """Open the scanner."""
        _require_sane()
        from .sane import open_scanner

        self._scanner = open_scanner(name)

    def options(self, settings: dict[str, Value]) -> tuple[Option, ...]:
        """See `Session.options`."""
        self._scanner.set(settings)
        return self._scanner.options()

    def check(self, section: ScannerSection, windows: Sequence[Window]) -> None:
        """See `Session.check`."""
        self._scanner.check(section, windows)

    def pressed(self, names: Sequence[str]) -> frozenset[str]:
        """See `Session.pressed`."""
        return self._scanner.pressed(names)

    def light(self, section: ScannerSection) -> None:
        """Light the section's lamp, which may be there only with the source that it belongs to."""
        self._scanner.set(section.settings | {str(section.lamp): True})

    def scan(self, plan: Plan, file: Path) -> Scanned:
        """See `Session.scan`."""
        from .rows import scan

        return scan(self._scanner, plan, file, self._tell)

    def leave(self) -> None:
        """Let go of the scanner."""
        if hasattr(self, "_scanner"):
            self._scanner.close()

    def _tell(self, how_far: Progress | Starting | None) -> None:
        if self._session.poll():
            raise EOFError  # nothing is asked during a scan: it has closed the connection
        if how_far is not None:
            try:
                self._session.send(how_far)
            except ConnectionError as error:
                raise EOFError from error


def _require_sane() -> None:
    """Raise ServiceError (usage) where SANE is not installed."""
    try:
        import sane  # noqa: F401
    except ImportError as error:
        what = f"scanners cannot be driven ({error}); install libsane, then 'dustwatch[scanner]' with pip"
        raise ServiceError(what, ExitCode.USAGE) from error


if __name__ == "__main__":
    main()
