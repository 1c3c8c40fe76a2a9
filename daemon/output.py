"""The output folder: pictures that appear whole or not at all, and the receipts by which we know our own.

A frame is three files, and a process can be killed between any two. They are put in place like this:

1. picture, mask and receipt are written beside their places under hidden names, and forced to the disk;
2. the mask is renamed into place, then the picture, then the receipt.

A picture is taken for ours only if a receipt, in place *or still under its hidden name*, bears its digest.
So after a kill before the picture's renaming the older receipt still speaks for the older picture, and after
it the hidden receipt speaks for the new one: either way the next run goes on. A picture that somebody else
has changed matches neither and is left alone.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .disk import sync
from .errors import ExitCode, FrameError, Remedy, ServiceError
from .frame import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .frame import Arrival

RECEIPTS = "receipts"
"""Folder of receipts and masks in the output folder."""

_PART = ".dustwatch.part"
"""In the name of a hidden file that is not finished, or is scratch for one. Nobody else's: leftovers are removed."""

_WORK = ".dustwatch-"

_REMEDIES = {
    errno.ENOSPC: "the output folder's disk is full; free some space",
    errno.EDQUOT: "the quota of the output folder's disk is used up; free some space",
    errno.EFBIG: "the file is larger than its disk or this user's limit allows; give another folder or raise the limit",
    errno.EROFS: "the output folder's disk is read-only; give another output folder",
    errno.EACCES: "no permission; allow this user to write in its folder",
    errno.EPERM: "no permission; allow this user to write in its folder",
    errno.ENAMETOOLONG: "the name is too long; give the original a shorter one",
    errno.EISDIR: "there is a folder of this name; move it away",
    errno.ENOTDIR: "a file is where its folder should be; move it away",
    errno.EEXIST: "a file is where its folder should be; move it away",
}

WRITE_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What only writing fails with, so that no original is at fault."""

State = Literal["none", "ours", "edited", "foreign"]


@dataclass(frozen=True, slots=True)
class Draft:
    """Where to write a frame's picture, and its mask if it has one. The picture exists and is empty."""

    picture: Path
    mask: Path


class Output:
    """The folder that cleaned frames are written to. Nothing is touched before it is occupied.

    With `force` also what others have written or changed there is written over.
    """

    def __init__(self, folder: Path, force: bool = False) -> None:
        self.folder = folder
        self.force = force

    def path(self, arrival: Arrival) -> Path:
        """Where the cleaned picture belongs."""
        return self.folder / arrival.relative

    def receipt_path(self, arrival: Arrival) -> Path:
        """Where the receipt belongs."""
        return self.receipts / f"{arrival.relative}.json"

    def mask_path(self, arrival: Arrival) -> Path:
        """Where the mask belongs."""
        return self.receipts / f"{arrival.relative}.mask.png"

    @property
    def receipts(self) -> Path:
        """The folder of receipts and masks."""
        return self.folder / RECEIPTS

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Make the folder and that of receipts, keep other processes out, and tidy up after killed ones.

        Raises ServiceError (usage) where it cannot be made or written in, or another run is using it.
        """
        with ExitStack() as opened:
            try:
                self.receipts.mkdir(parents=True, exist_ok=True)
                opened.enter_context(locked(self.folder))
                self._tidy()
            except BlockingIOError as error:
                reason = f"{self.folder}: another run is writing in this folder; wait for it, or give another one"
                raise ServiceError(reason, ExitCode.USAGE) from error
            except OSError as error:
                raise self._unusable(error) from error
            yield

    @contextmanager
    def prepare(self) -> Iterator[Path]:
        """Occupy the folder and make one in it for scratch files, removed with all it holds at the end.

        Raises ServiceError as `occupied` does, and where an OSError comes out of the body, which is then taken for that
        of a scratch file.
        """
        with self.occupied():
            work = self.folder / f"{_WORK}{os.getpid()}"
            try:
                work.mkdir()
            except OSError as error:
                raise self._unusable(error) from error
            try:
                yield work
            except OSError as error:
                raise self._no_scratch(error) from error
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def drafted(
        self, arrival: Arrival, write: Callable[[Draft], Receipt], *, replacing: bool = False
    ) -> Callable[[], Receipt]:
        """Have `write` write a frame, and give what then puts it into place, as described at the top, in any thread.

        `write` returns the receipt, to which the digest of the picture that it wrote is added; in the end it is given
        in brief. A mask that is not written is removed from its place. All three get the permissions of the original.
        With `replacing`, an earlier picture of ours must be in place: where there is none, somebody has taken it away.
        Either half raises FrameError where the disk is full, something cannot be written, or the picture there is by
        then not ours to overwrite; whatever else `write` raises comes through. What was there stays until all that is
        new is on the disk. The output folder must have been occupied: one that is gone since is on a disk that is gone.
        """
        if not self.receipts.is_dir():
            raise FrameError(f"{self.receipts}: is gone; bring it back, then run again", Remedy.RETRY)
        picture, receipt_file = self.path(arrival), self.receipt_path(arrival)
        draft = Draft(_part(picture), _part(self.mask_path(arrival)))
        pending = _part(receipt_file)
        with self._unless_it_fails(arrival, draft):
            _create(draft.picture)
            _create(pending)
            draft.mask.unlink(missing_ok=True)
            written = write(draft)

        def put_into_place() -> Receipt:
            with self._unless_it_fails(arrival, draft):
                receipt = replace(written, output_sha256=sha256_of(draft.picture))
                pending.write_bytes(receipt.to_json())
                masked = draft.mask.exists()
                for part in (draft.picture, pending, draft.mask) if masked else (draft.picture, pending):
                    _match_mode(part, arrival.path)
                    sync(part)
                sync(pending.parent)
                # Late, since writing takes its time, and somebody may have edited the picture meanwhile.
                state = self.state(arrival)
                if state in ("edited", "foreign") and not self.force:
                    raise not_ours(picture, state)
                if state == "none" and replacing:
                    raise FrameError(f"{picture}: has been moved or deleted since it was cleaned", Remedy.RETRY)
                if masked:
                    draft.mask.replace(self.mask_path(arrival))
                else:
                    self.mask_path(arrival).unlink(missing_ok=True)
                draft.picture.replace(picture)
                sync(picture.parent)
                pending.replace(receipt_file)
                sync(pending.parent)
                return receipt.in_brief()

        return put_into_place

    @contextmanager
    def _unless_it_fails(self, arrival: Arrival, draft: Draft) -> Iterator[None]:
        """Leave nothing of a frame's draft where something fails, and say which file is at fault."""
        try:
            yield
        except BaseException as error:
            # Once the picture is in place, the pending receipt is all that speaks for it.
            with suppress(OSError):
                draft.picture.unlink()
                draft.mask.unlink(missing_ok=True)
                _part(self.receipt_path(arrival)).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _frame_error(error, arrival, self.path(arrival)) from error
            raise

    def settle(self, arrival: Arrival) -> None:
        """Put the receipt of a picture into place that failed to get there after its picture had."""
        pending = _part(self.receipt_path(arrival))
        with _naming(self.path(arrival)):
            if pending.exists():
                self._settle(pending)

    def read_receipt(self, arrival: Arrival) -> Receipt | None:
        """Read the receipt, in brief; None where there is none that can be understood.

        Where a run was killed with the picture in place and its receipt not yet, that is the one. Raises
        FrameError where there is one that cannot be read.
        """
        file = self.receipt_path(arrival)
        with _naming(self.path(arrival)):
            pending = _read(_part(file))
            if pending is not None and pending.output_sha256 == _digest(self.path(arrival)):
                return pending
            return _read(file)

    def state(self, arrival: Arrival) -> State:
        """Tell what is in a frame's place. Writes nothing.

        ``none``: no picture. ``ours``: as we wrote it. ``edited``: not as we wrote it. ``foreign``: there is one,
        but no receipt for it. Neither of the last two is ours to overwrite. Raises FrameError where the picture or
        its receipt cannot be read.
        """
        picture = self.path(arrival)
        if not os.path.lexists(picture):
            return "none"
        if picture.is_symlink():
            return "foreign"  # we write none
        receipt = self.read_receipt(arrival)
        if receipt is None:
            return "foreign"
        with _naming(picture):
            return "ours" if receipt.output_sha256 == _digest(picture) else "edited"

    def _unusable(self, error: OSError) -> ServiceError:
        reason = f"{self.folder}: the output folder cannot be used: {error.strerror} ({error.filename})"
        return ServiceError(f"{reason}; give one that this user can write in", ExitCode.USAGE)

    def _no_scratch(self, error: OSError) -> ServiceError:
        remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; check its disk")
        reason = f"{self.folder}: scratch files cannot be kept there: {remedy}"
        return ServiceError(f"{reason}, then run again: it goes on where it stopped", ExitCode.SOME_FAILED)

    def _tidy(self) -> None:
        """Finish or remove what killed processes left behind."""
        for work in self.folder.glob(f"{_WORK}*"):
            if not _alive(work.name.removeprefix(_WORK)):
                shutil.rmtree(work)
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if name.startswith(".") and _PART in name:
                    self._settle(Path(folder, name))

    def _settle(self, part: Path) -> None:
        """Put a pending receipt into place if its picture is there; remove any other unfinished file."""
        place = part.with_name(part.name[1:].removesuffix(_PART))
        if place.suffix == ".json" and self.receipts in place.parents:
            picture = self.folder / place.relative_to(self.receipts).with_suffix("")
            pending = _read(part)
            if pending is not None and pending.output_sha256 == _digest(picture):
                part.replace(place)
                return
        part.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder. Raises BlockingIOError where another is in it, OSError without a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a network disk without locks
        yield
    finally:
        os.close(handle)


def not_ours(picture: Path, state: Literal["edited", "foreign"]) -> FrameError:
    """Say why a picture in the output folder is left alone."""
    reasons = {
        "edited": "has been changed since it was cleaned, and is left alone; --force writes it again",
        "foreign": "is there already, without a receipt of ours; move it away, or --force writes over it",
    }
    return FrameError(f"{picture}: {reasons[state]}", Remedy.SKIP)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PART}")


def _create(part: Path) -> None:
    """Make an empty file anew, and its folder; readable by this user only, as the original may be private."""
    part.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    part.touch(0o600, exist_ok=False)


def _match_mode(path: Path, original: Path) -> None:
    # Memory cards have no permissions; the picture is worth having all the same.
    with suppress(PermissionError):
        path.chmod(original.stat().st_mode & 0o777 | stat.S_IRUSR)  # to tell later whether it is ours


def _read(file: Path) -> Receipt | None:
    try:
        receipt = Receipt.from_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return receipt and receipt.in_brief()


def _digest(picture: Path) -> str | None:
    """SHA-256 of a picture in the output folder; None where there is no file."""
    return sha256_of(picture) if picture.is_file() else None


@contextmanager
def _naming(picture: Path) -> Iterator[None]:
    """Make a FrameError of what cannot be read in the output folder: the file the error names, or this."""
    try:
        yield
    except OSError as error:
        file = error.filename or picture
        if error.errno == errno.ENAMETOOLONG:
            raise FrameError(f"{picture}: {_REMEDIES[error.errno]}", Remedy.SKIP) from error
        reason = f"{file}: cannot be read: {error.strerror}; allow this user to read it, or move it away"
        raise FrameError(reason, Remedy.RETRY) from error


def _alive(pid: str) -> bool:
    """Whether another process of this number runs. A service in a container has the same one each time."""
    if pid == str(os.getpid()):
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def _frame_error(error: OSError, arrival: Arrival, picture: Path) -> FrameError:
    """Say which of the two files is at fault; a write that failed does not name its file."""
    # With two names it was a copy, in which either side may have failed.
    if error.filename == os.fspath(arrival.path) and error.filename2 is None:
        reason = f"{arrival.path}: cannot be read: {error.strerror}; check its permissions and its disk"
    elif error.errno in _REMEDIES:
        reason = f"{picture}: cannot be written: {_REMEDIES[error.errno]}, then run again"
    else:
        reason = f"{picture}: cannot be made from {arrival.path}: {error.strerror}; check the disks of both"
    return FrameError(reason, Remedy.RETRY)
