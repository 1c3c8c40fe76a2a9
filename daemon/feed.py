"""One scanner's feeder: load after load, slot after slot is scanned into a folder, whatever the scanner does meanwhile.

What can pass is waited for, with a fresh session each time; what cannot ends the feed, and nothing else. A file has its
name only when it is whole, so those who watch the folder need not know of scanners.
"""

from __future__ import annotations

import logging
import os
import re
import select
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from threading import Event
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from .scanner.fault import Fault, ScannerError, scanner_error
from .scanner.plan import Plan
from .scanner.session import Session, devices, require_listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .scanner.device import Device
    from .scanner.holder import Holder
    from .scanner.plan import Progress, Window
    from .scanner.section import ScannerSection

_log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_S = 0.3
"""How often buttons and keys are asked for."""

_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
_SOON_S = 5.0
"""The longest pause where somebody stands beside the scanner and puts it right."""

_LISTED_WITHIN_S = 10.0

_BY_HAND = frozenset({Fault.JAMMED, Fault.COVER_OPEN, Fault.NO_DOCUMENTS})

_NAME = re.compile(r"load-(\d+)-slot-\d+\.tif")
_BUS = re.compile(r"(libusb):\d+:\d+")
"""Where a scanner hangs on the bus is another number whenever it is plugged in."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is scanned at one go: the slots of a holder, or all that the device scans by itself where there is None.

    Scans go into `scans`, which must be there; what becomes of them goes to `output`. `profile` is its name.
    """

    scans: Path
    output: Path
    profile: str
    section: ScannerSection
    holder: Holder | None = None

    @property
    def windows(self) -> tuple[Window, ...]:
        """Where the slots lie, in their order."""
        return self.holder.windows if self.holder else ()


@dataclass(frozen=True, slots=True)
class Doing:
    """How far a feed is: in which slot of which load, both from 1 on, and in that scan."""

    load: int
    slot: int
    slots: int
    scan: Progress

    @property
    def done(self) -> float:
        """Slots of this load that are scanned, the present one in part."""
        return self.slot - 1 + (min(self.scan.rows / self.scan.of_rows, 1.0) if self.scan.of_rows else 0.0)

    def __str__(self) -> str:
        return f"load {self.load}, slot {self.slot} of {self.slots}"


Begin: TypeAlias = "Callable[[Feed], Iterable[Load]]"
"""Waits for each load and gives it, in the thread of the feed."""


class _EndedError(Exception):
    """Somebody wants the feed to end."""


class Feed:
    """Feeds the scans of one scanner into folders, in a thread of its own while `running`."""

    def __init__(
        self,
        device: str,
        begin: Begin,
        *,
        patient: bool = True,
        stall_s: float = 30.0,
        pause_s: float = _PAUSE_S,
        progress: Callable[[Doing], None] | None = None,
    ) -> None:
        """`begin` gives what there is to scan; a session that says nothing for `stall_s` hangs.

        A scanner that is not there is waited for by who is `patient`, as a service should be. Who is not waits only
        for one that has been there, or that SANE lists; else the name is wrong, and that is the end of it. After a
        fault it waits `pause_s`, then twice as long, and so on.
        """
        self.device = device
        self.scanned = self.left_out = 0
        self._begin = begin
        self._patient = patient
        self._stall_s = stall_s
        self._pause_s = pause_s
        self._progress = progress
        self._stopped = Event()
        self._session: Session | None = None
        self._device: Device | None = None
        self._known = False
        self._checked: list[tuple[ScannerSection, tuple[Window, ...]]] = []
        self._fault = ""
        self._doing = "waiting"
        self._future: Future[None] = Future()

    @contextmanager
    def running(self, ring: Callable[[], None]) -> Iterator[None]:
        """Scan while the context lasts; `ring` is called, in another thread, whenever a scan is there, and at the end.

        A scan that is under way when the context is left is given up.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix=self.device)
        try:
            self._future = pool.submit(self._run, ring)
            self._future.add_done_callback(lambda _: ring())
            yield
        finally:
            self.stop()
            pool.shutdown()

    def stop(self) -> None:
        """End what goes on, from any thread."""
        self._stopped.set()
        if session := self._session:
            session.stop()

    def check(self, load: Load, buttons: Sequence[str]) -> None:
        """See that the scanner is there, has these buttons and does what a load wants; before it is running.

        Raises ScannerError, and ServiceError (usage) where SANE is not installed or does not know the scanner.
        """
        try:
            self._check(load)
            if buttons:
                self.pressed(buttons)  # what was pressed before does not count
        finally:
            self._close()

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self._future.done()

    @property
    def error(self) -> BaseException | None:
        """What it has ended with, if that was a fault."""
        return self._future.exception() if self.ended else None

    def summary(self) -> str:
        """What it does, in a line."""
        if self.error is not None:
            return f"{self.device}: has ended"
        return f"{self.device}: {self._fault or self._doing}"

    def wait(self, seconds: float) -> None:
        """Let time go by, for `begin`; does not return when the feed is stopped."""
        if self._stopped.wait(seconds):
            raise _EndedError

    def pressed(self, buttons: Sequence[str]) -> frozenset[str]:
        """Which buttons of the scanner were pressed since they were last asked for; for `begin`."""
        return self._insist(lambda session: session.pressed(buttons))

    # --- in its thread ----------------------------------------------------------------------------------------

    def _run(self, ring: Callable[[], None]) -> None:
        with suppress(ScannerError):  # who makes it is told in the scans, if that can be found out
            self._device = self._listed().get(self.device)
        try:
            for load in self._begin(self):
                self._scan_load(load, ring)
                self._doing = "waiting"
        except _EndedError:
            pass
        finally:
            self._close()

    def _listed(self) -> dict[str, Device]:
        """The scanners that SANE finds, by name."""
        return {one.name: one for one in devices(min(self._stall_s, _LISTED_WITHIN_S), self._stopped)}

    def _check(self, load: Load) -> None:
        """Have the device checked for what a load wants, once."""
        wanted = load.section, load.windows
        if wanted not in self._checked:
            self._insist(lambda session: session.check(*wanted))
            self._checked.append(wanted)

    def _scan_load(self, load: Load, ring: Callable[[], None]) -> None:
        """Scan every slot; one that has nothing in it is left out, and what comes after a scan that is cancelled."""
        self._check(load)
        number = self._insist(lambda _: self._make_ready(load))
        names = [slot.name for slot in load.holder.slots] if load.holder else [None]
        slots = list(zip(names, load.windows or (None,), strict=True))
        for index, (name, window) in enumerate(slots, start=1):
            tags = {
                "scanner": _BUS.sub(r"\1", self.device),
                "holder": load.holder and load.holder.name,
                "slot": name,
                "load": number,
                "profile": load.profile,
            }
            plan = Plan(load.section, window, tags, self._device)
            file = load.scans / f"load-{number:03d}-slot-{index:02d}.tif"
            self._doing = f"load {number}, slot {index} of {len(slots)}"
            try:
                self._scan(plan, file, partial(Doing, number, index, len(slots)))
            except ScannerError as error:
                if error.fault is Fault.CANCELLED:  # at the device
                    _log.warning("%s; the rest of load %d is left out", error, number)
                    return
                if error.fault is not Fault.BLANK:
                    raise
                self.left_out += 1
                _log.warning("%s; %s is left out", error, self._doing)
            ring()

    def _make_ready(self, load: Load) -> int:
        """Tidy the folder of the scans, and give the number of the load.

        Where the folder cannot be looked at, nobody knows which numbers are taken: that is waited for.
        """
        try:
            for part in load.scans.glob("load-*-slot-*.tif.part"):  # a killed process leaves it
                part.unlink()
            return _next_number(load)
        except OSError as error:
            what = f"{error.filename} cannot be used: {error.strerror}"
            raise scanner_error(self.device, Fault.DISK, what) from error

    def _scan(self, plan: Plan, file: Path, doing: Callable[[Progress], Doing]) -> None:
        def told(scan: Progress) -> None:
            if self._progress is not None:
                self._progress(doing(scan))

        scanned = self._insist(lambda session: session.scan(plan, file, told))
        self.scanned += 1
        size = f"{scanned.width} x {scanned.height}, {scanned.depth} bit"
        _log.info("%s: scanned (%s: %s), %s in %.0f s", file, self.device, self._doing, size, scanned.seconds)

    def _insist(self, what: Callable[[Session], T]) -> T:
        """Have a session do something; after a fault that may pass, a fresh one."""
        pause_s = self._pause_s
        while True:
            try:
                done = what(self._opened())
            except ScannerError as error:
                if error.fault is Fault.BLANK:
                    self._note_works()  # it is the slot that has nothing in it
                    raise
                self._close()
                if self._stopped.is_set():
                    raise _EndedError from error
                if not error.retry:
                    raise
                if error.fault is Fault.VANISHED:
                    self._require_known()
                if self._fault != str(error):
                    self._fault = str(error)
                    _log.warning("%s; it is tried again until it works", error)
                self.wait(pause_s)
                pause_s = min(2 * pause_s, _SOON_S if error.fault in _BY_HAND else _LONGEST_PAUSE_S)
            else:
                self._note_works()
                return done

    def _note_works(self) -> None:
        if self._fault:
            self._fault = ""
            _log.info("%s: works again", self.device)

    def _require_known(self) -> None:
        """Raise ServiceError (usage) where the name of the scanner must be wrong."""
        if self._patient or self._known:
            return
        try:
            listed = self._listed()
        except ScannerError:
            return  # nobody knows
        require_listed(self.device, listed)
        self._known = True

    def _opened(self) -> Session:
        """The session that there is, or a new one."""
        if self._session is None:
            session = self._session = Session(self.device, self._stall_s)
            if self._stopped.is_set():  # perhaps before anybody could stop this one
                raise _EndedError
            session.__enter__()
            self._known = True
        return self._session

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.__exit__(None, None, None)


def counted(load: Load, loads: int) -> Begin:
    """So many loads, one after the other, with nobody there: the device changes its film by itself."""
    return lambda _: repeat(load, loads)


def on_buttons(loads: Mapping[str, Load]) -> Begin:
    """A load whenever a button of the scanner is pressed, for ever."""

    def begin(feed: Feed) -> Iterator[Load]:
        while True:
            for button in sorted(feed.pressed(tuple(loads))):
                yield loads[button]
            feed.wait(_POLL_S)

    return begin


def by_hand(load: Load, keys: int, buttons: Sequence[str]) -> Begin:
    """A load at once, then one whenever text comes from the file descriptor `keys`, or a button is pressed.

    At a terminal it counts from when the film can be changed: Enter that was typed while it was scanned would have the
    same film scanned again. A q in it ends the feed, and so does the end of the input.
    """

    def begin(feed: Feed) -> Iterator[Load]:
        while True:
            yield load
            while os.isatty(keys) and (typed := _typed(keys)) is not None:
                if _ends(typed):
                    return
            or_button = f" or the scanner's button {' or '.join(buttons)}" if buttons else ""
            _log.info("%s: put the next film in and press Enter%s; q and Enter to end", feed.device, or_button)
            while not (buttons and feed.pressed(buttons)):
                feed.wait(_POLL_S)
                typed = _typed(keys)
                if _ends(typed):
                    return
                if typed:
                    break

    return begin


def _typed(keys: int) -> bytes | None:
    """What has come, if anything (at a terminal a line); empty at the end of the input, or if the terminal has gone."""
    try:
        return os.read(keys, 4096) if select.select([keys], [], [], 0)[0] else None
    except OSError:
        return b""


def _ends(typed: bytes | None) -> bool:
    return typed is not None and (not typed or b"q" in typed.lower())


def _next_number(load: Load) -> int:
    """A number that no load has had, also where its scans have been taken away since, or what became of them.

    Raises OSError where the scans are not there; the output may not be there yet.
    """
    files = list(load.scans.iterdir())
    with suppress(FileNotFoundError):
        files += load.output.iterdir()
    return 1 + max((int(match[1]) for file in files if (match := _NAME.fullmatch(file.name))), default=0)
