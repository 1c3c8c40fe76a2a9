"""When files that others write in bursts, close, rename, replace and delete are still; time is told by hand."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.frame import Arrival, Stamp
from dustwatch.daemon.inbox import Sighting, look
from dustwatch.daemon.stability import Stability

STILL_S = 2.0
PAUSE_S = 0.02
"""More than a tick of the clock by which the file system stamps files."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def other(folder: Path) -> Iterator[Callable[[str], None]]:
    """Another process that works in the folder: it does what it is told to, and keeps its files open."""
    script = f"""
import sys, time
from pathlib import Path
for line in sys.stdin:
    time.sleep({PAUSE_S})
    exec(line)
    print(flush=True)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:

        def do(statement: str) -> None:
            assert process.stdin
            assert process.stdout
            print(statement, file=process.stdin, flush=True)
            assert process.stdout.readline() == "\n"

        yield do
        process.kill()


class Watch:
    """Looks at a folder as time goes by."""

    def __init__(self, folder: Path, still_s: float = STILL_S) -> None:
        self.folder = folder
        self.now = 1000.0
        self._stability = Stability(still_s)

    def still(self) -> list[str]:
        found = self._stability.still(look(self.folder).sightings, self.now)
        return [str(sighting.arrival.relative) for sighting in found]

    def after(self, seconds: float) -> list[str]:
        self.now += seconds
        return self.still()


# --- real files ---------------------------------------------------------------------------------------------


def test_a_file_is_still_when_it_has_stayed_as_it_is_since_it_was_first_seen(folder: Path) -> None:
    (folder / "a.tif").write_bytes(b"scan")
    os.utime(folder / "a.tif", (0, 0))  # as one that was moved here: its age says nothing
    watch = Watch(folder)
    assert watch.still() == []
    assert watch.after(1.9) == []
    assert watch.after(0.1) == ["a.tif"]
    assert watch.after(100) == ["a.tif"]


def test_a_slow_writer_with_pauses_is_waited_for(folder: Path, other: Callable[[str], None]) -> None:
    watch = Watch(folder)
    other("file = open('a.tif', 'wb', 0)")
    assert watch.still() == []
    for _ in range(5):
        other("file.write(bytes(10_000))")
        assert watch.after(1.5) == []
        assert watch.after(1.5) == []  # a pause of less than it takes
    other("file.seek(0); file.write(b'II*')")  # the size stays
    assert watch.after(1.0) == []
    other("file.close()")
    assert watch.after(1.9) == []
    assert watch.after(0.1) == ["a.tif"]
    assert (folder / "a.tif").stat().st_size == 50_000


def test_five_times_opened_and_closed_is_waited_for(folder: Path, other: Callable[[str], None]) -> None:
    watch = Watch(folder)
    for _ in range(5):
        other("with open('a.tif', 'ab') as file: file.write(b'a page')")
        assert watch.after(1.9) == []
    assert watch.after(2.0) == ["a.tif"]


def test_an_empty_file_never_is_still(folder: Path, other: Callable[[str], None]) -> None:
    watch = Watch(folder)
    other("Path('a.tif').touch()")
    assert watch.still() == []
    assert watch.after(1e9) == []
    other("Path('a.tif').write_bytes(b'scan')")
    assert watch.after(1) == []
    assert watch.after(2) == ["a.tif"]


def test_a_file_that_gets_its_name_late_counts_from_then(folder: Path, other: Callable[[str], None]) -> None:
    watch = Watch(folder)
    other("Path('a.tif.part').write_bytes(b'scan')")
    assert watch.still() == []
    assert watch.after(10) == []
    other("Path('a.tif.part').rename('a.tif')")
    assert watch.after(1) == []
    assert watch.after(2) == ["a.tif"]


def test_a_file_that_is_replaced_by_one_just_like_it_counts_anew(folder: Path, other: Callable[[str], None]) -> None:
    for name in ("a.tif", "b.tmp"):
        (folder / name).write_bytes(b"scan")
        os.utime(folder / name, ns=(1, 1))
    watch = Watch(folder)
    assert watch.still() == []
    assert watch.after(2) == ["a.tif"]
    other("Path('b.tmp').rename('a.tif')")
    assert watch.after(1) == []
    assert watch.after(2) == ["a.tif"]


def test_a_file_that_was_away_counts_anew(folder: Path, other: Callable[[str], None]) -> None:
    (folder / "a.tif").write_bytes(b"scan")
    watch = Watch(folder)
    watch.still()
    assert watch.after(2) == ["a.tif"]
    other("Path('a.tif').rename('a.bak')")
    assert watch.after(1) == []
    other("Path('a.bak').rename('a.tif')")
    assert watch.after(1) == []
    assert watch.after(2) == ["a.tif"]


def test_each_file_has_its_own_time(folder: Path, other: Callable[[str], None]) -> None:
    watch = Watch(folder)
    for name in ("c", "a", "b"):
        other(f"Path('{name}.tif').write_bytes(b'scan')")
        watch.after(1)
    assert watch.still() == ["c.tif"]
    assert watch.after(1) == ["a.tif", "c.tif"]
    assert watch.after(1) == ["a.tif", "b.tif", "c.tif"]


def test_a_file_in_use_has_rested_whenever_it_is_taken(folder: Path) -> None:
    """With real clocks: whatever the pauses of the writer, nothing was written for as long as was asked for."""
    script = """
import time
with open("a.tif", "wb", 0) as file:
    for pause_ms in [10, 20, 10, 150, 10, 400, 10, 10, 300, 10]:
        file.write(bytes(100_000))
        time.sleep(pause_ms / 1000)
"""
    watch = Watch(folder, still_s=0.25)
    taken = 0
    with subprocess.Popen([sys.executable, "-c", script], cwd=folder) as writer:
        while True:
            ended = writer.poll() is not None
            before = look(folder).sightings
            watch.now = time.monotonic()
            still = watch.still()
            after = look(folder).sightings
            if still and before == after:
                taken += 1
                assert time.time() - after[0].stamp.mtime_ns / 1e9 >= 0.25
                if ended:
                    break
            time.sleep(0.01)
    assert taken > 0
    assert after[0].stamp.size == 1_000_000


# --- the rule, against an obvious twin -----------------------------------------------------------------------

SIGHTINGS = st.builds(
    lambda name, stamp: Sighting(Arrival(Path(name), PurePosixPath(name)), stamp),
    st.sampled_from(["a.tif", "b.tif", "c.tif"]),
    st.builds(Stamp, *[st.integers(0, 1)] * 3),
)
LOOKS = st.lists(SIGHTINGS, max_size=3, unique_by=lambda sighting: sighting.arrival)
STEPS = st.integers(0, 3)
HISTORIES = st.lists(st.tuples(st.integers(-5, 5), LOOKS), max_size=12)


def twin(still_s: float, history: list[tuple[float, list[Sighting]]]) -> list[Sighting]:
    """From all looks, with a clock that does not run backwards, those that are still at the last one."""
    found = []
    for sighting in history[-1][1]:
        first = math.inf
        for now, seen in reversed(history):
            if sighting not in seen:
                break
            first = now
        if sighting.stamp.size > 0 and history[-1][0] - first >= still_s:
            found.append(sighting)
    return found


@given(STEPS, HISTORIES)
def test_the_rule_is_that_of_its_twin(still_s: int, history: list[tuple[int, list[Sighting]]]) -> None:
    stability = Stability(still_s)
    told: list[tuple[float, list[Sighting]]] = []
    now = 0
    for step, seen in history:
        now += abs(step)
        told.append((now, seen))
        assert stability.still(seen, now) == twin(still_s, told)


@given(STEPS, HISTORIES)
def test_a_clock_that_jumps_backwards_makes_nothing_still_early(
    still_s: int, history: list[tuple[int, list[Sighting]]]
) -> None:
    """Beside it one that stands still instead."""
    jumping, standing = Stability(still_s), Stability(still_s)
    now = steady = 0
    for step, seen in history:
        now += step
        steady += max(step, 0)
        on_time = standing.still(seen, steady)
        assert [sighting for sighting in jumping.still(seen, now) if sighting not in on_time] == []


def test_where_the_clock_is_set_back_time_begins_anew(folder: Path) -> None:
    (folder / "a.tif").write_bytes(b"scan")
    watch = Watch(folder)
    assert watch.still() == []
    assert watch.after(1.9) == []
    assert watch.after(-3600) == []
    assert watch.after(1.9) == []
    assert watch.after(0.1) == ["a.tif"]
    assert watch.after(-3600) == []
    assert watch.after(2) == ["a.tif"]
