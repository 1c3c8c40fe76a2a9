"""What enters the pipeline: the content of every file, and what each whole one has to say about the glass."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..processing.image import DamagedImage, ImageError, untold
from ..processing.learn import MOST_FRAMES
from ..processing.observe import observe
from ..processing.pool import in_order
from ..processing.raster import probe
from .errors import FrameError, Remedy
from .frame import Arrival, Content, Frame, Outcome, Stamp
from .output import WRITE_FAULTS, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ..processing.image import ImageInfo
    from .progress import Progress
    from .workplace import Workplace


def contents(
    arrivals: Sequence[Arrival], threads: int, progress: Progress
) -> tuple[dict[Arrival, Content], list[Outcome]]:
    """What is in every file, in their order, and the outcomes of those that cannot be read."""
    known: dict[Arrival, Content] = {}
    unreadable = []
    step = progress("Reading", len(arrivals))

    def read(arrival: Arrival) -> Content | FrameError:
        try:
            return read_content(arrival)
        except FrameError as error:
            return error

    for arrival, found in zip(arrivals, in_order(threads, 1, read, arrivals), strict=True):
        if isinstance(found, FrameError):
            unreadable.append(Outcome(arrival, error=found))
        else:
            known[arrival] = found
        step()
    return known, unreadable


def read_content(arrival: Arrival) -> Content:
    """What is in a file. Raises FrameError where it cannot be read."""
    try:
        stamp = Stamp.of(arrival.path.stat())
        return Content(sha256_of(arrival.path), stamp)
    except OSError as error:
        raise frame_error(arrival, error) from error


def observe_all(known: Mapping[Arrival, Content], workplace: Workplace) -> tuple[list[Frame], list[Outcome]]:
    """Observe every file once, in their order, with what they show in scratch; and the outcomes of the broken ones.

    Residuals take no more room there than the files themselves do, unless there are fewer than one map is learnt
    from; of others fingerprints alone are kept, and `recall` brings back what they have shown.
    """
    frames: list[Frame] = []
    broken = []
    files_bytes = residuals_bytes = 0
    step = workplace.progress("Observing", len(known))
    for number, (arrival, content) in enumerate(known.items()):
        try:
            frames.append(
                observe_frame(arrival, content, workplace.scratch / f"{number}.residual", workplace, step.within)
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
    arrival: Arrival, content: Content, codes: Path, workplace: Workplace, told: Callable[[float], None] = untold
) -> Frame:
    """Observe one file of this content, with its residual in `codes`; `told` is called with how much of it is done.

    Raises FrameError where it cannot be used, or has another content now. There is nothing in `codes` then.
    """
    started = time.monotonic()
    profile = workplace.profile
    with ExitStack() as undo:
        undo.callback(codes.unlink, missing_ok=True)
        info = read_info(arrival)
        try:
            seen = observe(info, profile.scan, profile.residual, codes, workplace.threads, told)
        except (ImageError, OSError) as error:
            raise frame_error(arrival, error) from error
        require_same(arrival, content.stamp)
        undo.pop_all()
    return Frame(arrival, info, content.sha256, content.stamp, seen, time.monotonic() - started)


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
                observe_frame(frame.arrival, Content(frame.sha256, frame.stamp), codes, workplace)
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
            f"{arrival.shown}: was changed while it was worked on; try again when nothing writes to it",
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
