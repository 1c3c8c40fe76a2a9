"""One frame cleaned with the map of its glass, or left alone with the reason, and put into place with its receipt."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..processing.clean import FrameDirt, clean
from ..processing.drift import STEADY
from ..processing.image import ImageError, untold
from ..processing.presence import present
from .errors import FrameError
from .film import opposites
from .frame import Outcome, Receipt
from .glass import glass_landmarks, learn_map, residual_among
from .intake import frame_error, require_same
from .kept import keep_glass
from .memory import give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..processing.glass_map import GlassMap
    from .film import Profile
    from .frame import Frame
    from .glass import Run
    from .groups import Member
    from .output import Draft
    from .workplace import Workplace

ALONE = "no other frame of its resolution shares its dirt, so nothing is known of the glass"
UNRECOGNISED = (
    "none of the kept maps shows its dirt, so nothing is known of the glass: it was wiped, is another one, "
    "or was scanned at another resolution"
)
CLEAN_GLASS = "no dirt was found on the glass in this frame"
REENCODED = "JPEG: encoded again with its own tables, so pixels outside the repairs may differ by rounding"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the glass under the frames of a run, and the map of its dirt if there is one.

    `seconds` is each frame's share of the time that learning took; `why_not` says why there is no map.
    """

    run: Run
    map: GlassMap | None = None
    seconds: float = 0.0
    why_not: str = ALONE


def learn_glass(run: Run, frames: Sequence[Frame], workplace: Workplace, keep: Path | None = None) -> Known:
    """Learn the map of a run, if its frames are cleaned with one; `frames` by number.

    It is learnt into scratch, or, with all that is needed to recognise the glass, to be kept in the folder `keep`.
    """
    if not run.worth_learning:
        return Known(run)
    started = time.monotonic()
    witnesses = [(frames[member.frame].observation, member) for member in run.witnesses]

    def learn(folder: Path) -> GlassMap:
        return learn_map(witnesses, folder, workplace)

    if keep is None:
        found = learn(workplace.scratch)
    else:
        profile = workplace.profile
        found = keep_glass(keep, run, *glass_landmarks(witnesses, profile.match), profile, learn)
    return Known(run, found, (time.monotonic() - started) / len(run.witnesses))


def repaired(
    frame: Frame,
    member: Member,
    known: Known,
    workplace: Workplace,
    told: Callable[[float], None] = untold,
    *,
    replacing: bool = False,
) -> Callable[[], Outcome]:
    """Clean a frame with what is known of its glass, or copy it, and give what then puts it into place, in any thread.

    `told` is called with how much of it is done; `replacing` is what `drafted` takes it for. A file that
    somebody changes while it is cleaned is not put there.
    """
    started = time.monotonic()
    profile, run = workplace.profile, known.run
    receipt = partial(
        Receipt,
        input=frame.arrival.shown,
        input_sha256=frame.sha256,
        output_sha256="",
        map_sha256=run.map_sha256,
        profile=profile.name,
        profile_sha256=profile.digest,
    )
    lies = {"offset_px": member.placement.offset, "orientation": member.placement.orientation}
    result = partial(receipt, glass_id=run.glass_id, map_frames=len(run.witnesses), **lies)
    doubt = _doubt(known, profile)
    dirt = None if doubt or known.map is None else _dirt(frame, member, run, known.map, workplace)

    def write(draft: Draft) -> Receipt:
        if dirt is not None:
            written = _repair(draft, frame, dirt, workplace, result, told)
        else:
            shutil.copyfile(frame.arrival.path, draft.picture)
            if doubt:
                written = result(status="abstained", reason=doubt)
            else:
                written = receipt(status="unchanged", reason=known.why_not)
        require_same(frame.arrival, frame.stamp)
        return written

    def failed(error: FrameError) -> Outcome:
        return Outcome(frame.arrival, error=error)

    try:
        publish = workplace.output.drafted(frame.arrival, write, replacing=replacing)
    except ImageError as error:
        return partial(failed, frame_error(frame.arrival, error))
    except FrameError as error:
        return partial(failed, error)
    repairing_s = time.monotonic() - started

    def put_into_place() -> Outcome:
        begun = time.monotonic()
        try:
            done = publish()
        except FrameError as error:
            return failed(error)
        cleaning_s = repairing_s + time.monotonic() - begun
        seconds = {"observe": frame.seconds, "learn": known.seconds, "clean": cleaning_s}
        return Outcome(frame.arrival, done, megapixels=frame.info.height * frame.info.width / 1e6, seconds=seconds)

    return put_into_place


def _doubt(known: Known, profile: Profile) -> str:
    """Why frames are left alone although something is known of their glass; empty if they need not be."""
    if known.run.wrong_sign:
        says = profile.scan.dirt
        does = "brightens" if says == "darkens" else "darkens"
        others = " or ".join(f"{other.name} ({other.description})" for other in opposites(profile))
        return (
            f"dirt {does} these frames, but profile {profile.name} expects that it {says} them; use --profile {others}"
        )
    if known.map is not None:
        share = known.map.dirty_px / (known.map.patch.height * known.map.patch.width)
        if share > profile.evidence.most_share:
            return (
                f"{share:.0%} of the glass looked dirty, which is not believed; "
                f"if it is true, raise evidence.most_share in profile {profile.name}"
            )
    return ""


def _dirt(frame: Frame, member: Member, run: Run, found: GlassMap, workplace: Workplace) -> FrameDirt:
    """The dirt in a frame; of one that came after the map was learnt, it has to be found out what lies in it."""
    codes, wobble = residual_among(len(run.witnesses), frame.observation.codes), found.wobble
    if member in run.witnesses:
        number = run.witnesses.index(member)
        return FrameDirt(found, codes, number, member.placement, wobble.drifts[number] if wobble else STEADY)
    last = len(run.witnesses) - 1
    gap = sum(run.witnesses[last].frame < other.frame <= member.frame for other in run.cleaned)
    drift = wobble.drift(*frame.observation.fingerprint.placed(member.placement)) if wobble else STEADY
    profile, destination = workplace.profile, workplace.scratch / "present"
    lies = present(
        found,
        last,
        codes,
        member.placement,
        drift,
        gap,
        profile.residual,
        profile.lives,
        destination,
        workplace.threads,
    )
    return FrameDirt(lies, codes, 0, member.placement, drift)


def _repair(
    draft: Draft,
    frame: Frame,
    dirt: FrameDirt,
    workplace: Workplace,
    result: Callable[..., Receipt],
    told: Callable[[float], None],
) -> Receipt:
    """Write the repaired picture and its mask, or a copy where nothing needed repair."""
    give_back()
    profile = workplace.profile
    report = clean(
        frame.info,
        dirt,
        profile.scan,
        profile.residual,
        profile.repair,
        draft.picture,
        draft.mask,
        workplace.threads,
        told,
    )
    if not report.changed_px:
        draft.mask.unlink()
        shutil.copyfile(frame.arrival.path, draft.picture)
        return result(status="unchanged", reason=CLEAN_GLASS)
    reencoded = frame.info.format == "jpeg"
    return result(
        status="cleaned",
        reason=REENCODED if reencoded else "",
        changed_px=report.changed_px,
        changed_share=report.changed_px / (frame.info.height * frame.info.width),
        reencoded=reencoded,
        defect_count=len(report.defects),
        defects=report.defects,
    )
