"""Events of the file system, as mere hints that a look at a watched folder may be worth while.

They say nothing that could be relied on: some programs close a file several times before it is whole, that of a killed
one is closed as well, and where too much happens at once, or on another machine, there are none. So nobody reads what
an event says; it only ends a wait early.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TYPE_CHECKING, TypeAlias

from watchdog.events import EVENT_TYPE_CLOSED_NO_WRITE, EVENT_TYPE_OPENED, DirDeletedEvent, FileSystemEventHandler
from watchdog.observers import Observer

if TYPE_CHECKING:
    from types import TracebackType

    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

# Of no use to anybody: it complains of a folder made in a new folder, and of its own threads when it is stopped.
warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
logging.getLogger("watchdog").setLevel(logging.CRITICAL)

_READING = (EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE)
"""What we do ourselves when we look: it would wake us for ever."""

_REMEDIES = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches with sysctl",
    errno.EMFILE: "raise fs.inotify.max_user_instances with sysctl, or this user's limit of open files",
}

_REMOTE = re.compile(
    r"9p|afs|beegfs|ceph|cifs|coda|fuse(\..+)?|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|smb3|smbfs|vboxsf|"
    r"virtiofs|vmhgfs"
)
"""Types of file systems to which others can write without our kernel knowing. (``fuseblk`` is a disk of our own.)"""

_Identity: TypeAlias = tuple[int, int]


class _Bell(FileSystemEventHandler):
    """Rings when something happens in a folder."""

    def __init__(self, folder: str, rung: Event) -> None:
        self._folder = folder
        self._rung = rung
        self.removed = False
        """Whether the folder itself was removed: another one of its name may have its inode."""

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _READING:
            return
        if isinstance(event, DirDeletedEvent) and event.src_path == self._folder:
            self.removed = True
        self._rung.set()


@dataclass(frozen=True, slots=True)
class _Armed:
    """A folder that was armed, or could not be: then it has no observer."""

    identity: _Identity
    bell: _Bell
    observer: BaseObserver | None


class Hints:
    """Wakes whoever waits when something happens in the folders it watches. A context manager."""

    def __init__(self) -> None:
        self._rung = Event()
        self._armed: dict[Path, _Armed] = {}

    def __enter__(self) -> Hints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in list(self._armed):
            self._disarm(folder)

    def watch(self, folder: Path) -> str | None:
        """Make sure that what happens in a folder and its subfolders ends a wait; to be called before every wait.

        Does nothing where the folder is watched already, and arms it anew where another one has taken its place, which
        is something that has happened, too. While there is none that can be listed, it is not watched. Returns why it
        cannot be watched, if so: once, since that is not tried again before the folder is replaced.
        """
        identity = _identity(folder)
        armed = self._armed.get(folder)
        if armed is not None and armed.identity == identity and not armed.bell.removed:
            return None
        self._disarm(folder)
        if identity is None:
            return None
        real = os.path.realpath(folder)  # links are not followed below
        bell = _Bell(real, self._rung)
        try:
            observer = _observe(real, bell)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._armed[folder] = _Armed(identity, bell, None)
            return _say(folder, error)
        self._armed[folder] = _Armed(identity, bell, observer)
        self._rung.set()  # what has happened until now was not heard
        return None

    def ring(self) -> None:
        """End a wait, from any thread."""
        self._rung.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until something has happened since the last wait; False if nothing has for `timeout_s`.

        What a signal handler raises comes through at once.
        """
        if not self._rung.wait(timeout_s):
            return False
        self._rung.clear()
        return True

    def _disarm(self, folder: Path) -> None:
        armed = self._armed.pop(folder, None)
        if armed is not None and armed.observer is not None:
            _stop(armed.observer)


def remote(folder: Path) -> str | None:
    """Type of the file system that holds a folder if what other machines do there gives no events; None if it does."""
    return _remote(folder, Path("/proc/self/mountinfo").read_bytes())


def _remote(folder: Path, mountinfo: bytes) -> str | None:
    real = PurePosixPath(os.path.realpath(folder))
    mounts = [_mount(line) for line in mountinfo.splitlines()]
    holding = [(point, kind) for point, kind in mounts if real.is_relative_to(point)]
    # The longest; of several at one point the last, which lies over the others.
    _, kind = max(reversed(holding), key=lambda mount: len(mount[0].parts), default=(real, ""))
    return kind if _REMOTE.fullmatch(kind) else None


def _mount(line: bytes) -> tuple[PurePosixPath, str]:
    """Mount point and type of file system in a line of mountinfo, where a space is an octal number."""
    fields = line.split(b" ")
    point = re.sub(rb"\\([0-3][0-7]{2})", lambda octal: bytes([int(octal[1], 8)]), fields[4])
    return PurePosixPath(os.fsdecode(point)), os.fsdecode(fields[fields.index(b"-", 6) + 1])


def _identity(folder: Path) -> _Identity | None:
    """Tell a folder from the next one in its place; None where there is none that can be listed."""
    try:
        status = folder.stat()
    except OSError:
        return None
    listed = stat.S_ISDIR(status.st_mode) and os.access(folder, os.R_OK, effective_ids=True)
    return (status.st_dev, status.st_ino) if listed else None


def _observe(folder: str, bell: _Bell) -> BaseObserver:
    """Start an observer of a folder. Raises OSError, mostly since there are too many."""
    observer = Observer()
    observer.start()
    try:
        observer.schedule(bell, folder, recursive=True)
    except OSError:
        _stop(observer)
        raise
    return observer


def _stop(observer: BaseObserver) -> None:
    observer.stop()
    observer.join()


def _say(folder: Path, error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0, "check its disk")
    reason = f"{folder}: cannot be watched for events ({error.strerror}), and is only looked at every so often"
    return f"{reason}; {remedy}, then start again"
