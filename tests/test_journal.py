"""The journal remembers, whoever was killed when."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from dustwatch.daemon.errors import Remedy
from dustwatch.daemon.frame import Stamp
from dustwatch.daemon.glass import Fold, Run
from dustwatch.daemon.groups import Group, Member
from dustwatch.daemon.journal import Journal, Trouble
from dustwatch.processing.placement import Placement

STAMP = Stamp(10, 20, 30)
A, B = PurePosixPath("roll/a.tif"), PurePosixPath("b\udcff\n.tif")  # as a name that is no UTF-8 is spelt


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(file: Path) -> Iterator[Journal]:
    with closing(Journal.writing(file)) as journal:
        yield journal


def add(journal: Journal, *names: PurePosixPath) -> None:
    for name in names:
        number = journal.newest() + 1
        journal.add(number, name, STAMP, f"sha of {number}", 100.0 + number)


def group(*frames: int) -> Group:
    return Group(
        tuple(Member(frame, f"sha of {frame}", Placement((frame / 3, -0.1), 1 + frame % 8)) for frame in frames)
    )


def set_groups(journal: Journal, fold: Fold, *groups: Group) -> None:
    journal.set_members(fold, [(one.first, member) for one in groups for member in one.members])


def run(*frames: int) -> Run:
    return Run("glass", group(*frames).members, group(*frames).members)


def test_what_is_bare_of_film_is_kept_apart(journal: Journal) -> None:
    scan = PurePosixPath("/scans/empty.tif")
    journal.add(1, scan, STAMP, "sha of 1", 100.0, bare=True)
    add(journal, A, B)
    assert [entry.number for entry in journal.bare()] == [1]
    assert [journal.entry(number).bare for number in (1, 2)] == [True, False]
    assert journal.counts()[0] == 2
    assert sum(journal.by_status().values()) == 2
    members = (Member(1, "sha of 1", bare=True), Member(2, "sha of 2"))
    journal.set_members("upright", [(1, members[0])])
    assert journal.open_groups() == 0
    set_groups(journal, "upright", Group(members))
    assert journal.open_groups() == 1
    assert journal.groups("upright", 9) == [Group(members)]
    told = Run("glass", members, members[1:])
    journal.set_run(told, newest=True)
    assert journal.runs("glass") == [told]
    journal.leave_groups(1)
    assert journal.bare() == []


def test_frames_come_back_with_the_place_where_they_lay(journal: Journal) -> None:
    journal.add(1, A, STAMP, "sha of 1", 100.0, place="scanner, slot 2")
    one = Group((Member(1, "sha of 1", place="scanner, slot 2"),))
    set_groups(journal, "upright", one)
    assert journal.groups("upright", 9) == [one]
    told = Run("glass", one.members, one.members)
    journal.set_run(told, newest=True)
    assert journal.runs("glass") == [told]


def test_frames_are_numbered_as_they_come_and_known_by_name(journal: Journal, file: Path) -> None:
    add(journal, A, B)
    with closing(Journal.writing(file)) as again:
        entry = again.named(B)
        assert entry is not None
        assert (entry.number, entry.name, entry.stamp, entry.sha256) == (2, B, STAMP, "sha of 2")
        assert (entry.state, entry.wanted, entry.published) == ("served", None, None)
        assert again.entry(2) == entry
        assert again.named(PurePosixPath("c.tif")) is None
        assert again.newest() == 2
        assert again.arrived_at(1) == 101.0
        with pytest.raises(KeyError):
            again.entry(3)


def test_a_frame_of_the_same_name_replaces_the_older_one(journal: Journal) -> None:
    add(journal, A, A)
    journal.set_wanted([1, 2], "map")
    assert journal.entry(1).state == "replaced"
    assert [entry.number for entry in journal.to_do()] == [2]
    newest = journal.named(A)
    assert newest is not None
    assert newest.number == 2


def test_what_is_to_do_begins_with_what_was_never_done(journal: Journal) -> None:
    add(journal, *(PurePosixPath(f"{number}.tif") for number in range(4)))
    assert list(journal.to_do()) == []
    assert journal.set_wanted([1, 2, 3, 4], "early")
    assert not journal.set_wanted([1, 2], "early")
    assert journal.set_published(1, "early", "cleaned") == 1
    assert journal.set_published(3, "early", "unchanged") == 1
    journal.set_state(4, "left")
    assert [entry.number for entry in journal.to_do()] == [2]
    assert journal.set_wanted([1, 2], "late")
    assert [entry.number for entry in journal.to_do()] == [2, 1]
    assert journal.set_published(1, "late", "cleaned") == 2
    assert journal.counts() == (4, 1, 0)
    assert journal.by_status() == {"cleaned": 1, "left": 1, "unchanged": 1, "waiting": 1}


def test_groups_come_back_those_with_the_newest_frames(journal: Journal) -> None:
    add(journal, *(PurePosixPath(f"{number}.tif") for number in range(6)))
    set_groups(journal, "upright", group(1, 4), group(2), group(3, 5, 6))
    set_groups(journal, "inverted", *(group(number) for number in range(1, 7)))
    assert journal.groups("upright", 9) == [group(1, 4), group(2), group(3, 5, 6)]
    assert journal.groups("upright", 2) == [group(1, 4), group(3, 5, 6)]
    set_groups(journal, "upright", group(1, 2, 4))
    assert journal.groups("upright", 9) == [group(1, 2, 4), group(3, 5, 6)]
    journal.leave_groups(4)
    assert journal.groups("upright", 9) == [group(1, 2), group(3, 5, 6)]
    assert len(journal.groups("inverted", 9)) == 5
    journal.forget_groups()
    assert journal.groups("upright", 9) == []


def test_a_closed_group_is_open_again_with_its_next_frame(journal: Journal) -> None:
    add(journal, A, B)
    set_groups(journal, "upright", group(1), group(2))
    assert journal.open_groups() == 2
    journal.close_group(1, 200.0)
    assert journal.closed(1)
    assert journal.open_groups() == 1
    set_groups(journal, "upright", group(1, 2))
    assert not journal.closed(2)
    assert journal.open_groups() == 1


def test_runs_stay_while_somebody_waits_for_them_or_may_come(journal: Journal) -> None:
    add(journal, A, B)
    early, late = run(1), run(1, 2)
    journal.set_run(early, newest=True)
    assert journal.run(early.map_sha256) == early
    journal.set_run(late, newest=True)
    assert {one.map_sha256 for one in journal.runs("glass")} == {early.map_sha256, late.map_sha256}
    assert journal.runs("another") == []
    journal.set_wanted([1], early.map_sha256)
    journal.forget_runs({"glass"})
    assert len(journal.runs("glass")) == 2
    journal.set_published(1, early.map_sha256, "cleaned")
    journal.forget_runs({"glass"})
    assert journal.runs("glass") == [late]
    journal.forget_runs(set())
    assert journal.runs("glass") == []


def test_what_was_put_aside_is_not_to_do(journal: Journal) -> None:
    add(journal, A)
    journal.set_wanted([1], "map")
    journal.set_trouble(A, Trouble(STAMP, Remedy.RETRY, "later", 1, 5.0))
    assert len(list(journal.to_do())) == 1
    journal.set_trouble(A, Trouble(STAMP, Remedy.QUARANTINE, "never", 1, None))
    assert list(journal.to_do()) == []


@pytest.mark.parametrize("retry_at", [None, 300.5])
def test_troubles_come_and_go(journal: Journal, retry_at: float | None) -> None:
    trouble = Trouble(STAMP, Remedy.RETRY, "half", 3, retry_at)
    assert journal.trouble(B) is None
    journal.set_trouble(B, trouble)
    assert journal.trouble(B) == trouble
    assert journal.troubles() == {B: trouble}
    journal.end_trouble(B)
    assert journal.troubles() == {}


def test_a_transaction_that_fails_leaves_nothing(journal: Journal) -> None:
    def twice() -> None:
        with journal.transaction():
            add(journal, A)
            journal.add(1, B, STAMP, "sha", 0.0)  # the number is taken

    with pytest.raises(sqlite3.IntegrityError):
        twice()
    assert journal.named(A) is None
    with journal.transaction():
        add(journal, A)
    assert journal.named(A) is not None


def test_it_can_be_read_meanwhile_and_not_written(journal: Journal, file: Path) -> None:
    add(journal, A)
    journal.tell(5.0, A, "arrived")
    with journal.transaction(), closing(Journal.reading(file)) as reader:
        add(journal, B)
        assert reader.counts() == (1, 0, 0)
        assert reader.last_event() == (5.0, A, "arrived")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.set_state(1, "left")
    with closing(Journal.reading(file)) as reader:
        assert reader.counts() == (2, 0, 0)
