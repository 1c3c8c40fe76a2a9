"""What enters the pipeline: the digest of every file, and what each whole one has to say about the glass."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..processing.image import DamagedImage, ImageError, untold
from ..processing.learn import MOST_FRAMES
from ..processing.observe import observe
from ..processing.pool import in_order
from ..processing.raster import probe
from .errors import FrameError, Remedy
from .frame import Arrival, Frame, Outcome, Stamp
from .output import WRITE_FAULTS, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ..processing.image import ImageInfo
    from .progress import Progress
    from .workplace import Workplace


def digests(arrivals: Sequence[Arrival], threads: int, progress: Progress) -> tuple[dict[Arrival, str], list[Outcome]]:
    """SHA-256 of every file, in their order, and the outcomes of those that cannot be read."""
    known: dict[Arrival, str] = {}
    unreadable = []
    step = progress("Reading", len(arrivals))

    def read(arrival: Arrival) -> str | FrameError:
        try:
            return read_digest(arrival)
        except FrameError as error:
            return error

    for arrival, found in zip(arrivals, in_order(threads, 1, read, arrivals), strict=True):
        if isinstance(found, FrameError):
            unreadable.append(Outcome(arrival, error=found))
        else:
            known[arrival] = found
        step()
    return known, unreadable


def read_digest(arrival: Arrival) -> str:
    """SHA-256 of a file. Raises FrameError where it cannot be read."""
    try:
        return sha256_of(arrival.path)
    except OSError as error:
        raise frame_error(arrival, error) from error


def observe_all(known: Mapping[Arrival, str], workplace: Workplace) -> tuple[list[Frame], list[Outcome]]:
    """Observe every file once, in their order, with what they show in scratch; and the outcomes of the broken ones.

    Residuals take no more room there than the files themselves do, unless there are fewer than one map is learnt
    from; of others fingerprints alone are kept, and `recall` brings back what they have shown.
    """
    frames: list[Frame] = []
    broken = []
    files_bytes = residuals_bytes = 0
    step = workplace.progress("Observing", len(known))
    for number, (arrival, digest) in enumerate(known.items()):
        try:
            frames.append(
                observe_frame(arrival, digest, workplace.scratch / f"{number}.residual", workplace, step.within)
            )
        except FrameError as error:
            broken.append(Outcome(arrival, error=error))
        else:
            files_bytes += frames[-1].stamp.size
            residual_bytes = frames[-1].observation.codes.path.stat().st_size
            if len(frames) > MOST_FRAMES and residuals_bytes + residual_bytes > files_bytes:
                forget([frames[-1]])
            else:
                residuals_bytes += residual_bytes
        step()
    return frames, broken


def observe_frame(
    arrival: Arrival, sha256: str, codes: Path, workplace: Workplace, told: Callable[[float], None] = untold
) -> Frame:
    """Observe one file of this digest, with its residual in `codes`; `told` is called with how much of it is done.

    Raises FrameError where it cannot be used.
    """
    started = time.monotonic()
    profile = workplace.profile
    try:
        stamp = Stamp.of(arrival.path.stat())
        info = read_info(arrival)
        seen = observe(info, profile.scan, profile.residual, codes, workplace.threads, told)
    except (ImageError, OSError) as error:
        raise frame_error(arrival, error) from error
    return Frame(arrival, info, sha256, stamp, seen, time.monotonic() - started)


def read_info(arrival: Arrival) -> ImageInfo:
    """What kind of picture a file is. Raises FrameError where it cannot be used."""
    try:
        return probe(arrival.path)
    except (ImageError, OSError) as error:
        raise frame_error(arrival, error) from error


def recall(frames: Sequence[Frame], workplace: Workplace) -> list[Outcome]:
    """Make sure that the residuals of `frames` are there; give the outcomes of those whose files have gone bad."""
    gone = []
    for frame in frames:
        codes = frame.observation.codes.path
        try:
            if not codes.exists():
                observe_frame(frame.arrival, frame.sha256, codes, workplace)
        except FrameError as error:
            gone.append(Outcome(frame.arrival, error=error))
    return gone


def forget(frames: Sequence[Frame]) -> None:
    """Give back the disk space of the residuals of `frames`."""
    for frame in frames:
        frame.observation.codes.path.unlink(missing_ok=True)


def is_same(arrival: Arrival, stamp: Stamp) -> bool:
    """Whether a file is still there, and as it was."""
    try:
        require_same(arrival, stamp)
    except FrameError:
        return False
    return True


def require_same(arrival: Arrival, stamp: Stamp) -> None:
    """Raise FrameError where a file is no longer as it was."""
    try:
        same = Stamp.of(arrival.path.stat()) == stamp
    except OSError as error:
        raise frame_error(arrival, error) from error
    if not same:
        raise FrameError(
            f"{arrival.shown}: was changed while it was worked on; wait until nothing writes to it",
            Remedy.RETRY,
        )


def frame_error(arrival: Arrival, error: ImageError | OSError) -> FrameError:
    """What a user is told of a file that cannot be used.

    Lets an OSError through that comes from writing scratch files, with which no other frame would fare better.
    """
    if isinstance(error, ImageError):
        remedy = Remedy.RETRY if isinstance(error, DamagedImage) else Remedy.SKIP
        return FrameError(f"{arrival.shown}: {error}", remedy)
    if error.errno in WRITE_FAULTS:
        raise error
    reason = f"{arrival.shown}: cannot be read: {error.strerror or error}; check its permissions and its disk"
    return FrameError(reason, Remedy.RETRY)
