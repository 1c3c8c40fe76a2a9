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
