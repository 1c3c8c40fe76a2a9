"""What one look at a folder of real files, links, pipes and forbidden folders finds, while others write and delete."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dustwatch.daemon.errors import Remedy
from dustwatch.daemon.frame import Stamp
from dustwatch.daemon.inbox import Look, look
from dustwatch.daemon.source import natural_path
from tests.permissions import ordinary_user


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def names(found: Look) -> list[str]:
    return [str(sighting.arrival.relative) for sighting in found.sightings]


def refused(found: Look) -> dict[str, str]:
    """Text of each refusal by the name of its file, which the text must begin with."""
    assert all(str(error).startswith(f"{path}: ") for path, error in found.refused)
    return {path.name: str(error).removeprefix(f"{path}: ") for path, error in found.refused}


@contextmanager
def running(script: str, folder: Path) -> Iterator[None]:
    """Another process that works in the folder; it has begun when it prints a line."""
    with subprocess.Popen([sys.executable, "-c", script], cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield
        finally:
            assert process.poll() is None, "it should have worked all the time"
            process.kill()


# --- what is sighted ----------------------------------------------------------------------------------------


def test_pictures_are_sighted_at_any_depth_in_natural_order(folder: Path) -> None:
    expected = ["a.tif", "B 2.TIFF", "b 10.jpg", "roll 2/1.Png", "roll 2/deep/1.jpeg", "roll 10/1.tif"]
    make(folder, *sorted(expected))
    found = look(folder)
    assert names(found) == expected
    assert [sighting.arrival.path for sighting in found.sightings] == [folder / name for name in expected]
    assert found.refused == ()


def test_a_sighting_says_what_the_file_system_says(folder: Path) -> None:
    make(folder, "a.tif", "b.tif")
    (folder / "empty.tif").touch()
    os.utime(folder / "a.tif", ns=(1, 1_234_567_890_123_456_000))
    found = {sighting.arrival.path: sighting for sighting in look(folder).sightings}
    assert len(found) == 3
    for path, sighting in found.items():
        status = path.stat()
        assert sighting.stamp == Stamp(status.st_size, status.st_mtime_ns, status.st_ino)
    assert found[folder / "a.tif"].stamp.mtime_ns == 1_234_567_890_123_456_000


def test_two_looks_at_what_nobody_has_touched_are_equal(folder: Path) -> None:
    make(folder, "a.tif", "roll/b.tif")
    before = look(folder)
    assert look(folder) == before
    make(folder, "new.tif")
    (folder / "new.tif").replace(folder / "a.tif")
    assert look(folder) != before


@pytest.mark.parametrize(
    "name",
    [
        "a.tif.part",
        "a.tif.tmp",
        "a.tif.crdownload",
        "a.tif~",
        ".a.tif",
        ".a.tif.x7Gh2",
        ".trash/a.tif",
        "notes.txt",
        "tif",
    ],
)
def test_hidden_temporary_and_other_names_are_passed_over(folder: Path, name: str) -> None:
    make(folder, "frame.tif", name)
    assert (names(look(folder)), look(folder).refused) == (["frame.tif"], ())


def test_a_file_is_sighted_when_it_gets_its_name(folder: Path, tmp_path: Path) -> None:
    make(folder, "a.tif.part")
    make(tmp_path, "b.tif")
    assert names(look(folder)) == []
    (folder / "a.tif.part").rename(folder / "a.tif")
    (tmp_path / "b.tif").rename(folder / "b.tif")
    (folder / "c.tif").hardlink_to(folder / "b.tif")
    assert names(look(folder)) == ["a.tif", "b.tif", "c.tif"]


def test_masks_of_ours_are_no_pictures_but_scans_of_receipts_are(folder: Path) -> None:
    make(folder, "a.tif", "receipts/a.tif.mask.png", "receipts/roll/b.tif.mask.png", "receipts/bakery.png")
    assert names(look(folder)) == ["a.tif", "receipts/bakery.png"]


def test_a_folder_named_like_a_picture_is_a_folder(folder: Path) -> None:
    make(folder, "x.tif/1.tif")
    assert names(look(folder)) == ["x.tif/1.tif"]


def test_linked_folders_are_not_followed(folder: Path, tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.tif")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    assert look(folder) == Look((), ())


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    make(folder, "a.tif")
    (tmp_path / "door").symlink_to(folder)
    assert names(look(tmp_path / "door")) == ["a.tif"]


def test_no_file_is_opened(public: Path) -> None:
    make(public, "secret.tif")
    (public / "secret.tif").chmod(0)
    with ordinary_user():
        with pytest.raises(PermissionError):
            (public / "secret.tif").read_bytes()
        assert names(look(public)) == ["secret.tif"]


# --- what is refused ----------------------------------------------------------------------------------------


def test_what_can_never_be_a_picture_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(folder, "a.tif")
    (folder / "again.tif").symlink_to("a.tif")
    (folder / "gone.tif").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.tif")
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        found = look(folder)
    assert names(found) == ["a.tif"]
    text = refused(found)
    assert list(text) == ["again.tif", "gone.tif", "pipe.tif", "socket.png"]
    assert text["again.tif"].endswith(f"give {folder / 'a.tif'} itself")
    assert "leads to no file" in text["gone.tif"]
    assert text["pipe.tif"] == "a pipe, no picture; save the scan to a file"
    assert text["socket.png"] == "a socket, no picture; save the scan to a file"
    assert {error.remedy for _, error in found.refused} == {Remedy.SKIP}


def test_devices_are_refused(public: Path) -> None:
    try:
        os.mknod(public / "disk.tif", 0o020600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may not make devices")
    assert refused(look(public)) == {"disk.tif": "a device, no picture; save the scan to a file"}


def test_an_unreadable_subfolder_is_to_be_tried_again_and_the_rest_found(public: Path) -> None:
    make(public, "a.tif", "locked/b.tif", "open/c.tif")
    (public / "locked").chmod(0)
    try:
        with ordinary_user():
            found = look(public)
    finally:
        (public / "locked").chmod(0o755)
    assert names(found) == ["a.tif", "open/c.tif"]
    assert refused(found) == {"locked": "folder cannot be read: Permission denied; check its permissions and its disk"}
    assert [error.remedy for _, error in found.refused] == [Remedy.RETRY]
    with ordinary_user():
        assert names(look(public)) == ["a.tif", "locked/b.tif", "open/c.tif"]


@pytest.mark.parametrize(
    ("first", "later", "place"),
    [
        ("A.tif", "a.tif", "a.tif"),
        ("roll/1.TIF", "roll/1.tif", "roll/1.tif"),
        ("Roll/1.tif", "roll/1.tif", "roll/1.tif"),
        ("STRASSE.tif", "straße.tif", "straße.tif"),
        ("a.tif", "Receipts/A.tif.mask.png", "Receipts/A.tif.mask.png"),
        ("a.tif", "A.TIF/b.tif", "A.TIF/b.tif"),
        ("a.tif", "receipts/a.tif.json/b.tif", "receipts/a.tif.json/b.tif"),
    ],
)
def test_the_later_of_two_that_would_be_written_to_one_place_is_refused(
    folder: Path, first: str, later: str, place: str
) -> None:
    make(folder, later, first)
    if sum(path.is_file() for path in folder.rglob("*")) < 2:
        pytest.skip("this file system folds case")
    found = look(folder)
    assert names(found) == [first]
    ((path, error),) = found.refused
    assert path == folder / later
    assert str(folder / first) in str(error)
    assert f"written to {place} in the output folder" in str(error)
    assert error.remedy is Remedy.SKIP
    (folder / first).unlink()
    assert names(look(folder)) == [later]


def written(name: str) -> list[PurePosixPath]:
    """What comes of a frame in the output folder, in lower case."""
    low = name.casefold()
    return [PurePosixPath(low), PurePosixPath(f"receipts/{low}.json"), PurePosixPath(f"receipts/{low}.mask.png")]


def clash(one: str, other: str) -> bool:
    return any(
        mine == theirs or mine in theirs.parents or theirs in mine.parents
        for mine in written(one)
        for theirs in written(other)
    )


PARTS = ["a", "A", "a.tif", "A.tif", "receipts", "Receipts", "a.tif.json", "A.TIF.mask.png"]
NAMES = st.builds(lambda *parts: "/".join(parts), st.sampled_from(PARTS), st.sampled_from(PARTS[2:]))


@settings(max_examples=60)
@given(st.sets(NAMES | st.sampled_from(["a.tif", "A.tif", "A.TIF.mask.png"]), max_size=8))
def test_of_all_that_clash_the_first_are_kept(given_names: set[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in sorted(given_names):
            try:
                make(folder, name)
            except OSError:
                continue  # a folder has this name, or a file the name of its folder
        found = look(folder)
        paths = [*(sighting.arrival.path for sighting in found.sightings), *(path for path, _ in found.refused)]
        kept: list[str] = []
        for name in (str(path.relative_to(folder)) for path in sorted(paths, key=natural_path)):
            if not any(clash(name, earlier) for earlier in kept):
                kept.append(name)
        assert names(found) == kept
        for path, error in found.refused:
            assert any(clash(name, str(path.relative_to(folder))) and str(folder / name) in str(error) for name in kept)


# --- what changes while it looks ----------------------------------------------------------------------------


def test_what_vanishes_during_the_look_is_left_out(folder: Path) -> None:
    expected = [f"{number}.tif" for number in range(20)]
    make(folder, *expected)
    churn = """
import os
for number in range(1_000_000_000):
    os.makedirs("roll/deep")
    for name in ("a.tif", "roll/b.tif", "roll/deep/c.tif"):
        open(name, "xb").close()
    for name in ("a.tif", "roll/b.tif", "roll/deep/c.tif"):
        os.unlink(name)
    os.removedirs("roll/deep")
    if number == 0:
        print(flush=True)
"""
    looks = came_and_went = 0
    with running(churn, folder):
        while looks < 400 or came_and_went < 3:
            found = look(folder)
            assert found.refused == ()
            assert [name for name in names(found) if name in expected] == expected
            came_and_went += len(found.sightings) > len(expected)
            looks += 1


def test_five_hundred_files_at_once(folder: Path, tmp_path: Path) -> None:
    expected = [f"{number}.tif" for number in range(500)]
    make(tmp_path, *(f"roll/{name}" for name in expected))
    (tmp_path / "roll").rename(folder / "roll")
    assert names(look(folder)) == [f"roll/{name}" for name in expected]


def test_a_folder_that_cannot_be_listed_is_an_error(public: Path) -> None:
    make(public, "a.tif", "locked/b.tif")
    with pytest.raises(FileNotFoundError):
        look(public / "unmounted")
    with pytest.raises(NotADirectoryError):
        look(public / "a.tif")
    (public / "locked").chmod(0)
    with ordinary_user(), pytest.raises(PermissionError):
        look(public / "locked")
