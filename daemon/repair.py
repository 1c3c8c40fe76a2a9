"""One frame cleaned and put into place with its receipt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..processing.clean import FrameDirt, clean
from ..processing.image import ImageError
from .errors import FrameError
from .frame import Frame, Outcome, Receipt
from .intake import frame_error
from .output import Draft, Output, copy, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..processing.learn import GlassMap
    from .film import Profile

CLEAN_GLASS = "no dirt was found on the glass in this frame"
REENCODED = "JPEG: encoded again with its own tables, so pixels outside the repairs may differ by rounding"


@dataclass(frozen=True, slots=True)
class Learnt:
    """A map and the run of frames it was learnt from, each with its offset (rows, columns) in px, in order.

    `seconds` is each frame's share of the time that learning took.
    """

    glass_id: str
    map: GlassMap
    offsets: dict[int, tuple[float, float]]
    seconds: float


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Why frames are copied as they are."""

    reason: str
    abstained: bool
    seconds: float = 0.0


def clean_frame(
    number: int,
    frame: Frame,
    verdict: Learnt | LeftAlone,
    profile: Profile,
    roll: str,
    output: Output,
    threads: int,
) -> Outcome:
    """Clean frame `number` with what is known of its glass, or copy it; `roll` is the digest for the receipt."""
    started = time.monotonic()
    receipt = partial(
        Receipt,
        input=frame.arrival.shown,
        input_sha256=frame.sha256,
        roll_sha256=roll,
        profile=profile.name,
        profile_sha256=profile.digest,
    )

    def write(draft: Draft) -> Receipt:
        if isinstance(verdict, LeftAlone):
            digest = copy(frame.arrival.path, draft.picture)
            return receipt(
                output_sha256=digest, status="abstained" if verdict.abstained else "unchanged", reason=verdict.reason
            )
        return _repair(draft, number, frame, verdict, profile, threads, receipt)

    try:
        done = output.publish(frame.arrival, write)
    except ImageError as error:
        return Outcome(frame.arrival, error=frame_error(frame.arrival, error))
    except FrameError as error:
        return Outcome(frame.arrival, error=error)
    seconds = {"observe": frame.seconds, "learn": verdict.seconds, "clean": time.monotonic() - started}
    return Outcome(frame.arrival, done, megapixels=frame.info.height * frame.info.width / 1e6, seconds=seconds)


def _repair(
    draft: Draft,
    number: int,
    frame: Frame,
    learnt: Learnt,
    profile: Profile,
    threads: int,
    receipt: Callable[..., Receipt],
) -> Receipt:
    """Write the repaired picture and its mask, or a copy where nothing needed repair."""
    offset = learnt.offsets[number]
    dirt = FrameDirt(learnt.map, frame.observation.codes, list(learnt.offsets).index(number), offset)
    report = clean(frame.info, dirt, profile.scan, profile.residual, profile.repair, draft.picture, draft.mask, threads)
    told = partial(receipt, glass_id=learnt.glass_id, map_frames=len(learnt.offsets), offset_px=offset)
    if not report.changed_px:
        draft.mask.unlink()
        return told(output_sha256=copy(frame.arrival.path, draft.picture), status="unchanged", reason=CLEAN_GLASS)
    reencoded = frame.info.format == "jpeg"
    return told(
        output_sha256=sha256_of(draft.picture),
        status="cleaned",
        reason=REENCODED if reencoded else "",
        changed_px=report.changed_px,
        changed_share=report.changed_px / (frame.info.height * frame.info.width),
        reencoded=reencoded,
        defects=report.defects,
    )
