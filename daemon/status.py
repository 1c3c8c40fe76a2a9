"""``dustwatch status``: how far the watched folders are, read from their journals while the service goes on."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ExitCode, ServiceError
from .frame import shown
from .journal import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """How far a watched folder is.

    `frames` counts by status of the receipt; ``waiting`` have none yet, ``left`` are no longer ours. `to_do` frames
    will be cleaned, or cleaned again. `glasses_open` may still get frames. `troubles` are files that are no frames,
    with the reason, and when that is tried again, if ever; `last_event` is when something happened, to which file, and
    what. Times are ISO 8601.
    """

    input: str
    output: str
    frames: dict[str, int]
    to_do: int
    glasses_open: int
    troubles: dict[str, dict[str, str | None]]
    last_event: tuple[str, str, str] | None


def read_status(state: Path) -> list[FolderStatus]:
    """How far all folders are whose journals lie below `state`, in the order of their names.

    Raises ServiceError where there is none, or one cannot be read.
    """
    try:
        files = sorted(file for folder in state.iterdir() if (file := folder / "journal.sqlite").exists())
    except PermissionError as error:
        raise _unreadable(Path(error.filename), error.strerror) from error
    except (FileNotFoundError, NotADirectoryError):
        files = []
    if not files:
        reason = f"{state}: no folder has been watched yet with this state folder; give the service's with --state"
        raise ServiceError(reason, ExitCode.USAGE)
    return [read_journal(file) for file in files]


def as_text(folders: Sequence[FolderStatus]) -> str:
    """For people."""
    return "\n".join(line for folder in folders for line in _lines(folder))


def as_json(folders: Sequence[FolderStatus]) -> str:
    """For programs."""
    return json.dumps({"schema": 1, "folders": [asdict(folder) for folder in folders]}, indent=2)


def read_journal(file: Path) -> FolderStatus:
    """How far the folder is whose journal that is. Raises ServiceError where it cannot be read."""
    try:
        with closing(Journal.reading(file)) as journal:
            _, to_do, _ = journal.counts()
            troubles = {
                shown(name): {
                    "remedy": trouble.remedy.value,
                    "reason": trouble.reason,
                    "retry_at": None if trouble.retry_at is None else _time(trouble.retry_at),
                }
                for name, trouble in journal.troubles().items()
            }
            event = journal.last_event()
            return FolderStatus(
                input=str(journal.about("input")),
                output=str(journal.about("output")),
                frames=journal.by_status(),
                to_do=to_do,
                glasses_open=journal.open_groups(),
                troubles=troubles,
                last_event=event and (_time(event[0]), shown(event[1]), event[2]),
            )
    except sqlite3.Error as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, why: object) -> ServiceError:
    reason = f"{file}: cannot be read: {why}; run this as the user of the service, or as root"
    return ServiceError(reason, ExitCode.USAGE)


def _lines(folder: FolderStatus) -> list[str]:
    counts = ", ".join(f"{count} {status}" for status, count in folder.frames.items()) or "none yet"
    lines = [
        f"{folder.input} -> {folder.output}",
        f"  frames: {counts}",
        f"  to do: {folder.to_do}; glasses that may get more frames: {folder.glasses_open}",
    ]
    if folder.last_event:
        at, name, event = folder.last_event
        lines.append(f"  last: {at} {name}: {event}")
    for trouble in folder.troubles.values():
        then = f"tried again at {trouble['retry_at']}" if trouble["retry_at"] else "put aside until it changes"
        lines.append(f"  {trouble['reason']}; {then}")
    return lines


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
