"""What is known of each glass: which frames lie on it, from which of them its maps are learnt, and those maps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..processing.cells import Patch, fixed_cells
from ..processing.drift import STEADY, wobble
from ..processing.fetched import Fetched, Remembered
from ..processing.fingerprint import Fingerprint, MatchParams, common_films, same_scene
from ..processing.landmarks import landmarks, number_scenes, with_film
from ..processing.learn import MOST_FRAMES, LearnParams, Witness, learn
from ..processing.packed import coarse
from ..processing.rounding import FEW_FRAMES
from .groups import Group, Groups, Member
from .memory import give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set
    from pathlib import Path

    from ..processing.arrays import Mask
    from ..processing.drift import Wobble
    from ..processing.glass_map import GlassMap
    from ..processing.landmarks import Landmarks
    from ..processing.observe import Observation
    from ..processing.planes import PlaneOnDisk
    from .frame import Frame
    from .workplace import Workplace


Fold = Literal["upright", "inverted"]
"""By what frames are grouped: by what is dark in them, or by what is light."""

FOLDS: tuple[Fold, ...] = ("upright", "inverted")


@dataclass(frozen=True, slots=True)
class Glass:
    """A patch of glass between two wipes and the frames on it, in the order of their numbers.

    `wrong_sign` says that what its frames share is lighter than the film although the profile calls dirt dark, or the
    other way round.
    """

    members: tuple[Member, ...]
    wrong_sign: bool = False

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of its frames."""
        return frozenset(member.frame for member in self.members)

    @property
    def filmed(self) -> tuple[Member, ...]:
        """The members that show film."""
        return _filmed(self.members)

    @property
    def glass_id(self) -> str:
        """Its name, made from the content of its first frame, so the same in every run.

        One without film comes first only where there is no other, as several rolls may share it.
        """
        kind = "wrong glass" if self.wrong_sign else "glass"
        first = (*self.filmed, *self.members)[0]
        return hashlib.sha256(f"{kind} {first.sha256}".encode()).hexdigest()[:12]

    def runs(self, ripe: int | None = None) -> Iterator[Run]:
        """How its frames are cleaned once maps are learnt from the first `ripe` of them, all if not said.

        Every `MOST_FRAMES` frames have a map of their own, which nothing changes any more. What comes after them is
        cleaned with the map of the newest `MOST_FRAMES`.
        """
        members, ripe = self.members, len(self.members) if ripe is None else ripe
        whole = ripe // MOST_FRAMES * MOST_FRAMES
        for start in range(0, whole, MOST_FRAMES):
            block = members[start : start + MOST_FRAMES]
            yield Run(self.glass_id, block, _filmed(block), self.wrong_sign)
        if members[whole:]:
            witnesses = members[max(0, ripe - MOST_FRAMES) : ripe]
            yield Run(self.glass_id, witnesses, _filmed(members[whole:]), self.wrong_sign)


@dataclass(frozen=True, slots=True)
class Run:
    """The `witnesses` that a map is learnt from, at most `MOST_FRAMES`, and the frames that are `cleaned` with it.

    Of these some may have come later than the map. Witnesses without film are not cleaned.
    """

    glass_id: str
    witnesses: tuple[Member, ...]
    cleaned: tuple[Member, ...]
    wrong_sign: bool = False

    @property
    def map_sha256(self) -> str:
        """Stands for all that the map depends on, the profile apart: equal digests, equal maps."""
        told = (f"{one.sha256} {one.placement}{' bare' * one.bare}" for one in self.witnesses)
        lines = [self.glass_id, *told]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def worth_learning(self) -> bool:
        """Whether its frames are cleaned with a map at all."""
        return len(self.witnesses) > 1 and not self.wrong_sign

    def member(self, number: int) -> Member | None:
        """The frame of this number, and where it lies as the map has it, if the run has to do with it at all."""
        return next((member for member in (*self.witnesses, *self.cleaned) if member.frame == number), None)

    def as_in(self, earlier: Iterable[Run]) -> Run:
        """The run with the placements of an earlier one that has the same witnesses, if there is one."""
        numbers = [member.frame for member in self.witnesses]
        for run in earlier:
            if [member.frame for member in run.witnesses] == numbers:
                before = {member.frame: member for member in run.cleaned}
                cleaned = tuple(before.get(member.frame, member) for member in self.cleaned)
                return replace(self, witnesses=run.witnesses, cleaned=cleaned)
        return self

    def without(self, lost: Set[int]) -> Run:
        """The run if the frames numbered `lost` had never been."""
        witnesses, cleaned = (
            tuple(member for member in members if member.frame not in lost)
            for members in (self.witnesses, self.cleaned)
        )
        return replace(self, witnesses=witnesses, cleaned=cleaned)

    def told(self) -> dict[str, Any]:
        """All of it as JSON can hold it; `of_told` makes a run of it again."""
        return {
            "glass_id": self.glass_id,
            "witnesses": [member.told() for member in self.witnesses],
            "cleaned": [member.told() for member in self.cleaned],
            "wrong_sign": self.wrong_sign,
        }

    @staticmethod
    def of_told(told: dict[str, Any]) -> Run:
        """The run of which `told` says so. Raises KeyError, TypeError or ValueError where it is none."""
        witnesses, cleaned = (tuple(Member.of_told(*one) for one in told[name]) for name in ("witnesses", "cleaned"))
        return Run(told["glass_id"], witnesses, cleaned, told["wrong_sign"])


class Glasses:
    """The glasses that live, learnt of frame by frame; begun with none, or with the groups an earlier run had found.

    The frames are grouped twice, by what is dark in them and by what is light: if light points are what they share,
    the profile has the wrong sign.
    """

    def __init__(
        self, fingerprint: Callable[[int], Fingerprint], params: MatchParams, live: Mapping[Fold, Iterable[Group]] = {}
    ) -> None:
        """Take the fingerprint of a recent member by its number from `fingerprint`."""
        upright = self._remembered = Remembered(fingerprint)
        self.upright = Groups(upright, params, live.get("upright", ()))
        # A profile of the wrong sign shows in the frames that lie as others do.
        self.inverted = Groups(lambda number: upright(number).inverted, params, live.get("inverted", ()), ways=(1,))

    @property
    def folds(self) -> dict[Fold, Groups]:
        """The groups by what they are told by."""
        return {"upright": self.upright, "inverted": self.inverted}

    @property
    def live(self) -> tuple[Glass, ...]:
        """The glasses that a new frame may lie on, by first frame."""
        wrong = self._wrong()
        return tuple(Glass(group.members, bool(wrong & _numbers(group))) for group in self.upright.live)

    def admit(self, newcomer: Member) -> tuple[Glass, ...]:
        """Sort in the next frame, however placed; give the glasses that ended by it and are never joined again."""
        wrong = self._wrong()
        self.inverted.admit(newcomer)
        ended = self.upright.admit(newcomer)
        return tuple(Glass(group.members, bool(wrong & _numbers(group))) for group in ended)

    def withdraw(self, number: int) -> None:
        """Forget a frame, if it is on a glass that lives."""
        self.upright.withdraw(number)
        self.inverted.withdraw(number)

    def forget_fingerprints(self) -> None:
        """Let go of those that are held in memory, before what needs more of it begins."""
        for groups in self.folds.values():
            groups.forget_fingerprints()
        self._remembered.forget()

    def _wrong(self) -> set[int]:
        """Frames that share more light points than dark ones."""
        wrong: set[int] = set()
        for other in self.inverted.live:
            if len(other.members) == 1:
                continue  # quickly: most glasses that live have no second frame by what is light
            numbers = _numbers(other)
            usual = max(self.upright.live, key=lambda group: len(numbers & _numbers(group)))
            if _depth(self.inverted, other) > _depth(self.upright, usual):
                wrong |= numbers
        return wrong


def _filmed(members: tuple[Member, ...]) -> tuple[Member, ...]:
    return tuple(member for member in members if not member.bare)


def _numbers(group: Group) -> set[int]:
    return {member.frame for member in group.recent}


def _depth(groups: Groups, group: Group) -> float:
    """Density of all that the frames of a group share, in D.

    Not how much of it there is: dirt has a rim that stands out to the other side, in more places but far less.
    """
    return float(groups.landmarks(group).points[:, 2].sum()) if len(group.members) > 1 else 0.0


def find_glasses(frames: Sequence[Frame], params: MatchParams) -> list[Glass]:
    """Sort the frames, in the order in which they came, by the glass that they lie on."""
    glasses = Glasses(lambda number: frames[number].observation.fingerprint, params)
    newcomers = (
        Member(number, frame.sha256, bare=frame.bare, place=frame.place) for number, frame in enumerate(frames)
    )
    ended = [glass for newcomer in newcomers for glass in glasses.admit(newcomer)]
    return sorted([*ended, *glasses.live], key=lambda glass: glass.members[0].frame)


Witnessed = Sequence[tuple["Observation", Member]]
"""The frames that a map is learnt from: what each has shown, and where it lies."""


def glass_landmarks(witnesses: Witnessed, params: MatchParams) -> tuple[Landmarks, tuple[int, int]]:
    """What the glass is recognised by that at least two frames lie on, and the (height, width) of the newest on it."""
    laid = _laid(witnesses, params)
    newest, _ = laid.upright[-1]
    return landmarks(laid.upright, laid.scenes, params, laid.bare_scenes), (newest.height, newest.width)


def learn_map(witnesses: Witnessed, folder: Path, workplace: Workplace) -> GlassMap:
    """Learn the map of the glass that at least two frames lie on, into `folder`."""
    profile = workplace.profile
    known = _surveyed(witnesses, profile.match)
    give_back()
    drifts = known.wobble.drifts if known.wobble else [STEADY] * len(witnesses)
    found = learn(
        [
            Witness(residual_among(len(witnesses), one.codes), member.placement, scene, member.bare, drift)
            for (one, member), scene, drift in zip(witnesses, known.scenes, drifts, strict=True)
        ],
        known.patch,
        known.fixed,
        LearnParams(profile.residual, profile.evidence, profile.lives),
        folder,
        workplace.threads,
        lambda steps: workplace.progress("Learning the dirt", steps),
    )
    return replace(found, wobble=known.wobble)


def residual_among(witnesses: int, codes: PlaneOnDisk) -> PlaneOnDisk:
    """What is taken of a frame's residual where so many frames tell of its glass."""
    return codes if witnesses <= FEW_FRAMES else coarse(codes)


@dataclass(frozen=True, slots=True)
class _Survey:
    """What fingerprints tell of a glass: how large it is, its `fixed` cells, the frames' scenes, and how they drift."""

    patch: Patch
    fixed: Mask
    scenes: Sequence[int]
    wobble: Wobble | None


def _surveyed(witnesses: Witnessed, params: MatchParams) -> _Survey:
    """Survey a glass. The fingerprints are let go again, before what needs more memory begins."""
    laid = _laid(witnesses, params)
    patch = Patch.under((one.height, one.width, offset) for one, offset in laid.upright)
    filmed = (laid.upright[number] for number in with_film(range(len(laid.bare)), laid.bare))
    fixed = fixed_cells(common_films(patch, filmed), params.same_film_d)
    return _Survey(patch, fixed, laid.scenes, wobble(laid.upright, laid.scenes, laid.bare_scenes, patch, params))


@dataclass(frozen=True, slots=True)
class _Laid:
    """Frames as their glass has them, each with its offset, the scene that it shows, and whether it is bare of film."""

    upright: Sequence[tuple[Fingerprint, tuple[float, float]]]
    scenes: list[int]
    bare: list[bool]

    @property
    def bare_scenes(self) -> set[int]:
        return {scene for scene, none in zip(self.scenes, self.bare, strict=True) if none}


def _laid(witnesses: Witnessed, params: MatchParams) -> _Laid:
    def turned(number: int) -> Fingerprint:
        one, member = witnesses[number]
        return one.fingerprint.turned(member.placement.orientation)

    offsets = [member.placement.upright(one.codes.height, one.codes.width) for one, member in witnesses]
    remembered = Remembered(turned)
    upright = Fetched(lambda number: (remembered(number), offsets[number]), len(witnesses))
    bare = [member.bare for _, member in witnesses]

    def same(first: int, second: int) -> bool:
        return bare[first] == bare[second] and same_scene(upright[first][0], upright[second][0], params)

    return _Laid(upright, number_scenes(range(len(upright)), same), bare)
