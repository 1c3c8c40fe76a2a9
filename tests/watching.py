"""What the tests of the watching daemon share: it runs as a user runs it, and its journal is read beside it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

from dustwatch.daemon.inbox import look
from tests.rolls import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dustwatch.processing.arrays import Planes
    from dustwatch.processing.simulate import Scene

QUICK = ("--still", "0.1", "--close-after", "0.01")
"""Options under which a glass is closed 0.6 s after its last frame."""


class Event(NamedTuple):
    """A line of the history that the journal keeps; `name` is that of the original below the watched folder."""

    at: float
    name: str
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that watches `scans`; `state` is what it was given with ``--state``."""

    process: subprocess.Popen[bytes]
    scans: Path
    state: Path
    log: IO[bytes]

    @property
    def lines(self) -> list[str]:
        """What it has said until now, on stdout and stderr."""
        written = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), written, 0).decode(errors="surrogateescape").splitlines()

    def until(self, reached: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for something to come true while it runs."""
        end = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < end, self.lines
            # Closings and retries are seen to at every look at the folder. Have it look, instead of waiting for it.
            if self.scans.is_dir():
                os.utime(self.scans)
            time.sleep(0.02)

    def until_said(self, text: str, seconds: float = 60) -> None:
        """Wait for a line of the log with `text` in it."""
        self.until(lambda: any(text in line for line in self.lines), seconds)

    def until_settled(self, seconds: float = 60) -> None:
        """Wait until nothing is left to do and all glasses are closed."""
        self.until(lambda: settled(self.state), seconds)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 5) -> int:
        """Send it a signal and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


@contextmanager
def running(
    arguments: Sequence[str], scans: Path, state: Path, before: Callable[[], None] | None = None
) -> Iterator[Daemon]:
    """Run a command that watches `scans`; at the end SIGTERM must end it with 0.

    `before` is called in the new process before it becomes dustwatch. If it has ended before, that is all right.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, preexec_fn=before)
        daemon = Daemon(process, scans, state, log)
        try:
            yield daemon
            if process.poll() is None:
                assert daemon.end() == 0, daemon.lines
        finally:
            process.kill()
            process.wait()
        said = "\n".join(daemon.lines)
        assert "Traceback" not in said, said
        assert "unexpected fault" not in said, said


@contextmanager
def watching(
    scans: Path, output: Path, state: Path, *options: str | Path, before: Callable[[], None] | None = None
) -> Iterator[Daemon]:
    """Run ``dustwatch watch`` as `running` does, `QUICK` unless `options` say otherwise."""
    arguments = command("watch", scans, output, "--state", state, *QUICK, *options)
    with running(arguments, scans, state, before) as daemon:
        yield daemon


def drop(files: Iterable[Path], folder: Path) -> None:
    """Put copies of files into a folder, each of which appears under its name when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        part = folder / f".{file.name}.part"
        shutil.copy2(file, part)
        part.rename(folder / file.name)


def blurred(seed: int) -> Scene:
    """Scenes that take no time: patches of coloured light without any edge."""

    def scene(number: int, rows: int, columns: int) -> Planes:
        patches = np.random.default_rng((seed, number)).uniform(0.05, 0.8, (6, 8, 3)).astype(np.float32)
        zoom = (rows / 6, columns / 8, 1)
        light: Planes = ndimage.zoom(patches, zoom, mode="nearest", grid_mode=True).clip(0.01, 1)
        return light

    return scene


# --- the journal --------------------------------------------------------------------------------------------


def journal(state: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the journal of the one folder that is watched with this state folder; nothing if there is none yet."""
    with _reading(state) as db:
        return db.execute(query, values).fetchall() if db else []


@contextmanager
def _reading(state: Path) -> Iterator[sqlite3.Connection | None]:
    """The journal of the one folder that is watched with this state folder, as it is now; None if there is none yet."""
    files = list(state.glob("*/journal.sqlite"))
    if not files:
        yield None
        return
    (file,) = files
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=30, isolation_level=None)) as db:
        db.execute("BEGIN")
        yield db


def events(state: Path) -> list[Event]:
    """The history of all files, in its order."""
    rows = journal(state, "SELECT at, name, event, detail FROM events ORDER BY rowid")
    return [Event(at, os.fsdecode(name), event, detail) for at, name, event, detail in rows]


def settled(state: Path) -> bool:
    """Whether the journal says that nothing is left to do: every picture is a frame or put aside for good, all frames
    are cleaned as they are to be, and all glasses are closed.
    """
    with _reading(state) as db:
        if db is None:
            return False
        try:
            folder = db.execute("SELECT value FROM about WHERE name = 'input'").fetchone()
            known = db.execute("SELECT name, size, mtime_ns, inode FROM frames").fetchall()
            aside = db.execute("SELECT name, size, mtime_ns, inode FROM troubles WHERE retry_at IS NULL").fetchall()
            waiting = db.execute("SELECT name FROM to_do WHERE name NOT IN (SELECT name FROM troubles)").fetchone()
            trying = db.execute("SELECT name FROM troubles WHERE retry_at IS NOT NULL").fetchone()
            open_ = db.execute(
                "SELECT max(frame) FROM members WHERE fold = 'upright' GROUP BY first "
                "HAVING max(frame) NOT IN (SELECT last FROM closings)"
            ).fetchone()
        except sqlite3.OperationalError:  # it is being made
            return False
    if not folder or waiting or trying or open_:
        return False
    seen = {
        (os.fsencode(one.arrival.relative), one.stamp.size, one.stamp.mtime_ns, one.stamp.inode)
        for one in look(Path(folder[0])).sightings
    }
    return seen <= {*known, *aside}
