"""A file that gets its place: as a whole, once, and from nobody else."""

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dustwatch.daemon.disk import part_of, publish


@pytest.fixture(params=["links", "no links"], autouse=True)
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk as most are, and one that knows of one name for a file only."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)


def test_a_part_gets_its_place(tmp_path: Path) -> None:
    place = tmp_path / "1.tif"
    part_of(place).write_text("whole")
    publish(part_of(place), place)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"1.tif": "whole"}


def test_what_is_there_stays(tmp_path: Path) -> None:
    place = tmp_path / "1.tif"
    place.write_text("earlier")
    part_of(place).write_text("later")
    with pytest.raises(FileExistsError):
        publish(part_of(place), place)
    assert place.read_text() == "earlier"
    assert part_of(place).read_text() == "later"


def test_of_many_who_want_a_place_one_gets_it(tmp_path: Path) -> None:
    place = tmp_path / "1.tif"

    def take(number: int) -> bool:
        part = tmp_path / f"{number}.part"
        part.write_text(str(number))
        try:
            publish(part, place)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        took = list(pool.map(take, range(32)))
    assert took.count(True) == 1
    assert place.read_text() == str(took.index(True))


def test_where_the_last_step_fails_the_place_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def only_files(handle: int, have_on_disk: Callable[[int], None] = os.fsync) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            fail()
        have_on_disk(handle)

    place = tmp_path / "1.tif"
    part_of(place).write_text("whole")
    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(os, "fsync", only_files)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        publish(part_of(place), place)
    assert not place.exists()


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "1.part").write_text("whole")
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "1.part", tmp_path / "none" / "1.tif")
    assert (tmp_path / "1.part").exists()
