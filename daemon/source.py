"""From what the command line names to the files to clean, in the order in which they were scanned.

Nothing is written here, and all that would make a run dangerous is refused: two inputs for one output, an
output on top of an original, an output folder that the next run would take for input.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from .errors import ExitCode, FrameError, Remedy, ServiceError
from .frame import Arrival
from .output import RECEIPTS, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
"""What makes a file in a folder a picture, in any case. A file that is named itself needs none of them."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}

_CHECK = "check its permissions and its disk"

_Identity: TypeAlias = tuple[int, int]
"""Device and inode: the same for all ways to spell a folder."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files to clean in natural name order; what looked like one and cannot be; what was left out."""

    arrivals: tuple[Arrival, ...]
    failures: tuple[tuple[Path, FrameError], ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Search:
    arrivals: list[Arrival] = field(default_factory=list)
    failures: list[tuple[Path, FrameError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(paths: Sequence[Path], output: Path, empty_glass: Sequence[Path] = ()) -> Found:
    """Find the pictures that `paths` name; a folder is walked, without hidden entries and linked folders.

    A file's name below the output folder is its path below the folder that was given, or its bare name. The
    order is that of the names with numbers by their value, whatever the case, a folder's own files together
    and before those of its subfolders. No picture is opened for more than to see whether it can be.
    Empty-glass scans may lie among the pictures, but are none to clean.

    Raises ServiceError (usage) where a path does not exist, nothing at all is found, a file is given twice,
    two files would be written to one place or one over an original, also on a file system that folds case,
    and where `output`, which need not exist, is an input folder or lies in one.
    """
    search = _Search()
    for path in paths:
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            _refuse_inside(output, path)
            _gather(path, search)
        else:
            _take(Arrival.of(path), mode, search)
    empty = {path.resolve() for path in empty_glass}
    for arrival in [one for one in search.arrivals if one.path.resolve() in empty]:
        search.arrivals.remove(arrival)
        search.notes.append(f"{arrival.path}: is the empty-glass scan, which is not cleaned")
    if not search.arrivals and not search.failures:
        looked_for = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        where = ", ".join(map(str, paths))
        raise ServiceError(f"no pictures in {where}; looked for {looked_for}", ExitCode.USAGE)
    arrivals = sorted(search.arrivals, key=lambda arrival: natural_path(arrival.path))
    _refuse_twice(arrivals)
    for first, later, place in collisions(arrivals, Output(output)):
        raise ServiceError(
            f"{first.path} and {later.path} would both be written to {place}; "
            "rename one, or clean them into different output folders",
            ExitCode.USAGE,
        )
    _refuse_overwriting(arrivals, [*(one.path for one in arrivals), *empty_glass], Output(output))
    failures = sorted(search.failures, key=lambda failure: natural_path(failure[0]))
    return Found(tuple(arrivals), tuple(failures), tuple(sorted(search.notes)))


@lru_cache(maxsize=4096)  # a watched folder is sorted every few seconds
def natural_key(name: str) -> tuple[object, ...]:
    """Sort key of a file name: 2 before 10, case ignored, ``a.tif`` before ``a 2.tif``; no two names tie."""
    # Stem and suffix apart, or the dot would be compared with what follows the number.
    pure = PurePosixPath(name)
    return _numbers(pure.stem), _numbers(pure.suffix), name


def natural_path(path: Path) -> tuple[object, ...]:
    """Sort key of a path by `natural_key`; a folder's own files together and before those of its subfolders."""
    folder = path.parent.absolute()
    return tuple(map(natural_key, folder.parts)), natural_key(path.name)


def _numbers(text: str) -> tuple[str | int, ...]:
    """Text, number, text, ...: always alternating, so that like is compared with like."""
    pieces = re.split("([0-9]+)", text.casefold())
    return tuple(int(piece) if index % 2 else piece for index, piece in enumerate(pieces))


# --- looking ------------------------------------------------------------------------------------------------


def _mode(path: Path) -> int:
    """Look what a path on the command line is; links are followed."""
    try:
        return path.stat().st_mode
    except FileNotFoundError as error:
        what = "a link to a file that is gone" if path.is_symlink() else "no such file or folder"
        raise ServiceError(f"{path}: {what}; check the spelling", ExitCode.USAGE) from error
    except OSError as error:
        raise ServiceError(f"{path}: cannot be reached: {error.strerror}; {_CHECK}", ExitCode.USAGE) from error


def walk(root: Path, onerror: Callable[[Path, str, OSError], None]) -> Iterator[tuple[Path, os.stat_result]]:
    """All that lies below a folder and is no folder, with what lstat says of it; hidden entries are passed over.

    Linked folders are not followed. What cannot be listed or reached goes to `onerror`, with what is wrong in words
    for `unreadable`; the walk ends with what that raises, and goes on otherwise.
    """
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            onerror(folder, "folder cannot be read", error)
            continue
        for path in map(folder.joinpath, names):
            try:
                status = path.lstat()
            except OSError as error:
                onerror(path, "cannot be reached", error)
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)
            else:
                yield path, status


def is_picture(path: Path) -> bool:
    """Whether a file in a folder is a picture, by its name; our own masks, met in an earlier output, are none."""
    mask = path.name.endswith(".mask.png") and RECEIPTS in path.parts
    return path.suffix.lower() in SUFFIXES and not mask


def unreadable(path: Path, what: str, error: OSError) -> FrameError:
    """What a user is told of a file or folder that may be readable later."""
    return FrameError(f"{path}: {what}: {error.strerror}; {_CHECK}", Remedy.RETRY)


def refusal(path: Path, mode: int) -> FrameError | None:
    """Why something in a folder can never be a picture, whatever its name; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        reason = _why_not_followed(path)
    else:
        reason = f"{_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, no picture; save the scan to a file"
    return FrameError(f"{path}: {reason}", Remedy.SKIP)


def _gather(root: Path, search: _Search) -> None:
    def fail(path: Path, what: str, error: OSError) -> None:
        search.failures.append((path, unreadable(path, what, error)))

    for path, status in walk(root, fail):
        if is_picture(path):
            _take(Arrival(path, PurePosixPath(path.relative_to(root))), status.st_mode, search)
        elif stat.S_ISLNK(status.st_mode) and _leads_to_folder(path):
            search.notes.append(f"{path}: a link to a folder is not followed; give the folder itself")


def _take(arrival: Arrival, mode: int, search: _Search) -> None:
    """Sort a file in. What is no regular file is never opened: a pipe would wait for ever."""
    path = arrival.path
    if refused := refusal(path, mode):
        search.failures.append((path, refused))
        return
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        search.failures.append((path, unreadable(path, "cannot be read", error)))
    else:
        search.arrivals.append(arrival)


def _leads_to_folder(link: Path) -> bool:
    try:
        return link.is_dir()
    except PermissionError:
        return False


def _why_not_followed(link: Path) -> str:
    """Say what to do about a link to a picture."""
    try:
        return f"a link, which is not followed in a folder; give {link.resolve(strict=True)} itself"
    except (OSError, RuntimeError):  # Python before 3.13 reports a circle of links as a RuntimeError
        return "a link that leads to no file; remove it, or give the file that is meant"


# --- refusing -----------------------------------------------------------------------------------------------


def _refuse_inside(output: Path, folder: Path) -> None:
    """Refuse an output in an input folder: the next run would clean what this one wrote.

    Compared by what the file system says they are, so links, mounts and folded case do not matter.
    """
    resolved = Path(os.path.realpath(output))
    for parent in (resolved, *resolved.parents):
        if _identity(parent) == _identity(folder):
            how = "is" if parent == resolved else "lies inside"
            raise ServiceError(
                f"the output folder {output} {how} the input folder {folder}; give one beside it",
                ExitCode.USAGE,
            )


def _refuse_twice(arrivals: Sequence[Arrival]) -> None:
    given: dict[Path, Arrival] = {}
    for arrival in arrivals:
        first = given.setdefault(arrival.path.resolve(), arrival)
        if first is not arrival:
            raise ServiceError(
                f"{first.path} and {arrival.path} are one file, given twice; give it once", ExitCode.USAGE
            )


def collisions(arrivals: Iterable[Arrival], output: Output) -> Iterator[tuple[Arrival, Arrival, Path]]:
    """Find files that cannot be written beside the others: an earlier one, the later one, and the place in question.

    They would be two files in one place, or one where the other needs a folder, whatever the case of their names.
    What becomes of the earlier ones does not depend on the later ones.
    """
    files: dict[str, Arrival] = {}
    folders: dict[str, Arrival] = {}
    for arrival in arrivals:
        places = {path: str(path.relative_to(output.folder)).casefold() for path in _written(arrival, output)}
        needed = {parent: arrival for name in places.values() for parent in _parents(name)}
        for path, name in places.items():
            others = (files.get(name), folders.get(name), needed.get(name), *map(files.get, _parents(name)))
            if other := next(filter(None, others), None):
                yield other, arrival, path
                break
        else:
            files |= dict.fromkeys(places.values(), arrival)
            folders |= needed


def _parents(name: str) -> list[str]:
    """All folders in a relative path; as text, since that is quicker, and a watched folder is looked at often."""
    return [name[:end] for end, letter in enumerate(name) if letter == "/"]


def _refuse_overwriting(arrivals: Sequence[Arrival], originals: Sequence[Path], output: Output) -> None:
    places = {_place(original.resolve()): original for original in originals}
    for arrival in arrivals:
        for path in _written(arrival, output):
            place = _place(path)
            if place is not None and place in places:
                raise ServiceError(
                    f"{path} would be written over the original {places[place]}; give another output folder",
                    ExitCode.USAGE,
                )


def _written(arrival: Arrival, output: Output) -> Iterator[Path]:
    yield output.path(arrival)
    yield output.receipt_path(arrival)
    yield output.mask_path(arrival)


def _place(path: Path) -> tuple[_Identity, str] | None:
    """Where a file lies or would lie, whatever the case of its name; None where its folder does not exist."""
    folder = _identity(path.parent)
    return (folder, path.name.casefold()) if folder else None


def _identity(folder: Path) -> _Identity | None:
    """Tell a folder from all others; None where it does not exist or cannot be reached."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
