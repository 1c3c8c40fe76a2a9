"""What a watch promises when it is ended, has no room, or somebody else has been at its folders: nothing is lost, done
twice or half done, and what others have done stays as it is.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dustwatch.processing.simulate import RollParams
from tests.rolls import clean, run, sha256, simulate, snapshot, write_tiffs
from tests.test_watch import SIZE, Film, Place, film, told_of, written
from tests.victim import Inspector
from tests.watching import blurred, drop, events, journal, settled, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.watching import Daemon

ROOT = Path(__file__).parent.parent
PUBLISHED = ("cleaned", "unchanged", "abstained")


@pytest.fixture(scope="module")
def roll(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Ten frames, and a wipe before the seventh."""
    return film(tmp_path_factory.mktemp("roll"), frames=10, wipes=(6,), seed=21)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "scans").mkdir()
    return Place(tmp_path)


def until_published(daemon: Daemon, count: int) -> None:
    """Wait until it has put frames into place so many times."""
    daemon.until(lambda: sum(f": {status}" in line for line in daemon.lines for status in PUBLISHED) >= count)


# --- ended hundreds of times --------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[(signal.SIGKILL, 24, 200), (signal.SIGTERM, 8, 40)],
    ids=lambda how: how[0].name,
)
def survivor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Lives are looked at one by one there; see `tests.victim`."""
    how, count, ends = request.param
    folder = tmp_path_factory.mktemp(how.name)
    params = RollParams(frames=count, wipes=(count // 2,), seed=3, **SIZE)
    write_tiffs(simulate(params, blurred(3)), folder / "made")
    arguments = [str(folder), how.name, str(ends), str(random.randrange(10**6))]
    victim = [sys.executable, "-m", "tests.victim", *arguments]
    done = subprocess.run(victim, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(victim)}\n{done.stderr}"
    assert how is signal.SIGTERM or int(done.stdout) > ends / 10  # it was at work
    return Place(folder)


def test_what_comes_out_is_what_comes_out_undisturbed_and_what_clean_makes(survivor: Place) -> None:
    assert snapshot(survivor.output) == snapshot(survivor.folder / "undisturbed")
    clean(survivor.scans, survivor.folder / "expected")
    assert snapshot(survivor.output) == snapshot(survivor.folder / "expected")


def test_nothing_is_published_twice(survivor: Place) -> None:
    told = events(survivor.state)
    assert {one.event for one in told} <= {"arrived", *PUBLISHED}
    for name in {one.name for one in told}:
        revisions = [one.detail.split(", ") for one in told if one.name == name and one.event in PUBLISHED]
        assert [revision for revision, _, _ in revisions] == [f"revision {n + 1}" for n in range(len(revisions))]
        assert len({learnt for _, _, learnt in revisions}) == len(revisions) > 1


def test_every_frame_was_taken_in_once_and_is_one_witness(survivor: Place) -> None:
    names = [(os.fsencode(path.name),) for path in sorted((survivor.folder / "made").iterdir())]
    assert journal(survivor.state, "SELECT name FROM frames ORDER BY number") == names
    assert sorted(one.name for one in events(survivor.state) if one.event == "arrived") == [
        os.fsdecode(name) for (name,) in names
    ]
    for fold in ("upright", "inverted"):
        members = journal(survivor.state, "SELECT frame FROM members WHERE fold = ? ORDER BY frame", fold)
        assert members == [(number + 1,) for number in range(len(names))]
    for (told,) in journal(survivor.state, "SELECT run FROM runs"):
        witnesses = [digest for _, digest, *_ in json.loads(told)["witnesses"]]
        assert len(set(witnesses)) == len(witnesses)


def test_nothing_unfinished_is_left(survivor: Place) -> None:
    assert Inspector(survivor.scans, survivor.output, survivor.state).unfinished() == []
    (kept,) = survivor.state.iterdir()
    reading = {"journal.sqlite-wal", "journal.sqlite-shm"}  # as these tests do
    assert {path.name for path in kept.iterdir()} - reading == {"journal.sqlite", "frames", "maps"}
    assert {path.name for path in kept.glob("frames/*/*")} <= {"residual", "residual.packed", "fingerprint.npz"}
    assert {path.name for path in survivor.output.iterdir() if path.suffix != ".tif"} == {"receipts"}


def test_the_originals_are_as_they_were(survivor: Place) -> None:
    assert snapshot(survivor.scans) == snapshot(survivor.folder / "made")
    for path in (survivor.folder / "made").iterdir():
        assert (survivor.scans / path.name).stat().st_mtime_ns == path.stat().st_mtime_ns


# --- ended as a process -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_stop_in_the_middle_of_work_is_quick_and_leaves_nothing_half_done(
    place: Place, roll: Film, how: signal.Signals
) -> None:
    inspector = Inspector(place.scans, place.output, place.state)
    drop(roll.files, place.scans)
    with watching(place.scans, place.output, place.state) as daemon:
        until_published(daemon, 4)
        assert daemon.end(how, seconds=20) == 0
        assert "stopped; what is left is done after the next start" in daemon.lines[-1]
    assert not settled(place.state)
    inspector.look()
    assert inspector.unfinished() == []
    with watching(place.scans, place.output, place.state) as daemon:
        daemon.until_settled()
    inspector.look()
    place.equals_clean()


def test_a_process_that_is_killed_goes_on_at_the_next_start(place: Place, roll: Film) -> None:
    inspector = Inspector(place.scans, place.output, place.state)
    for count in range(1, 4):
        drop(roll.files[: 3 * count], place.scans)
        with watching(place.scans, place.output, place.state) as daemon:
            until_published(daemon, count)
            assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
        inspector.look()
    with watching(place.scans, place.output, place.state) as daemon:
        daemon.until_settled()
    inspector.look()
    assert inspector.unfinished() == []
    place.equals_clean()


# --- no room ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """A small disk on which a folder lies."""

    folder: Path

    def resize(self, kib: int, how: str = "remount,") -> None:
        """Make it as large as this."""
        mount = ["mount", "-t", "tmpfs", "-o", f"{how}size={kib}k", "tmpfs", str(self.folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    disk.folder.mkdir()
    disk.resize(16 << 10, how="")
    yield disk
    subprocess.run(["umount", disk.folder], check=True)


def test_it_starts_where_there_is_no_room_for_trying_out_how_it_works(place: Place, disk: Disk) -> None:
    disk.resize(256)
    with watching(place.scans, place.output, disk.folder) as daemon:
        daemon.until_said("nothing can be tried out there")


@contextmanager
def frozen(daemon: Daemon) -> Iterator[None]:
    """Hold a daemon still, wherever it is in its work."""
    daemon.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("what", ["output", "state"])
def test_a_full_disk_is_waited_for(place: Place, roll: Film, disk: Disk, what: str) -> None:
    output, state = (disk.folder / name if what == name else place.folder / name for name in ("output", "state"))
    inspector = Inspector(place.scans, output, state)
    said = {
        "output": [f"{output / name}: cannot be written: the output folder's disk is full" for name in roll.names[1:3]],
        "state": ["No space left on device; make room, or mend it: waiting for that"],
    }[what]
    with watching(place.scans, output, state) as daemon:
        drop(roll.files[:1], place.scans)
        until_published(daemon, 1)
        disk.resize(700)
        drop(roll.files[1:6], place.scans)
        for text in said:
            daemon.until_said(text)
        with frozen(daemon):
            inspector.look()
        disk.resize(16 << 10)
        drop(roll.files[6:], place.scans)
        daemon.until_settled()
        for text in said:
            assert sum(text in line for line in daemon.lines) == 1, daemon.lines
    inspector.look()
    assert inspector.unfinished() == []
    clean(place.scans, place.folder / "expected")
    assert snapshot(output) == snapshot(place.folder / "expected")


# --- what others do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_what_somebody_has_changed_moved_or_deleted_stays_so(
    place: Place, roll: Film, restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dustwatch")
    changed, moved, deleted, exchanged, *others = roll.names[:6]
    drop(roll.files[:4], place.scans)

    def interfere() -> dict[str, str]:
        with (place.output / changed).open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"!")
        (place.output / moved).rename(place.output / "best.tif")
        (place.output / deleted).unlink()
        (place.output / "receipts" / f"{exchanged}.json").unlink()
        shutil.copy(place.scans / exchanged, place.output / exchanged)
        return snapshot(place.output)

    with place.watched() as watch:
        place.let(watch)
        if not restarted:
            left = interfere()
            drop(roll.files[4:6], place.scans)
            place.let(watch)
    if restarted:
        left = interfere()
        drop(roll.files[4:6], place.scans)
    for _ in range(2):
        with place.watched() as watch:
            place.let(watch)
            place.close_all(watch)
    assert left.items() <= snapshot(place.output).items()
    assert {name for name in snapshot(place.output) if name.endswith(".tif")} == {
        changed,
        exchanged,
        "best.tif",
        *others,
    }
    whats = {
        changed: "has been changed",
        moved: "has been moved or deleted",
        deleted: "has been moved or deleted",
        exchanged: "is not ours",
    }
    for name, what in whats.items():
        assert told_of(place, name)[-1] == ("left", what)
        assert len([text for text in caplog.messages if text == f"{place.output / name}: {what}, and is left so"]) == 1
    # They lie on the glass all the same, so the others gain by them.
    assert [one["map_frames"] for one in place.receipts(others)] == [6, 6]
    clean(place.scans, place.folder / "expected")
    for name in others:
        assert sha256(place.output / name) == sha256(place.folder / "expected" / name)


def test_without_what_it_knew_it_knows_its_own_by_their_receipts(place: Place, roll: Film) -> None:
    drop(roll.files[:8], place.scans)
    with place.watched() as watch:
        place.let(watch)
    edited, deleted = roll.names[0], roll.names[7]
    (place.output / edited).write_bytes(b"edited")
    (place.output / deleted).unlink()
    shutil.rmtree(place.state)
    with place.watched() as watch:
        place.let(watch)
        place.close_all(watch)
    assert (place.output / edited).read_bytes() == b"edited"
    assert not (place.output / deleted).exists()
    assert told_of(place, edited)[-1] == ("left", "has been changed")
    assert told_of(place, deleted)[-1] == ("left", "has been moved or deleted")
    clean(place.scans, place.folder / "expected")
    ours, expected = snapshot(place.output), snapshot(place.folder / "expected")
    for name in expected:
        assert ours.get(name) == expected[name] or edited in name or deleted in name


# --- two at once --------------------------------------------------------------------------------------------


def test_no_other_run_may_work_in_the_output_folder_meanwhile(place: Place, roll: Film) -> None:
    drop(roll.files[:2], place.scans)
    refused = f"{place.output}: another run is writing in this folder; wait for it, or give another one\n"
    with watching(place.scans, place.output, place.state) as daemon:
        daemon.until_settled()
        before = written(place.folder)
        watch = ("watch", place.scans, place.output, "--state")
        for command in (*watch, place.folder / "another"), ("clean", place.scans, "--output", place.output):
            result = run(*command)
            assert (result.code, result.said) == (2, refused)
        result = run(*watch, place.state)
        assert result.code == 2
        assert result.said == f"{place.scans}: another process is watching this folder; end that one first\n"
        assert {name: at for name, at in written(place.folder).items() if "/another/" not in name} == before
        drop(roll.files[2:3], place.scans)
        daemon.until_settled()
    place.equals_clean()
