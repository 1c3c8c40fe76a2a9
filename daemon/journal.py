"""What happened to every frame of a watched folder, in SQLite: a restart goes on from what is written here.

Files change before the journal says so, and every step can be taken twice with the same result. So whatever moment a
process is killed at, the next one finds what is done as done, and what is not as still to be done.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from .errors import Remedy
from .frame import Stamp, shown
from .glass import Fold, Run
from .groups import Group, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set
    from pathlib import Path

State = Literal["served", "left", "gone", "replaced"]
"""Of a frame: it is cleaned whenever more is known; its output is somebody else's now; its original is gone; or another
one has come under its name."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The sequence: frames that were whole, in the order in which they came.
CREATE TABLE IF NOT EXISTS frames (
    number INTEGER PRIMARY KEY,
    name BLOB NOT NULL,              -- path below the input folder, as the file system spells it
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    bare INTEGER NOT NULL,           -- whether it is an empty-glass scan: its path is absolute, nothing comes of it
    place TEXT NOT NULL,             -- where in which scanner it lay; '' where that is not known
    arrived_at REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'served',
    wanted TEXT,                     -- digest of the map it is to be cleaned with
    published TEXT,                  -- and of that with which it last was
    revisions INTEGER NOT NULL DEFAULT 0,
    status TEXT                      -- what its receipt says
);
CREATE INDEX IF NOT EXISTS frames_name ON frames (name);
CREATE INDEX IF NOT EXISTS frames_waiting ON frames (number) WHERE wanted IS NOT published;
CREATE VIEW IF NOT EXISTS entries AS
    SELECT number, name, size, mtime_ns, inode, sha256, state, wanted, published, bare FROM frames;
CREATE VIEW IF NOT EXISTS to_do AS SELECT * FROM entries WHERE state = 'served' AND wanted IS NOT published
    AND NOT EXISTS (SELECT 1 FROM troubles WHERE troubles.name = entries.name AND retry_at IS NULL);

-- Which frames lie together, as told by what is dark in them ('upright') or light ('inverted'): the first frame of
-- the group, and where the glass lies in this one.
CREATE TABLE IF NOT EXISTS members (
    fold TEXT NOT NULL, frame INTEGER NOT NULL,
    first INTEGER NOT NULL, row REAL NOT NULL, column REAL NOT NULL, orientation INTEGER NOT NULL,
    PRIMARY KEY (fold, frame)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_first ON members (fold, first);

-- How maps are learnt. Frames yet to come are cleaned with the newest map of their glass.
CREATE TABLE IF NOT EXISTS runs (
    map_sha256 TEXT PRIMARY KEY, glass_id TEXT NOT NULL, newest INTEGER NOT NULL, run TEXT NOT NULL
) WITHOUT ROWID;

-- A group is closed if its last frame is named here: a further frame opens it again.
CREATE TABLE IF NOT EXISTS closings (last INTEGER PRIMARY KEY, at REAL NOT NULL);

-- Files that are no frames yet, or never will be.
CREATE TABLE IF NOT EXISTS troubles (
    name BLOB PRIMARY KEY,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    remedy TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    retry_at REAL                    -- NULL: not before the file has changed
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS events (at REAL NOT NULL, name BLOB NOT NULL, event TEXT NOT NULL, detail TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame of the sequence, as the columns of the same names say."""

    number: int
    name: PurePosixPath
    stamp: Stamp
    sha256: str
    state: State
    wanted: str | None
    published: str | None
    bare: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that is no frame, as it was when it failed for the `attempts`th time."""

    stamp: Stamp
    remedy: Remedy
    reason: str
    attempts: int
    retry_at: float | None


class Journal:
    """The journal of a watched folder. Times are seconds since the epoch."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    def writing(cls, file: Path) -> Journal:
        """The journal in a file, which is made if need be."""
        db = sqlite3.connect(file, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")  # after a power cut nothing is published twice
        db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")  # all tables or none
        db.execute("PRAGMA journal_mode = WAL")
        return cls(db)

    @classmethod
    def reading(cls, file: Path) -> Journal:
        """A journal that a service may be writing at the same time; nothing can be changed in it."""
        db = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        db.execute("BEGIN")  # so that all that is read is of one moment
        return cls(db)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def about(self, name: str) -> str | None:
        """What `set_about` has noted."""
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_about(self, name: str, value: str) -> None:
        """Note something that concerns the whole folder."""
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    # --- the sequence ---------------------------------------------------------------------------------------

    def add(
        self,
        number: int,
        name: PurePosixPath,
        stamp: Stamp,
        sha256: str,
        at: float,
        *,
        bare: bool = False,
        place: str = "",
    ) -> None:
        """Append a frame, or a scan that is `bare` of film, to the sequence; it replaces an earlier one of its name."""
        self._db.execute("UPDATE frames SET state = 'replaced' WHERE name = ?", (_encode(name),))
        self._db.execute(
            "INSERT INTO frames (number, name, size, mtime_ns, inode, sha256, arrived_at, bare, place) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, _encode(name), *_stamp(stamp), sha256, at, bare, place),
        )

    def entry(self, number: int) -> Entry:
        """The frame of this number. Raises KeyError where there is none."""
        row = self._db.execute("SELECT * FROM entries WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise KeyError(number)
        return _entry(row)

    def named(self, name: PurePosixPath) -> Entry | None:
        """The newest frame of this name."""
        query = "SELECT * FROM entries WHERE name = ? ORDER BY number DESC LIMIT 1"
        row = self._db.execute(query, (_encode(name),)).fetchone()
        return None if row is None else _entry(row)

    def bare(self) -> list[Entry]:
        """The empty-glass scans that are in use."""
        return [_entry(row) for row in self._db.execute("SELECT * FROM entries WHERE bare AND state = 'served'")]

    def newest(self) -> int:
        """The number of the newest frame, 0 if there is none."""
        return int(self._db.execute("SELECT coalesce(max(number), 0) FROM frames").fetchone()[0])

    def arrived_at(self, number: int) -> float:
        """When a frame came."""
        return float(self._db.execute("SELECT arrived_at FROM frames WHERE number = ?", (number,)).fetchone()[0])

    def set_state(self, number: int, state: State) -> None:
        """Say what is to become of a frame."""
        self._db.execute("UPDATE frames SET state = ? WHERE number = ?", (state, number))

    def set_stamp(self, number: int, stamp: Stamp) -> None:
        """Note that a file has been touched without being changed."""
        self._db.execute(
            "UPDATE frames SET size = ?, mtime_ns = ?, inode = ? WHERE number = ?", (*_stamp(stamp), number)
        )

    def set_wanted(self, numbers: Iterable[int], map_sha256: str) -> bool:
        """Say with which map frames are to be cleaned; give whether that is new for any of them."""
        rows = [(map_sha256, number, map_sha256) for number in numbers]
        query = "UPDATE frames SET wanted = ? WHERE number = ? AND wanted IS NOT ?"
        return self._db.executemany(query, rows).rowcount > 0

    def counts(self) -> tuple[int, int, int]:
        """How many frames there are, how many of them are to be cleaned, and how many files are in trouble."""
        row = self._db.execute(
            "SELECT (SELECT count(*) FROM frames WHERE NOT bare), (SELECT count(*) FROM to_do), "
            "(SELECT count(*) FROM troubles)"
        )
        frames, to_do, troubles = row.fetchone()
        return frames, to_do, troubles

    def by_status(self) -> dict[str, int]:
        """How many frames have each status, as their receipts say; ``left`` are those that somebody else has taken.

        Those whose originals vanished before they came out are ``gone``.
        """
        rows = self._db.execute(
            "SELECT CASE WHEN state = 'left' THEN 'left' WHEN state = 'gone' THEN coalesce(status, 'gone') "
            "ELSE coalesce(status, 'waiting') END AS what, count(*) "
            "FROM frames WHERE state != 'replaced' AND NOT bare GROUP BY what ORDER BY what"
        )
        return dict(rows.fetchall())

    def open_groups(self) -> int:
        """How many groups are not closed, those without any film apart."""
        row = self._db.execute(
            "SELECT count(*) FROM (SELECT max(frame) AS last FROM members JOIN frames ON number = frame "
            "WHERE fold = 'upright' GROUP BY first HAVING NOT min(bare)) WHERE last NOT IN (SELECT last FROM closings)"
        )
        return int(row.fetchone()[0])

    def last_event(self) -> tuple[float, PurePosixPath, str] | None:
        """When something last happened to a frame, to which, and what."""
        row = self._db.execute("SELECT at, name, event FROM events ORDER BY rowid DESC LIMIT 1").fetchone()
        return row and (row[0], _decode(row[1]), row[2])

    def any_published(self) -> bool:
        """Whether there ought to be anything in the output folder."""
        return self._db.execute("SELECT 1 FROM frames WHERE published IS NOT NULL LIMIT 1").fetchone() is not None

    def set_published(self, number: int, map_sha256: str, status: str) -> int:
        """Note that a frame has been put into place, and give how many times that has happened."""
        row = self._db.execute(
            "UPDATE frames SET published = ?, status = ?, revisions = revisions + 1 WHERE number = ? "
            "RETURNING revisions",
            (map_sha256, status, number),
        )
        return int(row.fetchone()[0])

    def to_do(self) -> Iterator[Entry]:
        """Frames that are to be cleaned, those first that never have been; otherwise in their order."""
        return map(_entry, self._db.execute("SELECT * FROM to_do ORDER BY published IS NOT NULL, number"))

    # --- groups ---------------------------------------------------------------------------------------------

    def groups(self, fold: Fold, most: int) -> list[Group]:
        """The `most` groups that have had a frame most recently."""
        rows = self._db.execute(
            "SELECT first, frame, sha256, row, column, orientation, bare, place "
            "FROM members JOIN frames ON number = frame WHERE fold = ?1 AND first IN ("
            "SELECT first FROM members WHERE fold = ?1 GROUP BY first ORDER BY max(frame) DESC LIMIT ?2"
            ") ORDER BY frame",
            (fold, most),
        )
        members: dict[int, list[Member]] = {}
        for first, *told in rows:
            members.setdefault(first, []).append(Member.of_told(*told))
        return [Group(tuple(one)) for one in members.values()]

    def set_members(self, fold: Fold, members: Iterable[tuple[int, Member]]) -> None:
        """Note in which group, by the number of its first frame, some frames are."""
        rows = [
            (fold, member.frame, first, *member.placement.offset, member.placement.orientation)
            for first, member in members
        ]
        self._db.executemany("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget_groups(self) -> None:
        """Begin anew: no frame so far belongs to any group or is cleaned again; who never was, has still to come."""
        self._db.execute("DELETE FROM members")
        self._db.execute("DELETE FROM closings")  # the numbers of frames that have still to come are given anew
        self._db.execute("DELETE FROM frames WHERE published IS NULL AND state = 'served'")
        self._db.execute("UPDATE frames SET wanted = published")

    def leave_groups(self, number: int) -> None:
        """Note that a frame belongs to no group, and is not cleaned any more unless it is found to be back."""
        self._db.execute("DELETE FROM members WHERE frame = ?", (number,))
        query = "UPDATE frames SET wanted = published, state = iif(state = 'served', 'gone', state) WHERE number = ?"
        self._db.execute(query, (number,))

    def set_run(self, run: Run, *, newest: bool) -> None:
        """Keep how a map is learnt, the `newest` of its glass or an older one."""
        if newest:
            self._db.execute("UPDATE runs SET newest = 0 WHERE glass_id = ?", (run.glass_id,))
        values = (run.map_sha256, run.glass_id, newest, json.dumps(run.told()))
        self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", values)

    def run(self, map_sha256: str) -> Run:
        """The run of a map that some frame is to be cleaned with."""
        row = self._db.execute("SELECT run FROM runs WHERE map_sha256 = ?", (map_sha256,)).fetchone()
        return _run(row[0])

    def runs(self, glass_id: str) -> list[Run]:
        """The runs of a glass."""
        rows = self._db.execute("SELECT run FROM runs WHERE glass_id = ?", (glass_id,))
        return [_run(told) for (told,) in rows]

    def needed_runs(self, open_glasses: Set[str]) -> list[Run]:
        """The runs that frames are being cleaned with, or will be: only an open glass is expected to have more."""
        query = (
            "SELECT run FROM runs WHERE map_sha256 IN (SELECT wanted FROM to_do) "
            "OR (newest AND glass_id IN (SELECT value FROM json_each(?)))"
        )
        return [_run(told) for (told,) in self._db.execute(query, (json.dumps(sorted(open_glasses)),))]

    def forget_runs(self, live_glasses: Set[str]) -> None:
        """Give up the runs that no frame can ever be cleaned with: those that have vanished may come back."""
        self._db.execute(
            "DELETE FROM runs WHERE map_sha256 NOT IN ("
            "SELECT wanted FROM frames WHERE wanted IS NOT published AND state IN ('served', 'gone')"
            ") AND NOT (newest AND glass_id IN (SELECT value FROM json_each(?)))",
            (json.dumps(sorted(live_glasses)),),
        )

    def close_group(self, last: int, at: float) -> None:
        """Note that the group whose last frame this is has closed."""
        self._db.execute("INSERT OR IGNORE INTO closings VALUES (?, ?)", (last, at))

    def closed(self, last: int) -> bool:
        """Whether the group whose last frame this is has closed."""
        return bool(self.closings(last, last))

    def closings(self, first: int, last: int) -> set[int]:
        """The frames from `first` to `last` that were the last of their group when it was closed."""
        query = "SELECT last FROM closings WHERE last BETWEEN ? AND ?"
        return {number for (number,) in self._db.execute(query, (first, last))}

    # --- troubles and history -------------------------------------------------------------------------------

    def trouble(self, name: PurePosixPath) -> Trouble | None:
        """What is the matter with a file."""
        row = self._db.execute("SELECT * FROM troubles WHERE name = ?", (_encode(name),)).fetchone()
        return row and Trouble(Stamp(*row[1:4]), Remedy(row[4]), *row[5:])

    def troubles(self) -> dict[PurePosixPath, Trouble]:
        """What is the matter with which files, in the order of their names."""
        rows = self._db.execute("SELECT * FROM troubles ORDER BY name")
        return {_decode(row[0]): Trouble(Stamp(*row[1:4]), Remedy(row[4]), *row[5:]) for row in rows}

    def set_trouble(self, name: PurePosixPath, trouble: Trouble) -> None:
        """Note what is the matter with a file."""
        values = (trouble.remedy.value, shown(trouble.reason), trouble.attempts, trouble.retry_at)
        self._db.execute(
            "INSERT OR REPLACE INTO troubles VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (_encode(name), *_stamp(trouble.stamp), *values),
        )

    def end_trouble(self, name: PurePosixPath) -> None:
        """Note that nothing is the matter with a file any more."""
        self._db.execute("DELETE FROM troubles WHERE name = ?", (_encode(name),))

    def tell(self, at: float, name: PurePosixPath, event: str, detail: str = "") -> None:
        """Add a line to the history of a file."""
        self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (at, _encode(name), event, shown(detail)))


def _run(text: str) -> Run:
    return Run.of_told(json.loads(text))


def _entry(row: tuple[Any, ...]) -> Entry:
    number, name, *stamp = row[:5]
    sha256, state, wanted, published, bare = row[5:]
    return Entry(number, _decode(name), Stamp(*stamp), sha256, state, wanted, published, bool(bare))


def _encode(name: PurePosixPath) -> bytes:
    return os.fsencode(name)


def _decode(name: bytes) -> PurePosixPath:
    return PurePosixPath(os.fsdecode(name))


def _stamp(stamp: Stamp) -> tuple[int, int, int]:
    return stamp.size, stamp.mtime_ns, stamp.inode
