"""One look at a watched folder: which files in it may become frames, and what never will.

Only names and what lstat says of them are looked at. No file is opened, so nothing waits for a pipe, and other programs
that watch the folder are not woken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import FrameError, Remedy
from .frame import Arrival, Stamp
from .output import Output
from .source import collisions, is_picture, natural_path, refusal, unreadable, walk


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file that may become a frame, as it was at one look; its name is relative to the watched folder.

    Two equal sightings are of a file that nobody has touched in between.
    """

    arrival: Arrival
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Look:
    """What a look has found, both in the natural order of paths; and why some will be no frames (Remedy.SKIP).

    A folder that cannot be read is among the `refused`, too (Remedy.RETRY).
    """

    sightings: tuple[Sighting, ...]
    refused: tuple[tuple[Path, FrameError], ...]


def look(folder: Path) -> Look:
    """Look at a folder and its subfolders, without hidden entries, linked folders and what is not named as a picture.

    Of two files that would be written to one place the first one in order is sighted, and the other one refused.
    What vanishes meanwhile is left out. Raises OSError where the folder itself cannot be listed.
    """
    sightings: list[Sighting] = []
    refused: list[tuple[Path, FrameError]] = []

    def onerror(path: Path, what: str, error: OSError) -> None:
        if path == folder:
            raise error
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            refused.append((path, unreadable(path, what, error)))

    for path, status in walk(folder, onerror):
        if not is_picture(path):
            continue
        if fault := refusal(path, status.st_mode):
            refused.append((path, fault))
        else:
            arrival = Arrival(path, PurePosixPath(path.relative_to(folder)))
            sightings.append(Sighting(arrival, Stamp.of(status)))
    sightings.sort(key=lambda sighting: natural_path(sighting.arrival.path))
    clashing = set()
    for first, later, place in collisions((sighting.arrival for sighting in sightings), Output(Path())):
        clashing.add(later)
        refused.append((later.path, _taken(first, later, place)))
    refused.sort(key=lambda pair: natural_path(pair[0]))
    return Look(tuple(sighting for sighting in sightings if sighting.arrival not in clashing), tuple(refused))


def _taken(first: Arrival, later: Arrival, place: Path) -> FrameError:
    reason = f"{later.path}: {first.path} would be written to {place} in the output folder as well; rename one"
    return FrameError(reason, Remedy.SKIP)
