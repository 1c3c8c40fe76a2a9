"""Which frames lie on the same glass. A holder has slots and a glass is wiped, so several glasses live at once.

Frames are admitted one by one, in the order in which they came, and what is known by then does not depend on frames
yet to come: so a roll that is cleaned at once and one that arrives over an evening are sorted in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Generic, TypeVar

from ..processing.fetched import Fetched, Remembered
from ..processing.fingerprint import Fingerprint, Match, MatchParams, alike, same_scene
from ..processing.landmarks import Landmarks, landmarks, number_scenes, recognise
from ..processing.learn import MOST_FRAMES
from ..processing.placement import ORIENTATIONS, UNMOVED, Placement, upright_size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence, Set

Patch = TypeVar("Patch")

RECENT = 24
"""Members by which a glass is recognised: the newest. Only they are asked again whether they belong to it."""

LIVE = 32
"""Glasses that a new frame may lie on: those that have had a frame most recently. The others have ended."""

_SIZES = 1024
"""Frames whose size is remembered: those that newcomers are compared with."""


@dataclass(frozen=True, slots=True)
class Member:
    """A frame: its number in the sequence, its digest, where its glass lies in it, and whether it is `bare` of film.

    `place` is where in which scanner it lay, see `frame.place_of`.
    """

    frame: int
    sha256: str
    placement: Placement = UNMOVED
    bare: bool = False
    place: str = ""

    def told(self) -> tuple[int, str, float, float, int, bool, str]:
        """All of it in a row, as it is kept."""
        return self.frame, self.sha256, *self.placement.offset, self.placement.orientation, self.bare, self.place

    @staticmethod
    def of_told(frame: int, sha256: str, row: float, column: float, orientation: int, bare: int, place: str) -> Member:
        """The member of which `told` says so."""
        return Member(frame, sha256, Placement((row, column), orientation), bool(bare), place)


@dataclass(frozen=True, slots=True)
class Group:
    """Frames on one patch of glass between two wipes, in the order of their numbers."""

    members: tuple[Member, ...]

    @property
    def place(self) -> str:
        """Where all its frames lay."""
        return self.members[0].place

    @property
    def first(self) -> int:
        """The number of its first frame."""
        return self.members[0].frame

    @property
    def last(self) -> int:
        """The number of its last frame."""
        return self.members[-1].frame

    @property
    def recent(self) -> tuple[Member, ...]:
        """The members by which it is recognised."""
        return self.members[-RECENT:]


@dataclass(frozen=True, slots=True)
class Lies(Generic[Patch]):
    """How a frame lies on a patch of glass, and how surely."""

    patch: Patch
    placement: Placement
    score: float


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Patch]):
    """A patch of glass that a frame may lie on: the `size` (height, width) of a frame that does, as the patch has it.

    `before` are the orientations in which frames have lain on it, and `match` says whether one does that is turned so.
    """

    patch: Patch
    size: tuple[int, int]
    before: Set[int]
    match: Callable[[Fingerprint], Match | None]


def placed(
    candidate: Candidate[Patch],
    size: tuple[int, int],
    turned: Callable[[int], Fingerprint],
    ways: Iterable[int],
    params: MatchParams,
) -> Lies[Patch] | None:
    """How a frame of this size lies on a patch of glass, turned in one of these `ways`, if it does.

    `turned` gives its fingerprint as an orientation has it.
    """
    found = []
    for way in ways:
        if not params.sizes_agree(candidate.size, upright_size(way, *size)):
            continue
        if match := candidate.match(turned(way)):
            found.append(Lies(candidate.patch, Placement.of_upright(match.offset, way, *size), match.score))
    return max(found, key=lambda one: one.score, default=None)


def all_placed(
    candidates: Sequence[Candidate[Patch]],
    size: tuple[int, int],
    turned: Callable[[int], Fingerprint],
    params: MatchParams,
    ways: Collection[int] = ORIENTATIONS,
) -> list[Lies[Patch]]:
    """How a frame of this size lies on each patch of glass that it lies on at all, the surest first.

    It is tried turned and mirrored, too, if it lies on none as frames have lain on that before.
    """
    for usual in True, False:
        found = []
        for candidate in candidates:
            asked = [way for way in ways if (way in candidate.before) == usual]
            if lies := placed(candidate, size, turned, asked, params):
                found.append(lies)
        if found:
            return sorted(found, key=lambda one: -one.score)
    return []


class Groups:
    """The groups that live, by first frame; begun with none, or with those that an earlier run had found."""

    def __init__(
        self,
        fingerprint: Callable[[int], Fingerprint],
        params: MatchParams,
        live: Iterable[Group] = (),
        ways: Collection[int] = ORIENTATIONS,
    ) -> None:
        """Take the fingerprint of a recent member by its number from `fingerprint`; turn frames in these `ways`."""
        self._params = params
        self._ways = ways
        self._live = list(live)

        def size(number: int) -> tuple[int, int]:
            seen = fingerprint(number)
            return seen.height, seen.width

        # Neither knows `self`, for a circle would keep all fingerprints until it is looked for.
        self._turned = Remembered(lambda number, way: fingerprint(number).turned(way))
        self._size = lru_cache(_SIZES)(size)
        self._landmarks: dict[Group, Landmarks] = {}
        self._same: dict[tuple[int, int], bool] = {}

    @property
    def live(self) -> tuple[Group, ...]:
        """The groups that a new frame may join."""
        return tuple(sorted(self._live, key=lambda group: group.first))

    def admit(self, newcomer: Member) -> tuple[Group, ...]:
        """Sort in the next frame, however placed; give the groups that ended by it and are never joined again.

        It joins the glass that recognises it best or opens a new one; whoever else then turns out to lie on the same
        glass joins too. The glass is asked again about its recent members once it is known better; those it disowns
        are sorted in anew. Of a run of frames that fills a map nobody leaves any more.
        """
        before = self._live
        joined = self._join(newcomer)
        known_by = max((len(group.members) for group in before if group not in self._live), default=0)
        stays, strangers = self._ask_again(joined, known_by)
        if stays != joined:
            self._replace([joined], stays)
        for stranger in strangers:
            self._join(stranger)
        by_age = sorted(self._live, key=lambda group: group.last)
        ended = by_age[:-LIVE]
        self._live = by_age[-LIVE:]
        self._landmarks = {group: known for group, known in self._landmarks.items() if group in self._live}
        recent = {member.frame for group in self._live for member in group.recent}
        self._same = {pair: same for pair, same in self._same.items() if recent.issuperset(pair)}
        return tuple(ended)

    def withdraw(self, number: int) -> None:
        """Forget a frame, if it is in a group that lives."""
        for group in self.live:
            if any(member.frame == number for member in group.members):
                rest = tuple(member for member in group.members if member.frame != number)
                self._replace([group], Group(rest))

    def forget_fingerprints(self) -> None:
        """Let go of those that are held in memory; they are fetched again when they are needed."""
        self._turned.forget()

    def landmarks(self, group: Group) -> Landmarks:
        """What a live group of at least two frames, or of one that is bare of film, is recognised by."""
        if group not in self._landmarks:
            scenes = number_scenes(group.recent, self._same_scene)
            bare = {scene for scene, member in zip(scenes, group.recent, strict=True) if member.bare}
            seen = Fetched(lambda number: self._upright(group.recent[number]), len(group.recent))
            self._landmarks[group] = landmarks(seen, scenes, self._params, bare)
        return self._landmarks[group]

    def _upright(self, member: Member) -> tuple[Fingerprint, tuple[float, float]]:
        seen = self._turned(member.frame, member.placement.orientation)
        return seen, member.placement.upright(*self._size(member.frame))

    def _same_scene(self, first: Member, second: Member) -> bool:
        """Whether two members show the same scene; to find that out takes its time, and it is asked often."""
        if first.bare != second.bare:
            return False
        pair = first.frame, second.frame
        if pair not in self._same:
            self._same[pair] = same_scene(self._upright(first)[0], self._upright(second)[0], self._params)
        return self._same[pair]

    def _candidate(self, group: Group) -> Candidate[Group]:
        newest = group.members[-1]
        size = upright_size(newest.placement.orientation, *self._size(newest.frame))
        before = {member.placement.orientation for member in group.recent}
        return Candidate(group, size, before, partial(self._match, group))

    def _recognised(self, group: Group, member: Member) -> Lies[Group] | None:
        """How a member lies on the glass of its group, turned as it is known to be, if it still does."""
        way = member.placement.orientation
        return placed(self._candidate(group), *self._frame(member.frame), (way,), self._params)

    def _frame(self, number: int) -> tuple[tuple[int, int], Callable[[int], Fingerprint]]:
        """The size of a frame, and its fingerprint as an orientation has it."""
        return self._size(number), partial(self._turned, number)

    def _match(self, group: Group, frame: Fingerprint) -> Match | None:
        if len(group.members) > 1 or group.members[0].bare:
            return recognise(self.landmarks(group), frame, self._params)
        only, (down, right) = self._upright(group.members[0])
        match = alike(only, frame, self._params)
        return match and replace(match, offset=(match.offset[0] + down, match.offset[1] + right))

    def _all_recognised(self, groups: Iterable[Group], member: Member) -> list[Lies[Group]]:
        """How a frame lies on the glass of each group of its place that it lies on at all, the surest first."""
        here = [self._candidate(group) for group in groups if group.place == member.place]
        return all_placed(here, *self._frame(member.frame), self._params, self._ways)

    def _join(self, newcomer: Member) -> Group:
        """Let a frame join the groups that recognise it, which then are one; or open a new one."""
        known = self._all_recognised(self.live, newcomer)
        if not known:
            return self._replace([], Group((replace(newcomer, placement=UNMOVED),)))
        best, *others = known
        members = [*best.patch.members, replace(newcomer, placement=best.placement)]
        for other in others:
            members += _moved(other.patch, best.placement, other.placement)
        joined = self._replace([one.patch for one in known], _sorted(members))
        for alone in [group for group in self.live if len(group.members) == 1]:
            for lies in self._all_recognised([joined], alone.members[0]):
                members = [*joined.members, replace(alone.members[0], placement=lies.placement)]
                joined = self._replace([joined, alone], _sorted(members))
        return joined

    def _ask_again(self, group: Group, known_by: int) -> tuple[Group, list[Member]]:
        """The group with the members that it recognises, placed as it now sees them, and the others.

        It was known by so many frames before. It is asked with every eighth that it grows, and when a map is full.
        """
        count = len(group.members)
        step = max(min(count, RECENT) // 8, 1)
        full_maps = known_by // MOST_FRAMES
        if count < 3 or (count // step == known_by // step and count // MOST_FRAMES == full_maps):
            return group, []
        settled = max(count - RECENT, full_maps * MOST_FRAMES)
        found = [(member, self._recognised(group, member)) for member in group.members[settled:]]
        stays = [replace(member, placement=lies.placement) for member, lies in found if lies]
        strangers = [member for member, lies in found if not lies]
        return Group((*group.members[:settled], *stays)), strangers

    def _replace(self, old: Sequence[Group], new: Group) -> Group:
        self._live = [group for group in self._live if group not in old]
        if new.members:
            self._live.append(new)
        return new


def _sorted(members: Iterable[Member]) -> Group:
    return Group(tuple(sorted(members, key=lambda member: member.frame)))


def _moved(group: Group, here: Placement, there: Placement) -> list[Member]:
    """The members of `group` on another glass, on which a frame lies `here` that lies `there` on the group's own."""
    return [replace(member, placement=member.placement.after(here, there)) for member in group.members]
