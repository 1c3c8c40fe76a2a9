"""The service: watched folders take turns, until somebody stops it."""

from __future__ import annotations

import hashlib
import logging
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from . import notify
from .errors import ServiceError
from .film import load_profile, with_empty_glass
from .hints import Hints, remote
from .progress import silent
from .scanner.fault import ScannerError
from .warm_up import compile_ahead, warm_up
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from .feed import Feed
    from .film import Profile
    from .progress import Step
    from .settings import FolderSettings

_log = logging.getLogger(__name__)

_CALM_S = 0.2
"""A file that is being written gives many hints: they are heeded together."""

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class _Stopped(BaseException):
    """Somebody wants the service to end; like KeyboardInterrupt, not to be caught on the way."""


def serve(
    folders: Sequence[FolderSettings],
    state: Path,
    threads: int,
    *,
    patient: bool,
    feeds: Sequence[Feed] = (),
    until_fed: bool = False,
    show: Callable[[str], None] = notify.status,
) -> bool:
    """Watch folders until SIGTERM or SIGINT, keeping what must be known after a restart below `state`.

    What is in work then is left for the next time, but for what is being put into place. An output folder that cannot
    be used yet is waited for by who is `patient`, as a service should be at boot; who is not raises ServiceError
    (usage). Scanners are driven by `feeds`; with `until_fed` it ends when these have, and all that they have scanned is
    cleaned: True if it came to that. `show` is given a line that says how far all is.
    """
    fed = False
    with _until_stopped() as stop, ExitStack() as opened:
        watches = [
            opened.enter_context(Watch(folder, profile_of(folder), state / state_name(folder), threads, time.time))
            for folder in folders
        ]
        if not patient:
            for watch in watches:
                watch.occupy()
        hints = opened.enter_context(Hints())
        for folder in folders:
            _log.info(
                "%s: watched, with profile %s; cleaned frames go to %s", folder.input, folder.profile, folder.output
            )
        _arm(hints, folders)
        for feed in feeds:
            opened.enter_context(feed.running(hints.ring))
        _warm_up(watches[0].scratch, show)
        notify.ready()
        going, winding_up = list(feeds), False
        while True:
            busy = _take_turns(watches, stop)
            if not busy:
                _arm(hints, folders)  # one that has gone may be back
            show("; ".join([*(feed.summary() for feed in feeds), *(watch.summary() for watch in watches)]))
            for feed in [one for one in going if one.ended]:
                going.remove(feed)
                _tell_end(feed)
            if until_fed and not busy and all(watch.wound_up for watch in watches):
                fed = True
                break
            if until_fed and not going and not winding_up:
                winding_up = True
                for watch in watches:
                    watch.wind_up()
            if hints.wait(0.0 if busy else min(watch.due_in() for watch in watches)):
                if not busy:
                    time.sleep(_CALM_S)
                for watch in watches:
                    watch.look_again()
    return fed


def _tell_end(feed: Feed) -> None:
    """Say why a scanner is no longer driven, if that is a fault; the others go on."""
    if isinstance(feed.error, ScannerError | ServiceError):
        for line in f"{feed.error}; it is driven no more".splitlines():  # a line for each thing that is wrong
            _log.error("%s", line)
    elif feed.error is not None:
        _log.error("%s: unexpected fault; it is driven no more", feed.device, exc_info=feed.error)


def profile_of(folder: FolderSettings) -> Profile:
    """The profile for the scans of a folder, with the folder's own empty-glass scans if it names any."""
    return with_empty_glass(load_profile(folder.profile), folder.empty_glass)


def state_name(folder: FolderSettings) -> str:
    """What the state of a watched folder is called: for people, and unmistakable."""
    paths = f"{folder.input}\n{folder.output}"
    return f"{folder.input.name}-{hashlib.sha256(paths.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _warm_up(folder: Path, show: Callable[[str], None]) -> None:
    """Have all kernels compiled and loaded."""

    def told(stage: str, steps: int) -> Step:
        _log.info("kernels are compiled first, once for this installation")
        show("compiling")
        return silent(stage, steps)

    compile_ahead(told)
    try:
        warm_up(folder)
    except (OSError, ServiceError) as error:
        _log.warning("%s: nothing can be tried out there (%s); the first frames may take longer", folder, error)


def _take_turns(watches: Sequence[Watch], stop: _Stop) -> bool:
    """Let each folder do one piece of work; whether there was any."""
    busy = False
    for watch in watches:
        try:
            busy |= watch.turn()
        except Exception as error:  # noqa: BLE001 - the one place: a fault in our code must not stop the others
            stop.check()
            _log.exception("%s: unexpected fault", watch.settings.input)
            watch.give_up(error)
        stop.check()
    return busy


def _arm(hints: Hints, folders: Sequence[FolderSettings]) -> None:
    """Take events of the file systems for hints, where there are any."""
    for folder in folders:
        if folder.events == "auto" and remote(folder.input) is None:
            fault = hints.watch(folder.input)
            if fault:
                _log.warning("%s", fault)


class _Stop:
    """What is done at SIGTERM and SIGINT: to end whatever is being done.

    Python code that C code calls cannot end it by an exception: that is turned into another one (as when numba loads
    a kernel) or lost (in a finalizer). So it is also remembered that somebody asked.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        for one in _STOPPING:
            signal.signal(one, signal.SIG_IGN)  # once is enough, and cleaning up must not be disturbed
        self.asked = True
        raise _Stopped

    def check(self) -> None:
        """Go on only if nobody asked to stop."""
        if self.asked:
            raise _Stopped


@contextmanager
def _until_stopped() -> Iterator[_Stop]:
    """End what is inside when somebody wants it, whatever it is doing."""
    stop = _Stop()
    before = {one: signal.getsignal(one) for one in _STOPPING}
    try:
        for one in _STOPPING:
            signal.signal(one, stop)
        yield stop
    except BaseException:
        if not stop.asked:
            raise
        notify.stopping()
        _log.info("stopped; what is left is done after the next start")
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
