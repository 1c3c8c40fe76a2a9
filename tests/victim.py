"""A watch that is ended at many moments of its work, and begun again each time, until all is done.

    python -m tests.victim FOLDER SIGNAL ENDS SEED

The scans in FOLDER/made appear one after the other in FOLDER/scans. They are cleaned into FOLDER/clean by a watch that
is ended ENDS times, and into FOLDER/undisturbed by one that is not. Every life is forked from a process that has
compiled all kernels, so it is at work at once, and is ended by SIGNAL: before some change to the file system, or after
some time. What it has left is looked at each time. Prints how many ends found something half done.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import tifffile
from PIL import Image

from dustwatch.daemon.film import load_profile
from dustwatch.daemon.frame import Arrival, Receipt
from dustwatch.daemon.output import Output
from dustwatch.daemon.service import _until_stopped
from dustwatch.daemon.settings import FolderSettings
from dustwatch.daemon.warm_up import warm_up
from dustwatch.daemon.watch import Watch
from tests.rolls import snapshot
from tests.watching import drop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROFILE = load_profile("generic-negative")
HOUR_S = 3600.0
EVENING_S = 4 * HOUR_S
STOPPED, FAILED, AT_REST = 0, 1, 2
LONGEST_S = 60
CHANGES = 16
"""To the file system, in a life on average; to take in a frame and to clean it takes some more."""


class Lives:
    """The lives of one watch of `scans`; none remembers anything that is not in the folders."""

    def __init__(self, scans: Path, output: Path, state: Path) -> None:
        self.settings = FolderSettings(scans, output, still_s=0.1)
        self.state = state

    def begin(self, now: float, before: Callable[[], None] = lambda: None) -> int:
        """Begin a life at a time of the clock, and give its process; `before` is called in it first."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        process = os.fork()
        if process == 0:
            signal.alarm(LONGEST_S)  # in case that it hangs
            before()
            try:
                code = self._live(now)
            except BaseException:  # noqa: BLE001 - it must not go on as its parent
                traceback.print_exc()
                code = FAILED
            os._exit(code)  # at once: Python would take its time
        return process

    def _live(self, now: float) -> int:
        """Work until there is nothing to do, and tell whether that was reached. Time goes by only at rest."""
        code, idle = STOPPED, 0
        with (
            _until_stopped(),
            _listening(),
            Watch(self.settings, PROFILE, self.state / "scans", 2, lambda: now) as watch,
        ):
            while idle < 3:
                idle = 0 if watch.turn() else idle + 1
                now += max(watch.due_in(), 0.1) * bool(idle)
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN, "a signal came, and was lost"
            code = AT_REST
            os.kill(os.getpid(), signal.SIGTERM)
        return code

    def to_rest(self, now: float) -> None:
        """A life that nobody ends."""
        assert ended(self.begin(now)) == AT_REST


@contextmanager
def _listening() -> Iterator[None]:
    """Have SIGTERM wait before and afterwards, when nobody listens to it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def ended(process: int) -> int:
    """Wait for the end of a process, and give its exit code, or its signal with a minus."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def end_before_change(count: int, how: signal.Signals) -> None:
    """Have this process end by a signal before it changes the file system for the `count`th time, from 0."""
    left = count

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if changes_files(event, arguments):
            left -= 1
            if left == -1:  # once: it may go on to tidy up
                os.kill(os.getpid(), how)

    sys.addaudithook(watch)


def changes_files(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether an audit event is that of a file or folder being changed, or opened to be forced to the disk."""
    if event == "open":
        _, mode, flags = arguments
        return mode is None or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) != 0)
    return event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod")


@dataclass(frozen=True, slots=True)
class Published:
    """A picture in the output folder, as a user finds it, and the map that it was cleaned with."""

    inode: int
    mtime_ns: int
    map_sha256: str


class Inspector:
    """Looks at what each life has left, as somebody would who opens the output folder at that moment."""

    def __init__(self, scans: Path, output: Path, state: Path) -> None:
        self.scans, self.output, self.state = scans, output, state
        self.before: dict[str, Published] = {}

    def look(self) -> None:
        """Whatever lies under a final name is whole, and was written only if it was to be another one."""
        known = Output(self.output)
        for path in [path for path in self.output.rglob("[!.]*") if path.is_file()]:
            if path.suffix == ".json":
                assert Receipt.from_json(path.read_bytes()) is not None, path
            elif path.suffix == ".png":
                Image.open(path).load()
            else:
                assert path.parent == self.output, path
                arrival = Arrival(self.scans / path.name, PurePosixPath(path.name))
                receipt = known.read_receipt(arrival)
                assert receipt is not None, path
                status = path.stat()
                found = Published(status.st_ino, status.st_mtime_ns, receipt.map_sha256)
                before = self.before.get(path.name)
                if found != before:
                    assert before is None or found.map_sha256 != before.map_sha256, (before, found)
                    assert known.state(arrival) == "ours", path
                    assert tifffile.imread(path).shape == tifffile.imread(arrival.path).shape
                self.before[path.name] = found
        assert self.before.keys() == {path.name for path in self.output.glob("*.tif")}

    def unfinished(self) -> list[Path]:
        """All that only a life that works may have: hidden files, and those that are not kept."""
        return [*self.output.rglob(".*"), *self.state.rglob("*.part"), *self.state.rglob("scratch/*")]


def main(folder: Path, how: signal.Signals, ends: int, seed: int) -> None:
    """See above."""
    made = sorted((folder / "made").iterdir())
    scans, output, state = (folder / name for name in ("scans", "clean", "state"))
    lives, inspector, chance = Lives(scans, output, state), Inspector(scans, output, state), random.Random(seed)
    warm_up(folder)

    drop(made, scans)
    undisturbed = Lives(scans, folder / "undisturbed", folder / "undisturbed-state")
    started = time.monotonic()
    undisturbed.to_rest(0)
    undisturbed.to_rest(HOUR_S)
    seconds = time.monotonic() - started
    for scan in scans.iterdir():
        scan.unlink()

    expected = -how if how is signal.SIGKILL else STOPPED
    ended_so_far = lived = half_done = 0
    while ended_so_far < ends:
        now = EVENING_S * ended_so_far / ends
        here = min(len(made), 1 + len(made) * 3 * ended_so_far // (2 * ends))  # all of them before it is late
        drop([scan for scan in made[:here] if not (scans / scan.name).exists()], scans)
        if lived % 2:
            count = int(chance.expovariate(1 / CHANGES))
            process = lives.begin(now, partial(end_before_change, count, how))
        else:
            process = lives.begin(now)
            time.sleep(chance.expovariate(ends / seconds / 2))
            os.kill(process, how)
        code = ended(process)
        lived += 1
        assert code in (AT_REST, expected), (lived, code)
        ended_so_far += code != AT_REST
        inspector.look()
        unfinished = inspector.unfinished()
        half_done += bool(unfinished)
        assert how is signal.SIGKILL or not unfinished, (lived, unfinished)
    lives.to_rest(EVENING_S)
    lives.to_rest(EVENING_S + HOUR_S)
    inspector.look()
    at_rest = snapshot(output), dict(inspector.before)
    lives.to_rest(EVENING_S + 2 * HOUR_S)
    inspector.look()
    assert (snapshot(output), inspector.before) == at_rest
    print(half_done)


if __name__ == "__main__":
    main(Path(sys.argv[1]), signal.Signals[sys.argv[2]], *map(int, sys.argv[3:]))
