"""Which frames lie on the same glass. A holder has slots and a glass is wiped, so several glasses live at once.

Frames are admitted one by one, in the order in which they came, and what is known by then does not depend on frames
yet to come: so a roll that is cleaned at once and one that arrives over an evening are sorted in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..processing.fingerprint import Fingerprint, Match, MatchParams, alike, same_scene
from ..processing.landmarks import Landmarks, landmarks, number_scenes, recognise
from ..processing.learn import MOST_FRAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

RECENT = 24
"""Members by which a glass is recognised: the newest. Only they are asked again whether they belong to it."""

LIVE = 32
"""Glasses that a new frame may lie on: those that have had a frame most recently. The others have ended."""


@dataclass(frozen=True, slots=True)
class Member:
    """A frame: its number in the sequence, its digest, and where its glass lies in it, (rows, columns) in px."""

    frame: int
    sha256: str
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Group:
    """Frames on one patch of glass between two wipes, in the order of their numbers."""

    members: tuple[Member, ...]

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


class Groups:
    """The groups that live, by first frame; begun with none, or with those that an earlier run had found."""

    def __init__(
        self, fingerprint: Callable[[int], Fingerprint], params: MatchParams, live: Iterable[Group] = ()
    ) -> None:
        """Take the fingerprint of a recent member by its number from `fingerprint`."""
        self._fingerprint = fingerprint
        self._params = params
        self._live = list(live)
        self._landmarks: dict[Group, Landmarks] = {}
        self._same: dict[tuple[int, int], bool] = {}

    @property
    def live(self) -> tuple[Group, ...]:
        """The groups that a new frame may join."""
        return tuple(sorted(self._live, key=lambda group: group.first))

    def admit(self, newcomer: Member) -> tuple[Group, ...]:
        """Sort in the next frame, of whatever offset; give the groups that ended by it and are never joined again.

        It joins the glass that recognises it best or opens a new one; whoever else then turns out to lie on the same
        glass joins too. The glass is then asked again about its recent members, now that it is known better; those it
        disowns are sorted in anew. Of a run of frames that fills a map nobody leaves any more.
        """
        joined = self._join(newcomer)
        stays, strangers = self._ask_again(joined)
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

    def landmarks(self, group: Group) -> Landmarks:
        """What a live group of at least two frames is recognised by."""
        if group not in self._landmarks:
            recent = [(self._fingerprint(member.frame), member.offset) for member in group.recent]
            scenes = number_scenes([member.frame for member in group.recent], self._same_scene)
            self._landmarks[group] = landmarks(recent, scenes, self._params)
        return self._landmarks[group]

    def recognised(self, group: Group, number: int) -> Match | None:
        """How a frame lies on the glass of a group, if it does."""
        frame, newest = self._fingerprint(number), self._fingerprint(group.last)
        if len(group.members) == 1:
            return alike(newest, frame, self._params)
        if (newest.height, newest.width) != (frame.height, frame.width):
            return None
        return recognise(self.landmarks(group), frame, self._params)

    def _same_scene(self, first: int, second: int) -> bool:
        """Whether two frames show the same scene; to find that out takes its time, and it is asked often."""
        if (first, second) not in self._same:
            same = same_scene(self._fingerprint(first), self._fingerprint(second), self._params)
            self._same[first, second] = same
        return self._same[first, second]

    def _join(self, newcomer: Member) -> Group:
        """Let a frame join the groups that recognise it, which then are one; or open a new one."""
        found = [(group, self.recognised(group, newcomer.frame)) for group in self.live]
        known = [(group, match) for group, match in found if match]
        if not known:
            return self._replace([], Group((replace(newcomer, offset=(0.0, 0.0)),)))
        known.sort(key=lambda pair: -pair[1].score)
        host, best = known[0]
        members = [*host.members, replace(newcomer, offset=best.offset)]
        for other, match in known[1:]:
            members += _moved(other, best.offset, match.offset)
        joined = self._replace([group for group, _ in known], _sorted(members))
        for alone in [group for group in self.live if len(group.members) == 1]:
            if lies := self.recognised(joined, alone.first):
                members = [*joined.members, replace(alone.members[0], offset=lies.offset)]
                joined = self._replace([joined, alone], _sorted(members))
        return joined

    def _ask_again(self, group: Group) -> tuple[Group, list[Member]]:
        """The group with the members that it recognises, at the offsets that it now sees, and the others."""
        count = len(group.members)
        if count < 3:
            return group, []
        settled = max(count - RECENT, (count - 1) // MOST_FRAMES * MOST_FRAMES)
        found = [(member, self.recognised(group, member.frame)) for member in group.members[settled:]]
        stays = [replace(member, offset=match.offset) for member, match in found if match]
        strangers = [member for member, match in found if not match]
        return Group((*group.members[:settled], *stays)), strangers

    def _replace(self, old: Sequence[Group], new: Group) -> Group:
        self._live = [group for group in self._live if group not in old]
        if new.members:
            self._live.append(new)
        return new


def _sorted(members: Iterable[Member]) -> Group:
    return Group(tuple(sorted(members, key=lambda member: member.frame)))


def _moved(group: Group, here: tuple[float, float], there: tuple[float, float]) -> list[Member]:
    """The members of `group` on the grid of another, where one frame lies `here` in the other and `there` in it."""
    down, right = here[0] - there[0], here[1] - there[1]
    return [replace(m, offset=(m.offset[0] + down, m.offset[1] + right)) for m in group.members]
