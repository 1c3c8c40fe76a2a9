"""Files that are there as a whole or not at all: what is not whole yet has another name, until it is on the disk."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PART = ".part"
"""How the name of what is not whole yet ends."""


def part_of(place: Path) -> Path:
    """Where that is made which shall get this place."""
    return place.with_name(place.name + PART)


_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What disks answer that know of one name for a file only, as FAT and some network disks do."""


def publish(part: Path, place: Path) -> None:
    """Have a file on the disk, and give it its place, which it gets from nobody else.

    Raises FileExistsError where something is there already, which stays, and OSError; the place is free after that.
    """
    sync(part)
    linked = True
    try:
        os.link(part, place)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Who makes it has the place; until the next step it is empty.
        os.close(os.open(place, os.O_CREAT | os.O_EXCL))
        linked = False
    try:
        if linked:
            part.unlink(missing_ok=True)
        else:
            part.replace(place)
        sync(place.parent)
    except OSError:
        place.unlink(missing_ok=True)
        raise


def sync(file: Path) -> None:
    """Have a file, or the names in a folder, on the disk. Raises OSError."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network disks cannot do it for folders
            raise
    finally:
        os.close(handle)
