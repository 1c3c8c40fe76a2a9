"""How far the service is, told from its journals by a process of its own."""

import json
import os
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from dustwatch.daemon.errors import Remedy, ServiceError
from dustwatch.daemon.frame import Stamp
from dustwatch.daemon.groups import Member
from dustwatch.daemon.journal import Journal, Trouble
from dustwatch.daemon.status import read_status
from tests.permissions import ordinary_user
from tests.rolls import run, start

STAMP = Stamp(1, 2, 3)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of a service that watches two folders; the second one has seen nothing yet."""
    for name in ("a", "b"):
        folder = tmp_path / "state" / name
        folder.mkdir(parents=True)
        with closing(Journal.writing(folder / "journal.sqlite")) as journal:
            journal.set_about("input", f"/scans/{name}")
            journal.set_about("output", f"/clean/{name}")
            if name == "a":
                for number in (1, 2, 3):
                    journal.add(number, PurePosixPath(f"{number}.tif"), STAMP, "sha", 5.0)
                members = [Member(number, "sha") for number in (1, 2, 3)]
                journal.set_members("upright", [(1, members[0]), (1, members[1]), (3, members[2])])
                journal.close_group(2, 9.0)
                journal.set_wanted([1, 2, 3], "map")
                journal.set_published(1, "map", "cleaned")
                journal.set_state(2, "left")
                journal.tell(0.0, PurePosixPath("1.tif"), "cleaned", "")
                journal.set_trouble(
                    PurePosixPath("x.tif"), Trouble(STAMP, Remedy.RETRY, "x.tif: is cut short", 2, 60.0)
                )
                journal.set_trouble(PurePosixPath("y\udcff.tif"), Trouble(STAMP, Remedy.SKIP, "y: no picture", 1, None))
    return tmp_path / "state"


def test_json_says_all_there_is_to_know(state: Path) -> None:
    result = start("status", "--state", state, "--json", TZ="UTC")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["schema"] == 1
    first, second = told["folders"]
    assert first == {
        "input": "/scans/a",
        "output": "/clean/a",
        "frames": {"cleaned": 1, "left": 1, "waiting": 1},
        "to_do": 1,
        "glasses_open": 1,
        "troubles": {
            "x.tif": {"remedy": "retry", "reason": "x.tif: is cut short", "retry_at": "1970-01-01T00:01:00+00:00"},
            "y\\udcff.tif": {"remedy": "skip", "reason": "y: no picture", "retry_at": None},
        },
        "last_event": ["1970-01-01T00:00:00+00:00", "1.tif", "cleaned"],
    }
    assert second["frames"] == {}
    assert second["last_event"] is None


def test_people_read_the_same(state: Path) -> None:
    result = run("status", "--state", state)
    assert result.code == 0
    for words in (
        "/scans/a -> /clean/a",
        "1 cleaned, 1 left, 1 waiting",
        "to do: 1;",
        "x.tif: is cut short; tried again at ",
        "y: no picture; put aside until it changes",
        "frames: none yet",
    ):
        assert words in result.out


def test_where_nothing_was_watched_the_remedy_is_told(tmp_path: Path) -> None:
    result = run("status", "--state", tmp_path)
    assert result.code == 2
    assert str(tmp_path) in result.err
    assert "--state" in result.err


def test_whoever_may_not_read_the_state_is_told_so(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir(mode=0o700)
    (folder / "journal.sqlite").touch()
    tmp_path.chmod(0o755)
    with ordinary_user():
        if os.access(folder, os.X_OK, effective_ids=True):
            pytest.skip("nobody may be kept from reading here")
        with pytest.raises(ServiceError, match="cannot be read: Permission denied; run this as the user"):
            read_status(tmp_path)


def test_a_journal_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a" / "journal.sqlite"
    file.parent.mkdir()
    file.write_text("this is no journal at all, but a text of some length" * 99)
    result = run("status", "--state", tmp_path)
    assert result.code == 2
    assert str(file) in result.err
