"""What is known of each glass: which frames lie on it, and the map of its dirt, or why there is none."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..processing.fingerprint import Fingerprint, MatchParams, fixed_cells
from ..processing.landmarks import landmarks, number_scenes
from ..processing.learn import MOST_FRAMES, LearnParams, Witness, learn, learning_steps
from .film import Profile, opposites
from .groups import Group, Member, group
from .repair import Learnt, LeftAlone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .frame import Frame
    from .progress import Progress

_OTHER_SIZE = "no other frame is {} x {} pixels; frames on one glass must have the same size and orientation"
ALONE = LeftAlone("no other frame shares its dirt, so nothing is known of the glass", abstained=False)


@dataclass(frozen=True, slots=True)
class Glass:
    """A patch of glass between two wipes and the frames on it, in the order in which they came.

    `wrong_sign` says that what its frames share is lighter than the film although the profile calls dirt dark, or the
    other way round.
    """

    members: tuple[Member, ...]
    wrong_sign: bool

    def runs(self) -> Iterator[tuple[Member, ...]]:
        """The members in runs of even length, of at most as many as one map is learnt from."""
        count = -(-len(self.members) // MOST_FRAMES)
        bounds = [len(self.members) * k // count for k in range(count + 1)]
        for start, stop in pairwise(bounds):
            yield self.members[start:stop]


def find_glasses(frames: Sequence[Frame], params: MatchParams) -> list[Glass]:
    """Sort the frames, in the order in which they came, by the glass that they lie on."""
    upright = [frame.observation.fingerprint for frame in frames]
    inverted = [one.inverted for one in upright]
    groups = group(upright, params)
    wrong: set[int] = set()
    for other in group(inverted, params):
        numbers = _numbers(other)
        usual = max(groups, key=lambda one: len(numbers & _numbers(one)))
        if _depth(other, inverted, params) > _depth(usual, upright, params):
            wrong |= numbers
    return [Glass(one.members, bool(wrong & _numbers(one))) for one in groups]


def _size(frame: Frame) -> tuple[int, int]:
    return frame.info.width, frame.info.height


def _numbers(one: Group) -> set[int]:
    return {member.frame for member in one.members}


def _depth(one: Group, frames: Sequence[Fingerprint], params: MatchParams) -> float:
    """Density of all that the frames share, in D.

    Not how much of it there is: dirt has a rim that stands out to the other side, in more places but far less.
    """
    if len(one.members) < 2:
        return 0.0
    shared = landmarks([(frames[member.frame], member.offset) for member in one.members], params)
    return float(shared.points[:, 2].sum())


def learn_glass(
    glass: Glass,
    run: Sequence[Member],
    frames: Sequence[Frame],
    profile: Profile,
    folder: Path,
    threads: int,
    progress: Progress,
) -> Learnt | LeftAlone:
    """Learn the map of a glass from a run of its frames, into `folder`; or say why they are to be left alone."""
    if glass.wrong_sign:
        return LeftAlone(_wrong_sign(profile), abstained=True)
    if len(run) < 2:
        size = _size(frames[run[0].frame])
        alone_of_its_size = len(frames) > 1 and sum(_size(frame) == size for frame in frames) == 1
        return LeftAlone(_OTHER_SIZE.format(*size), abstained=False) if alone_of_its_size else ALONE
    started = time.monotonic()
    seen = [frames[member.frame].observation for member in run]
    scenes = number_scenes([one.fingerprint for one in seen], profile.match)
    witnesses = [Witness(one.codes, member.offset, scene) for one, member, scene in zip(seen, run, scenes, strict=True)]
    fixed = fixed_cells(np.stack([one.fingerprint.film for one in seen]), profile.match.same_film_d)
    params = LearnParams(profile.residual, profile.evidence, profile.lives)
    height, width = witnesses[0].codes.height, witnesses[0].codes.width
    step = progress("Learning the dirt", learning_steps(height, width))
    found = learn(witnesses, fixed, params, folder, threads, step)
    share = found.dirty_px / (height * width)
    if share > profile.evidence.most_share:
        reason = (
            f"{share:.0%} of the glass looked dirty, which is not believed; "
            f"if it is true, raise evidence.most_share in profile {profile.name}"
        )
        return LeftAlone(reason, abstained=True)
    name = _glass_id(frames[glass.members[0].frame])
    seconds = (time.monotonic() - started) / len(run)
    return Learnt(name, found, {member.frame: member.offset for member in run}, seconds)


def _glass_id(first: Frame) -> str:
    """Name of a glass: made from the first frame's content, so the same from run to run."""
    return hashlib.sha256(b"glass " + first.sha256.encode()).hexdigest()[:12]


def _wrong_sign(profile: Profile) -> str:
    says = profile.scan.dirt
    does = "brightens" if says == "darkens" else "darkens"
    others = " or ".join(f"{other.name} ({other.description})" for other in opposites(profile))
    return f"dirt {does} these frames, but profile {profile.name} expects that it {says} them; use --profile {others}"
