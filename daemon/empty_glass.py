"""Empty-glass scans, of the light table without film: taken in like frames, but checked, as one is trusted alone."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from PIL import Image

from ..processing.bare import dirt_seen, same_dirt, why_not_bare
from ..processing.placement import ORIENTATIONS, upright_size
from .disk import part_of, publish
from .errors import ExitCode, FrameError, ServiceError
from .frame import Arrival, Frame
from .intake import observe_frame, read_content
from .output import Output
from .workplace import Workplace
from .yaml_file import to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..processing.bare import BareDirt
    from .film import Profile
    from .progress import Progress


def empty_arrival(path: Path) -> Arrival:
    """An empty-glass scan; it has no place in the output, so its name is all of its absolute path."""
    return Arrival(path, PurePosixPath(path.absolute()))


def observe_empty(paths: Sequence[Path], workplace: Workplace) -> list[Frame]:
    """Observe empty-glass scans with their residuals in scratch, as frames that are bare of film.

    Raises ServiceError (usage) that lists all that is wrong with any of them.
    """
    profile = workplace.profile
    if paths and profile.scan.dirt == "brightens":
        reason = f"in profile {profile.name} dirt brightens, as in scans inverted to positives"
        raise _refused([f"{path}: {reason}; an empty-glass scan must not be inverted" for path in paths])
    seen, faults = [], []
    step = workplace.progress("Observing", len(paths))
    for number, path in enumerate(paths):
        arrival = empty_arrival(path)
        try:
            codes = workplace.scratch / f"empty-{number}.residual"
            frame = observe_frame(arrival, read_content(arrival), codes, workplace)
        except FrameError as error:
            faults.append(str(error))
        else:
            if fault := why_not_bare(frame.observation):
                faults.append(f"{arrival.shown}: {fault}")
            else:
                seen.append(replace(frame, bare=True))
        step()
    firsts: dict[str, Frame] = {}
    for frame in seen:
        first = firsts.setdefault(frame.place, frame)
        if first is not frame and (fault := _why_not_beside(first, frame, profile)):
            faults.append(f"{frame.arrival.shown}: {fault}")
    if faults:
        raise _refused(faults)
    return seen


def refuse_other_size(empty: Sequence[Frame], frames: Sequence[Frame], profile: Profile) -> None:
    """Refuse (ServiceError, usage) empty-glass scans that are of another size than all frames, however turned."""
    sizes = {(frame.info.height, frame.info.width) for frame in frames}
    turned = {upright_size(orientation, *size) for size in sizes for orientation in ORIENTATIONS}
    faults = [
        f"{one.arrival.shown}: is {_size(one)}, which no frame is (the first is {_size(frames[0])}); "
        "scanned at another resolution? Scan the empty glass as the film is scanned"
        for one in empty
        if turned and not any(profile.match.sizes_agree(size, (one.info.height, one.info.width)) for size in turned)
    ]
    if faults:
        raise _refused(faults)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What an empty-glass scan that was found good shows."""

    arrival: Arrival
    dirt: BareDirt


def calibrate(
    paths: Sequence[Path], profile: Profile, threads: int, progress: Progress, picture: Path | None
) -> list[Calibrated]:
    """Check empty-glass scans, find the dirt in them, and draw that of the first into the new file `picture` (PNG).

    Raises ServiceError (usage) that lists all that is wrong with the scans, or where nothing can be drawn.
    """
    if picture is not None and picture.exists():
        raise ServiceError(f"{picture}: is there already; give another --picture", ExitCode.USAGE)
    with TemporaryDirectory(prefix="dustwatch-") as folder:
        workplace = Workplace(profile, Output(Path(folder)), Path(folder), threads, progress)
        seen = observe_empty(paths, workplace)
        found = [
            Calibrated(one.arrival, dirt_seen(one.observation.codes, profile.residual, profile.evidence))
            for one in seen
        ]
    if picture is not None:
        part = part_of(picture)
        try:
            with ExitStack() as undo:
                undo.callback(part.unlink, missing_ok=True)
                Image.fromarray(found[0].dirt.picture).save(part, format="PNG")
                publish(part, picture)
        except OSError as error:
            reason = f"{picture}: cannot be written: {error.strerror or error}; give another --picture"
            raise ServiceError(reason, ExitCode.USAGE) from error
    return found


def as_text(found: Sequence[Calibrated]) -> str:
    """What was found, and the lines that name the scans in a profile or in the service's configuration."""
    told = []
    for one in found:
        dirt = one.dirt
        count = f"{dirt.particles} particle{'s' if dirt.particles != 1 else ''}"
        density = f", median density {dirt.median_d:.2f} D" if dirt.particles else ""
        told.append(f"{one.arrival.shown}: {count}, {dirt.share:.2%} of the glass dirty{density}")
    lines = to_text({"empty_glass": [str(one.arrival.relative) for one in found]})
    return "\n".join((*told, "To have it used, write into a profile, or for a folder into the configuration:", lines))


def _why_not_beside(first: Frame, later: Frame, profile: Profile) -> str:
    """What keeps a scan from being one of the same glass as the first, and what to do; empty if nothing does."""
    size, other = ((frame.info.height, frame.info.width) for frame in (first, later))
    if not profile.match.sizes_agree(size, other):
        sizes = f"is {_size(later)}, but {first.arrival.shown} is {_size(first)}"
        return f"{sizes}; scan both at the resolution of the film"
    if not same_dirt(first.observation.fingerprint, later.observation.fingerprint, profile.match):
        return (
            f"does not show the dirt that {first.arrival.shown} shows, so it lies out of register, or the glass was "
            "wiped in between; scan both in the same place, or give the newer one only"
        )
    return ""


def _size(frame: Frame) -> str:
    return f"{frame.info.width} x {frame.info.height} pixels"


def _refused(faults: Sequence[str]) -> ServiceError:
    return ServiceError("\n".join(faults), ExitCode.USAGE)
