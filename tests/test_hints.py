"""What others do in a folder ends a wait at once, what we do ourselves does not, and where there are no events."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dustwatch.daemon.hints import Hints, _remote, remote
from dustwatch.daemon.inbox import look
from tests.permissions import ordinary_user

LONG_S = 20.0
"""More than any event takes; nobody waits for it."""

QUIET_S = 0.2
MOVED_S = 0.7
"""A move is held back for half a second, until its other half has come."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "roll").mkdir(parents=True)
    (folder / "old.tif").write_bytes(b"scan")
    return folder


@pytest.fixture
def hints(folder: Path) -> Iterator[Hints]:
    with Hints() as hints:
        arm(hints, folder)
        yield hints


def arm(hints: Hints, folder: Path) -> None:
    """Arm a folder that was not, or no longer."""
    assert hints.watch(folder) is None
    assert hints.wait(0), "what happened before was not heard"


def settle(hints: Hints, quiet_s: float = QUIET_S) -> None:
    """Wait until nothing more comes of what was done before."""
    while hints.wait(quiet_s):
        pass


# --- what ends a wait ---------------------------------------------------------------------------------------


WAYS: dict[str, Callable[[Path, Path], object]] = {
    "written": lambda folder, _: (folder / "a.tif").write_bytes(b"scan"),
    "cut short": lambda folder, _: os.truncate(folder / "old.tif", 1),
    "moved here": lambda folder, away: away.rename(folder / "a.tif"),
    "linked here": lambda folder, away: (folder / "a.tif").hardlink_to(away),
    "a link": lambda folder, away: (folder / "a.tif").symlink_to(away),
    "renamed": lambda folder, _: (folder / "old.tif").rename(folder / "new.tif"),
    "moved away": lambda folder, away: (folder / "old.tif").rename(away),
    "removed": lambda folder, _: (folder / "old.tif").unlink(),
    "allowed": lambda folder, _: (folder / "old.tif").chmod(0o600),
    "touched": lambda folder, _: os.utime(folder / "old.tif"),
    "in a subfolder": lambda folder, away: away.rename(folder / "roll/a.tif"),
    "a subfolder": lambda folder, _: (folder / "new roll").mkdir(),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_happens_in_the_folder_ends_the_wait(hints: Hints, folder: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "away.tif").write_bytes(b"scan")
    assert not hints.wait(0.1)
    WAYS[way](folder, tmp_path / "away.tif")
    assert hints.wait(LONG_S)


def test_a_wait_ends_when_it_happens(hints: Hints, folder: Path) -> None:
    threading.Timer(0.3, (folder / "a.tif").touch).start()
    started = time.monotonic()
    assert hints.wait(LONG_S)
    assert 0.25 < time.monotonic() - started < LONG_S / 2


def test_every_burst_of_a_slow_writer_ends_a_wait(hints: Hints, folder: Path) -> None:
    script = "import sys\nfile = open('a.tif', 'wb', 0)\nfor line in sys.stdin: file.write(b'burst')"
    with subprocess.Popen([sys.executable, "-c", script], cwd=folder, stdin=subprocess.PIPE) as writer:
        assert writer.stdin
        assert hints.wait(LONG_S)
        for _ in range(3):
            settle(hints)
            writer.stdin.write(b"\n")
            writer.stdin.flush()
            assert hints.wait(LONG_S)
        settle(hints)
        writer.kill()  # also its file is closed then
        assert hints.wait(LONG_S)


def test_what_happens_while_nobody_waits_is_not_lost(hints: Hints, folder: Path) -> None:
    (folder / "a.tif").touch()
    time.sleep(0.2)
    assert hints.wait(LONG_S)


def test_all_is_quiet_after_five_hundred_files_until_the_next_one(hints: Hints, folder: Path) -> None:
    for number in range(500):
        (folder / f"{number}.tif").write_bytes(b"scan")
    assert hints.wait(LONG_S)
    settle(hints)
    (folder / "last.tif").touch()
    assert hints.wait(LONG_S)


def test_subfolders_that_come_later_are_watched_as_well(hints: Hints, folder: Path, tmp_path: Path) -> None:
    (folder / "new/deep").mkdir(parents=True)
    (tmp_path / "roll/deep").mkdir(parents=True)
    (tmp_path / "roll").rename(folder / "moved here")
    settle(hints, MOVED_S)
    for name in ("new/deep/a.tif", "moved here/deep/b.tif"):
        (folder / name).touch()
        assert hints.wait(LONG_S), name
        settle(hints)


def test_a_linked_folder_is_watched_with_its_subfolders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "door").symlink_to(folder)
    with Hints() as hints:
        arm(hints, tmp_path / "door")
        for name in ("a.tif", "roll/a.tif"):
            (folder / name).touch()
            assert hints.wait(LONG_S), name
            settle(hints)


@pytest.mark.usefixtures("folder")
def test_two_folders_are_watched_at_once(hints: Hints, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    arm(hints, tmp_path / "second")
    for name in ("second/a.tif", "in/a.tif"):
        (tmp_path / name).touch()
        assert hints.wait(LONG_S), name
        settle(hints)


# --- what does not ------------------------------------------------------------------------------------------


def test_looking_and_reading_do_not_wake_ourselves(hints: Hints, folder: Path, tmp_path: Path) -> None:
    (folder / "roll/a.tif").write_bytes(b"scan")
    (tmp_path / "beside.tif").write_bytes(b"scan")
    settle(hints, MOVED_S)
    for sighting in look(folder).sightings:
        assert sighting.arrival.path.read_bytes() == b"scan"
    assert subprocess.run(["cat", folder / "old.tif"], capture_output=True, check=True).stdout == b"scan"
    (tmp_path / "beside.tif").unlink()
    assert not hints.wait(0.5)


def test_arming_again_changes_nothing(hints: Hints, folder: Path) -> None:
    threads = threading.active_count()
    for _ in range(5):
        assert hints.watch(folder) is None
    assert threading.active_count() == threads
    assert not hints.wait(0.3)
    (folder / "a.tif").touch()
    assert hints.wait(LONG_S)


def test_waiting_takes_no_time_of_the_processor(hints: Hints) -> None:
    started = time.process_time()
    assert not hints.wait(0.5)
    assert time.process_time() - started < 0.1


def test_a_wait_without_any_folder_lasts_as_long_as_it_should() -> None:
    started = time.monotonic()
    with Hints() as hints:
        assert not hints.wait(0.2)
    assert time.monotonic() - started >= 0.2


class Signalled(BaseException):
    """Raised by the handler of a signal."""


def test_a_signal_ends_a_wait_at_once(hints: Hints) -> None:
    def handle(*_: object) -> None:
        raise Signalled

    before = signal.signal(signal.SIGALRM, handle)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Signalled):
            hints.wait(LONG_S)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < LONG_S / 2


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_runs_on_when_it_is_over(folder: Path) -> None:
    threads, files = threading.active_count(), open_files()
    for _ in range(3):
        with Hints() as hints:
            hints.watch(folder)
            assert threading.active_count() > threads
    assert (threading.active_count(), open_files()) == (threads, files)


# --- folders that go and come -------------------------------------------------------------------------------


def replace_by_new(folder: Path) -> None:
    """Remove the folder and make it again: the new one may get the inode of the old one."""
    shutil.rmtree(folder)
    folder.mkdir()


def replace_by_moving(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()


@pytest.mark.parametrize("replace", [replace_by_new, replace_by_moving])
def test_a_folder_that_is_replaced_is_watched_again(
    hints: Hints, folder: Path, replace: Callable[[Path], None]
) -> None:
    threads = threading.active_count()
    for _ in range(3):
        replace(folder)
        settle(hints)
        arm(hints, folder)
        (folder / "a.tif").touch()
        assert hints.wait(LONG_S)
        assert threading.active_count() == threads
        shutil.rmtree(folder.with_name("moved"), ignore_errors=True)


def test_a_folder_that_is_away_for_a_while_is_watched_again(hints: Hints, folder: Path) -> None:
    threads = threading.active_count()
    shutil.rmtree(folder)
    assert hints.wait(LONG_S)
    assert hints.watch(folder) is None
    assert threading.active_count() < threads
    settle(hints)
    assert hints.watch(folder) is None
    assert not hints.wait(0)
    folder.mkdir()
    arm(hints, folder)
    (folder / "a.tif").touch()
    assert hints.wait(LONG_S)


def test_a_file_in_place_of_the_folder_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    with Hints() as hints:
        assert hints.watch(tmp_path / "in") is None
        (tmp_path / "in").write_bytes(b"scan")
        assert not hints.wait(0.3)
        (tmp_path / "in").unlink()
        (tmp_path / "in").mkdir()
        arm(hints, tmp_path / "in")
        (tmp_path / "in/a.tif").touch()
        assert hints.wait(LONG_S)


def test_a_folder_is_watched_from_when_it_may_be_read() -> None:
    with tempfile.TemporaryDirectory() as temporary, Hints() as hints:
        folder = Path(temporary)
        folder.chmod(0)
        with ordinary_user():
            assert hints.watch(folder) is None
        assert not hints.wait(0)
        folder.chmod(0o755)
        with ordinary_user():
            arm(hints, folder)
        settle(hints)
        (folder / "a.tif").touch()
        assert hints.wait(LONG_S)


def test_an_unreadable_subfolder_does_not_spoil_the_rest() -> None:
    with tempfile.TemporaryDirectory() as temporary, Hints() as hints:
        folder = Path(temporary)
        folder.chmod(0o755)
        for name in ("closed", "open"):
            (folder / name).mkdir()
        (folder / "closed").chmod(0)
        with ordinary_user():
            arm(hints, folder)
        settle(hints)
        (folder / "open/a.tif").touch()
        assert hints.wait(LONG_S)


# --- no events to be had ------------------------------------------------------------------------------------

WITHOUT_EVENTS = """
import sys, time
from pathlib import Path
from dustwatch.daemon.hints import Hints
folder = Path(sys.argv[1])
with Hints() as hints:
    {limit}
    print(hints.watch(folder))
    print(hints.watch(folder))
    (folder / "a.tif").touch()
    print(hints.wait(0.2))
"""


def without_events(folder: Path, limit: str = "", *prefix: str) -> str:
    """What a process says that reaches a limit; then that it says it once, and only waits from then on."""
    command = [*prefix, sys.executable, "-W", "error", "-c", WITHOUT_EVENTS.format(limit=limit), folder]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    reason, *rest = result.stdout.splitlines()
    assert rest == ["None", "False"]
    assert reason.startswith(f"{folder}: cannot be watched for events (")
    return reason


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_a_limit_of_the_kernel_is_told_once_and_waits_only_last(folder: Path, limit: str) -> None:
    command = f'echo 0 > /proc/sys/user/{limit} && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "sh", "-c", command, "sh"]
    try:
        subprocess.run([*alone, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not have limits of its own")
    reason = without_events(folder, "", *alone)
    assert f"fs.inotify.{limit.replace('inotify', 'user')}" in reason
    assert "only looked at every so often" in reason


def test_a_limit_of_the_process_is_told_as_well(folder: Path) -> None:
    """It may open two more files, which is enough to look at folders, and not for events."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = f"import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 3, {hard}))"
    assert "limit of open files" in without_events(folder, limit)


MOUNTS = rb"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:40 / /mnt/scans rw shared:2 master:1 - nfs4 server:/scans rw,vers=4.2
41 27 0:41 / /mnt/scans\040of\040the\040attic rw - cifs //attic/scans rw
42 27 0:42 / /mnt/back\134slash rw - fuse.sshfs me@attic:/ rw
43 40 0:43 / /mnt/scans/local rw - tmpfs tmpfs rw
44 27 0:44 / /mnt/stick rw - fuseblk /dev/sda1 rw
45 27 0:45 / /mnt/auto rw - autofs systemd-1 rw,direct
46 45 0:46 / /mnt/auto rw - nfs server:/auto rw
47 27 0:47 / /mnt/host rw - 9p host rw
48 27 0:48 / /mnt/\303\244 rw - smb3 //attic/umlaut rw
49 27 0:49 / /mnt/old rw - nfs server:/old rw
50 49 0:50 / /mnt/old rw - ext4 /dev/vdb rw
51 27 0:51 / /mnt/cloud rw - fuse.rclone cloud: rw
""".lstrip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/scans", None),
        ("/", None),
        ("/mnt/scans", "nfs4"),
        ("/mnt/scans/roll 1", "nfs4"),
        ("/mnt/scans/../scans/roll 1", "nfs4"),
        ("/mnt/scans-of-mine", None),
        ("/mnt/scans of the attic/roll", "cifs"),
        ("/mnt/back\\slash/roll", "fuse.sshfs"),
        ("/mnt/scans/local/roll", None),
        ("/mnt/stick/scans", None),
        ("/mnt/auto/scans", "nfs"),
        ("/mnt/host/scans", "9p"),
        ("/mnt/ä/scans", "smb3"),
        ("/mnt/old", None),
        ("/mnt/cloud", "fuse.rclone"),
    ],
)
def test_file_systems_of_other_machines_are_told_by_the_longest_mount_point(folder: str, kind: str | None) -> None:
    assert _remote(Path(folder), MOUNTS) == kind


def test_a_folder_of_which_no_mount_point_is_known_is_taken_for_local() -> None:
    assert _remote(Path("/mnt/scans"), b"22 27 0:21 / /proc rw - proc proc rw\n") is None


def test_a_link_to_another_file_system_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / "door").symlink_to("/mnt/scans")
    assert _remote(tmp_path / "door/roll", MOUNTS) == "nfs4"


def test_the_kernel_s_own_list_of_mounts_is_understood() -> None:
    assert remote(Path("/proc/self")) is None
    assert remote(Path("/proc/there/is/no/such/folder")) is None
