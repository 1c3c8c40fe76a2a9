"""What enters the pipeline: the digest of every file, and what each whole one has to say about the glass."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..processing.image import DamagedImage, ImageError
from ..processing.learn import MOST_FRAMES
from ..processing.observe import observe
from ..processing.raster import probe
from .errors import FrameError, Remedy
from .frame import Arrival, Frame, Outcome
from .output import WRITE_FAULTS, sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .progress import Progress
    from .workplace import Workplace


def digests(arrivals: Sequence[Arrival], progress: Progress) -> tuple[dict[Arrival, str], list[Outcome]]:
    """SHA-256 of every file, in their order, and the outcomes of those that cannot be read."""
    known: dict[Arrival, str] = {}
    unreadable = []
    step = progress("Reading", len(arrivals))
    for arrival in arrivals:
        try:
            known[arrival] = sha256_of(arrival.path)
        except OSError as error:
            unreadable.append(Outcome(arrival, error=frame_error(arrival, error)))
        step()
    return known, unreadable


def observe_all(known: Mapping[Arrival, str], workplace: Workplace) -> tuple[list[Frame], list[Outcome]]:
    """Observe every file once, in their order, with the residuals in scratch; and the outcomes of the broken ones.

    Of more files than one map is learnt from, only fingerprints are kept; `recall` brings back the residuals.
    """
    frames: list[Frame] = []
    broken = []
    step = workplace.progress("Observing", len(known))
    for number, (arrival, digest) in enumerate(known.items()):
        try:
            frames.append(observe_frame(arrival, digest, workplace.scratch / f"{number}.residual", workplace))
        except FrameError as error:
            broken.append(Outcome(arrival, error=error))
        else:
            if len(known) > MOST_FRAMES:
                forget([frames[-1]])
        step()
    return frames, broken


def observe_frame(arrival: Arrival, sha256: str, codes: Path, workplace: Workplace) -> Frame:
    """Observe one file of this digest, with its residual in `codes`. Raises FrameError where it cannot be used."""
    started = time.monotonic()
    profile = workplace.profile
    try:
        info = probe(arrival.path)
        seen = observe(info, profile.scan, profile.residual, codes, workplace.threads)
    except (ImageError, OSError) as error:
        raise frame_error(arrival, error) from error
    return Frame(arrival, info, sha256, seen, time.monotonic() - started)


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
