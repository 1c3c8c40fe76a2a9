"""Which frames lie on the same glass. A holder has slots and a glass is wiped, so several glasses live at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..processing.fingerprint import Fingerprint, Match, MatchParams, alike
from ..processing.landmarks import Landmarks, landmarks, recognise

if TYPE_CHECKING:
    from collections.abc import Sequence

_RECENT = 24
"""Members by which a glass is recognised: the newest."""


@dataclass(frozen=True, slots=True)
class Member:
    """A frame, by its number in the sequence, and where its glass lies in it: (rows, columns) in px."""

    frame: int
    offset: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Group:
    """Frames on one patch of glass between two wipes, in the order in which they came."""

    members: tuple[Member, ...]


def group(frames: Sequence[Fingerprint], params: MatchParams) -> list[Group]:
    """Sort `frames`, in the order in which they were scanned, into groups; every frame is in exactly one.

    Each frame joins the glass that recognises it best or opens a new one; whoever else then turns out to lie on the
    same glass joins too. At the end each glass is asked once more about all of its frames, now that it is known well.
    """
    glasses: list[Group] = []
    for number in range(len(frames)):
        glasses = _admit(glasses, number, frames, params)
    settled: list[Group] = []
    strangers: list[int] = []
    for glass in glasses:
        stays, leaves = _ask_again(glass, frames, params)
        settled += [stays] if stays.members else []
        strangers += leaves
    for number in strangers:
        settled = _admit(settled, number, frames, params)
    return sorted(settled, key=lambda glass: glass.members[0].frame)


def _admit(glasses: list[Group], number: int, frames: Sequence[Fingerprint], params: MatchParams) -> list[Group]:
    """Let a frame join the glasses that recognise it, which then are one; or open a new glass."""
    found = [(glass, _recognised(glass, number, frames, params)) for glass in glasses]
    known = [(glass, match) for glass, match in found if match]
    if not known:
        return [*glasses, Group((Member(number, (0.0, 0.0)),))]
    known.sort(key=lambda pair: -pair[1].score)
    host, best = known[0]
    members = [*host.members, Member(number, best.offset)]
    for other, match in known[1:]:
        members += _moved(other, best.offset, match.offset)
    joined = Group(tuple(sorted(members, key=lambda member: member.frame)))
    rest = [glass for glass in glasses if all(glass is not one for one, _ in known)]
    for alone in [glass for glass in rest if len(glass.members) == 1]:
        lies = _recognised(joined, alone.members[0].frame, frames, params)
        if lies:
            newcomer = Member(alone.members[0].frame, lies.offset)
            joined = Group(tuple(sorted([*joined.members, newcomer], key=lambda member: member.frame)))
            rest.remove(alone)
    return [*rest, joined]


def _moved(glass: Group, here: tuple[float, float], there: tuple[float, float]) -> list[Member]:
    """The members of `glass` on the grid of another, where one frame lies `here` in the other and `there` in it."""
    down, right = here[0] - there[0], here[1] - there[1]
    return [Member(m.frame, (m.offset[0] + down, m.offset[1] + right)) for m in glass.members]


def _recognised(glass: Group, number: int, frames: Sequence[Fingerprint], params: MatchParams) -> Match | None:
    """How the frame lies on the glass, if it does."""
    frame = frames[number]
    if len(glass.members) == 1:
        return alike(frames[glass.members[0].frame], frame, params)
    if (frames[glass.members[0].frame].height, frames[glass.members[0].frame].width) != (
        frame.height,
        frame.width,
    ):
        return None
    return recognise(_landmarks(glass, frames, params), frame, params)


def _landmarks(glass: Group, frames: Sequence[Fingerprint], params: MatchParams) -> Landmarks:
    recent = glass.members[-_RECENT:]
    return landmarks([(frames[member.frame], member.offset) for member in recent], params)


def _ask_again(glass: Group, frames: Sequence[Fingerprint], params: MatchParams) -> tuple[Group, list[int]]:
    """The glass with the members that it recognises, at the offsets that it now sees, and the others."""
    if len(glass.members) < 3:
        return glass, []
    known = _landmarks(glass, frames, params)
    found = [(member, recognise(known, frames[member.frame], params)) for member in glass.members]
    stays = tuple(Member(member.frame, match.offset) for member, match in found if match)
    return Group(stays), [member.frame for member, match in found if not match]
