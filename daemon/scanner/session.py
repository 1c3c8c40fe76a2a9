"""A session with a scanner: the process that talks to it, and the timer that notices when it hangs.

A backend of SANE can hang for ever, abort the process it runs in, and stay unusable in it after an error. So there is a
worker process for every session; a message of it that does not come in time, and any error, is the end of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

from ..disk import part_of, publish
from ..errors import ExitCode, ServiceError
from .fault import Fault, ScannerError, scanner_error
from .plan import Progress, Starting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path
    from types import TracebackType

    from .device import Device, Option, Value
    from .plan import Plan, Scanned, Window
    from .section import ScannerSection

_POLL_S = 0.1
"""How soon `stop` is noticed."""

_GRACE_S = 5.0
"""What a worker gets to leave the scanner in good order."""


def devices(stall_s: float = 60.0, stopped: Event | None = None) -> tuple[Device, ...]:
    """List the scanners that SANE finds, unless that is `stopped`.

    Raises ScannerError, and ServiceError where SANE is not installed.
    """
    with _Worker("SANE", stall_s, stopped or Event()) as worker:
        listed: tuple[Device, ...] = worker.ask("devices")
        return listed


def require_listed(name: str, listed: Collection[str]) -> None:
    """Raise ServiceError (usage) where no scanner of this name is among those that are `listed`."""
    if name in listed:
        return
    told = name if name and name == name.strip() else repr(name)  # else nobody would see what is wrong
    there = f"there are: {', '.join(listed)}" if listed else "SANE finds none: is it switched on?"
    raise ServiceError(f"{told}: there is no such scanner; {there}", ExitCode.USAGE)


class Session:
    """A scanner in use, from entering the context to leaving it; the thread that enters must outlive it.

    Any error but a blank frame is the end of it; make a new one. `device`: its name with SANE. `stall_s`: how long it
    may say nothing. All methods raise ScannerError; entering it also ServiceError (usage) where SANE is not installed.
    """

    def __init__(self, device: str, stall_s: float = 30.0) -> None:
        self.device = device
        self._stopped = Event()
        self._worker = _Worker(device, stall_s, self._stopped)
        self._lit = False

    def __enter__(self) -> Session:
        self._worker.__enter__()
        self._worker.ask("open", self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.end()

    def options(self, settings: dict[str, Value] | None = None) -> tuple[Option, ...]:
        """All options of the device, as they are after setting `settings`.

        Buttons have no value: reading one would use up its being pressed.
        """
        options: tuple[Option, ...] = self._worker.ask("options", settings or {})
        return options

    def check(self, section: ScannerSection, windows: Sequence[Window] = ()) -> None:
        """Set the device as for a scan, also of each window and of infrared. Raises ScannerError (refused).

        It lists all that is wrong: options that are not there, inactive, out of range or silently rounded, required
        ones that are missing, windows that do not lie in the device's area, samples that do not fit the infrared style.
        """
        self._worker.ask("check", section, tuple(windows))

    def pressed(self, names: Sequence[str]) -> frozenset[str]:
        """Which of these buttons were pressed since they were last asked for."""
        names_pressed: frozenset[str] = self._worker.ask("pressed", tuple(names))
        return names_pressed

    def scan(self, plan: Plan, file: Path, progress: Callable[[Progress], None]) -> Scanned:
        """Scan into a TIFF, which is whole and on the disk when this returns; until then it is `file`.part.

        An earlier `file` is never replaced. No half scan is left, whatever happens, unless this process is killed or
        the disk goes away.
        """
        with suppress(OSError):  # what is wrong with the disk is told by who writes there
            if file.exists():  # better said now than after the scan
                self._refuse_to_replace(file)
        part = part_of(file)
        try:
            self._light(plan.section)
            scanned: Scanned = self._worker.ask("scan", plan, part, progress=progress, start_s=plan.section.start_s)
            self._publish(part, file)
        finally:
            with suppress(OSError):  # where the disk has gone, what went wrong is to be told
                part.unlink()
        return replace(scanned, file=file)

    def stop(self) -> None:
        """End what goes on, from another thread, and all that is asked later: with ScannerError (cancelled)."""
        self._stopped.set()

    def _light(self, section: ScannerSection) -> None:
        """Light the lamp and let it warm up, before the first scan."""
        if not self._lit:
            if section.lamp is not None:
                self._worker.ask("light", section)
            if self._stopped.wait(section.warm_up_s):
                raise scanner_error(self.device, Fault.CANCELLED, "the scan was cancelled")
            self._lit = True

    def _publish(self, part: Path, file: Path) -> None:
        try:
            publish(part, file)
        except FileExistsError:
            self._refuse_to_replace(file)
        except OSError as error:
            raise scanner_error(self.device, Fault.DISK, f"{file} cannot be written: {error.strerror}") from error

    def _refuse_to_replace(self, file: Path) -> NoReturn:
        raise scanner_error(self.device, Fault.TAKEN, f"{file} is there already")


class _Worker:
    """The process that talks to the scanner; `name` is the scanner in messages."""

    def __init__(self, name: str, stall_s: float, stopped: Event) -> None:
        self._name = name
        self._stall_s = stall_s
        self._stopped = stopped
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Worker:
        try:
            self._connection, theirs = Pipe()
            with theirs:
                # In a session of its own, for Ctrl-C at the terminal is ours to answer. What backends print is not
                # ours.
                self._process = subprocess.Popen(  # noqa: S603  (all of it is ours)
                    [sys.executable, "-P", "-m", f"{__package__}.worker", str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except OSError as error:
            what = f"the process that talks to it cannot be started: {error.strerror}"
            raise scanner_error(self._name, Fault.NO_PROCESS, what) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def ask(
        self,
        what: str,
        *arguments: object,
        progress: Callable[[Progress], None] | None = None,
        start_s: float = 0.0,
    ) -> Any:
        """Have something done and give the answer. Raises what the worker raises, which has ended then.

        Only of a frame that is blank it tells and goes on.
        """
        answered = False
        try:
            answer = self._exchange((what, *arguments), progress, start_s)
            answered = True
        except ScannerError as error:
            answered = error.fault is Fault.BLANK
            raise
        finally:
            if not answered:
                self.end()
        return answer

    def end(self) -> None:
        """Let go of the scanner, and of the process: it is killed where it does not end by itself."""
        if self._process is None:
            return
        process, self._process = self._process, None
        self._connection.close()  # which the worker notices
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _exchange(
        self, request: tuple[object, ...], progress: Callable[[Progress], None] | None, start_s: float
    ) -> Any:
        if self._process is None:
            raise scanner_error(self._name, Fault.VANISHED, "its session has ended")
        try:
            self._connection.send(request)
            limit = self._stall_s
            while True:
                self._await(self._process, limit)
                match self._connection.recv():
                    case Progress() as told:
                        limit = self._stall_s
                        if progress is not None:
                            progress(told)
                    case Starting():
                        limit = max(self._stall_s, start_s)
                    case Exception() as error:
                        raise error
                    case answer:
                        return answer
        except (EOFError, ConnectionError) as error:
            raise scanner_error(self._name, Fault.VANISHED, "the connection to it broke") from error

    def _await(self, process: subprocess.Popen[bytes], limit: float) -> None:
        """Wait for the next message; of a process that hangs there is no use in waiting any longer.

        A connection that breaks is told by libsane, or seen by the worker. But where the other machine freezes or its
        cable is cut, sane_read waits in the system for what does not come: only this tells it from a slow scanner.
        """
        deadline = monotonic() + limit
        while not self._stopped.is_set():
            if wait([self._connection], _POLL_S):
                return
            if monotonic() > deadline:
                process.kill()
                raise scanner_error(self._name, Fault.STALLED, f"it has said nothing for {limit:g} s")
        raise scanner_error(self._name, Fault.CANCELLED, "the scan was cancelled")
