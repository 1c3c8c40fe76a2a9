"""Glasses that ``dustwatch clean --keep-maps`` leaves for later runs: what they are recognised by, and their maps.

Of each glass there is one folder, named by its id: the map as `map_folder` keeps it, the landmarks, and the run that it
was learnt in.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..processing.landmarks import Landmarks, recognise
from .disk import PART
from .errors import ExitCode, ServiceError
from .glass import Run
from .groups import Candidate, Member, all_placed
from .map_folder import make_map, open_map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..processing.fingerprint import Fingerprint, MatchParams
    from ..processing.glass_map import GlassMap
    from .film import Profile

_FORMAT = 2
_GLASS, _LANDMARKS = "glass.json", "landmarks.npy"
_AGAIN = "keep the maps again, with --keep-maps"


@dataclass(frozen=True, slots=True, eq=False)
class KeptGlass:
    """A glass as an earlier run knew it; `size` (height, width) is that of its newest frame as the glass has it."""

    run: Run
    map: GlassMap
    landmarks: Landmarks
    size: tuple[int, int]

    def cleaning(self, member: Member) -> Run:
        """The run in which a frame is cleaned with the map."""
        return replace(self.run, cleaned=(member,))


def keep_glass(
    folder: Path,
    run: Run,
    landmarks: Landmarks,
    size: tuple[int, int],
    profile: Profile,
    learn: Callable[[Path], GlassMap],
) -> GlassMap:
    """Keep a glass, see `KeptGlass`, whose map `learn` leaves in the folder it is given, below `folder`.

    What was kept of the same glass is replaced. Raises ServiceError where it cannot be kept.
    """
    told = {
        "format": _FORMAT,
        "glass_id": run.glass_id,
        "map_sha256": run.map_sha256,
        "profile": profile.name,
        "scan": asdict(profile.scan),
        "size": size,
        "run": replace(run, cleaned=()).told(),
    }

    def leave(part: Path) -> GlassMap:
        (part / _GLASS).write_text(json.dumps(told, indent=2) + "\n")
        np.save(part / _LANDMARKS, landmarks.points)
        return learn(part)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return make_map(folder / run.glass_id, leave)
    except OSError as error:
        reason = f"{folder}: maps cannot be kept there: {error.strerror or error}"
        raise ServiceError(f"{reason}; make room, or give another --keep-maps", ExitCode.SOME_FAILED) from error


def keeps(folder: Path, run: Run) -> bool:
    """Whether the map of a run is kept in `folder`."""
    try:
        told = json.loads((folder / run.glass_id / _GLASS).read_text())
        return (told["format"], told["map_sha256"]) == (_FORMAT, run.map_sha256)
    except (OSError, KeyError, TypeError, ValueError):
        return False


def open_glasses(folder: Path, profile: Profile) -> list[KeptGlass]:
    """The glass that is kept in a folder, or the glasses in its subfolders, by the digests of their maps.

    Raises ServiceError (usage) where there is none, one is damaged, or one was learnt from scans of another kind.
    """
    try:
        if (folder / _GLASS).exists():
            places = [folder]
        else:
            places = [place for place in folder.iterdir() if place.is_dir() and place.suffix != PART]
    except OSError as error:
        raise _unusable(
            folder, f"cannot be read: {error.strerror}", "check the spelling and its permissions"
        ) from error
    if not places:
        raise _unusable(folder, "no map is kept there", "give a folder that --keep-maps has left")
    glasses = [_open_glass(place, profile) for place in places]
    return sorted(glasses, key=lambda glass: glass.run.map_sha256)


def recognised(
    glasses: Sequence[KeptGlass], seen: Fingerprint, sha256: str, place: str, params: MatchParams
) -> tuple[KeptGlass, Member] | None:
    """Of some glasses the one that a frame lies on, the surest if there are several, and the frame on it.

    Only those of its `place` are asked.

    A frame that the map was learnt from, as its digest tells, is the member that it was then.
    """
    for glass in glasses:
        for member in glass.run.witnesses:
            if member.sha256 == sha256 and not member.bare:
                return glass, member
    candidates = [
        Candidate(
            glass,
            glass.size,
            {member.placement.orientation for member in glass.run.witnesses},
            partial(recognise, glass.landmarks, params=params),
        )
        for glass in glasses
        if glass.run.witnesses[0].place == place
    ]
    found = all_placed(candidates, (seen.height, seen.width), seen.turned, params)
    if not found:
        return None
    glass = found[0].patch
    return glass, Member(glass.run.witnesses[-1].frame + 1, sha256, found[0].placement)


def unrecognised(glasses: Sequence[KeptGlass], sha256: str) -> Run:
    """The run of a frame that lies on none of these glasses: its digest stands for them, as there may be others."""
    asked = tuple(Member(number, glass.run.map_sha256) for number, glass in enumerate(glasses))
    return Run("unknown", asked, (Member(len(asked), sha256),))


def _open_glass(place: Path, profile: Profile) -> KeptGlass:
    try:
        told = json.loads((place / _GLASS).read_text())
        if told["format"] != _FORMAT:
            raise _unusable(place / _GLASS, "was kept by another version of dustwatch", _AGAIN)
        _require_scan(place, told, profile)
        run = Run.of_told(told["run"])
        points = np.load(place / _LANDMARKS)
        height, width = told["size"]
        glass = KeptGlass(run, open_map(place), Landmarks(points), (int(height), int(width)))
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        file = getattr(error, "filename", None) or place
        reason = getattr(error, "strerror", None) or f"is damaged ({error})"
        raise _unusable(file, reason, _AGAIN) from error
    if run.map_sha256 != told["map_sha256"] or points.dtype != np.float32 or points.shape[1:] != (3,):
        raise _unusable(place, "is damaged: what it holds does not belong together", _AGAIN)
    return glass


def _require_scan(place: Path, told: dict[str, Any], profile: Profile) -> None:
    if told["scan"] != asdict(profile.scan):
        reason = f"was learnt with profile {told['profile']}, in which scans hold something else than in {profile.name}"
        raise _unusable(place, reason, f"use --profile {told['profile']}")


def _unusable(file: Path | str, reason: str, remedy: str) -> ServiceError:
    return ServiceError(f"{file}: {reason}; {remedy}", ExitCode.USAGE)
